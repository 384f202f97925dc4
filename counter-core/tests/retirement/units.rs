//! The ledger of units. A unit is one added 1, so a value can be checked unit by unit.

use std::collections::{BTreeMap, BTreeSet};

use counter_core::{CounterMap, Replica, ReplicaId};

pub(crate) const COUNTERS: [&str; 3] = ["clicks", "likes", "votes"];
/// One region, so that a key is a counter.
pub(crate) const REGION: &str = "ord";

/// The units that one state of a cell stands for.
#[derive(Clone, Default)]
pub(crate) struct CellUnits {
    pub(crate) units: BTreeSet<u64>,
    pub(crate) reset: BTreeSet<u64>,
}

/// The units of every state that a cell was ever in, by writer, counter and version.
#[derive(Default)]
pub(crate) struct History(BTreeMap<(ReplicaId, usize), BTreeMap<u64, CellUnits>>);

impl History {
    /// Records the units of the own cell of a counter after a change.
    pub(crate) fn note(
        &mut self,
        replica: &Replica,
        counter: usize,
        change: impl FnOnce(&mut CellUnits),
    ) {
        let version = own_version(replica, counter);
        if version == 0 {
            return;
        }
        let states = self.0.entry((replica.id(), counter)).or_default();
        let mut cell_units = states.values().next_back().cloned().unwrap_or_default();
        change(&mut cell_units);
        states.insert(version, cell_units);
    }

    /// The units of the held cells of a counter.
    pub(crate) fn held(&self, map: &CounterMap, counter: usize) -> CellUnits {
        self.held_of(map, counter, |_| true)
    }

    /// The units of the held cells of some writers.
    pub(crate) fn held_of(
        &self,
        map: &CounterMap,
        counter: usize,
        of: impl Fn(ReplicaId) -> bool,
    ) -> CellUnits {
        let mut all = CellUnits::default();
        let cells = map.pn_counter(COUNTERS[counter], REGION);
        for (writer, cell) in cells.cells().filter(|(writer, _)| of(*writer)) {
            let cell_units = &self.0[&(writer, counter)][&cell.version];
            all.units.extend(&cell_units.units);
            all.reset.extend(&cell_units.reset);
        }
        all
    }
}

/// The version of a replica's own cell of a counter, 0 without one.
pub(crate) fn own_version(replica: &Replica, counter: usize) -> u64 {
    let cells = replica.map().pn_counter(COUNTERS[counter], REGION);
    cells.cells().find(|(writer, _)| *writer == replica.id()).map_or(0, |(_, cell)| cell.version)
}
