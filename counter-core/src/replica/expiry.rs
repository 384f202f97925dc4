//! Counters that expire, and a replica's part in expiring them.
//!
//! The cells of a counter carry its expiry, and the latest one counts. After that time each writer
//! drops its own cells of the counter, and refuses adds to it until the other writers' cells are
//! gone too. Each replica decides by its own clock when to drop its cells. Values depend on the
//! cells alone: no clock takes part in a join.

use std::time::Duration;

use crate::dedup::settled::RememberedKeys;
use crate::error::WriteError;
use crate::lattice::keys::KeyId;
use crate::replica::state::Replica;

/// How long to wait before an ended counter is checked again, in milliseconds. By then other
/// writers may have dropped their cells, and traces of resets and absorbed incarnations may be
/// gone.
const RETRY_MS: u64 = 250;

/// The most ended counters that one call checks again. Each check visits all writers.
const RETRIES_MAX: usize = 250;

impl Replica {
    /// Sets how long new counters live, by the prefix of their names. The longest matching prefix
    /// wins. A counter that already has a cell keeps its expiry, or stays without one.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use counter_core::{Replica, ReplicaId, WriteError};
    /// let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
    /// ord.set_expiry_rules([("day:".to_owned(), Duration::from_secs(60))]);
    /// ord.set_time(1_000_000);
    /// ord.add("day:monday", 5)?;
    /// ord.flush();
    /// assert_eq!((ord.total("day:monday"), ord.next_expiry(1_000_000)), (5, Some(1_060_000)));
    /// ord.expire(1_060_000, 100);
    /// assert_eq!((ord.total("day:monday"), ord.map().cell_count()), (0, 0));
    /// # Ok::<(), WriteError>(())
    /// ```
    pub fn set_expiry_rules(&mut self, rules: impl IntoIterator<Item = (String, Duration)>) {
        self.map_mut().cells_mut().expiry_rules_mut().set(rules);
    }

    /// Sets the time from which the expiry of new counters is counted, in milliseconds since the
    /// start of 1970. Call it before adds and flushes. Nothing else depends on it.
    #[inline]
    pub fn set_time(&mut self, now_ms: u64) {
        self.map_mut().cells_mut().expiry_rules_mut().set_time(now_ms);
    }

    /// True if there are expiry rules, so that [`set_time`](Self::set_time) matters.
    #[inline]
    pub fn has_expiry_rules(&self) -> bool {
        !self.map().cells().expiry_rules().is_empty()
    }

    /// Sets the time at which a counter expires, in milliseconds since the start of 1970. Creates
    /// the counter if it does not exist. An expiry that is already later stays.
    ///
    /// # Errors
    /// `Expired` while an earlier counter of this name is being removed; `Left`; or as for
    /// [`counter`](Self::counter). Nothing changed.
    pub fn expire_at(&mut self, counter: &str, expires_at: u64) -> Result<(), WriteError> {
        if self.has_left() {
            return Err(WriteError::Left);
        }
        let key = self.key_of(counter)?;
        let number = self.map().counter_of(key);
        if self.map().cells().expiries().has_ended(number) {
            return Err(WriteError::Expired);
        }
        if self.map().cells().expiries().latest(number) < expires_at {
            self.write_expiry(key, expires_at);
        }
        Ok(())
    }

    /// When to call [`expire`](Self::expire) next, in milliseconds since the start of 1970; None
    /// if no counter ends. `now_ms` is the present time. O(1).
    pub fn next_expiry(&self, now_ms: u64) -> Option<u64> {
        self.map().cells().expiries().next_due(now_ms, RETRY_MS).filter(|_| self.may_expire())
    }

    /// Ends up to `max` counters that have expired: refuses adds to them and drops this replica's
    /// cells, pending adds included. Cells with resets or absorbed amounts are dropped later, once
    /// these are gone. A counter accepts adds again once its last cell is gone. Returns the keys
    /// that changed.
    ///
    /// # Complexity
    /// O(log counters) for each counter that ends, and a flush if adds to it are pending.
    pub fn expire(&mut self, now_ms: u64, max: usize) -> Vec<KeyId> {
        self.set_time(now_ms);
        if !self.may_expire() {
            return Vec::new();
        }
        let (id, mut changed) = (self.id(), Vec::new());
        for counter in self.map_mut().cells_mut().expiries_mut().take_extended(max) {
            changed.extend(self.map_mut().cells_mut().spread_expiry(id, counter));
        }
        let again = self.map_mut().cells_mut().expiries_mut().next_ended(now_ms, RETRIES_MAX);
        for counter in again {
            changed.extend(self.check_ended(counter, now_ms));
        }
        let due = self.map_mut().cells_mut().expiries_mut().end_due(now_ms, max);
        let mut is_pending = false;
        for &counter in &due {
            is_pending |= self.end_adds(counter);
        }
        if is_pending {
            changed.extend(self.flush().changed);
        }
        for counter in due {
            changed.extend(self.check_ended(counter, now_ms));
        }
        let gone = self.map_mut().cells_mut().expiries_mut().take_gone(max);
        gone.into_iter().for_each(|counter| self.reopen_adds(counter));
        changed
    }

    fn may_expire(&self) -> bool {
        !self.has_left() && !self.map().is_ended(self.id())
    }

    /// Drops this replica's cells of an ended counter. If its expiry has moved to a later time or
    /// is gone, the counter is live again instead.
    fn check_ended(&mut self, counter: u32, now_ms: u64) -> Vec<KeyId> {
        if !self.map().cells().has_cells(counter) {
            self.map_mut().cells_mut().expiries_mut().bury(counter);
            return Vec::new();
        }
        let at = self.map().cells().expiry_in_cells(counter);
        if at == 0 || at > now_ms {
            self.map_mut().cells_mut().expiries_mut().resume(counter, at);
            self.reopen_adds(counter);
            return Vec::new();
        }
        self.end_adds(counter);
        self.drop_own_of(counter, &mut RememberedKeys::default())
    }

    /// Drops this replica's plain cells of a counter, by its number, whatever their amounts.
    /// Returns the keys that changed.
    pub(super) fn drop_own_of(
        &mut self,
        counter: u32,
        remembered: &mut RememberedKeys,
    ) -> Vec<KeyId> {
        let (own, upto) = (self.id(), self.version());
        let keys = self.map().cells().droppable(own, counter);
        for &key in &keys {
            self.note_settled(key, upto, remembered);
            self.map_mut().cells_mut().drop_own(own, key.0);
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::AddOutcome;
    use crate::lattice::counter_map::CounterMap;
    use crate::lattice::delta::Delta;
    use crate::lattice::versions::VersionVector;
    use crate::replica::batch::BatchAdd;
    use crate::replica::removal::{Cleanup, ProvenVersions};
    use crate::replica_id::ReplicaId;

    const START: u64 = 1_700_000_000_000;
    const MINUTE: u64 = 60_000;

    fn replica(node: u64) -> Replica {
        let region = ["ord", "fra"][node as usize % 2];
        let mut replica = Replica::new(ReplicaId::new(node, 1), region).unwrap();
        replica.set_expiry_rules([("day:".to_owned(), Duration::from_secs(60))]);
        replica.set_time(START);
        replica
    }

    fn exchange(one: &mut Replica, other: &mut Replica) {
        for _ in 0..2 {
            let news = other.map().delta_since(&one.map().version_vector());
            one.join_delta(Delta::decode(&news.encode()).unwrap()).unwrap();
            let news = one.map().delta_since(&other.map().version_vector());
            other.join_delta(news).unwrap();
        }
    }

    fn add(replica: &mut Replica, counter: &str, amount: u64) {
        replica.add(counter, amount).unwrap();
        replica.flush();
    }

    /// Exchanges and clean-ups until nothing changes.
    fn settle(one: &mut Replica, other: &mut Replica) {
        let (mut first, mut second) = (Cleanup::default(), Cleanup::default());
        for _ in 0..20 {
            exchange(one, other);
            let held = one.map().version_vector();
            assert_eq!(held, other.map().version_vector());
            let shown = ProvenVersions { by_all: held.clone(), by_any: held };
            one.clean_up(&mut first, &shown, 100);
            other.clean_up(&mut second, &shown, 100);
        }
    }

    fn assert_empty(replica: &mut Replica) {
        assert_eq!((replica.map().cell_count(), replica.map().tombstone_count()), (0, 0));
        assert!(!replica.has_traces() && replica.map().counter_count() == 0);
        assert_eq!(replica.next_expiry(START), None);
    }

    #[test]
    fn counter_ends_at_both_writers_and_is_made_anew() {
        let (mut ord, mut fra) = (replica(0), replica(1));
        add(&mut ord, "day:1", 5);
        exchange(&mut ord, &mut fra);
        fra.set_time(START + 30_000);
        let handle = fra.counter("day:1").unwrap();
        add(&mut fra, "day:1", 2);
        exchange(&mut ord, &mut fra);
        assert_eq!(ord.map().expires_at("day:1"), Some(START + MINUTE), "as the first cell says");
        assert!(fra.expire(START + MINUTE - 1, 100).is_empty());
        handle.add(1).unwrap();
        assert_eq!(fra.expire(START + MINUTE, 100).len(), 2, "the pending add is in it");
        assert_eq!((fra.total("day:1"), handle.pending().net()), (5, 0));
        assert_eq!([handle.add(1), fra.add("day:1", 1)], [Err(WriteError::Expired); 2]);
        assert_eq!(fra.add_once("a:1", "day:1", 1), Err(WriteError::Expired));
        assert_eq!(fra.expire_at("day:1", u64::MAX), Err(WriteError::Expired));
        let batch = [BatchAdd::new("other", 1), BatchAdd::new("day:1", 1)];
        assert_eq!(fra.add_many(&batch).unwrap_err().index, 1);
        add(&mut ord, "day:1", 1);
        ord.expire(START + MINUTE + 1, 100);
        assert_eq!(ord.total("day:1"), 2, "the cell of fra is held still");
        settle(&mut ord, &mut fra);
        for replica in [&mut ord, &mut fra] {
            replica.expire(START + MINUTE + 2, 100);
            assert_empty(replica);
        }
        fra.set_time(START + 2 * MINUTE);
        handle.add(3).unwrap();
        fra.flush();
        assert_eq!(fra.map().expires_at("day:1"), Some(START + 3 * MINUTE));
        exchange(&mut ord, &mut fra);
        add(&mut ord, "day:1", 1);
        assert_eq!((fra.total("day:1"), ord.total("day:1")), (3, 4));
    }

    #[test]
    fn latest_expiry_counts_and_counters_without_a_rule_stay() {
        let (mut ord, mut fra) = (replica(0), replica(1));
        add(&mut ord, "day:1", 5);
        add(&mut ord, "kept", 1);
        fra.set_time(START + 30_000);
        add(&mut fra, "day:1", 2);
        exchange(&mut ord, &mut fra);
        assert!(ord.expire(START + MINUTE, 100).is_empty());
        ord.expire_at("day:1", START + 2 * MINUTE).unwrap();
        ord.expire_at("day:1", START).unwrap();
        exchange(&mut ord, &mut fra);
        assert!(fra.expire(START + 2 * MINUTE - 1, 100).is_empty());
        fra.expire(START + 2 * MINUTE, 100);
        ord.expire(START + 2 * MINUTE, 100);
        settle(&mut ord, &mut fra);
        assert_eq!((ord.total("day:1"), fra.total("kept")), (0, 1));
        assert_eq!((ord.map().cell_count(), fra.map().expires_at("kept")), (1, None));
    }

    #[test]
    fn rule_spares_counters_that_exist() {
        let (mut ord, mut fra) = (replica(0), replica(1));
        ord.set_expiry_rules([]);
        add(&mut ord, "day:1", 5);
        exchange(&mut ord, &mut fra);
        add(&mut fra, "day:1", 2);
        assert_eq!((fra.map().expires_at("day:1"), fra.next_expiry(START)), (None, None));
    }

    #[test]
    fn one_counter_ends_at_a_given_time() {
        let (mut ord, mut fra) = (replica(0), replica(1));
        add(&mut fra, "sale", 2);
        ord.expire_at("sale", START + MINUTE).unwrap();
        let flushed = ord.flush();
        assert_eq!(flushed.changed.len(), 1);
        exchange(&mut ord, &mut fra);
        // It learns of the expiry and copies it to its own cell, which then expires without the
        // other.
        assert!(fra.next_expiry(START).is_some_and(|at| at <= START));
        assert_eq!(fra.expire(START, 100).len(), 1);
        let own = fra.map().pn_counter("sale", "fra");
        assert!(own.cells().all(|(_, cell)| cell.expires_at() == Some(START + MINUTE)));
        ord.expire(START + MINUTE, 100);
        settle(&mut ord, &mut fra);
        assert_eq!(ord.total("sale"), 2);
        fra.expire(START + MINUTE, 100);
        settle(&mut ord, &mut fra);
        ord.expire(START + MINUTE, 100);
        fra.expire(START + MINUTE, 100);
        for replica in [&mut ord, &mut fra] {
            assert_empty(replica);
        }
    }

    #[test]
    fn later_expiry_of_another_opens_an_ended_counter() {
        let (mut ord, mut fra) = (replica(0), replica(1));
        let handle = ord.counter("day:1").unwrap();
        add(&mut ord, "day:1", 5);
        fra.expire_at("day:1", START + 2 * MINUTE).unwrap();
        add(&mut fra, "day:1", 1);
        ord.expire(START + MINUTE, 100);
        exchange(&mut ord, &mut fra);
        ord.expire(START + MINUTE + 250, 100);
        handle.add(2).unwrap();
        ord.add("day:1", 1).unwrap();
        ord.flush();
        assert_eq!(
            (ord.total("day:1"), ord.map().expires_at("day:1")),
            (4, Some(START + 2 * MINUTE))
        );
    }

    #[test]
    fn reset_and_absorbed_cells_end_once_they_are_settled() {
        let (mut ord, mut fra) = (replica(0), replica(1));
        add(&mut ord, "day:1", 5);
        exchange(&mut ord, &mut fra);
        fra.reset("day:1", "ord").unwrap().unwrap();
        add(&mut ord, "day:1", 2);
        let mut next =
            Replica::with_map(ReplicaId::new(0, 1 << 32), "ord", ord.into_map()).unwrap();
        next.claim(ReplicaId::new(0, 1));
        exchange(&mut next, &mut fra);
        let mut work = next.absorb_round(None).unwrap();
        next.absorb(&mut work, usize::MAX).unwrap();
        exchange(&mut next, &mut fra);
        assert_eq!(
            (next.total("day:1"), next.map().expires_at("day:1")),
            (2, Some(START + MINUTE))
        );
        let now = START + MINUTE;
        assert!(next.expire(now, 100).is_empty() && fra.expire(now, 100).is_empty());
        assert_eq!(next.add("day:1", 1), Err(WriteError::Expired));
        next.fold(&mut work);
        exchange(&mut next, &mut fra);
        while next.rebase(usize::MAX) > 0 {}
        exchange(&mut next, &mut fra);
        next.forget_cleared(usize::MAX);
        fra.forget_cleared(usize::MAX);
        for _ in 0..3 {
            settle(&mut next, &mut fra);
            next.expire(now, 100);
            fra.expire(now, 100);
        }
        for replica in [&mut next, &mut fra] {
            assert_empty(replica);
        }
    }

    #[test]
    fn loaded_state_and_given_back_names_keep_their_time() {
        let mut ord = replica(0);
        for at in 0..3_000 {
            add(&mut ord, &format!("gone:{at}"), 1);
        }
        add(&mut ord, "day:1", 5);
        for at in 0..3_000 {
            ord.remove(&format!("gone:{at}")).unwrap();
        }
        let mut work = Cleanup::default();
        loop {
            let held = ord.map().version_vector();
            let shown = ProvenVersions { by_all: held.clone(), by_any: held };
            if ord.clean_up(&mut work, &shown, 1_000).is_none() {
                break;
            }
        }
        assert!(ord.has_garbage());
        ord.collect_garbage();
        assert_eq!(ord.next_expiry(START), Some(START + MINUTE));
        let bytes = ord.map().encode();
        let mut map = CounterMap::new();
        map.join_delta(&Delta::decode(&bytes).unwrap()).unwrap();
        let (hash, mut loaded) =
            (ord.state_hash(), Replica::with_map(ReplicaId::new(0, 2), "ord", map).unwrap());
        let held = loaded.map().delta_of(ord.id(), 0).unwrap();
        let mut copy = CounterMap::new();
        copy.join_delta(&held).unwrap();
        assert_eq!((copy.state_hash(), loaded.next_expiry(0)), (hash, Some(250)));
        loaded.expire(START, 100);
        assert_eq!(loaded.next_expiry(START), Some(START + MINUTE));
        loaded.expire(START + MINUTE, 100);
        assert_eq!(loaded.add("day:1", 1), Err(WriteError::Expired));
    }

    #[test]
    fn hash_stays_exact_while_expiring_cells_change() {
        let (mut ord, mut fra) = (replica(0), replica(1));
        for round in 0..50_u64 {
            ord.set_time(START + round * 10_000);
            add(&mut ord, &format!("day:{}", round % 3), 1);
            add(&mut ord, "kept", 1);
            ord.expire(START + round * 10_000, 100);
            fra.join_delta(ord.map().delta_since(&fra.map().version_vector())).unwrap();
            let mut fresh = CounterMap::new();
            fresh.join_delta(&ord.map().delta_since(&VersionVector::new())).unwrap();
            assert_eq!(ord.state_hash(), fresh.state_hash());
            let of_ord = fra.map().delta_of(ord.id(), 0).unwrap();
            let mut copy = CounterMap::new();
            copy.join_delta(&of_ord).unwrap();
            assert_eq!(copy.state_hash(), fresh.state_hash());
            fra.state_hash();
        }
    }

    #[test]
    fn applied_id_is_a_repeat_after_the_end() {
        let mut ord = replica(0);
        assert_eq!(ord.add_once("a:1", "day:1", 1), Ok(AddOutcome::Applied));
        ord.flush();
        ord.expire(START + MINUTE, 100);
        assert_eq!(ord.add_once("a:1", "day:1", 1), Ok(AddOutcome::Repeated));
        assert_eq!(ord.total("day:1"), 0);
    }
}
