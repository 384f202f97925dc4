//! Rows of nodes far from each other: the start of a fresh node, a click, and the time until its
//! node knows that all hold it.

use super::{Part, quantile_row};
use crate::figures::plot::Curve;
use crate::figures::row::{Need, Row, Unit};
use crate::system::{self, FarOutcome, Measured, ROUND_TRIP, Times};

/// Measures nodes that are all equally far from each other, in namespaces of this program.
///
/// # Errors
/// As [`system::far`].
pub async fn far(quick: bool) -> Measured<Part> {
    let times = match quick {
        true => Times { starts: 3, clicks: 10, known: 2, sizes: vec![12] },
        false => Times { starts: 9, clicks: 50, known: 9, sizes: vec![12, 36] },
    };
    let seen = tokio::task::spawn_blocking(move || system::far(&times)).await;
    let seen = seen.map_err(|error| system::MeasureFailure(error.to_string()))??;
    let far = ROUND_TRIP.as_millis();
    let mut part = Part::default();
    for (way, round_trip, outcome) in &seen.fresh {
        let work = format!("fresh node ready, 3 peers {round_trip} ms away ({way})");
        // Six round trips, and 200 ms for the work itself.
        let allowed = (6 * round_trip + 200) as f64 * 1e6;
        part.add(format!("far.fresh.{way}.{round_trip}"), work, outcome, allowed);
    }
    let visible = quantile_row(
        "far.visible",
        format!("add seen at both other nodes, {far} ms away, p50"),
        &seen.visible,
        0.5,
    );
    part.rows.push(bounded(visible));
    let mut points = Vec::new();
    for (count, outcome) in &seen.known {
        let work = format!("a click's node knows that all {count} nodes hold it, {far} ms apart");
        part.add(format!("far.known.{count}"), work, outcome, 2e9);
        points.extend(outcome.iter().map(|times| (*count as f64, times.at(0.5))));
    }
    part.curves.push(Curve::new("far.known", "ours", points));
    if quick {
        part.skipped.push("far: what is known in a cluster of 36 is left out of a quick run; `report` without --quick has it".into());
    }
    Ok(part)
}

impl Part {
    /// Adds the median of an outcome, with the most nanoseconds allowed. A wrong outcome is shown
    /// as wrong.
    fn add(&mut self, id: String, work: String, outcome: &FarOutcome, allowed: f64) {
        match outcome {
            Ok(times) => {
                self.rows.push(quantile_row(id, work, times, 0.5).needs(Need::AtMost(allowed), ""))
            }
            Err(why) if why.starts_with("wrong:") => {
                let mut row =
                    Row::exact(id, format!("{work}: {why}"), Unit::Nanoseconds, &[("ours", 0.0)]);
                row.figures[0].right = false;
                self.rows.push(row);
            }
            Err(why) => self.skipped.push(format!("{work}: {why}")),
        }
    }
}

/// Adds the bound: no click arrives before it has travelled.
fn bounded(mut row: Row) -> Row {
    let way = ROUND_TRIP.as_nanos() as f64 / 2.0;
    row.figures.extend(Row::exact("", "", Unit::Nanoseconds, &[("bound: one way", way)]).figures);
    row
}
