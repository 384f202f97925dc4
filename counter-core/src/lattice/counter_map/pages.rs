//! What another lacks: whole deltas, and pages of a pull that is too large for one message.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use super::CounterMap;
use crate::codec::dedup;
use crate::codec::varint::{Reader, write_varint};
use crate::dedup::entry::Entry;
use crate::error::DecodeError;
use crate::lattice::delta::{Delta, DeltaCell, Part, Span};
use crate::lattice::versions::vector::{Version, VersionVector};
use crate::lattice::writer::Writer;
use crate::replica_id::ReplicaId;

/// Where a pull stands: the writer whose pages are under way, and the version up to which its cells
/// were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    replica: ReplicaId,
    version: Version,
    /// Where the source found that version; a hint that saves it a walk.
    slot: u32,
}

impl Cursor {
    /// The writer whose pages are under way.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Up to which of its versions cells were sent.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The bytes that go to the source with the next request.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.replica.to_bytes().to_vec();
        write_varint(&mut out, self.version);
        write_varint(&mut out, u64::from(self.slot));
        out
    }

    /// Reads what [`encode`](Self::encode) wrote. Any cursor is harmless to the source: it only
    /// says where to go on.
    ///
    /// # Errors
    /// Anything that is not such bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (replica, version) = (reader.replica()?, reader.varint()?);
        let slot = u32::try_from(reader.varint()?)
            .map_err(|_| DecodeError::Invalid("a slot fits in 32 bits"))?;
        reader.finish()?;
        Ok(Self { replica, version, slot })
    }
}

/// One answer to a pull.
#[derive(Clone, Debug)]
pub struct Page {
    /// Closed parts of the writers that end with this page, and an open one of the writer that goes
    /// on.
    pub delta: Delta,
    /// Where to go on; None when this was the last page.
    pub next: Option<Cursor>,
}

impl CounterMap {
    /// All that a holder of `seen` lacks. O(changed), and a sort of the changed names unless they
    /// came in order.
    pub fn delta_since(&self, seen: &VersionVector) -> Delta {
        let parts = self.writers.iter().filter(|writer| writer.seen > seen.get(writer.id));
        let parts = parts.map(|writer| {
            let after = seen.get(writer.id);
            let mut part = opened(writer, after, after);
            part.closed = true;
            part.dedup.extend(writer.dedup.since(after).cloned());
            // In the order of slots keys mostly ascend, and all are read in one pass.
            match writer.many_since(after) {
                true => extend(&mut part, writer, writer.slots_since(after)),
                false => extend(&mut part, writer, writer.since(after)),
            }
            part
        });
        Delta::from_parts(parts.collect(), &self.keys)
    }

    /// How many cells a holder of `seen` lacks, counted up to `max`. O(writers log writers +
    /// counted).
    pub fn cells_since(&self, seen: &VersionVector, max: usize) -> usize {
        self.writers
            .iter()
            .fold(0, |cells, writer| cells + writer.count_since(seen.get(writer.id), max - cells))
    }

    /// What one writer changed after a version, as of now; None where nothing did.
    pub fn delta_of(&self, replica: ReplicaId, after: Version) -> Option<Delta> {
        let writer = self.writer(replica).filter(|writer| writer.seen > after)?;
        let mut part = opened(writer, after, after);
        part.closed = true;
        part.dedup.extend(writer.dedup.since(after).cloned());
        extend(&mut part, writer, writer.since(after));
        Some(Delta::from_parts(smallvec![part], &self.keys))
    }

    /// One page of what a holder of `have` lacks, of at most `bytes_max` encoded bytes, but one
    /// cell at least; of the writers in `only`, where given.
    ///
    /// Writers follow each other from the one that lacks least, so that quiet ones do not starve.
    /// Those that have ended come last: their successor's absorbed amounts stand before their own
    /// cells come. Each is walked in version order to its *current* end, so a cell that moves meanwhile is met
    /// again at its newer version, and its span is granted with its last page. A requester goes on
    /// with `next` at the *same* source; at another it starts again without.
    ///
    /// # Complexity
    /// O(writers log writers + cells of the page); where the cursor's cell has moved, once O(cells
    /// after it).
    pub fn page_since(
        &self,
        have: &VersionVector,
        only: Option<&[ReplicaId]>,
        cursor: Option<&Cursor>,
        bytes_max: usize,
    ) -> Page {
        let mut draft = Draft { parts: SmallVec::new(), bytes: 0, bytes_max };
        for writer in self.wanted(have, only, cursor) {
            let after = have.get(writer.id);
            let at = cursor.filter(|cursor| cursor.replica == writer.id && cursor.version >= after);
            let from = at.map_or((after, u32::MAX), |cursor| (cursor.version, cursor.slot));
            if let Some(next) = self.fill(&mut draft, writer, after, from) {
                return Page {
                    delta: Delta::from_parts(draft.parts, &self.keys),
                    next: Some(next),
                };
            }
        }
        Page { delta: Delta::from_parts(draft.parts, &self.keys), next: None }
    }

    /// The writers that a requester lacks something of: first the one under way, then those that
    /// have not ended, each by how much it lacks.
    fn wanted(
        &self,
        have: &VersionVector,
        only: Option<&[ReplicaId]>,
        cursor: Option<&Cursor>,
    ) -> Vec<&Writer> {
        // Requesters send them ascending; whoever does not pays for a sort.
        let only = only.map(|only| {
            let mut only = Cow::Borrowed(only);
            if !only.is_sorted() {
                only.to_mut().sort_unstable();
            }
            only
        });
        let is_meant = |id| only.as_ref().is_none_or(|only| only.binary_search(&id).is_ok());
        let lacks = |writer: &&Writer| writer.seen > have.get(writer.id) && is_meant(writer.id);
        let mut wanted: Vec<&Writer> = self.writers.iter().filter(lacks).collect();
        wanted.sort_by_key(|w| {
            let is_next = cursor.is_none_or(|cursor| cursor.replica != w.id);
            (is_next, self.is_ended(w.id), w.seen - have.get(w.id), w.id)
        });
        wanted
    }

    /// Adds a writer's cells; where the page is full before its end, says where to go on.
    fn fill(
        &self,
        draft: &mut Draft,
        writer: &Writer,
        after: Version,
        (version, slot): (Version, u32),
    ) -> Option<Cursor> {
        let mut part = opened(writer, after, version);
        let mut last = Cursor { replica: writer.id, version, slot };
        let mut bytes =
            Delta::PART_BYTES_MAX + part.record.as_ref().map_or(0, |record| record.bytes_max());
        let mut cells = writer.since_near(version, slot).peekable();
        loop {
            // Cells and entries in the order of their versions: which of both is next.
            let slot = cells.peek().copied();
            let entry = writer.dedup.next_after(last.version);
            let entry = entry
                .filter(|entry| slot.is_none_or(|slot| entry.version < writer.plain(slot).version));
            let cost = match (entry, slot) {
                (Some(entry), _) => dedup::bytes_max(entry) + self.names_bytes(entry),
                (None, Some(slot)) => Delta::cell_bytes_max(
                    self.keys.names(writer.key(slot)),
                    cell(writer, slot),
                    writer.extra(slot),
                ),
                (None, None) => break,
            };
            let part_is_empty = part.cells.is_empty() && part.dedup.is_empty();
            if draft.bytes + bytes + cost > draft.bytes_max
                && !(draft.parts.is_empty() && part_is_empty)
            {
                if !part_is_empty {
                    draft.parts.push(part);
                }
                return Some(last);
            }
            bytes += cost;
            if let Some(entry) = entry {
                part.dedup.push(entry.clone());
                last.version = entry.version;
            } else if let Some(slot) = cells.next() {
                push(&mut part, writer, slot);
                last = Cursor { replica: writer.id, version: writer.plain(slot).version, slot };
            }
        }
        part.closed = true;
        draft.parts.push(part);
        draft.bytes += bytes;
        None
    }
}

impl CounterMap {
    /// What the names of an entry's keys may add to a delta's dictionary.
    fn names_bytes(&self, entry: &Entry) -> usize {
        entry
            .keys()
            .map(|key| self.keys.names(key))
            .map(|(counter, region)| counter.len() + region.len() + 17)
            .sum()
    }
}

struct Draft {
    parts: SmallVec<[Part; 1]>,
    bytes: usize,
    bytes_max: usize,
}

/// A part still open, with the record if it lies after `sent`.
pub(super) fn opened(writer: &Writer, after: Version, sent: Version) -> Part {
    let mut part = Part::new(Span { replica: writer.id, after, upto: writer.seen }, false);
    part.record =
        writer.record.as_ref().filter(|record| record.version > sent).cloned().map(Box::new);
    part
}

pub(super) fn cell(writer: &Writer, slot: u32) -> DeltaCell {
    let plain = writer.plain(slot);
    DeltaCell { key: writer.key(slot), version: plain.version, amounts: plain.amounts }
}

fn push(part: &mut Part, writer: &Writer, slot: u32) {
    let cell = cell(writer, slot);
    part.cells.push(cell);
    part.extras.extend(writer.extra(slot).map(|extra| (cell.key, extra.clone())));
}

fn extend(part: &mut Part, writer: &Writer, slots: impl Iterator<Item = u32>) {
    if writer.has_extras() {
        return slots.for_each(|slot| push(part, writer, slot));
    }
    part.cells.extend(slots.map(|slot| cell(writer, slot)));
}
