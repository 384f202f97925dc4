//! Keys whose cells are gone: when it is worth reclaiming them, and how.

use crate::lattice::counter_map::CounterMap;
use crate::lattice::keys::KeyId;
use crate::pending::handle_table::HandleTable;
use crate::replica::unflushed::Unflushed;

/// The fewest dead keys that are worth reclaiming. They must also be half of all keys.
const DEAD_MIN: usize = 1_024;

/// The dead keys of a replica: keys without cells.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    /// The number of dead keys that the last collection kept, because something still uses them.
    kept: usize,
}

impl Garbage {
    /// True if more than half of all keys are dead, apart from those that the last collection kept.
    pub(super) fn is_worth_collecting(&self, map: &CounterMap) -> bool {
        let dead = map.dead_count().saturating_sub(self.kept);
        dead >= DEAD_MIN && 2 * dead > map.key_count()
    }

    /// Drops the dead keys that no handle and no unflushed change uses, and renumbers the others.
    pub(super) fn collect(
        &mut self,
        map: &mut CounterMap,
        handles: &mut HandleTable,
        unflushed: &mut Unflushed,
    ) {
        let mut used = vec![false; map.key_count()];
        let used_keys = handles.used_keys().chain(unflushed.keys());
        used_keys.for_each(|key| used[key.index()] = true);
        let renumbering = map.compact(|key| used[key.index()]);
        let new = |KeyId(key): KeyId| renumbering.key(key).map(KeyId);
        unflushed.renumber(new);
        handles.renumber(new, |key| map.counter_of(key), map.key_count());
        self.kept = map.dead_count();
    }
}
