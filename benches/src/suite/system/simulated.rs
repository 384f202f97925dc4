//! Rows and curves of simulated clusters: by the number of nodes, under loss, and after a
//! partition.

use super::{Part, peers, quantile_row, quantile_rows};
use crate::figures::plot::Curve;
use crate::figures::row::Need;
use crate::system::{self, MANY, MANY_LATENCY, MANY_LOSS, Measured};

/// Clusters of 3 to 30 nodes (to 100 in a full run), ten nodes under loss, and ten nodes after a
/// partition. Time is virtual, so the figures are the same on every machine.
///
/// # Errors
/// A cluster that does not agree, or whose numbers differ from plain integers.
pub async fn simulated(quick: bool) -> Measured<Part> {
    let mut part = Part::default();
    let sizes: &[usize] = if quick { &[3, 10, 30] } else { &[3, 10, 30, 100] };
    let (mut clicks, mut bytes, mut idle, mut fresh) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for &nodes in sizes {
        let size = system::cluster_of(nodes, 20)?;
        let x = nodes as f64;
        part.rows.push(quantile_row(
            format!("sim.click.{nodes}"),
            format!("click at all of {nodes} nodes between continents, p50"),
            &size.clicks,
            0.5,
        ));
        clicks.push((x, size.clicks.at(0.5)));
        bytes.push((x, size.click_bytes));
        idle.push((x, size.idle_bytes));
        fresh.push((x, size.fresh.as_nanos() as f64));
    }
    part.curves.push(Curve::new("sim.times", "click at all nodes", clicks));
    part.curves.push(Curve::new("sim.times", "fresh node synced", fresh));
    part.curves.push(Curve::new("sim.bytes", "a click, a node", bytes));
    part.curves.push(Curve::new("sim.bytes", "idle, a node and second", idle));
    let lossy = system::clicks_under_loss(0.2, if quick { 100 } else { 500 })?;
    let (p50, p99) =
        quantile_rows("sim.loss", "click at all of 10 nodes, 20 % of gossip lost", &lossy);
    let healed = system::healed_partitions(if quick { 20 } else { 100 })?;
    let (healed_p50, healed_p99) =
        quantile_rows("sim.partition", "10 nodes agree after a minute in halves", &healed);
    part.rows.extend([p50, p99, healed_p50, healed_p99.needs(Need::AtMost(5e9), "")]);
    part.curves.push(Curve::new("sim.loss.histogram", "ours", lossy.histogram()));
    part.curves.push(Curve::new("sim.partition.histogram", "ours", healed.histogram()));
    Ok(part)
}

/// A click at all nodes of a cluster as large as one whose figure is published.
///
/// # Errors
/// As [`simulated`].
pub fn many(quick: bool) -> Measured<Part> {
    let (latency, percent) = (MANY_LATENCY.as_millis(), MANY_LOSS * 100.0);
    let work = format!("click at all of {MANY} nodes, {latency} ms links, {percent:.0} % lost");
    if quick {
        let skipped = format!("{work}: left out of a quick run; `report` without --quick has it");
        return Ok(Part { skipped: vec![skipped], ..Part::default() });
    }
    let times = system::clicks_at_many(50)?;
    let (p50, p99) = quantile_rows("sim.many", &work, &times);
    Ok(Part::of(vec![p50, peers(p99.needs(Need::AtMost(1e9), ""), &[("Corrosion", 1e9)])]))
}
