//! Joins deltas from other replicas. The part about this replica itself is left out.

use crate::error::JoinError;
use crate::lattice::counter_map::Joined;
use crate::lattice::delta::Delta;
use crate::lattice::versions::Version;
use crate::replica::state::Replica;

impl Replica {
    /// Joins a delta, except the part about this replica, because no other may write its cells. If
    /// that part ends beyond this replica's latest version, another process writes under the same
    /// id. [`Joined::own_ahead`] reports it.
    ///
    /// # Complexity
    /// As for [`CounterMap::join_delta`](crate::CounterMap::join_delta). Each dedup entry in the
    /// delta also takes a look-up in each writer that has entries.
    ///
    /// # Errors
    /// As for [`CounterMap::join_delta`](crate::CounterMap::join_delta).
    pub fn join_delta(&mut self, mut delta: Delta) -> Result<Joined, JoinError> {
        let own_ahead = self.strip_own(&mut delta);
        let mut joined = self.map_mut().join_delta(&delta)?;
        joined.own_ahead = own_ahead;
        self.settle(&mut joined);
        Ok(joined)
    }

    /// Like [`CounterMap::repair`](crate::CounterMap::repair), but leaves out the part about this
    /// replica itself. Dedup entries are handled as in [`join_delta`](Self::join_delta).
    ///
    /// # Errors
    /// As for [`CounterMap::repair`](crate::CounterMap::repair).
    pub fn repair(&mut self, mut delta: Delta) -> Result<Joined, JoinError> {
        let own_ahead = self.strip_own(&mut delta);
        let mut joined = self.map_mut().repair(&delta)?;
        joined.own_ahead = own_ahead;
        self.settle(&mut joined);
        Ok(joined)
    }

    #[inline(always)]
    fn settle(&mut self, joined: &mut Joined) {
        if !joined.entries.is_empty() {
            self.settle_entries(joined);
        }
    }

    #[inline(never)]
    fn settle_entries(&mut self, joined: &mut Joined) {
        if !self.has_left() {
            let taken_back = self.take_back_repeats(&joined.entries);
            joined.own_changed = !taken_back.is_empty();
            joined.changed.extend(taken_back);
        }
    }

    /// Removes the part about this replica from a delta. Returns the end of its span if that lies
    /// beyond this replica's latest version.
    #[inline(always)]
    fn strip_own(&self, delta: &mut Delta) -> Option<Version> {
        let id = self.id();
        if delta.replicas().all(|replica| replica != id) {
            return None;
        }
        let own = delta.spans().find(|span| span.replica == id);
        delta.retain(|replica| replica != id);
        own.map(|span| span.upto).filter(|&upto| upto > self.version())
    }
}
