//! What a replica takes from others: deltas, without its own part of them.

use crate::error::JoinError;
use crate::lattice::counter_map::Joined;
use crate::lattice::delta::Delta;
use crate::lattice::versions::Version;
use crate::replica::state::Replica;

impl Replica {
    /// Joins a delta, except the part about this replica, because only it writes its cells. If that
    /// part's span ends beyond the own latest version, [`Joined::own_ahead`] reports it: another
    /// process writes under the same id.
    ///
    /// # Complexity
    /// As [`CounterMap::join_delta`](crate::CounterMap::join_delta), and for each dedup entry that
    /// it brings a look-up in each writer that has entries.
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

    /// As [`CounterMap::repair`](crate::CounterMap::repair), except for the delta's part about this
    /// replica itself. For entries as [`join_delta`](Self::join_delta).
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

    /// Takes the part about this replica out of a delta. Returns the end of its span if that lies
    /// beyond the own latest version.
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
