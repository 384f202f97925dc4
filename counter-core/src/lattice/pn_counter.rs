//! One region of one counter on its own: a PN-counter with a cell a replica.

use std::collections::BTreeMap;

use crate::incarnation::baseline::{Baselines, Held};
use crate::lattice::cell::Cell;
use crate::replica_id::ReplicaId;

/// A PN-counter: each replica's running totals, of which the sum is the value (Shapiro et al. 2011,
/// specification 7, with one versioned cell a replica instead of two vectors, so that a cell can
/// carry more than it).
///
/// # Examples
/// ```
/// use counter_core::{CounterMap, ReplicaId};
/// let mut map = CounterMap::new();
/// map.add(ReplicaId::new(1, 1), "clicks", "ord", 5)?;
/// map.subtract(ReplicaId::new(2, 1), "clicks", "ord", 2)?;
/// let mut ord = map.pn_counter("clicks", "ord");
/// assert_eq!(ord.value(), 3);
/// ord.join(&ord.clone());
/// assert_eq!(ord.value(), 3);
/// # Ok::<(), counter_core::WriteError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PnCounter {
    cells: BTreeMap<ReplicaId, Cell>,
}

impl PnCounter {
    /// Sum over replicas of increments minus decrements, each above the most that was cleared of
    /// it; a replica that another has taken over counts there. O(cells log cells).
    pub fn value(&self) -> i128 {
        let baselines = Baselines::of(self.held());
        self.held().filter_map(|held| baselines.share(&held)).map(|amounts| amounts.net()).sum()
    }

    fn held(&self) -> impl Iterator<Item = Held<'_>> {
        self.cells.iter().map(|(&replica, cell)| Held {
            replica,
            version: cell.version,
            amounts: cell.amounts,
            extra: Some(&cell.extra),
        })
    }

    /// Every replica's cell, in the order of ids.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (ReplicaId, &Cell)> {
        self.cells.iter().map(|(&replica, cell)| (replica, cell))
    }

    /// Keeps of each replica the cell with the greater version; of equal versions, which only a
    /// fault brings, the greater cell. O(cells).
    pub fn join(&mut self, other: &Self) {
        for (&replica, cell) in &other.cells {
            let held = self.cells.entry(replica).or_default();
            if *held < *cell {
                *held = cell.clone();
            }
        }
    }

    /// The first replica of which both have a cell of the same version with different contents.
    #[cfg(feature = "crdts")]
    pub(crate) fn contradicted_by(&self, other: &Self) -> Option<ReplicaId> {
        let differs = |replica, cell: &Cell| {
            other.cells.get(replica).is_some_and(|it| it.version == cell.version && it != cell)
        };
        self.cells
            .iter()
            .find(|(replica, cell)| differs(replica, cell))
            .map(|(replica, _)| *replica)
    }

    /// Forgets the cells that `gone` names.
    #[cfg(feature = "crdts")]
    pub(crate) fn forget(&mut self, gone: impl Fn(ReplicaId, &Cell) -> bool) {
        self.cells.retain(|&replica, cell| !gone(replica, cell));
    }
}

impl FromIterator<(ReplicaId, Cell)> for PnCounter {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, Cell)>>(cells: I) -> Self {
        Self { cells: cells.into_iter().collect() }
    }
}
