//! Joining: of each writer the newer snapshot, at a cost of what changed.

use std::sync::Arc;

use smallvec::SmallVec;

use super::values::Values;
use super::{CounterMap, rehash, rehash_record};
use crate::cell::Extra;
use crate::delta::{Delta, DeltaCell, Part, Span};
use crate::error::JoinError;
use crate::keys::{KeyId, Keys};
use crate::mark::{Kind, Mark};
use crate::record::Record;
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;
use crate::writer::{Plain, Writer};

/// What a join changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Keys of which a cell changed; one that several writers changed is named once for each.
    pub changed: Vec<KeyId>,
    /// Spans that had no effect because something before them is missing here: the rest must be pulled.
    pub gaps: Vec<Span>,
    /// Replicas of which a newer record was taken.
    pub records: Vec<ReplicaId>,
    /// Whether one of these speaks, or spoke, of lives that ended.
    pub lives_changed: bool,
    /// Cells that had the version of the one held and other contents: a fault, of which the greater bytes were kept.
    pub conflicts: usize,
    /// Marks that were taken, by kind and name.
    pub(crate) marked: Vec<(Kind, Arc<[u8]>)>,
    /// Own amounts were taken back, because others had applied the same adds: the next flush tells of it.
    pub own_changed: bool,
    /// A span of the joining replica's own that ends after what it has written: somebody else writes under its id.
    pub own_ahead: Option<Version>,
}

impl Joined {
    /// Cells that were taken.
    pub fn cells(&self) -> usize {
        self.changed.len()
    }
}

impl CounterMap {
    /// Joins another map: of each writer the newer snapshot. Never fails.
    ///
    /// # Complexity
    /// O(writers + cells that changed).
    pub fn join(&mut self, other: &Self) -> Joined {
        let mut joined = Joined::default();
        let mut same = None;
        for theirs in &other.writers {
            let after = self.seen_of(theirs.id);
            if theirs.seen > after && !self.is_folded(theirs.id) {
                // Where much is new, all keys are compared at once, at the speed of memory, instead of one by one.
                let much = theirs.len().min((theirs.seen - after) as usize) >= other.keys.len() / 8;
                let same = if much { *same.get_or_insert_with(|| self.keys.same_below(&other.keys)) } else { 0 };
                self.join_writer(theirs, after, &other.keys, same, &mut joined);
            }
        }
        self.settle(&mut joined);
        joined
    }

    /// `same`: so many keys, from the first on, have the same number here and there.
    fn join_writer(&mut self, theirs: &Writer, after: Version, their_keys: &Keys, same: u32, joined: &mut Joined) {
        let at = self.writer_or_new(theirs.id);
        if same as usize == their_keys.len() {
            let cells = theirs.len().min((theirs.seen - after) as usize);
            let mut intake = self.intake(at, cells, joined);
            theirs.since(after).for_each(|slot| intake.take(theirs.key(slot), theirs.plain(slot), theirs.extra(slot)));
            intake.finish();
        } else {
            self.join_renumbered(at, theirs, &theirs.newest_first(after), their_keys, joined);
        }
        if let Some(record) = theirs.record.as_ref().filter(|record| record.version > after) {
            self.intake(at, 0, joined).take_record(record);
        }
        if !theirs.marks.is_empty() {
            self.join_marks(at, theirs, after, their_keys, joined);
        }
        self.writers[at].seen = theirs.seen;
    }

    fn join_marks(&mut self, at: usize, theirs: &Writer, after: Version, their_keys: &Keys, joined: &mut Joined) {
        for mark in theirs.marks.since(after) {
            let same = |map: &mut Self, key| {
                map.keys.find_same(key, their_keys, key).unwrap_or_else(|| {
                    let (counter, region) = their_keys.names(key);
                    map.new_key(counter, region)
                })
            };
            let keys: SmallVec<[(u32, u32); 4]> = mark.keys().map(|key| (key, same(self, key))).collect();
            let here = |key| keys.iter().find(|pair| pair.0 == key).map_or(0, |pair| pair.1);
            self.take_mark(at, mark, here, joined);
        }
    }

    fn join_renumbered(&mut self, at: usize, theirs: &Writer, newest_first: &[u32], their_keys: &Keys, joined: &mut Joined) {
        let mut near = None;
        let mut keys = Vec::with_capacity(newest_first.len());
        for &slot in newest_first.iter().rev() {
            let theirs = theirs.key(slot);
            let key = self.keys.find_same(near.unwrap_or(theirs), their_keys, theirs).unwrap_or_else(|| {
                let (counter, region) = their_keys.names(theirs);
                self.new_key(counter, region)
            });
            near = Some(key + 1);
            keys.push(key);
        }
        let mut intake = self.intake(at, keys.len(), joined);
        for (&slot, key) in newest_first.iter().rev().zip(keys) {
            intake.take(key, theirs.plain(slot), theirs.extra(slot));
        }
        intake.finish();
    }

    /// Joins a delta. A span takes effect where everything up to its `after` is held; past a gap it has no effect and is reported.
    ///
    /// # Errors
    /// A page that is not its writer's last, a key or a replica too many: the whole delta is refused, the state is unchanged.
    ///
    /// # Complexity
    /// O(cells of the delta), and a sort of them where versions do not ascend with names.
    pub fn join_delta(&mut self, delta: &Delta) -> Result<Joined, JoinError> {
        if let Some(open) = delta.parts.iter().find(|part| !part.closed) {
            return Err(JoinError::OpenPart(open.span.replica));
        }
        let mut joined = Joined::default();
        let mut parts: SmallVec<[(&Part, Version); 2]> = SmallVec::with_capacity(delta.parts.len());
        for part in delta.parts.iter().filter(|part| !self.is_folded(part.span.replica)) {
            let seen = self.seen_of(part.span.replica);
            if part.span.upto > seen && part.span.after > seen {
                joined.gaps.push(part.span);
            } else if part.span.upto > seen {
                parts.push((part, seen));
            }
        }
        let keys = self.resolve(delta, &parts)?;
        for (part, seen) in parts {
            self.take_part(part, seen, &keys, &mut joined);
        }
        self.settle(&mut joined);
        Ok(joined)
    }

    /// Takes what a full pull brought after a divergence: cell by cell the greater version, and of equal versions the greater
    /// bytes. Spans raise what is held as in a join.
    ///
    /// # Errors
    /// As [`join_delta`](Self::join_delta).
    pub fn repair(&mut self, delta: &Delta) -> Result<Joined, JoinError> {
        if let Some(open) = delta.parts.iter().find(|part| !part.closed) {
            return Err(JoinError::OpenPart(open.span.replica));
        }
        let mut joined = Joined::default();
        let takes = |part: &&Part| part.span.after <= self.seen_of(part.span.replica) && !self.is_folded(part.span.replica);
        let parts: Vec<_> = delta.parts.iter().filter(takes).map(|part| (part, 0)).collect();
        let keys = self.resolve(delta, &parts)?;
        for (part, _) in parts {
            self.repair_part(part, &keys, &mut joined);
        }
        self.settle(&mut joined);
        Ok(joined)
    }

    /// The keys of a delta's dictionary here, made where they are new; checks the bounds before anything changes.
    fn resolve(&mut self, delta: &Delta, parts: &[(&Part, Version)]) -> Result<Resolved, JoinError> {
        let new_replicas = parts.iter().filter(|(part, _)| self.writer(part.span.replica).is_none()).count();
        if new_replicas > 0 && self.writers.len() + new_replicas > self.replicas_max {
            return Err(JoinError::TooManyReplicas);
        }
        let count = delta.keys.pairs.len();
        if self.keys.same_as(&delta.keys) as usize == count {
            return Ok(Resolved::Same);
        }
        const UNUSED: u32 = u32::MAX;
        const NEW: u32 = u32::MAX - 1;
        let mut keys: SmallVec<[u32; 4]> = SmallVec::from_elem(UNUSED, count);
        let (mut near, mut new) = (0, 0);
        let used = parts.iter().flat_map(|(part, seen)| {
            let cells = part.cells.iter().filter(|cell| cell.version > *seen).map(|cell| cell.key);
            cells.chain(part.marks.iter().filter(|mark| mark.version > *seen).flat_map(Mark::keys))
        });
        for number in used {
            let key = &mut keys[number as usize];
            if *key == UNUSED {
                let (counter, region) = delta.keys.names(number);
                *key = self.keys.find_near(near, counter, region).unwrap_or(NEW);
                new += usize::from(*key == NEW);
                near = key.saturating_add(1);
            }
        }
        if new > 0 && self.keys.len() + new > self.keys_max {
            return Err(JoinError::TooManyKeys);
        }
        for (key, number) in keys.iter_mut().zip(0..).filter(|(key, _)| **key == NEW) {
            let (counter, region) = delta.keys.names(number);
            *key = self.new_key(counter, region);
        }
        Ok(Resolved::Renumbered(keys))
    }

    /// A key that was looked for and not found; the bounds are the caller's.
    fn new_key(&mut self, counter: &str, region: &str) -> u32 {
        let key = self.keys.push(counter, region);
        self.values.cover(key, self.keys.counter_of(key));
        key
    }

    fn take_part(&mut self, part: &Part, seen: Version, keys: &Resolved, joined: &mut Joined) {
        let at = self.writer_or_new(part.span.replica);
        let mut intake = self.intake(at, part.cells.len(), joined);
        let mut take = |cell: &DeltaCell| {
            let extra = if part.extras.is_empty() { None } else { part.extra(cell.key) };
            intake.take(keys.key(cell.key), Plain { version: cell.version, amounts: cell.amounts }, extra);
        };
        let newer = part.cells.iter().filter(|cell| cell.version > seen);
        if part.cells.is_sorted_by_key(|cell| cell.version) {
            newer.for_each(take);
        } else {
            let mut newer: Vec<_> = newer.collect();
            newer.sort_unstable_by_key(|cell| cell.version);
            newer.into_iter().for_each(&mut take);
        }
        intake.finish();
        if let Some(record) = part.record.as_ref().filter(|record| record.version > seen) {
            self.intake(at, 0, joined).take_record(record);
        }
        self.take_marks(at, part, seen, |key| keys.key(key), joined);
        self.writers[at].seen = part.span.upto;
    }

    /// What takes cells of the writer at `at`; `cells` of them are expected.
    fn intake<'a>(&'a mut self, at: usize, cells: usize, joined: &'a mut Joined) -> Intake<'a> {
        let writer = &mut self.writers[at];
        if cells > writer.len() / 4 {
            // Counting the hash afresh is cheaper then, and is done only when somebody asks.
            writer.hash = None;
        }
        if writer.len() == 0 {
            writer.reserve(cells);
        }
        joined.changed.reserve(cells);
        let bare = writer.hash.is_none() && !writer.has_extras() && !self.values.has_resets();
        Intake { writer, keys: &self.keys, values: &mut self.values, joined, near: 0, bare, counter: 0, sum: 0 }
    }

    /// Takes cells of open parts as they are, the newer of each key; the versions held are raised only to what is there.
    pub(crate) fn stage(&mut self, delta: &Delta) {
        let parts: Vec<_> = delta.parts.iter().filter(|part| !part.closed).map(|part| (part, 0)).collect();
        // A staging map has no bounds of its own.
        let Ok(keys) = self.resolve(delta, &parts) else { return };
        for (part, _) in parts {
            self.repair_part(part, &keys, &mut Joined::default());
        }
    }

    /// Forgets a writer: its cells, its record and what was seen of it. Not a join; for what is no part of a replica's state.
    pub(crate) fn forget(&mut self, replica: ReplicaId) {
        self.writers.retain(|writer| writer.id != replica);
    }

    fn repair_part(&mut self, part: &Part, keys: &Resolved, joined: &mut Joined) {
        let at = self.writer_or_new(part.span.replica);
        self.writers[at].hash = None;
        for cell in &part.cells {
            let key = keys.key(cell.key);
            let offered = (cell.version, cell.amounts, part.extra(cell.key).cloned().unwrap_or_default());
            let writer = &self.writers[at];
            let held = writer.slot(key, key).map(|slot| writer.cell(slot)).unwrap_or_default();
            let held = (held.version, held.amounts, held.extra);
            joined.conflicts += usize::from(held.0 == offered.0 && held != offered);
            if offered > held {
                let extra = Some(&offered.2).filter(|extra| !extra.is_empty());
                let mut intake = self.intake(at, 1, joined);
                intake.take(key, Plain { version: offered.0, amounts: offered.1 }, extra);
                intake.finish();
            }
        }
        if let Some(record) = part.record.as_ref().filter(|record| self.writers[at].record.as_ref() < Some(record)) {
            self.intake(at, 0, joined).take_record(record);
        }
        self.take_marks(at, part, 0, |key| keys.key(key), joined);
        self.writers[at].seen = self.writers[at].seen.max(part.span.upto);
    }

    /// Brings values up to date, and forgets what the new records say was folded.
    fn settle(&mut self, joined: &mut Joined) {
        self.values_again(&joined.changed);
        if joined.lives_changed {
            joined.changed.extend(self.lives_again());
        }
    }

    /// Counts anew the changed keys that some cell has cleared something of.
    fn values_again(&mut self, changed: &[KeyId]) {
        for &KeyId(key) in changed {
            if self.values.is_shaped(key) {
                self.value_again(key);
            }
        }
    }
}

/// Which keys here those of a delta are.
enum Resolved {
    /// Each has the same number.
    Same,
    /// By the delta's number.
    Renumbered(SmallVec<[u32; 4]>),
}

impl Resolved {
    #[inline]
    fn key(&self, theirs: u32) -> u32 {
        match self {
            Self::Same => theirs,
            Self::Renumbered(keys) => keys[theirs as usize],
        }
    }
}

/// Takes newer cells and records of one writer.
struct Intake<'a> {
    writer: &'a mut Writer,
    keys: &'a Keys,
    values: &'a mut Values,
    joined: &'a mut Joined,
    /// Where the next cell probably stands: after the one before, since cells of two states mostly came in the same order.
    near: u32,
    /// Whether neither this writer has more than amounts, nor any key is reset, nor a hash is kept up to date.
    bare: bool,
    /// What this counter's cells have brought so far and its total lacks yet.
    counter: u32,
    sum: i128,
}

impl Intake<'_> {
    /// Replaces one cell by a newer one. [`finish`](Self::finish) follows the last.
    #[inline]
    fn take(&mut self, key: u32, plain: Plain, extra: Option<&Extra>) {
        let slot = self.writer.slot(key, self.near).unwrap_or_else(|| self.writer.make(key));
        self.near = slot + 1;
        self.joined.changed.push(KeyId(key));
        if !self.bare || extra.is_some() {
            return self.take_any(key, slot, plain, extra);
        }
        let stood = self.writer.put(slot, plain.version, plain.amounts);
        self.shift(key, plain.amounts.net() - stood.net());
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
        writer.put(slot, plain.version, plain.amounts);
        if !self.values.is_shaped(key) {
            self.shift(key, plain.amounts.net() - stood.amounts.net());
        }
    }

    #[inline]
    fn shift(&mut self, key: u32, by: i128) {
        let counter = self.keys.counter_of(key);
        if counter != self.counter {
            self.finish();
            self.counter = counter;
        }
        self.sum += by;
        self.values.shift_key(key, by);
    }

    /// Brings the total of the last counter up to date.
    fn finish(&mut self) {
        if self.sum != 0 {
            self.values.shift_counter(self.counter, self.sum);
            self.sum = 0;
        }
    }

    fn take_record(&mut self, record: &Record) {
        let stood = self.writer.record.as_ref();
        self.joined.lives_changed |= record.speaks_of_lives() || stood.is_some_and(Record::speaks_of_lives);
        if self.writer.hash.is_some() {
            rehash_record(self.writer, record);
        }
        self.writer.record = Some(record.clone());
        self.joined.records.push(self.writer.id);
    }
}
