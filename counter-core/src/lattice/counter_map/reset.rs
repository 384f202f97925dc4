//! Observed reset: clears exactly the amounts that the resetter has seen. Concurrent adds stay.

use super::CounterMap;
use crate::incarnation::baseline::{Baselines, HeldCell, seen};
use crate::lattice::amounts::Amounts;
use crate::lattice::cell::{Cleared, Extra, Origin, Plain};
use crate::lattice::versions::vector::Version;
use crate::replica_id::ReplicaId;

impl CounterMap {
    /// Resets one region of a counter as `replica`: clears the amounts that are held here, of every
    /// writer. Returns the version of the change, or None if there was nothing to reset.
    ///
    /// The cleared amounts are written into the *resetter's own* cell. The value is then a sum over
    /// all writers: the writer's total minus the largest amount that any cell cleared of it. So an
    /// add that the resetter had not seen stays, wherever it was made. Resets commute with
    /// everything.
    ///
    /// # Complexity
    /// O(writers) time, and as much space in the resetter's cell.
    ///
    /// # Examples
    /// ```
    /// use counter_core::{CounterMap, ReplicaId};
    /// let (a, b) = (ReplicaId::new(1, 1), ReplicaId::new(2, 1));
    /// let (mut at_a, mut at_b) = (CounterMap::new(), CounterMap::new());
    /// at_a.add(a, "clicks", "ord", 5)?;
    /// at_b.join(&at_a);
    /// at_b.reset(b, "clicks", "ord");
    /// at_a.add(a, "clicks", "ord", 2)?; // while b resets the five
    /// at_a.join(&at_b);
    /// assert_eq!(at_a.total("clicks"), 2);
    /// # Ok::<(), counter_core::WriteError>(())
    /// ```
    pub fn reset(&mut self, replica: ReplicaId, counter: &str, region: &str) -> Option<Version> {
        let key = self.keys.find(counter, region)?;
        let baselines = Baselines::of(self.held(key));
        if self
            .held(key)
            .all(|held| baselines.share(&held).is_none_or(|share| share == Amounts::default()))
        {
            return None;
        }
        Some(self.clear(replica, key, false))
    }

    /// Clears all that is held at a key as `replica`, and asks for the removal of the counter if
    /// `removes`. Returns the version of the change.
    pub(super) fn clear(&mut self, replica: ReplicaId, key: u32, removes: bool) -> Version {
        let baselines = Baselines::of(self.held(key));
        // A replica that still holds a dropped cell counts it as cleared too.
        let seen: Vec<(ReplicaId, Cleared, Origin)> = seen(self.held(key))
            .into_iter()
            .chain(self.dropped(key))
            .map(|(id, cleared)| (id, cleared, self.origin_of(&baselines, id, key)))
            .collect();
        let at = self.writer_or_new(replica);
        let slot = match self.writers[at].slot(key, key) {
            Some(slot) => slot,
            None => self.make_own(at, key),
        };
        let writer = &self.writers[at];
        let mut extra = writer.extra(slot).cloned().unwrap_or_default();
        if removes {
            extra.removal = writer.next_version();
        }
        let version = writer.next_version();
        for (id, mut cleared, origin) in seen {
            if id == replica {
                // Its own cell names itself as of the version that says so.
                cleared.version = version;
            }
            extra.clear(id, cleared, origin);
        }
        self.write_extra(at, slot, extra)
    }

    /// Writes the extra part of a cell as its writer. Returns the version of the change.
    pub(super) fn write_extra(&mut self, at: usize, slot: u32, extra: Extra) -> Version {
        let writer = &mut self.writers[at];
        let (key, version) = (writer.key(slot), writer.next_version());
        if extra.expires_at > 0 {
            self.expiries.note(self.keys.counter_of(key), extra.expires_at, true);
        }
        writer.put_extra(slot, Some(extra));
        writer.put(slot, version, writer.plain(slot).amounts);
        writer.hold_up_to(version);
        self.values.mark_shaped(key);
        self.recount_value(key);
        version
    }

    /// The cells of all writers at a key. O(writers).
    pub(super) fn held(&self, key: u32) -> impl Iterator<Item = HeldCell<'_>> + Clone {
        self.writers.iter().filter_map(move |writer| {
            let slot = writer.slot(key, key)?;
            let Plain { version, amounts } = writer.plain(slot);
            Some(HeldCell { replica: writer.id(), version, amounts, extra: writer.extra(slot) })
        })
    }

    /// The amounts that each writer's cell counts for a key: its own and absorbed ones, above its
    /// reset baseline. O(writers).
    pub(super) fn shares(&self, key: u32) -> impl Iterator<Item = (ReplicaId, Amounts)> + '_ {
        let baselines = if self.values.is_shaped(key) {
            Baselines::of(self.held(key))
        } else {
            Baselines::default()
        };
        self.held(key)
            .filter_map(move |held| baselines.share(&held).map(|share| (held.replica, share)))
    }

    /// Counts the value of a key afresh from all its cells.
    pub(super) fn recount_value(&mut self, key: u32) {
        let value = self.shares(key).map(|(_, amounts)| amounts.net()).sum();
        self.values.set(key, self.keys.counter_of(key), value);
        if !self.held(key).any(|held| held.extra.is_some_and(Extra::shapes_values)) {
            self.values.mark_plain(key);
        }
    }
}
