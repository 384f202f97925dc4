//! Rows of three hosts: a click between them, the same under loss, and their agreement after a
//! cable was out.

use super::{Part, quantile_row, quantile_rows};
use crate::figures::plot::Curve;
use crate::figures::row::Need;
use crate::system::{self, LOSS, Measured, OUTAGE};

/// Three nodes, each in a network namespace of its own.
///
/// # Errors
/// As [`system::hosts`].
pub async fn hosts(quick: bool) -> Measured<Part> {
    let (clicks, outages) = if quick { (200, 1) } else { (1_000, 9) };
    let seen = tokio::task::spawn_blocking(move || system::hosts(clicks, outages)).await;
    let seen = seen.map_err(|error| system::MeasureFailure(error.to_string()))??;
    let (percent, seconds) = (LOSS * 100.0, OUTAGE.as_secs());
    let (p50, p99) = quantile_rows("hosts.visible", "add seen at both other hosts", &seen.visible);
    let (lossy_p50, lossy_p99) = quantile_rows(
        "hosts.loss",
        &format!("add seen at both other hosts, {percent:.0} % of packets lost"),
        &seen.lossy,
    );
    let work = format!("3 hosts agree after a cable was out for {seconds} s");
    let healed =
        quantile_row("hosts.partition", work, &seen.healed, 0.5).needs(Need::AtMost(5e9), "");
    let mut part = Part::of(vec![p50, p99, lossy_p50, lossy_p99, healed]);
    part.curves.push(Curve::new("hosts.visible", "ours", seen.visible.curve()));
    part.curves.push(Curve::new("hosts.visible", "ours, packets lost", seen.lossy.curve()));
    part.curves.push(Curve::new("hosts.loss.histogram", "ours", seen.lossy.histogram()));
    Ok(part)
}
