//! A node that starts from a stored state takes in what it missed as one step.
//!
//! Its state may be older than what all others have agreed to forget. A writer's newer cells beside
//! another writer's older ones could then show a number that never was. So complete parts of pulls
//! wait here until the node has caught up. A node that starts with nothing takes them as they come.

use counter_core::{CounterMap, Delta, ReplicaId, Version, VersionVector};

/// The parts that wait, and the versions that they complete.
///
/// Invariant: `upto` names what the parts complete beside the state, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    /// `None` once the node has caught up, or if it started with nothing.
    parts: Option<Vec<Delta>>,
    upto: VersionVector,
    cells: usize,
    cells_max: usize,
}

impl CatchUp {
    /// Holds parts back if the state has another writer than `own`, up to about `cells_max` cells.
    pub(crate) fn new(map: &CounterMap, own: ReplicaId, cells_max: usize) -> Self {
        let is_stored = map.replicas().any(|writer| writer != own);
        Self { parts: is_stored.then(Vec::new), cells_max, ..Self::default() }
    }

    /// Takes a part, or gives it back if it need not wait.
    pub(crate) fn hold(&mut self, delta: Delta) -> Option<Delta> {
        let Some(parts) = &mut self.parts else { return Some(delta) };
        delta.spans().for_each(|span| self.upto.raise(span.replica, span.upto));
        self.cells += delta.cell_count();
        parts.push(delta);
        None
    }

    /// True if the held parts exceed the bound and must be joined.
    pub(crate) fn is_over_bound(&self) -> bool {
        self.cells > self.cells_max
    }

    /// The version of a writer that is held, here or in the state.
    pub(crate) fn seen_of(&self, map: &CounterMap, writer: ReplicaId) -> Version {
        map.seen_of(writer).max(self.upto.get(writer))
    }

    /// The versions that are held, here or in the state.
    pub(crate) fn seen(&self, map: &CounterMap) -> VersionVector {
        let mut seen = map.version_vector();
        seen.join(&self.upto);
        seen
    }

    /// All parts, in the order in which they came. From now on none waits.
    pub(crate) fn end(&mut self) -> Vec<Delta> {
        self.upto = VersionVector::new();
        self.parts.take().unwrap_or_default()
    }
}
