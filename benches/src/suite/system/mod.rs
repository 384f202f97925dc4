//! Rows of the workloads with real processes, with their requirements, and the curves that the
//! report draws.

mod adds;
mod fan_out;
mod far;
mod hosts;
#[cfg(feature = "sim")]
mod simulated;

pub use adds::{adds, durable, durable_load, round_trips};
pub use fan_out::{crowd, fan_out};
pub use far::far;
pub use hosts::hosts;
#[cfg(feature = "sim")]
pub use simulated::{many, simulated};

use std::time::Duration;

use crate::figures::plot::Curve;
use crate::figures::row::{Need, Row, Unit};
use crate::system::{self, COMMITTERS, MeasureFailure, Measured, Quantiles};

/// Rows, with the curves that belong to them.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The rows of the table.
    pub rows: Vec<Row>,
    /// The curves of the plots.
    pub curves: Vec<Curve>,
    /// The workloads that were left out, and how to run them.
    pub skipped: Vec<String>,
    /// The name and version of each peer that was run.
    pub versions: Vec<(String, String)>,
}

impl Part {
    fn of(rows: Vec<Row>) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Leaves out a peer that cannot be run. Shows a peer that is wrong as wrong, in `rows`.
    fn without(&mut self, name: &str, failure: &MeasureFailure, rows: &[&str]) {
        if !failure.is_wrong() {
            self.skipped.push(failure.0.clone());
            return;
        }
        self.skipped.push(format!("{name}: {failure}"));
        let wrong = |row: Row| if rows.contains(&row.id.as_str()) { row.wrong(name) } else { row };
        self.rows = std::mem::take(&mut self.rows).into_iter().map(wrong).collect();
    }
}

fn row(id: &str, work: impl Into<String>, unit: Unit, ours: f64) -> Row {
    Row::exact(id, work, unit, &[("ours", ours)])
}

/// Adds figures that other projects have published for this workload. They are not measured here.
fn peers(row: Row, figures: &[(&str, f64)]) -> Row {
    figures.iter().fold(row, |row, (name, value)| row.published(name, *value))
}

/// A row of a quantile of all times, with the p99 beside it. Its spread is that of the same
/// quantile in each fifth of the run.
fn quantile_row(
    id: impl Into<String>,
    work: impl Into<String>,
    times: &Quantiles,
    part: f64,
) -> Row {
    let mut row = Row::runs(id, work, Unit::Nanoseconds, &[("ours", &times.of_fifths(part))]);
    row.figures[0].value = times.at(part);
    row.figures[0].p99 = (part < 0.99).then(|| times.at(0.99));
    row
}

fn quantile_rows(id: &str, work: &str, times: &Quantiles) -> (Row, Row) {
    let at = |part: f64, name: &str| {
        quantile_row(format!("{id}.{name}"), format!("{work}, {name}"), times, part)
    };
    (at(0.5, "p50"), at(0.99, "p99"))
}

/// An add, seen at the other nodes.
///
/// # Errors
/// As [`system::latency`].
pub async fn latency(_quick: bool) -> Measured<Part> {
    let times = system::latency(500).await?;
    let (p50, p99) =
        quantile_rows("system.visible", "add seen at both other nodes, 3 nodes", &times);
    let p50 = peers(
        p50.needs(Need::AtMost(2e6), ""),
        &[("Phoenix.Tracker", 839e6), ("delta_crdt_ex", 101e6)],
    );
    let p99 = peers(
        p99.needs(Need::AtMost(10e6), ""),
        &[("Phoenix.Tracker", 1.5e9), ("delta_crdt_ex", 201e6)],
    );
    let curves = vec![
        Curve::new("system.visible", "ours", times.curve()),
        Curve::new("system.visible.histogram", "ours", times.histogram()),
    ];
    Ok(Part { curves, ..Part::of(vec![p50, p99]) })
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
        let row = quantile_row(format!("system.fresh.{counters}"), work, &times, 0.5);
        part.rows.push(match counters {
            32 => peers(
                row.needs(Need::AtMost(150e6), ""),
                &[("Phoenix.Tracker", 13.7e9), ("delta_crdt_ex", 8e6)],
            ),
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
    let million = tokio::task::spawn_blocking(|| system::million(1_000_000)).await;
    let million = million.map_err(|error| MeasureFailure(error.to_string()))??;
    let rows = vec![
        row(
            "system.million.bytes",
            "1,000,000 counters, one writer: memory of each",
            Unit::Bytes,
            million.made_bytes,
        )
        .needs(Need::AtMost(200.0), ""),
        row(
            "system.million.joined_bytes",
            "the same at a fresh node that joined",
            Unit::Bytes,
            million.joined_bytes,
        )
        .needs(Need::AtMost(200.0), ""),
        row(
            "system.million.join",
            "fresh node synced, 1,000,000 counters",
            Unit::Nanoseconds,
            million.joined_in.as_nanos() as f64,
        )
        .needs(Need::AtMost(1e9), ""),
        row(
            "system.million.make",
            "making one of 1,000,000 and adding to it",
            Unit::Nanoseconds,
            million.made_in.as_nanos() as f64 / 1e6,
        ),
    ];
    Ok(Part::of(rows))
}

/// A node with a million counters and a directory: starts from that, and durable adds while it
/// writes a checkpoint.
///
/// # Errors
/// As [`system::million_on_disk`].
pub async fn million_on_disk(quick: bool) -> Measured<Part> {
    let (checkpoints, starts) = if quick { (2, 3) } else { (9, 9) };
    let seen = system::million_on_disk(1_000_000, checkpoints, starts).await?;
    let work = "1,000,000 counters: started from the directory, ready and exact, p50";
    let start = quantile_row("system.million.start", work, &seen.starts, 0.5);
    let adds = |id: &str, part: f64| {
        let work = format!(
            "1,000,000 counters: durable add during a checkpoint, {COMMITTERS} committers, {id}"
        );
        let id = format!("system.million.checkpoint.{id}");
        let mut row = quantile_row(id, work, &seen.checkpoint, part);
        let mut between = quantile_row("", "", &seen.between, part).figures.remove(0);
        between.name = "no checkpoint".into();
        row.figures.push(between);
        row
    };
    let store = row(
        "system.million.store",
        "1,000,000 counters: store on the disk, of each",
        Unit::Bytes,
        seen.bytes / 1e6,
    );
    Ok(Part::of(vec![start, adds("p50", 0.5), adds("p99.9", 0.999), store]))
}

/// A node that is killed while it holds many counters, and started again from its directory.
///
/// # Errors
/// As [`system::recovery`].
pub async fn recovery(quick: bool) -> Measured<Part> {
    let mut part = Part::default();
    for counters in [1_000, 100_000] {
        let times = Quantiles::new(system::recovery(counters, if quick { 3 } else { 9 }).await?);
        let work = format!("killed (SIGKILL), restarted, synced and exact: {counters} counters");
        part.rows.push(quantile_row(format!("system.recovery.{counters}"), work, &times, 0.5));
    }
    Ok(part)
}

/// Bytes of a click, and of an idle cluster.
///
/// # Errors
/// As [`system::click_bytes`] and [`system::idle`].
pub async fn traffic(quick: bool) -> Measured<Part> {
    // Bytes do not depend on how busy the machine is, so both run at once.
    let idle = system::idle(10, Duration::from_secs(if quick { 15 } else { 60 }));
    let (click, idle) = tokio::try_join!(system::click_bytes(200), idle)?;
    let mut rows = vec![
        row("system.click_bytes", "bytes of a click, 32 regions", Unit::Bytes, click.payload)
            .needs(Need::AtMost(60.0), "payload"),
        row(
            "system.idle.payload",
            "10 idle nodes: payload a node",
            Unit::BytesPerSecond,
            idle.payload,
        ),
    ];
    if let Some(wire) = idle.wire {
        rows.push(
            row("system.idle.wire", "10 idle nodes: all TCP a node", Unit::BytesPerSecond, wire)
                .needs(Need::AtMost(4e3), "on the wire"),
        );
    }
    Ok(Part::of(rows))
}
