//! Rows of adds, beside Redis and redb: adds a second through every interface, durable adds at one
//! node and at three, and single adds that the caller knows are counted.

use std::time::Duration;

use super::{Part, peers, quantile_row, row};
use crate::figures::plot::Curve;
use crate::figures::row::{Need, Row, Unit};
use crate::sample::interleave;
use crate::system::{
    self, BATCH, BATCH_CLIENTS, BATCH_COUNTERS, CLIENTS, LOAD_BATCH, LOAD_SOCKETS, Measured, Rates,
    Redis, RedisLoad, WINDOW,
};
use crate::work::{add_bare_atomic, add_by_handle};

const REDIS: &str = "Redis INCR";
const REDIS_UNIX: &str = "Redis INCR, Unix socket";
const REDB: &str = "redb, single puts";

/// One interface, in the words of its rows, and the load of Redis that stands beside it.
struct Interface {
    id: &'static str,
    work: String,
    answer: String,
    need: Need,
    redis: Option<(RedisLoad, Option<f64>)>,
}

/// Adds a second, and the time of an answer. If Redis is installed, it runs with as many
/// connections and as many commands in flight.
///
/// # Errors
/// As [`system::add_rates`].
pub async fn adds(quick: bool) -> Measured<Part> {
    let time = Duration::from_secs(if quick { 1 } else { 10 });
    let seen = system::add_rates(time).await?;
    let one_by_one = |window: u64, published: f64| {
        let load = RedisLoad { connections: CLIENTS, window: window as usize, keys: 1 };
        Some((load, Some(published)))
    };
    let batches = RedisLoad {
        connections: BATCH_CLIENTS,
        window: BATCH as usize,
        keys: BATCH_COUNTERS as usize,
    };
    let batches_to = format!("batches of {BATCH} to as many counters, {BATCH_CLIENTS} connections");
    let interfaces = [
        Interface {
            id: "http",
            work: format!("adds through HTTP, {CLIENTS} connections"),
            answer: format!("answer to an add through HTTP, {CLIENTS} connections, p50"),
            need: Need::Shown,
            redis: one_by_one(1, 64e3),
        },
        Interface {
            id: "socket",
            work: format!("adds through WebSocket, {CLIENTS} connections, {WINDOW} under way"),
            answer: format!(
                "answers to {WINDOW} adds through WebSocket, {CLIENTS} connections, p50"
            ),
            need: Need::Shown,
            redis: one_by_one(WINDOW, 2.2e6),
        },
        Interface {
            id: "http_batches",
            work: format!("adds through HTTP in {batches_to}"),
            answer: format!("answer to a batch of {BATCH} adds through HTTP, p50"),
            need: Need::AtLeast(500e3),
            redis: Some((batches, None)),
        },
        Interface {
            id: "http_batches_with_ids",
            work: format!("the same, with an id for each add, {batches_to}"),
            answer: format!("answer to a batch of {BATCH} adds with ids through HTTP, p50"),
            need: Need::Shown,
            redis: None,
        },
        Interface {
            id: "socket_batches",
            work: format!("adds with ids through WebSocket in {batches_to}"),
            answer: format!("answers to a batch of {BATCH} adds with ids through WebSocket, p50"),
            need: Need::Shown,
            redis: None,
        },
    ];
    let rates = [
        &seen.http,
        &seen.socket,
        &seen.http_batches,
        &seen.http_batches_with_ids,
        &seen.socket_batches,
    ];
    let (mut part, mut answers) = (Part::default(), Vec::new());
    for (interface, rates) in interfaces.into_iter().zip(rates) {
        let Interface { id, work, answer, need, redis } = interface;
        let (id, answer_id) = (format!("system.adds.{id}"), format!("system.answer.{id}"));
        let mut rate = Row::runs(&id, work, Unit::PerSecond, &[("ours", &rates.rates)]);
        let mut time_row = quantile_row(&answer_id, answer, &rates.answers(), 0.5);
        let mut failed = None;
        if let Some((load, published)) = redis {
            match redis_rates(load, time).await {
                Ok(redis) => {
                    rate.figures.extend(
                        Row::runs("", "", Unit::PerSecond, &[(REDIS, &redis.rates)]).figures,
                    );
                    let mut answer = quantile_row("", "", &redis.answers(), 0.5).figures.remove(0);
                    answer.name = REDIS.into();
                    time_row.figures.push(answer);
                }
                Err(failure) => failed = Some((failure, published)),
            }
        }
        part.rows.push(rate.needs(need, ""));
        answers.push(time_row);
        if let Some((failure, published)) = failed {
            part.without(REDIS, &failure, &[&id]);
            if let Some(published) = published.filter(|_| !failure.is_wrong()) {
                let place = part.rows.len() - 1;
                part.rows[place] = peers(part.rows[place].clone(), &[(REDIS, published)]);
            }
        }
    }
    part.rows.push(Row::runs(
        "system.adds.handle",
        "adds through handles, 2 threads, replicating",
        Unit::PerSecond,
        &[("ours", &seen.handle)],
    ));
    part.rows.extend(answers);
    part.skipped.dedup();
    Ok(part)
}

async fn redis_rates(load: RedisLoad, time: Duration) -> Measured<Rates> {
    let (redis, mut rates) = (Redis::start()?, Rates::default());
    for _ in 0..5 {
        let (rate, answers) = redis.rate(load, time / 5).await?;
        rates.rates.push(rate);
        rates.answers.extend(answers);
    }
    Ok(rates)
}

/// A single add that the caller knows is counted: by handle, and by a round trip to Redis on the
/// same machine. They take turns, so both meet the same conditions.
///
/// # Errors
/// A Redis that breaks while it is asked. A missing one is left out.
pub async fn round_trips(quick: bool) -> Measured<Part> {
    let (rounds, adds, trips) = if quick { (9, 200_000, 2_000) } else { (25, 1_000_000, 5_000) };
    let mut turns: Vec<crate::Turn<'_>> = vec![
        ("ours".into(), Box::new(move || add_by_handle(adds))),
        ("bound: bare fetch_add".into(), Box::new(move || add_bare_atomic(adds))),
    ];
    let mut part = Part::default();
    // It must run as long as its clients.
    let redis = Redis::start();
    match &redis {
        Ok(redis) => {
            let (mut tcp, mut unix) = (redis.trip_by_tcp()?, redis.trip_by_unix()?);
            turns.push((REDIS.into(), Box::new(move || tcp.round("tcp", trips))));
            turns.push((REDIS_UNIX.into(), Box::new(move || unix.round("unix", trips))));
            part.versions.push(("redis".into(), redis.version.clone()));
        }
        Err(failure) => part.skipped.push(failure.to_string()),
    }
    let work = "one add, known to be counted: by handle, by round trip";
    part.rows.push(
        Row::times("system.round_trip", work, &interleave(rounds, turns))
            .needs(Need::Better(1_000.0, REDIS.into()), ""),
    );
    Ok(part)
}

/// Durable adds a second by the number of concurrent committers, beside redb's own puts and the
/// disk.
///
/// # Errors
/// As [`system::durable`].
pub async fn durable(quick: bool) -> Measured<Part> {
    let time = Duration::from_millis(if quick { 500 } else { 5_000 });
    let mut part = Part::default();
    let names = ["ours", REDB, "bound: one fdatasync for all"];
    let mut curves = names.map(|name| Curve::new("system.durable", name, Vec::new()));
    for committers in [1, 4, 16, 64] {
        let rates = system::durable(committers, time).await?;
        let figures =
            [(names[0], &rates.ours[..]), (names[1], &rates.redb[..]), (names[2], &rates.disk[..])];
        let work = match committers {
            1 => "durable adds, 1 committer".to_owned(),
            many => format!("durable adds, {many} committers"),
        };
        let mut row =
            Row::runs(format!("system.durable.{committers}"), work, Unit::PerSecond, &figures);
        row.figures[1].right = rates.redb_right;
        for (curve, figure) in
            curves.iter_mut().zip(&row.figures).filter(|(_, figure)| figure.right)
        {
            curve.points.push((f64::from(committers as u32), figure.value));
        }
        part.rows.push(match committers {
            1 => row.needs(Need::Better(0.8, REDB.into()), ""),
            64 => row.needs(Need::Better(10.0, REDB.into()), ""),
            _ => row,
        });
    }
    part.curves.extend(curves);
    Ok(part)
}

/// Durable adds with ids at three nodes at once, in batches over sockets.
///
/// # Errors
/// As [`system::durable_load`].
pub async fn durable_load(quick: bool) -> Measured<Part> {
    let seen = system::durable_load(Duration::from_secs(if quick { 5 } else { 60 })).await?;
    let work = format!(
        "durable adds with ids at 3 nodes, batches of {LOAD_BATCH}, {LOAD_SOCKETS} sockets at each"
    );
    let rate = Row::runs("system.load.rate", work, Unit::PerSecond, &[("ours", &seen.rates)]);
    let ack = |id: &str, part: f64| {
        let work = format!("answer to such a batch once the disk has it, {id}");
        quantile_row(format!("system.load.{id}"), work, &seen.acks, part)
    };
    let netflix = [("Netflix's counter", 75e3)];
    Ok(Part::of(vec![
        peers(rate.needs(Need::AtLeast(75e3), ""), &netflix),
        ack("p50", 0.5),
        ack("p99", 0.99),
        ack("p99.9", 0.999),
        row(
            "system.load.agreed",
            "all 3 nodes show all such adds, after the last answer",
            Unit::Nanoseconds,
            seen.agreed.as_nanos() as f64,
        ),
    ]))
}
