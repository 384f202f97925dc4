//! Rows of one node with many clients, beside other servers under the same load.

use std::time::Duration;

use super::{Part, row};
use crate::figures::plot::Curve;
use crate::figures::row::{Need, Row, Unit};
use crate::system::{self, Crowd, FanOut, MeasureFailure, Measured, Quantiles, Server};

/// One node with many clients, beside other servers under the same load. The contenders take turns,
/// round by round, so a noisy neighbour slows all of them alike. Times are quantiles over all
/// rounds. Rates and processor times are medians of the rounds.
///
/// # Errors
/// As [`system::fan_out`] for ours. A peer that is not installed is left out, and a line says so.
pub async fn fan_out(quick: bool) -> Measured<Part> {
    let mut part = Part::default();
    let sizes: &[usize] = if quick { &[100] } else { &[10, 100, 300] };
    let (rounds, clicks, time) =
        if quick { (2, 30, Duration::from_millis(500)) } else { (5, 100, Duration::from_secs(2)) };
    let mut points = Vec::new();
    for &clients in sizes {
        let results = system::fan_out(Server::Ours, clients, clicks, &[], time).await?;
        points.push((clients as f64, Quantiles::new(results.times).at(0.5)));
    }
    let mut contenders = contenders();
    take_turns(
        &mut contenders,
        rounds,
        &Load { clients: 1_000, clicks, in_flight: &IN_FLIGHT, time },
    )
    .await?;
    let results = results(&contenders);
    let ours = &results[0].1.to_all;
    points.push((1_000.0, ours.at(0.5)));
    part.curves.push(Curve::new("system.fan_out", "ours", ours.curve()));
    part.curves.push(Curve::new("system.fan_out.clients", "ours", points));
    part.rows.extend(fan_out_rows(&results));
    leave_out_failed(&mut part, &contenders, &FAN_OUT);
    Ok(part)
}

/// The clients of the largest crowd.
const CROWD: usize = 10_000;

/// One node with 10,000 clients, beside other servers under the same load, and the cost of clients
/// that do nothing.
///
/// # Errors
/// As [`fan_out`].
pub async fn crowd(quick: bool) -> Measured<Part> {
    let time = Duration::from_secs(if quick { 1 } else { 4 });
    let mut part = Part::default();
    if quick {
        part.skipped.push("a click on all of 10,000 sockets: left out of a quick run; `report` without --quick has it".into());
    } else {
        let mut contenders = contenders();
        let load = Load { clients: CROWD, clicks: 50, in_flight: &[], time };
        take_turns(&mut contenders, 3, &load).await?;
        let results = results(&contenders);
        part.rows.extend([(0.5, "p50"), (0.99, "p99")].map(|(quantile, name)| {
            let work = format!("click on all of 10,000 sockets, {name}");
            time_row(format!("system.crowd.{name}"), work, &results, quantile)
        }));
        leave_out_failed(&mut part, &contenders, &["system.crowd.p50", "system.crowd.p99"]);
    }
    part.rows.extend(crowd_rows(&system::crowd(CROWD, time).await?));
    Ok(part)
}

/// What every contender of a round meets.
struct Load {
    clients: usize,
    clicks: u64,
    /// Numbers of clicks under way, each kept up for `time`.
    in_flight: &'static [u64],
    time: Duration,
}

fn contenders() -> [FanOutContender; 3] {
    [
        FanOutContender::new("ours", Server::Ours),
        FanOutContender::new(NODE, Server::NodeWs),
        FanOutContender::new(RAW, Server::RawLoop),
    ]
}

/// Runs the rounds of all contenders in turn. Every round starts its own server and clients.
async fn take_turns(
    contenders: &mut [FanOutContender],
    rounds: usize,
    load: &Load,
) -> Measured<()> {
    for _ in 0..rounds {
        for contender in contenders.iter_mut().filter(|contender| contender.failure.is_none()) {
            contender.round(load).await?;
        }
    }
    Ok(())
}

/// The results of all that did not fail, ours first.
fn results(contenders: &[FanOutContender]) -> Vec<(&'static str, AllRounds)> {
    contenders
        .iter()
        .filter(|one| one.failure.is_none())
        .map(|one| (one.name, one.all_rounds()))
        .collect()
}

fn leave_out_failed(part: &mut Part, contenders: &[FanOutContender], rows: &[&str]) {
    for contender in contenders {
        if let Some(failure) = &contender.failure {
            part.without(contender.name, failure, rows);
        }
    }
}

/// The numbers of clicks in flight: made, and not yet seen by all.
const IN_FLIGHT: [u64; 2] = [16, 256];

/// The rows that show other servers beside ours.
const FAN_OUT: [&str; 5] = [
    "system.fan_out.p50",
    "system.fan_out.p99",
    "system.fan_out.16",
    "system.fan_out.256",
    "system.fan_out.cpu",
];

const NODE: &str = "node ws, coalesced";
const RAW: &str = "bound: raw write loop";

/// One server, and the results of its rounds.
struct FanOutContender {
    name: &'static str,
    server: Server,
    rounds: Vec<FanOut>,
    /// A peer takes no further part after its first failure.
    failure: Option<MeasureFailure>,
}

impl FanOutContender {
    fn new(name: &'static str, server: Server) -> Self {
        Self { name, server, rounds: Vec::new(), failure: None }
    }

    async fn round(&mut self, load: &Load) -> Measured<()> {
        let Load { clients, clicks, in_flight, time } = *load;
        match system::fan_out(self.server, clients, clicks, in_flight, time).await {
            Ok(results) => self.rounds.push(results),
            Err(failure) if self.server == Server::Ours => return Err(failure),
            Err(failure) => self.failure = Some(failure),
        }
        Ok(())
    }

    /// The results of all rounds together. Each fifth of the times is one round.
    fn all_rounds(&self) -> AllRounds {
        let each = |of: &dyn Fn(&FanOut) -> f64| self.rounds.iter().map(of).collect::<Vec<_>>();
        AllRounds {
            to_all: Quantiles::new(
                self.rounds.iter().flat_map(|round| round.times.iter().copied()),
            ),
            rates: (0..self.rounds.first().map_or(0, |round| round.rates.len()))
                .map(|at| each(&|round| round.rates[at]))
                .collect(),
            cpu_per_frame: each(&|round| round.cpu_per_frame),
        }
    }
}

/// The results of all rounds of one contender.
struct AllRounds {
    to_all: Quantiles,
    /// By the number of clicks under way.
    rates: Vec<Vec<f64>>,
    cpu_per_frame: Vec<f64>,
}

/// A quantile of the clicks of all contenders.
fn time_row(id: String, work: String, results: &[(&str, AllRounds)], quantile: f64) -> Row {
    let of_rounds: Vec<_> =
        results.iter().map(|(name, results)| (*name, results.to_all.of_fifths(quantile))).collect();
    let runs: Vec<(&str, &[f64])> =
        of_rounds.iter().map(|(name, values)| (*name, values.as_slice())).collect();
    let mut row = Row::runs(id, work, Unit::Nanoseconds, &runs);
    for (figure, (_, results)) in row.figures.iter_mut().zip(results) {
        figure.value = results.to_all.at(quantile);
        figure.p99 = (quantile < 0.99).then(|| results.to_all.at(0.99));
    }
    row.needs(Need::Better(1.0, NODE.to_owned()), "node")
}

fn fan_out_rows(results: &[(&str, AllRounds)]) -> Vec<Row> {
    let node = || NODE.to_owned();
    let time = |quantile: f64, name: &str| {
        let work = format!("click on all of 1,000 sockets, {name}");
        time_row(format!("system.fan_out.{name}"), work, results, quantile)
    };
    let runs = |id: &str, work: &str, unit, of: &dyn Fn(&AllRounds) -> Vec<f64>| {
        let values: Vec<_> = results.iter().map(|(name, results)| (*name, of(results))).collect();
        let runs: Vec<(&str, &[f64])> =
            values.iter().map(|(name, values)| (*name, values.as_slice())).collect();
        Row::runs(id, work, unit, &runs)
    };
    vec![
        time(0.5, "p50").published("tokio broadcast", 23.7e6),
        time(0.99, "p99").published("tokio broadcast", 31.5e6),
        runs(
            "system.fan_out.16",
            "clicks on all of 1,000 sockets, 16 in flight",
            Unit::PerSecond,
            &|results| results.rates[0].clone(),
        )
        .needs(Need::Better(1.0, node()), "node"),
        runs(
            "system.fan_out.256",
            "clicks on all of 1,000 sockets, 256 in flight",
            Unit::PerSecond,
            &|results| results.rates[1].clone(),
        )
        .needs(Need::AtLeast(10_000.0), ""),
        runs(
            "system.fan_out.cpu",
            "server's processor time a frame, 1,000 sockets",
            Unit::Nanoseconds,
            &|results| results.cpu_per_frame.clone(),
        )
        .needs(Need::Within(1.2, RAW.to_owned()), "bound"),
    ]
}

fn crowd_rows(crowd: &Crowd) -> Vec<Row> {
    vec![
        row(
            "system.idle_clients",
            "memory a client, 10,000 idle ones",
            Unit::Bytes,
            crowd.idle_bytes,
        )
        .needs(Need::AtMost(20e3), ""),
        row(
            "system.never_read",
            "memory a client that never reads, after a storm",
            Unit::Bytes,
            crowd.never_read_bytes,
        )
        .needs(Need::AtMost(20e3), ""),
        row(
            "system.beside",
            "click on one that reads, beside 1,000 that never do, p50",
            Unit::Nanoseconds,
            crowd.beside.at(0.5),
        ),
    ]
}
