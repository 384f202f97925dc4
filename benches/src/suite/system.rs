//! The system work as rows, with what is required of it, and the curves that the report draws.

use std::time::Duration;

use crate::plot::Curve;
use crate::row::{Need, Row, Unit};
use crate::system::{self, Measured, Quantiles};

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

/// One node, many clients.
///
/// # Errors
/// As [`system::fan_out`].
pub async fn fan_out(quick: bool) -> Measured<Part> {
    let mut part = Part::default();
    let sizes: &[usize] = if quick { &[100, 1_000] } else { &[10, 100, 300, 1_000] };
    let mut points = Vec::new();
    for &clients in sizes {
        let seen = system::fan_out(clients, if quick { 50 } else { 200 }, Duration::from_secs(if quick { 2 } else { 5 })).await?;
        points.push((clients as f64, seen.to_all.at(0.5)));
        if clients == 1_000 {
            let (p50, p99) = quantile_rows("system.fan_out", "click on all of 1,000 sockets", &seen.to_all);
            let rate = row("system.fan_out.rate", "clicks one by one, 1,000 sockets", Unit::PerSecond, seen.clicks_per_second);
            part.rows.extend([
                peers(p50, &[("node ws, coalesced", 14.6e6), ("tokio broadcast", 23.7e6)]),
                peers(p99, &[("node ws, coalesced", 21e6), ("tokio broadcast", 31.5e6)]),
                peers(rate, &[("node ws, coalesced", 1_229.0), ("tokio broadcast", 121.0)]),
            ]);
            part.curves.push(Curve::new("system.fan_out", "ours", seen.to_all.curve()));
        }
    }
    part.curves.push(Curve::new("system.fan_out.clients", "ours", points));
    Ok(part)
}
