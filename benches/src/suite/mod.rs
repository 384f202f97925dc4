//! The rows of the report: which workloads are measured with which contenders, and the requirements
//! on ours. `joins` and `others` run in process, `system` with real processes.

mod joins;
mod others;
#[cfg(feature = "system")]
pub mod system;

pub use joins::{joins, joins_by_writers};
pub use others::{adds, changes_and_reads, pasts, threads, windows};

use crate::figures::row::Row;

/// The size of a run, which decides how long it takes.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of each contender.
    pub rounds: usize,
    /// Rounds of joins of fewer than 100,000 regions.
    pub small_rounds: usize,
    /// True if `crdts` also joins 100,000 seeded regions.
    pub seeded_crdts: bool,
    /// Adds of one round of W1.
    pub adds: usize,
}

impl Effort {
    /// A short run, for tuning.
    pub const QUICK: Self =
        Self { rounds: 3, small_rounds: 6, seeded_crdts: false, adds: 1_000_000 };
    /// A full run, which takes minutes.
    pub const FULL: Self =
        Self { rounds: 15, small_rounds: 45, seeded_crdts: true, adds: 1_000_000 };
}

/// The number of times that [`core()`] reports its progress.
pub const CORE_PARTS: usize = 9;

/// Runs all in-process workloads. Calls `progress` with the name of each part.
pub fn core(effort: Effort, mut progress: impl FnMut(&str)) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut part = |name: &str, run: &dyn Fn() -> Vec<Row>| {
        progress(name);
        rows.extend(run());
    };
    part("W1 adds", &|| adds(effort));
    for regions in [32, 1_000, 100_000] {
        part(&format!("W2 joins of {regions} regions"), &|| joins(effort, regions));
    }
    part("W2 joins by writers", &|| joins_by_writers(effort));
    part("W3 changes, W4 reads", &|| changes_and_reads(effort));
    part("windows", &|| windows(effort));
    part("after 100,000 resets and removals", &|| pasts(effort));
    part("threads", &|| threads(effort));
    rows
}
