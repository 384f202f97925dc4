//! Counters that end: the expiry in their cells, and which of them are due.

use super::CounterMap;
use crate::lattice::cell::Extra;
use crate::lattice::expiries::{Expiries, ExpiryRules};
use crate::lattice::keys::KeyId;
use crate::replica_id::ReplicaId;

impl CounterMap {
    /// The time after which a counter ends, in milliseconds since the start of 1970: the latest in
    /// its cells. None if it does not end, or is unknown. O(regions * writers).
    pub fn expires_at(&self, counter: &str) -> Option<u64> {
        let number = self.keys.counter(counter)?;
        Some(self.expiry_in_cells(number)).filter(|&at| at > 0)
    }

    pub(crate) fn expiries(&self) -> &Expiries {
        &self.expiries
    }

    pub(crate) fn expiries_mut(&mut self) -> &mut Expiries {
        &mut self.expiries
    }

    pub(crate) fn expiry_rules(&self) -> &ExpiryRules {
        &self.expiry_rules
    }

    pub(crate) fn expiry_rules_mut(&mut self) -> &mut ExpiryRules {
        &mut self.expiry_rules
    }

    /// The latest expiry in the cells of a counter; 0 if none has one. O(regions * writers).
    pub(crate) fn expiry_in_cells(&self, counter: u32) -> u64 {
        let keys = self.keys.of_counter(counter);
        let extras = keys.flat_map(|key| self.held(key)).filter_map(|held| held.extra);
        extras.map(|extra| extra.expires_at).max().unwrap_or(0)
    }

    /// True if a writer has a cell of a counter. O(regions * writers).
    pub(crate) fn has_cells(&self, counter: u32) -> bool {
        self.keys.of_counter(counter).any(|key| self.held(key).next().is_some())
    }

    /// The expiry of a cell that is made here now: that of the counter's other cells. A counter
    /// without cells gets that of the rules. 0 for none.
    pub(super) fn expiry_of_new(&mut self, key: u32) -> u64 {
        if self.expiries.is_empty() && self.expiry_rules.is_empty() {
            return 0;
        }
        let counter = self.keys.counter_of(key);
        let latest = self.expiries.latest(counter);
        if latest > 0 {
            return latest;
        }
        let at = self.expiry_rules.expiry_of(self.keys.counter_name(counter));
        if at == 0 || self.has_cells(counter) {
            return 0;
        }
        self.expiries.note(counter, at, true);
        at
    }

    /// Raises the expiry of the own cell at a key, which is made if there is none. Returns false if
    /// it is as late already.
    pub(crate) fn raise_expiry(&mut self, own: ReplicaId, KeyId(key): KeyId, at: u64) -> bool {
        let writer_at = self.writer_or_new(own);
        let slot = match self.writers[writer_at].slot(key, key) {
            Some(slot) => slot,
            None => self.make_own(writer_at, key),
        };
        let writer = &self.writers[writer_at];
        let mut extra = writer.extra(slot).cloned().unwrap_or_default();
        if extra.expires_at >= at && writer.plain(slot).version > 0 {
            return false;
        }
        extra.expires_at = extra.expires_at.max(at);
        self.values.cover(key, self.keys.counter_of(key));
        self.write_extra(writer_at, slot, extra);
        true
    }

    /// Gives the own cells of a counter that have no expiry that of the others. Without it such a
    /// cell would stay if the others were dropped while its node was down. Returns the keys that
    /// changed.
    pub(crate) fn spread_expiry(&mut self, own: ReplicaId, counter: u32) -> Vec<KeyId> {
        let at = self.expiry_in_cells(counter);
        let lacks = |key: &u32| {
            let cell = self.writer(own).and_then(|writer| writer.amounts(*key));
            cell.is_some_and(|(_, extra)| extra.is_none_or(|extra: &Extra| extra.expires_at == 0))
        };
        let lacking: Vec<u32> = self.keys.of_counter(counter).filter(lacks).collect();
        let raised = lacking.into_iter().map(KeyId).filter(|_| at > 0);
        raised.filter(|key| self.raise_expiry(own, *key, at)).collect()
    }

    /// Buries a key if its last cell is gone.
    pub(super) fn bury_without_cells(&mut self, key: u32) {
        if self.held(key).next().is_some() {
            return;
        }
        self.keys.bury(key);
        if !self.expiries.is_empty() {
            let counter = self.keys.counter_of(key);
            if !self.has_cells(counter) {
                self.expiries.bury(counter);
            }
        }
    }
}
