//! The system work as rows, with what is required of it, and the curves that the report draws.

use std::time::Duration;

use crate::plot::Curve;
use crate::row::{Need, Row, Unit};
use crate::system::{self, Crowd, FanOut, Measured, Quantiles, Server};

/// Rows, and curves beside them.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// For the table.
    pub rows: Vec<Row>,
    /// For the plots.
    pub curves: Vec<Curve>,
}

fn row(id: &str, work: impl Into<String>, unit: Unit, ours: f64) -> Row {
    Row::exact(id, work, unit, &[("ours", ours)])
}

/// Medians of both ways that others have published for it, on one machine by default (not run here).
fn peers(row: Row, figures: &[(&str, f64)]) -> Row {
    figures.iter().fold(row, |row, (name, value)| row.published(name, *value))
}

fn quantile_rows(id: &str, work: &str, times: &Quantiles) -> (Row, Row) {
    let at = |part: f64, name: &str| row(&format!("{id}.{name}"), format!("{work}, {name}"), Unit::Nanoseconds, times.at(part));
    (at(0.5, "p50"), at(0.99, "p99"))
}

/// An add, seen at the other nodes.
///
/// # Errors
/// As [`system::latency`].
pub async fn latency(_quick: bool) -> Measured<Part> {
    let times = system::latency(500).await?;
    let (p50, p99) = quantile_rows("system.visible", "add seen at both other nodes, 3 nodes", &times);
    let p50 = peers(p50.needs(Need::AtMost(2e6), ""), &[("Phoenix.Tracker", 839e6), ("delta_crdt_ex", 101e6)]);
    let p99 = peers(p99.needs(Need::AtMost(10e6), ""), &[("Phoenix.Tracker", 1.5e9), ("delta_crdt_ex", 201e6)]);
    Ok(Part { rows: vec![p50, p99], curves: vec![Curve::new("system.visible", "ours", times.curve())] })
}

/// A fresh process, until it is synced.
///
/// # Errors
/// As [`system::fresh`].
pub async fn fresh(quick: bool) -> Measured<Part> {
    let mut part = Part::default();
    let mut points = Vec::new();
    for counters in [32, 1_000, 10_000, 100_000] {
        let times = Quantiles::new(system::fresh(counters, if quick { 3 } else { 9 }).await?);
        let work = format!("fresh node synced, {counters} counters");
        let row = row(&format!("system.fresh.{counters}"), work, Unit::Nanoseconds, times.at(0.5));
        part.rows.push(match counters {
            32 => peers(row.needs(Need::AtMost(150e6), ""), &[("Phoenix.Tracker", 13.7e9), ("delta_crdt_ex", 8e6)]),
            10_000 => peers(row, &[("delta_crdt_ex", 319e6)]),
            100_000 => row.needs(Need::AtMost(1e9), ""),
            _ => row,
        });
        points.push((counters as f64, times.at(0.5)));
    }
    part.curves.push(Curve::new("system.fresh", "ours", points));
    Ok(part)
}

/// A node with a million counters of one writer, and a fresh process that joins it.
///
/// # Errors
/// As [`system::million`].
pub async fn million() -> Measured<Part> {
    let million = system::million(1_000_000).await?;
    let rows = vec![
        row("system.million.bytes", "1,000,000 counters, one writer: memory of each", Unit::Bytes, million.made_bytes)
            .needs(Need::AtMost(200.0), ""),
        row("system.million.joined_bytes", "the same at a fresh node that joined", Unit::Bytes, million.joined_bytes)
            .needs(Need::AtMost(200.0), ""),
        row("system.million.join", "fresh node synced, 1,000,000 counters", Unit::Nanoseconds, million.joined_in.as_nanos() as f64),
        row("system.million.make", "making one of 1,000,000 and adding to it", Unit::Nanoseconds, million.made_in.as_nanos() as f64 / 1e6),
    ];
    Ok(Part { rows, curves: Vec::new() })
}

/// Bytes of a click, and of an idle cluster.
///
/// # Errors
/// As [`system::click_bytes`] and [`system::idle`].
pub async fn traffic(quick: bool) -> Measured<Part> {
    let click = system::click_bytes(200).await?;
    let idle = system::idle(10, Duration::from_secs(if quick { 15 } else { 60 })).await?;
    let mut rows = vec![
        row("system.click_bytes", "bytes of a click, 32 regions", Unit::Bytes, click.payload).needs(Need::AtMost(60.0), "payload"),
        row("system.idle.payload", "10 idle nodes: payload a node", Unit::BytesPerSecond, idle.payload),
    ];
    if let Some(wire) = idle.wire {
        rows.push(
            row("system.idle.wire", "10 idle nodes: all TCP a node", Unit::BytesPerSecond, wire).needs(Need::AtMost(4e3), "on the wire"),
        );
    }
    Ok(Part { rows, curves: Vec::new() })
}

/// Adds a second.
///
/// # Errors
/// As [`system::add_rates`].
pub async fn adds(quick: bool) -> Measured<Part> {
    let rates = system::add_rates(Duration::from_secs(if quick { 2 } else { 5 })).await?;
    let rows = vec![
        peers(row("system.adds.http", "adds through HTTP, 32 connections", Unit::PerSecond, rates.http), &[("Redis INCR", 64e3)]),
        peers(row("system.adds.socket", "adds through WebSocket, 64 under way", Unit::PerSecond, rates.socket), &[("Redis INCR", 2.2e6)]),
        row("system.adds.handle", "adds through handles, 2 threads, replicating", Unit::PerSecond, rates.handle),
    ];
    Ok(Part { rows, curves: Vec::new() })
}

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
    let mut seen = vec![("ours", system::fan_out(Server::Ours, 1_000, clicks, &IN_FLIGHT, time).await?)];
    for (name, server) in [("node ws, coalesced", Server::NodeWs), (RAW, Server::RawLoop)] {
        match system::fan_out(server, 1_000, clicks, &IN_FLIGHT, time).await {
            Ok(peer) => seen.push((name, peer)),
            Err(failure) => eprintln!("· {name}: {failure}"),
        }
    }
    let ours = &seen[0].1;
    points.push((1_000.0, ours.to_all.at(0.5)));
    part.curves.push(Curve::new("system.fan_out", "ours", ours.to_all.curve()));
    part.curves.push(Curve::new("system.fan_out.clients", "ours", points));
    part.rows.extend(fan_out_rows(&seen));
    part.rows.extend(crowd_rows(&system::crowd(10_000, time).await?));
    Ok(part)
}

/// Clicks made and not yet seen by all.
const IN_FLIGHT: [u64; 2] = [16, 256];

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
