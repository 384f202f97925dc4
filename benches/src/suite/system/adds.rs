//! Rows of adds, beside Redis and redb: adds a second through every interface, durable adds, and
//! single adds that the caller knows are counted.

use std::time::Duration;

use super::{Part, peers};
use crate::plot::Curve;
use crate::row::{Need, Row, Unit};
use crate::sample::interleave;
use crate::system::{self, CLIENTS, Measured, Redis, WINDOW};
use crate::work::{add_bare_atomic, add_by_handle};

const REDIS: &str = "Redis INCR";
const REDIS_UNIX: &str = "Redis INCR, Unix socket";
const REDB: &str = "redb, single puts";

/// Adds a second. If Redis is installed, it runs with as many connections and as many commands in
/// flight.
///
/// # Errors
/// As [`system::add_rates`].
pub async fn adds(quick: bool) -> Measured<Part> {
    let time = Duration::from_secs(if quick { 1 } else { 10 });
    let rates = system::add_rates(time).await?;
    let row = |id: &str, work: String, ours: &[f64]| {
        Row::runs(id, work, Unit::PerSecond, &[("ours", ours)])
    };
    let mut part = Part::of(vec![
        row("system.adds.http", format!("adds through HTTP, {CLIENTS} connections"), &rates.http),
        row(
            "system.adds.socket",
            format!("adds through WebSocket, {CLIENTS} connections, {WINDOW} under way"),
            &rates.socket,
        ),
        row(
            "system.adds.handle",
            "adds through handles, 2 threads, replicating".into(),
            &rates.handle,
        ),
    ]);
    for (place, window, published) in [(0, 1, 64e3), (1, WINDOW as usize, 2.2e6)] {
        match redis_rates(window, time).await {
            Ok(rates) => part.rows[place]
                .figures
                .extend(Row::runs("", "", Unit::PerSecond, &[(REDIS, &rates)]).figures),
            Err(failure) => {
                let id = part.rows[place].id.clone();
                part.without(REDIS, &failure, &[&id]);
                if !failure.is_wrong() {
                    part.rows[place] = peers(part.rows[place].clone(), &[(REDIS, published)]);
                }
            }
        }
    }
    part.skipped.dedup();
    Ok(part)
}

async fn redis_rates(window: usize, time: Duration) -> Measured<Vec<f64>> {
    let redis = Redis::start()?;
    let mut rates = Vec::new();
    for _ in 0..5 {
        rates.push(redis.rate(CLIENTS, window, time / 5).await?);
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
