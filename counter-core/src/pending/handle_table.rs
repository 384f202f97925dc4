//! The handles of one replica: the counter that each adds to, and its pending amounts.

use crate::error::WriteError;
use crate::lattice::cell::amounts::Amounts;
use crate::lattice::keys::KeyId;
use crate::pending::block::{Block, DirtySet, Wake};
use crate::pending::by_name::{LocalAdds, Side};
use crate::pending::handle::CounterHandle;
use crate::pending::slot::{BLOCK_SLOTS, Fullness, SlotIndex};
use crate::pending::sync::{Arc, Ordering, fence};

/// No handle.
const NO_HANDLE: u32 = u32::MAX;

/// The key of a free handle.
const NO_KEY: KeyId = KeyId(u32::MAX);

/// All handles of a replica, numbered from 0, with the pending amounts of each. Any thread adds
/// through a shared handle; the replica's thread also adds by name.
///
/// Invariant: a handle in use has one key, and that key's counter leads back to the handle. A free
/// handle has no key, nothing pending and no [`CounterHandle`]. A counter needs 8 bytes here, and
/// its slots in a [`Block`].
pub(crate) struct HandleTable {
    /// The key of each handle, in the order in which they were made; `NO_KEY` for a free one.
    keys: Vec<KeyId>,
    /// The handles that are free for other counters.
    free: Vec<u32>,
    /// The handle of each counter, by the number of its name in the map; `NO_HANDLE` if none.
    of_counter: Vec<u32>,
    /// The slots of the handles: [`BLOCK_SLOTS`] a block.
    blocks: Vec<Arc<Block>>,
    /// The blocks in which something is pending.
    dirty: Arc<DirtySet>,
    /// Amounts added by name. Covers the handles up to the last one that was added to by name.
    by_name: LocalAdds,
    wake: Wake,
}

impl Default for HandleTable {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            free: Vec::new(),
            of_counter: Vec::new(),
            blocks: Vec::new(),
            dirty: Arc::default(),
            by_name: LocalAdds::default(),
            wake: Arc::new(|| {}),
        }
    }
}

impl HandleTable {
    /// Sets the function that the first add after a flush calls. Existing blocks keep theirs.
    pub(crate) fn set_wake(&mut self, wake: Wake) {
        self.wake = wake;
    }

    /// The handle of a counter, by the number of its name.
    #[inline]
    pub(crate) fn of_counter(&self, number: u32) -> Option<usize> {
        self.of_counter.get(number as usize).filter(|at| **at != NO_HANDLE).map(|at| *at as usize)
    }

    /// The key that a handle adds to.
    #[inline]
    pub(crate) fn key(&self, at: usize) -> KeyId {
        self.keys[at]
    }

    /// A handle for a key that has none, whose counter has this number. `full` are the parts of its
    /// cell that have no room: a loaded map may hold a full cell already.
    pub(crate) fn make(&mut self, key: KeyId, counter: u32, full: Fullness) -> usize {
        let at = match self.free.pop() {
            Some(free) => free as usize,
            None => {
                self.keys.push(key);
                self.keys.len() - 1
            }
        };
        self.assign(at, key, counter);
        if at / BLOCK_SLOTS == self.blocks.len() {
            self.blocks.push(Block::new(self.blocks.len(), self.dirty.clone(), self.wake.clone()));
        }
        self.blocks[at / BLOCK_SLOTS].close(at % BLOCK_SLOTS, full);
        at
    }

    fn assign(&mut self, at: usize, key: KeyId, counter: u32) {
        let number = counter as usize;
        self.keys[at] = key;
        self.of_counter.resize(self.of_counter.len().max(number + 1), NO_HANDLE);
        self.of_counter[number] = at as u32;
    }

    /// The public form of a handle, for any thread.
    pub(crate) fn shared(&self, at: usize) -> CounterHandle {
        CounterHandle::new(self.blocks[at / BLOCK_SLOTS].clone(), at % BLOCK_SLOTS)
    }

    fn slot(&self, at: usize) -> (&Block, SlotIndex) {
        (&self.blocks[at / BLOCK_SLOTS], SlotIndex::of(at % BLOCK_SLOTS))
    }

    /// True if a handle has room for adds by name.
    #[inline]
    pub(crate) fn is_covered(&self, at: usize) -> bool {
        at < self.by_name.len()
    }

    /// Makes room for adds by name at all handles. `state` returns whether a key's counter has
    /// expired, and which parts of its cell are full.
    pub(crate) fn cover(&mut self, state: impl Fn(KeyId) -> (bool, Fullness)) {
        for at in self.by_name.len()..self.keys.len() {
            self.by_name.push();
            if self.keys[at] != NO_KEY {
                let (is_ended, full) = state(self.keys[at]);
                self.by_name.set_ended(at, is_ended);
                self.by_name.close(at, full);
            }
        }
    }

    /// Adds by name at a [covered](Self::cover) handle.
    #[inline]
    pub(crate) fn raise(&mut self, at: usize, side: Side, amount: u64) -> Result<(), WriteError> {
        self.by_name.raise(at, side, amount)
    }

    /// Checks that [`raise`](Self::raise) would accept an amount.
    pub(crate) fn check(&self, at: usize, side: Side) -> Result<(), WriteError> {
        self.by_name.check(at, side)
    }

    /// Adds an amount by name that was [checked](Self::check) before.
    pub(crate) fn put(&mut self, at: usize, side: Side, amount: u64) {
        self.by_name.put(at, side, amount);
    }

    /// The amounts that are pending at a handle.
    pub(crate) fn pending(&self, at: usize) -> Amounts {
        let (block, place) = self.slot(at);
        block.pending(place).plus(self.by_name.pending(at))
    }

    /// True if something is pending and reported.
    pub(crate) fn has_pending(&self) -> bool {
        !self.by_name.is_empty() || self.dirty.0.any()
    }

    /// Makes sure that the next flush takes every returned add at a handle.
    pub(crate) fn hand_over(&self, at: usize) {
        let (block, place) = self.slot(at);
        block.force_report(place);
    }

    /// Like [`hand_over`](Self::hand_over), at all handles. O(handles).
    pub(crate) fn hand_over_all(&self) {
        fence(Ordering::SeqCst);
        for at in 0..self.keys.len() {
            let (block, place) = self.slot(at);
            if block.pending(place) != Amounts::default() {
                block.force_report(place);
            }
        }
    }

    /// An upper bound on the handles that [`drain`](Self::drain) finds with adds by name.
    pub(crate) fn dirty_count(&self) -> usize {
        self.by_name.dirty_count()
    }

    /// Takes the pending amounts, once for each handle. `write` gets the key and the amounts, and
    /// returns which parts of the cell are full now.
    #[inline]
    pub(crate) fn drain(&mut self, mut write: impl FnMut(KeyId, Amounts) -> Fullness) {
        let Self { keys, blocks, dirty, by_name, .. } = self;
        dirty.0.take(|number| {
            for number in (number..blocks.len()).step_by(BLOCK_SLOTS) {
                blocks[number].drain(|slot, amounts| {
                    let at = number * BLOCK_SLOTS + slot;
                    // Adds by name go into the same version: a flush with two versions of a key
                    // could not be split.
                    let full = write(keys[at], amounts.plus(by_name.take(at)));
                    by_name.close(at, full);
                    full
                });
            }
        });
        by_name.drain(|at, amounts| {
            let full = write(keys[at], amounts);
            blocks[at / BLOCK_SLOTS].close(at % BLOCK_SLOTS, full);
            full
        });
    }

    /// Refuses adds to the parts of cells that are full.
    pub(crate) fn close_full(&mut self, full: impl Fn(KeyId) -> Fullness) {
        for (at, &key) in self.keys.iter().enumerate().filter(|(_, key)| **key != NO_KEY) {
            let full = full(key);
            self.by_name.close(at, full);
            self.blocks[at / BLOCK_SLOTS].close(at % BLOCK_SLOTS, full);
        }
    }

    /// Refuses adds at a handle because its counter has expired. Returns true if earlier adds are
    /// still pending. The next flush takes all of them.
    pub(crate) fn end_adds(&mut self, at: usize) -> bool {
        self.by_name.set_ended(at, true);
        let (block, place) = self.slot(at);
        block.set_ended(place, true);
        let is_shared = block.pending(place) != Amounts::default();
        if is_shared {
            block.force_report(place);
        }
        is_shared || self.by_name.pending(at) != Amounts::default()
    }

    /// Accepts adds at a handle again.
    pub(crate) fn reopen_adds(&mut self, at: usize) {
        self.by_name.set_ended(at, false);
        let (block, place) = self.slot(at);
        block.set_ended(place, false);
    }

    /// The keys of the handles that are still shared, or have something pending.
    pub(crate) fn used_keys(&self) -> impl Iterator<Item = KeyId> + '_ {
        let is_used = |at: &usize| {
            let (block, place) = self.slot(*at);
            !block.is_free(place) || self.by_name.pending(*at) != Amounts::default()
        };
        (0..self.keys.len()).filter(is_used).map(|at| self.keys[at])
    }

    /// Renumbers the keys and counters. Handles whose keys are gone become free. None of these was
    /// [used](Self::used_keys). O(handles + counters).
    pub(crate) fn renumber(
        &mut self,
        new: impl Fn(KeyId) -> Option<KeyId>,
        counter_of: impl Fn(KeyId) -> u32,
        keys_max: usize,
    ) {
        self.of_counter = Vec::with_capacity(keys_max);
        for at in 0..self.keys.len() {
            match new(self.keys[at]) {
                Some(key) => self.assign(at, key, counter_of(key)),
                None if self.keys[at] != NO_KEY => self.release(at),
                None => {}
            }
        }
    }

    fn release(&mut self, at: usize) {
        self.keys[at] = NO_KEY;
        let (block, place) = self.slot(at);
        block.reopen(place);
        self.by_name.reopen(at);
        self.free.push(at as u32);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn drained(handles: &mut HandleTable) -> Vec<(KeyId, u64)> {
        let mut drained = Vec::new();
        handles.drain(|key, amounts| {
            drained.push((key, amounts.increments));
            Fullness::default()
        });
        drained
    }

    #[test]
    fn hand_over_drains_unreported_adds() {
        let mut handles = HandleTable::default();
        let at = handles.make(KeyId(7), 3, Fullness::default());
        // Another thread added first, and has not reported it yet.
        handles.blocks[0].preload(at, 5);
        assert_eq!(drained(&mut handles), [], "nothing was reported");
        handles.hand_over_all();
        assert_eq!(drained(&mut handles), [(KeyId(7), 5)]);
    }

    #[test]
    fn adds_by_name_and_by_handle_are_drained_together() {
        let mut handles = HandleTable::default();
        let (one, other) = (
            handles.make(KeyId(0), 0, Fullness::default()),
            handles.make(KeyId(1), 1, Fullness::default()),
        );
        handles.cover(|_| (false, Fullness::default()));
        handles.shared(one).add(5).unwrap();
        handles.raise(one, Side::Increments, 2).unwrap();
        handles.raise(other, Side::Increments, 3).unwrap();
        assert_eq!((handles.pending(one).increments, handles.has_pending()), (7, true));
        assert_eq!(drained(&mut handles), [(KeyId(0), 7), (KeyId(1), 3)]);
        assert!(!handles.has_pending());
    }

    #[test]
    fn handle_of_a_key_that_is_gone_is_free_for_another() {
        let mut handles = HandleTable::default();
        let held = handles.make(KeyId(0), 0, Fullness::default());
        let gone = handles.make(KeyId(1), 1, Fullness::default());
        let shared = handles.shared(held);
        assert!(handles.used_keys().eq([KeyId(0)]));
        handles.renumber(|key| (key == KeyId(0)).then_some(KeyId(4)), |_| 2, 5);
        assert_eq!((handles.of_counter(2), handles.of_counter(0)), (Some(held), None));
        assert_eq!(handles.make(KeyId(5), 6, Fullness::default()), gone);
        shared.add(1).unwrap();
        assert_eq!(drained(&mut handles), [(KeyId(4), 1)]);
    }
}
