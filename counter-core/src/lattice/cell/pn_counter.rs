//! One region of one counter on its own: a PN-counter with one cell per replica.

use std::collections::BTreeMap;

use crate::incarnation::baseline::{Baselines, HeldCell};
use crate::lattice::cell::Cell;
use crate::replica_id::ReplicaId;

/// A PN-counter: the running totals of each replica, whose sum is the value (Shapiro et al. 2011,
/// specification 7). Each replica has one versioned cell instead of an entry in two vectors, so
/// that a cell can carry more.
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
    /// The value: each replica's increments minus its decrements, above its reset baseline. An
    /// absorbed replica counts in its successor's cell. O(cells log cells).
    pub fn value(&self) -> i128 {
        let baselines = Baselines::of(self.held());
        self.held().filter_map(|held| baselines.share(&held)).map(|amounts| amounts.net()).sum()
    }

    fn held(&self) -> impl Iterator<Item = HeldCell<'_>> {
        self.cells.iter().map(|(&replica, cell)| HeldCell {
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

    /// For each replica, keeps the cell with the greater version. Only a fault can give one version
    /// to two different cells. Then it keeps the greater cell. O(cells).
    pub fn join(&mut self, other: &Self) {
        for (&replica, cell) in &other.cells {
            let held = self.cells.entry(replica).or_default();
            if *held < *cell {
                *held = cell.clone();
            }
        }
    }

    /// The first replica whose cell has the same version in both but different contents.
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

    /// Forgets the cells for which `gone` is true.
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
