//! Values kept beside the cells, so that a total is O(1) and reading all values is a linear pass.

use std::collections::BTreeSet;

use crate::lattice::keys::Renumbering;

/// Values by key and totals by counter. Invariant: each equals the value that its cells give.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueTable {
    of_key: Vec<i128>,
    of_counter: Vec<i128>,
    all: i128,
    /// Keys whose value is not a plain sum of amounts, because some cell holds resets or absorbed
    /// amounts. Their values are recomputed from all cells.
    adjusted: BTreeSet<u32>,
}

impl ValueTable {
    /// Makes room for a key and its counter.
    #[inline]
    pub(super) fn cover(&mut self, key: u32, counter: u32) {
        if self.of_key.len() <= key as usize {
            self.of_key.resize(key as usize + 1, 0);
        }
        if self.of_counter.len() <= counter as usize {
            self.of_counter.resize(counter as usize + 1, 0);
        }
    }

    #[inline]
    pub(super) fn shift(&mut self, key: u32, counter: u32, by: i128) {
        self.shift_key(key, by);
        self.shift_counter(counter, by);
    }

    /// Half of [`shift`](Self::shift): changes a key, and leaves its counter's total for later.
    #[inline]
    pub(super) fn shift_key(&mut self, key: u32, by: i128) {
        self.of_key[key as usize] += by;
    }

    /// The other half: changes a counter's total by the sum over its keys.
    #[inline]
    pub(super) fn shift_counter(&mut self, counter: u32, by: i128) {
        self.of_counter[counter as usize] += by;
        self.all += by;
    }

    /// Renumbers the keys. `counter_of` returns the counter of a new key. O(keys).
    pub(super) fn renumber(&mut self, renumbering: &Renumbering, counter_of: impl Fn(u32) -> u32) {
        let old = std::mem::take(self);
        for (key, value) in (0..).zip(old.of_key) {
            if let Some(key) = renumbering.key(key) {
                self.cover(key, counter_of(key));
                self.shift(key, counter_of(key), value);
            }
        }
        self.of_key.shrink_to_fit();
        self.of_counter.shrink_to_fit();
        self.adjusted = old.adjusted.iter().filter_map(|&key| renumbering.key(key)).collect();
    }

    /// True if some key's value is not a plain sum of amounts.
    pub(super) fn has_adjusted(&self) -> bool {
        !self.adjusted.is_empty()
    }

    pub(super) fn set(&mut self, key: u32, counter: u32, value: i128) {
        self.shift(key, counter, value - self.of_key[key as usize]);
    }

    pub(super) fn of_key(&self, key: u32) -> i128 {
        self.of_key.get(key as usize).copied().unwrap_or(0)
    }

    pub(super) fn of_counter(&self, counter: u32) -> i128 {
        self.of_counter.get(counter as usize).copied().unwrap_or(0)
    }

    pub(super) fn all(&self) -> i128 {
        self.all
    }

    pub(super) fn mark_adjusted(&mut self, key: u32) {
        self.adjusted.insert(key);
    }

    pub(super) fn mark_plain(&mut self, key: u32) {
        self.adjusted.remove(&key);
    }

    /// The adjusted keys, starting at `key`, ascending.
    pub(super) fn adjusted_from(&self, key: u32) -> impl Iterator<Item = u32> + '_ {
        self.adjusted.range(key..).copied()
    }

    #[inline]
    pub(super) fn is_adjusted(&self, key: u32) -> bool {
        !self.adjusted.is_empty() && self.adjusted.contains(&key)
    }
}
