//! Traces of removals and resets are taken back once all replicas hold them.
//!
//! counter-core writes the steps, see `Replica::clean_up`. This folder decides when each may be
//! taken: from the promises of the enrolled replicas, at a bounded rate.

mod clean_up;

use counter_core::{Cleanup, VersionVector};

/// This node's progress with its traces.
#[derive(Debug, Default)]
pub(super) struct Removal {
    work: Cleanup,
    /// True while the timer of the next step is set.
    is_set: bool,
    /// What all had promised and what was held here when a step found nothing to do. Until one of
    /// them changes, no step is tried.
    idle: Option<(VersionVector, VersionVector)>,
}
