//! The report of one run: its figures and its machine. It becomes JSON, a page, tables, and the
//! generated parts of documents.
//!
//! `page` draws the page. `markdown` makes the tables, and `compare` finds rows that got worse.
//! `machine`, `peers` and `instructions` collect figures and versions from other programs.

mod compare;
mod instructions;
mod machine;
mod markdown;
mod page;
mod peers;
mod sentences;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use compare::{Worse, compare, compare_instructions, confirmed, unmeasured};
pub use instructions::{HOT_PATHS, instructions};
pub use machine::Machine;
pub use markdown::{Generated, generated, markdown};
pub use page::html;
pub use peers::{PeerLibraries, add_peers};

use crate::figures::plot::Curve;
use crate::figures::row::{Figure, Row, Unit};

/// Everything that one run measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The machine and the versions.
    pub machine: Machine,
    /// True if the run had fewer rounds, and left out the largest states of the slowest peers.
    pub quick: bool,
    /// The row of every workload.
    pub rows: Vec<Row>,
    /// The curves of the plots, beside the rows.
    pub curves: Vec<Curve>,
    /// Instructions of the hot paths, by name. Empty without valgrind.
    pub instructions: BTreeMap<String, u64>,
    /// The workloads that were not measured, and how to measure them.
    pub skipped: Vec<String>,
}

impl Report {
    /// The curves of the scaling plots, drawn from the rows: each contender's cost of a join
    /// against R and against writers.
    pub fn scaling(&self) -> Vec<Curve> {
        let mut curves = self.curves.clone();
        for (plot, prefix) in [
            ("w2.join", "w2.join."),
            ("w2.send", "w2.send."),
            ("w4.sum", "w4.sum."),
            ("w2.writers", "w2.writers."),
        ] {
            for row in &self.rows {
                let Some(x) = row.id.strip_prefix(prefix).and_then(|rest| rest.parse::<f64>().ok())
                else {
                    continue;
                };
                for figure in row.figures.iter().filter(|figure| figure.right) {
                    match curves
                        .iter_mut()
                        .find(|curve| curve.plot == plot && curve.name == figure.name)
                    {
                        Some(curve) => curve.points.push((x, figure.value)),
                        None => {
                            curves.push(Curve::new(plot, &figure.name, vec![(x, figure.value)]))
                        }
                    }
                }
            }
        }
        curves
    }

    /// The three rows furthest from their bound, the worst first, each with its bound and the
    /// factor by which ours is worse. If a workload was measured at several sizes, only the worst
    /// counts.
    pub fn slowest(&self) -> Vec<(&Row, &Figure, f64)> {
        let slow = |row: &&Row| matches!(row.unit, Unit::Nanoseconds | Unit::PerSecond);
        let distance = |row| -> Option<(&Row, &Figure, f64)> {
            let bound = Row::bound(row)?;
            Some((row, bound, 1.0 / row.ratio(&bound.name)?))
        };
        let mut all: Vec<_> = self
            .rows
            .iter()
            .filter(slow)
            .filter_map(distance)
            .filter(|slow| slow.2 > 1.0)
            .collect();
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        let work = |row: &Row| row.id.splitn(3, '.').take(2).map(str::to_owned).collect::<Vec<_>>();
        let mut seen = Vec::new();
        all.retain(|slow| {
            let new = !seen.contains(&work(slow.0));
            seen.push(work(slow.0));
            new
        });
        all.truncate(3);
        all
    }
}
