//! Writes the state for other replicas: deltas, the whole state as bytes, and the pages of a pull
//! that is too large for one message.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use crate::codec::dictionary::{Dictionary, KeyNames, KeyRanks};
use crate::codec::varint::{Reader, write_varint};
use crate::codec::{SHORT_HEAD, body, dedup, envelope, tombstones};
use crate::dedup::entry::DedupEntry;
use crate::error::DecodeError;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::delta::{Delta, DeltaCell, DeltaPart, Span, Tombstone};
use crate::lattice::keys::order::sorted_by_number;
use crate::lattice::versions::{Version, VersionVector};
use crate::lattice::writer::Writer;
use crate::replica_id::ReplicaId;

/// The position of a pull: the writer whose pages are under way, and the version up to which its
/// cells were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    replica: ReplicaId,
    version: Version,
    /// The slot at which the source found that version: a hint that saves it a walk.
    slot: u32,
}

impl Cursor {
    /// The writer whose pages are under way.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The version up to which its cells were sent.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The bytes to send with the next request to the source.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.replica.to_bytes().to_vec();
        write_varint(&mut out, self.version);
        write_varint(&mut out, u64::from(self.slot));
        out
    }

    /// Reads the bytes of [`encode`](Self::encode). A forged cursor is harmless: it only tells the
    /// source where to continue.
    ///
    /// # Errors
    /// [`DecodeError`] for any other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (replica, version) = (reader.replica()?, reader.varint()?);
        let slot = u32::try_from(reader.varint()?)
            .map_err(|_| DecodeError::Invalid("a slot must fit in 32 bits"))?;
        reader.finish()?;
        Ok(Self { replica, version, slot })
    }
}

/// One answer to a pull.
#[derive(Clone, Debug)]
pub struct DeltaPage {
    /// The closed parts of the writers that end with this page, and an open part of the writer that
    /// continues.
    pub delta: Delta,
    /// The position to continue from; None on the last page.
    pub next: Option<Cursor>,
}

impl CounterMap {
    /// Everything that a holder of `seen` lacks. O(changed), plus a sort of the changed names
    /// unless they came in order.
    pub fn delta_since(&self, seen: &VersionVector) -> Delta {
        let mut parts = SmallVec::new();
        for writer in self.writers().iter() {
            let seen = seen.get(writer.id());
            if writer.seen() <= seen {
                continue;
            }
            let after = writer.needed_after(seen);
            let mut part = self.closed_part(writer, after);
            // In slot order keys mostly ascend, and one pass reads them all.
            match writer.many_since(after) {
                true => extend(&mut part, writer, writer.slots_since(after)),
                false => extend(&mut part, writer, writer.since(after)),
            }
            parts.push(part);
        }
        Delta::from_parts(parts, self.keys())
    }

    /// The number of cells that a holder of `seen` lacks, counted up to `max`. O(writers +
    /// counted).
    pub fn cells_since(&self, seen: &VersionVector, max: usize) -> usize {
        let mut seen_of = seen.ascending();
        let lacked = self.writers().iter().filter_map(|writer| {
            let after = seen_of(writer.id());
            (writer.seen() > after).then_some((writer, after))
        });
        lacked.fold(0, |cells, (writer, after)| cells + writer.count_since(after, max - cells))
    }

    /// The changes of one writer after a version; None if there are none. Returns the whole
    /// snapshot if needed tombstones are gone. O(changed), plus a sort of names that are not in
    /// order.
    pub fn delta_of(&self, replica: ReplicaId, after: Version) -> Option<Delta> {
        let writer = self.writers().get(replica).filter(|writer| writer.seen() > after)?;
        let after = writer.needed_after(after);
        let mut part = self.closed_part(writer, after);
        extend(&mut part, writer, writer.since(after));
        Some(Delta::from_parts(smallvec![part], self.keys()))
    }

    /// One page of the changes that a holder of `have` lacks: at most `bytes_max` encoded bytes,
    /// but at least one cell. `only` limits it to some writers.
    ///
    /// The writers with the fewest missing changes come first, so that quiet ones do not starve.
    /// Ended writers come last: their successor's absorbed amounts must arrive before their own
    /// cells. Each writer is walked in version order to its *current* end, so a cell that changes
    /// during the pull is sent again at its newer version. The span comes with the writer's last
    /// page. Continue with `next` at the *same* source; at another source start again without it.
    ///
    /// # Complexity
    /// O(writers log writers + cells of the page). If the cursor's cell has changed since, also
    /// O(cells after it).
    pub fn page_since(
        &self,
        have: &VersionVector,
        only: Option<&[ReplicaId]>,
        cursor: Option<&Cursor>,
        bytes_max: usize,
    ) -> DeltaPage {
        let mut draft = PageDraft { parts: SmallVec::new(), bytes: 0, bytes_max };
        for writer in self.wanted(have, only, cursor) {
            let after = writer.needed_after(have.get(writer.id()));
            let at =
                cursor.filter(|cursor| cursor.replica == writer.id() && cursor.version >= after);
            let from = at.map_or((after, u32::MAX), |cursor| (cursor.version, cursor.slot));
            if let Some(next) = self.fill(&mut draft, writer, after, from) {
                return DeltaPage {
                    delta: Delta::from_parts(draft.parts, self.keys()),
                    next: Some(next),
                };
            }
        }
        DeltaPage { delta: Delta::from_parts(draft.parts, self.keys()), next: None }
    }

    /// The writers of which a requester lacks changes: first the one under way, then live ones,
    /// then ended ones. Within each group, those with the fewest missing changes come first.
    fn wanted(
        &self,
        have: &VersionVector,
        only: Option<&[ReplicaId]>,
        cursor: Option<&Cursor>,
    ) -> Vec<&Writer> {
        // Requesters send them in ascending order, so this sort is rare.
        let only = only.map(|only| {
            let mut only = Cow::Borrowed(only);
            if !only.is_sorted() {
                only.to_mut().sort_unstable();
            }
            only
        });
        let is_meant = |id| only.as_ref().is_none_or(|only| only.binary_search(&id).is_ok());
        let lacks =
            |writer: &&Writer| writer.seen() > have.get(writer.id()) && is_meant(writer.id());
        let mut wanted: Vec<&Writer> = self.writers().iter().filter(lacks).collect();
        wanted.sort_by_key(|w| {
            let is_next = cursor.is_none_or(|cursor| cursor.replica != w.id());
            (is_next, self.is_ended(w.id()), w.seen() - have.get(w.id()), w.id())
        });
        wanted
    }

    /// Adds a writer's cells. If the page is full before their end, returns the position to
    /// continue from.
    fn fill(
        &self,
        draft: &mut PageDraft,
        writer: &Writer,
        after: Version,
        (version, slot): (Version, u32),
    ) -> Option<Cursor> {
        let mut part = open_part(writer, after, version);
        let mut last = Cursor { replica: writer.id(), version, slot };
        let mut bytes =
            Delta::PART_BYTES_MAX + part.record.as_ref().map_or(0, |record| record.bytes_max());
        let entries = self.dedup().of(writer.id());
        let mut cells = writer.since_near(version, slot).peekable();
        loop {
            // Merges cells, entries and tombstones in the order of their versions.
            let slot = cells.peek().copied();
            let next_cell = slot.map_or(Version::MAX, |slot| writer.plain(slot).version);
            let entry = entries.and_then(|entries| entries.next_after(last.version));
            let entry = entry.filter(|entry| entry.version < next_cell);
            let next_entry = entry.map_or(next_cell, |entry| entry.version);
            let tombstone = writer.tombstones().since(last.version).next();
            let tombstone = tombstone.filter(|(version, _)| *version < next_entry);
            let cost = match (tombstone, entry, slot) {
                (Some((_, key)), ..) => tombstones::bytes_max(key),
                (None, Some(entry), _) => dedup::bytes_max(entry) + self.names_bytes(entry),
                (None, None, Some(slot)) => Delta::cell_bytes_max(
                    self.keys().names(writer.key(slot)),
                    cell(writer, slot),
                    writer.extra(slot),
                ),
                (None, None, None) => break,
            };
            let part_is_empty =
                part.cells.is_empty() && part.dedup.is_empty() && part.tombstones.is_empty();
            if draft.bytes + bytes + cost > draft.bytes_max
                && !(draft.parts.is_empty() && part_is_empty)
            {
                if !part_is_empty {
                    draft.parts.push(part);
                }
                return Some(last);
            }
            bytes += cost;
            if let Some((version, key)) = tombstone {
                part.tombstones.push(Tombstone { version, key: key.into() });
                last.version = version;
            } else if let Some(entry) = entry {
                part.dedup.push(entry.clone());
                last.version = entry.version;
            } else if let Some(slot) = cells.next() {
                push(&mut part, writer, slot);
                last = Cursor { replica: writer.id(), version: writer.plain(slot).version, slot };
            }
        }
        part.closed = true;
        draft.parts.push(part);
        draft.bytes += bytes;
        None
    }
}

impl CounterMap {
    /// A closed part with all changes after a version, except the cells.
    #[inline(always)]
    fn closed_part(&self, writer: &Writer, after: Version) -> DeltaPart {
        let mut part = open_part(writer, after, after);
        part.closed = true;
        // Usually there are none.
        if !self.dedup().is_empty() {
            let entries = self.dedup().of(writer.id()).into_iter();
            part.dedup.extend(entries.flat_map(|entries| entries.since(after)).cloned());
        }
        if !writer.tombstones().is_empty() {
            let tombstones = writer.tombstones().since(after);
            part.tombstones
                .extend(tombstones.map(|(version, key)| Tombstone { version, key: key.into() }));
        }
        part
    }

    /// The most bytes that the names of an entry's keys add to a delta's dictionary.
    fn names_bytes(&self, entry: &DedupEntry) -> usize {
        entry
            .keys()
            .map(|key| self.keys().names(key))
            .map(|(counter, region)| counter.len() + region.len() + 17)
            .sum()
    }
}

impl CounterMap {
    /// The bytes of the whole state: the same as `delta_since(&VersionVector::new()).encode()`,
    /// without building the delta.
    ///
    /// # Complexity
    /// O(cells), plus a sort of the names and of each writer's cells if they did not come in the
    /// order of names.
    ///
    /// ```
    /// use counter_core::{CounterMap, ReplicaId, VersionVector};
    /// let mut map = CounterMap::new();
    /// map.add(ReplicaId::new(1, 1), "clicks", "ord", 5)?;
    /// assert_eq!(map.encode(), map.delta_since(&VersionVector::new()).encode());
    /// # Ok::<(), counter_core::WriteError>(())
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        // A state of one cell may take the short form of a single add. Extras, entries and
        // tombstones need the general path.
        if self.cell_count() < 2
            || !self.dedup().is_empty()
            || self.writers().iter().any(|writer| {
                writer.has_extras() || !writer.tombstones().is_empty() || writer.forgot() > 0
            })
        {
            return self.delta_since(&VersionVector::new()).encode();
        }
        let mut out = Vec::with_capacity(64 + self.cell_count() * 6);
        out.extend_from_slice(&SHORT_HEAD);
        let writers = || self.writers().iter().filter(|writer| writer.seen() > 0);
        let all_used = writers().any(|writer| writer.len() == self.keys().len());
        if let Some((counters, regions)) = self.keys().sorted_names().filter(|_| all_used) {
            let pair = |key: usize| self.keys().numbers(key as u32);
            body::write_head(
                &mut out,
                counters,
                regions,
                self.keys().len(),
                pair,
                writers().count(),
            );
            writers().for_each(|writer| write_writer(&mut out, writer, &KeyRanks::Same));
        } else {
            let used = writers().map(|writer| writer.slots().map(|slot| writer.key(slot)));
            let (Dictionary { counters, regions, pairs }, numbering) =
                Dictionary::of_used(self.keys(), used);
            let pair = |key: usize| pairs[key];
            body::write_head(
                &mut out,
                counters.as_slice(),
                regions.as_slice(),
                pairs.len(),
                pair,
                writers().count(),
            );
            writers().for_each(|writer| write_writer(&mut out, writer, &numbering));
        }
        envelope(out)
    }
}

/// A page that is being filled.
struct PageDraft {
    parts: SmallVec<[DeltaPart; 1]>,
    bytes: usize,
    bytes_max: usize,
}

/// An open part. It has the record if that is newer than `sent`.
#[inline(always)]
fn open_part(writer: &Writer, after: Version, sent: Version) -> DeltaPart {
    let mut part = DeltaPart::new(Span { replica: writer.id(), after, upto: writer.seen() }, false);
    part.record = writer.record().filter(|record| record.version > sent).cloned().map(Box::new);
    part
}

fn cell(writer: &Writer, slot: u32) -> DeltaCell {
    let plain = writer.plain(slot);
    DeltaCell { key: writer.key(slot), version: plain.version, amounts: plain.amounts }
}

fn push(part: &mut DeltaPart, writer: &Writer, slot: u32) {
    let cell = cell(writer, slot);
    part.cells.push(cell);
    part.extras.extend(writer.extra(slot).map(|extra| (cell.key, extra.clone())));
}

#[inline(always)]
fn extend(part: &mut DeltaPart, writer: &Writer, slots: impl Iterator<Item = u32>) {
    if writer.has_extras() {
        return slots.for_each(|slot| push(part, writer, slot));
    }
    part.cells.extend(slots.map(|slot| cell(writer, slot)));
}

fn write_writer(out: &mut Vec<u8>, writer: &Writer, numbering: &KeyRanks) {
    let mut part = open_part(writer, 0, 0);
    part.closed = true;
    if matches!(numbering, KeyRanks::Same) && writer.ascending() {
        return body::write_part(out, &part, writer.len(), |at| cell(writer, at as u32));
    }
    let slots = sorted_by_number(
        writer.slots().map(|slot| (u64::from(numbering.rank(writer.key(slot))), slot)).collect(),
    );
    let ranked = |slot| DeltaCell { key: numbering.rank(writer.key(slot)), ..cell(writer, slot) };
    body::write_part(out, &part, slots.len(), |at| ranked(slots[at]));
}
