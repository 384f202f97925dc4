//! Taking newer cells and records of one writer, and bringing everything that is kept beside them
//! up to date.

use super::values::Values;
use super::{CounterMap, Joined, rehash, rehash_record};
use crate::incarnation::record::Record;
use crate::lattice::amounts::Amounts;
use crate::lattice::cell::Extra;
use crate::lattice::keys::order::in_order;
use crate::lattice::keys::{KeyId, Keys};
use crate::lattice::versions::vector::Version;
use crate::lattice::writer::{Plain, Writer};

/// From so many cells on that were not where they were expected, they are looked up at once.
const MISSES_MAX: u32 = 8;

/// Takes newer cells and records of one writer.
pub(super) struct Intake<'a> {
    writer: &'a mut Writer,
    keys: &'a Keys,
    values: &'a mut Values,
    joined: &'a mut Joined,
    /// Where the next cell probably stands: after the one before, since cells of two states mostly
    /// came in the same order.
    near: u32,
    misses: u32,
    /// Whether neither this writer has more than amounts, nor any key is reset, nor a hash is kept
    /// up to date.
    bare: bool,
    /// What this counter's cells have brought so far and its total lacks yet.
    counter: u32,
    sum: i128,
    /// The cells taken, where they do not come in the order of their versions: they are put in
    /// order at the end.
    moved: Option<Vec<(Version, u32)>>,
}

impl CounterMap {
    /// What takes cells of the writer at `at`; `cells` of them are expected, `in_order` of their
    /// versions or not. Those that are not are all newer than what is held.
    pub(super) fn intake<'a>(
        &'a mut self,
        at: usize,
        cells: usize,
        in_order: bool,
        joined: &'a mut Joined,
    ) -> Intake<'a> {
        let writer = &mut self.writers[at];
        if cells > writer.len() / 4 {
            // Counting the hash afresh is cheaper then, and is done only when somebody asks.
            writer.hash = None;
        }
        if writer.len() == 0 {
            writer.reserve(cells);
        }
        match joined.changed.capacity() {
            0 => joined.changed = Vec::with_capacity(cells),
            _ => joined.changed.reserve(cells),
        }
        let bare = writer.hash.is_none() && !writer.has_extras() && !self.values.has_resets();
        let moved = (!in_order).then(|| Vec::with_capacity(cells));
        Intake {
            writer,
            keys: &self.keys,
            values: &mut self.values,
            joined,
            near: 0,
            misses: 0,
            bare,
            counter: 0,
            sum: 0,
            moved,
        }
    }
}

impl Intake<'_> {
    /// Replaces one cell by a newer one. [`finish`](Self::finish) follows the last.
    #[inline]
    pub(super) fn take(&mut self, key: u32, plain: Plain, extra: Option<&Extra>) {
        let slot = self.slot(key);
        self.near = slot + 1;
        self.joined.changed.push(KeyId(key));
        if !self.bare || extra.is_some() {
            return self.take_any(key, slot, plain, extra);
        }
        let stood = self.put(slot, plain);
        self.shift(key, plain.amounts.net() - stood.net());
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
        self.writer.make(key)
    }

    #[inline]
    fn put(&mut self, slot: u32, plain: Plain) -> Amounts {
        match &mut self.moved {
            None => self.writer.put(slot, plain.version, plain.amounts),
            Some(moved) => {
                moved.push((plain.version, slot));
                self.writer.write(slot, plain).amounts
            }
        }
    }

    fn take_any(&mut self, key: u32, slot: u32, plain: Plain, extra: Option<&Extra>) {
        let writer = &mut *self.writer;
        let stood = writer.plain(slot);
        if extra.is_some() || writer.extra(slot).is_some() {
            writer.hash = None;
            writer.put_extra(slot, extra.cloned());
            self.values.mark_shaped(key);
            self.bare = false;
        } else if writer.hash.is_some() {
            rehash(writer, self.keys, slot, stood, plain);
        }
        self.put(slot, plain);
        if !self.values.is_shaped(key) {
            self.shift(key, plain.amounts.net() - stood.amounts.net());
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

    /// Brings the total of the last counter up to date.
    fn shift_total(&mut self) {
        if self.sum != 0 {
            self.values.shift_counter(self.counter, self.sum);
            self.sum = 0;
        }
    }

    /// Brings the last total and the order of versions up to date.
    pub(super) fn finish(mut self) {
        self.shift_total();
        if let Some(moved) = self.moved {
            self.writer.order(&in_order(moved));
        }
    }

    pub(super) fn take_record(&mut self, record: &Record) {
        let stood = self.writer.record.as_ref();
        self.joined.incarnations_changed |= record.speaks_of_incarnations()
            || record.has_left()
            || stood.is_some_and(Record::speaks_of_incarnations);
        if self.writer.hash.is_some() {
            rehash_record(self.writer, record);
        }
        self.writer.record = Some(record.clone());
        self.joined.records.push(self.writer.id);
    }
}
