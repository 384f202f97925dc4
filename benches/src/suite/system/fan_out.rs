//! One node and many clients, beside others on the same work, as rows.

use std::time::Duration;

use super::{Part, row};
use crate::plot::Curve;
use crate::row::{Need, Row, Unit};
use crate::system::{self, Crowd, FanOut, Measured, Server};

/// One node, many clients, beside others on the same work; and what clients cost that do nothing.
///
/// # Errors
/// As [`system::fan_out`] and [`system::crowd`] of ours; a peer that is not installed is left out, and a line says so.
pub async fn fan_out(quick: bool) -> Measured<Part> {
    let mut part = Part::default();
    let sizes: &[usize] = if quick { &[100] } else { &[10, 100, 300] };
    let (clicks, time) = if quick { (50, Duration::from_secs(2)) } else { (200, Duration::from_secs(5)) };
    let mut points = Vec::new();
    for &clients in sizes {
        let seen = system::fan_out(Server::Ours, clients, clicks, &[], time).await?;
        points.push((clients as f64, seen.to_all.at(0.5)));
    }
    let (mut seen, mut missing) = (Vec::new(), Vec::new());
    seen.push(("ours", system::fan_out(Server::Ours, 1_000, clicks, &IN_FLIGHT, time).await?));
    for (name, server) in [("node ws, coalesced", Server::NodeWs), (RAW, Server::RawLoop)] {
        match system::fan_out(server, 1_000, clicks, &IN_FLIGHT, time).await {
            Ok(peer) => seen.push((name, peer)),
            Err(failure) => missing.push((name, failure)),
        }
    }
    let ours = &seen[0].1;
    points.push((1_000.0, ours.to_all.at(0.5)));
    part.curves.push(Curve::new("system.fan_out", "ours", ours.to_all.curve()));
    part.curves.push(Curve::new("system.fan_out.clients", "ours", points));
    part.rows.extend(fan_out_rows(&seen));
    missing.iter().for_each(|(name, failure)| part.without(name, failure, &FAN_OUT));
    part.rows.extend(crowd_rows(&system::crowd(10_000, time).await?));
    Ok(part)
}

/// Clicks made and not yet seen by all.
const IN_FLIGHT: [u64; 2] = [16, 256];

/// The rows in which others stand beside ours.
const FAN_OUT: [&str; 5] = ["system.fan_out.p50", "system.fan_out.p99", "system.fan_out.16", "system.fan_out.256", "system.fan_out.cpu"];

const RAW: &str = "bound: raw write loop";

fn fan_out_rows(seen: &[(&str, FanOut)]) -> Vec<Row> {
    let figures = |of: &dyn Fn(&FanOut) -> f64| seen.iter().map(|(name, seen)| (*name, of(seen))).collect::<Vec<_>>();
    let row = |id: &str, work: &str, unit, of: &dyn Fn(&FanOut) -> f64| Row::exact(id, work, unit, &figures(of));
    let node = || "node ws, coalesced".to_owned();
    let times = |part: f64| move |seen: &FanOut| seen.to_all.at(part);
    vec![
        row("system.fan_out.p50", "click on all of 1,000 sockets, p50", Unit::Nanoseconds, &times(0.5))
            .published("tokio broadcast", 23.7e6)
            .needs(Need::Better(1.0, node()), "node"),
        row("system.fan_out.p99", "click on all of 1,000 sockets, p99", Unit::Nanoseconds, &times(0.99))
            .published("tokio broadcast", 31.5e6)
            .needs(Need::Better(1.0, node()), "node"),
        row("system.fan_out.16", "clicks on all of 1,000 sockets, 16 in flight", Unit::PerSecond, &|seen| seen.rates[0])
            .needs(Need::Better(1.0, node()), "node"),
        row("system.fan_out.256", "clicks on all of 1,000 sockets, 256 in flight", Unit::PerSecond, &|seen| seen.rates[1])
            .needs(Need::AtLeast(10_000.0), ""),
        row("system.fan_out.cpu", "server's processor time a frame, 1,000 sockets", Unit::Nanoseconds, &|seen| seen.cpu_per_frame)
            .needs(Need::Within(1.2, RAW.to_owned()), "bound"),
    ]
}

fn crowd_rows(crowd: &Crowd) -> Vec<Row> {
    vec![
        row("system.idle_clients", "memory a client, 10,000 idle ones", Unit::Bytes, crowd.idle_bytes).needs(Need::AtMost(20e3), ""),
        row("system.never_read", "memory a client that never reads, after a storm", Unit::Bytes, crowd.never_read_bytes)
            .needs(Need::AtMost(20e3), ""),
        row("system.beside", "click on one that reads, beside 1,000 that never do, p50", Unit::Nanoseconds, crowd.beside.at(0.5)),
    ]
}
