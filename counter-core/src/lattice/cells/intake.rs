//! Takes newer cells and records of one writer, and brings everything kept beside them up to date:
//! values, totals, hash, version order.

use super::expiries::Expiries;
use super::joined::Joined;
use super::values::ValueTable;
use crate::incarnation::record::Record;
use crate::lattice::cell::amounts::Amounts;
use crate::lattice::cell::{CellExtra, PlainCell};
use crate::lattice::keys::order::sorted_by_number;
use crate::lattice::keys::{KeyId, Keys};
use crate::lattice::versions::Version;
use crate::lattice::writer::Writer;

/// After this many mispredicted positions, fall back to the index.
const MISSES_MAX: u32 = 8;

/// Newer cells and records of one writer on their way into the map.
pub(crate) struct Intake<'a> {
    writer: &'a mut Writer,
    keys: &'a mut Keys,
    values: &'a mut ValueTable,
    expiries: &'a mut Expiries,
    joined: &'a mut Joined,
    /// The predicted slot of the next cell: the one after the last. Two states mostly hold their
    /// cells in the same order.
    near: u32,
    misses: u32,
    /// True while this writer's cells have amounts only, no key is adjusted, and no hash is kept up
    /// to date.
    is_bare: bool,
    /// The counter of the latest cells. Its total lacks `sum` until the next counter begins.
    counter: u32,
    sum: i128,
    /// The cells taken so far, if they come out of version order. They are sorted at the end.
    moved: Option<Vec<(Version, u32)>>,
}

impl<'a> Intake<'a> {
    /// Prepares to take about `cells` cells. `in_order` is true if they come in version order. If
    /// it is false, all of them must be newer than the cells held.
    pub(super) fn begin(
        writer: &'a mut Writer,
        keys: &'a mut Keys,
        (values, expiries): (&'a mut ValueTable, &'a mut Expiries),
        joined: &'a mut Joined,
        (cells, in_order): (usize, bool),
    ) -> Self {
        if cells > writer.len() / 4 {
            // After this many changes it is cheaper to compute the hash again, on request.
            writer.forget_hash();
        }
        if writer.len() == 0 {
            writer.reserve(cells);
        }
        match joined.changed.capacity() {
            0 => joined.changed = Vec::with_capacity(cells),
            _ => joined.changed.reserve(cells),
        }
        let is_bare = !writer.has_hash() && !writer.has_extras() && !values.has_adjusted();
        let moved = (!in_order).then(|| Vec::with_capacity(cells));
        Self {
            writer,
            keys,
            values,
            expiries,
            joined,
            near: 0,
            misses: 0,
            is_bare,
            counter: 0,
            sum: 0,
            moved,
        }
    }
}

impl Intake<'_> {
    /// Replaces one cell by a newer one. Call [`finish`](Self::finish) after the last one.
    #[inline]
    pub(crate) fn take(&mut self, key: u32, plain: PlainCell, extra: Option<&CellExtra>) {
        let slot = self.slot(key);
        self.near = slot + 1;
        self.joined.changed.push(KeyId(key));
        if !self.is_bare || extra.is_some() {
            return self.take_with_extra(key, slot, plain, extra);
        }
        let previous = self.put(slot, plain);
        self.shift(key, plain.amounts.net() - previous.net());
    }

    #[inline]
    fn slot(&mut self, key: u32) -> u32 {
        if self.misses < MISSES_MAX {
            match self.writer.slot(key, self.near) {
                Some(slot) if slot == self.near || slot == key => return slot,
                Some(slot) => {
                    self.misses += 1;
                    return slot;
                }
                None => {}
            }
        } else if let Some(slot) = self.writer.indexed(key) {
            return slot;
        }
        self.keys.revive(key);
        self.writer.make(key)
    }

    #[inline]
    fn put(&mut self, slot: u32, plain: PlainCell) -> Amounts {
        match &mut self.moved {
            None => self.writer.put(slot, plain.version, plain.amounts),
            Some(moved) => {
                moved.push((plain.version, slot));
                self.writer.write(slot, plain).amounts
            }
        }
    }

    fn take_with_extra(
        &mut self,
        key: u32,
        slot: u32,
        plain: PlainCell,
        extra: Option<&CellExtra>,
    ) {
        let writer = &mut *self.writer;
        let previous = writer.plain(slot);
        let held = writer.extra(slot);
        if held.into_iter().chain(extra).any(CellExtra::adjusts_values) {
            self.values.mark_adjusted(key);
        }
        if held != extra {
            self.is_bare = false;
            if let Some(extra) = extra.filter(|extra| extra.expires_at > 0) {
                self.expiries.note(self.keys.counter_of(key), extra.expires_at, false);
            }
            match (previous.version, extra) {
                (0, Some(extra)) => writer.begin_extra(slot, extra.clone()),
                _ => writer.put_extra(slot, extra.cloned()),
            }
        }
        writer.rehash(self.keys, slot, plain);
        self.put(slot, plain);
        if !self.values.is_adjusted(key) {
            self.shift(key, plain.amounts.net() - previous.amounts.net());
        }
    }

    #[inline]
    fn shift(&mut self, key: u32, by: i128) {
        let counter = self.keys.counter_of(key);
        if counter != self.counter {
            self.shift_total();
            self.counter = counter;
        }
        self.sum += by;
        self.values.shift_key(key, by);
    }

    /// Brings the last counter's total up to date.
    fn shift_total(&mut self) {
        if self.sum != 0 {
            self.values.shift_counter(self.counter, self.sum);
            self.sum = 0;
        }
    }

    /// Brings the last total and the version order up to date.
    pub(crate) fn finish(mut self) {
        self.shift_total();
        if let Some(moved) = self.moved {
            self.writer.order(&sorted_by_number(moved));
        }
    }

    pub(crate) fn take_record(&mut self, record: &Record) {
        let previous = self.writer.record();
        self.joined.incarnations_changed |= record.mentions_incarnations()
            || record.has_left()
            || previous.is_some_and(Record::mentions_incarnations);
        self.writer.set_record(record.clone());
        self.joined.records.push(self.writer.id());
    }
}
