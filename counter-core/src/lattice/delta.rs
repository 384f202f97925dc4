//! A delta: some cells of some writers, and the spans of versions that they complete.

use smallvec::{SmallVec, smallvec};

use crate::codec::dictionary::{Dictionary, KeyNames, KeyRanks};
use crate::dedup::entry::DedupEntry;
use crate::incarnation::record::Record;
use crate::lattice::cell::CellExtra;
use crate::lattice::cell::amounts::Amounts;
use crate::lattice::keys::Keys;
use crate::lattice::keys::order::sorted_by_number;
use crate::lattice::versions::Version;
use crate::lattice::writer::tombstones::KeyBytes;
use crate::replica_id::ReplicaId;

/// An interval of a writer's versions that a delta completes: a replica that holds everything up to
/// `after` and takes the delta holds everything up to `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The writer.
    pub replica: ReplicaId,
    /// The version that must be held before; 0 for nothing.
    pub after: Version,
    /// The version that is held afterwards.
    pub upto: Version,
}

/// Cells of some writers, and for each writer the span of versions that its cells complete. Deltas
/// may be joined in any order, repeatedly or never, and every total stays right. A delta after a
/// gap has no effect, and cells that are not newer are skipped.
///
/// Delta-state CRDTs: Almeida, Shoker, Baquero 2018 (delta intervals, section 5). Here a delta
/// names versions of *cells with running totals*, so a later cell stands for all earlier ones (as
/// in Enes et al. 2019, section IV, where redundant state is left out).
///
/// # Examples
/// ```
/// use counter_core::{CounterMap, ReplicaId, VersionVector};
/// let ord = ReplicaId::new(1, 1);
/// let (mut here, mut there) = (CounterMap::new(), CounterMap::new());
/// here.add(ord, "clicks", "ord", 5)?;
/// let first = here.delta_since(&VersionVector::new());
/// here.add(ord, "clicks", "ord", 2)?;
/// let second = here.delta_of(ord, 1).expect("something changed after version 1");
///
/// let joined = there.join_delta(&second)?; // the first is late
/// assert_eq!((there.total("clicks"), joined.gaps[0].after), (0, 1));
/// there.join_delta(&first)?;
/// there.join_delta(&second)?; // asked for again, or sent twice
/// there.join_delta(&first)?;
/// assert_eq!(there.total("clicks"), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    pub(crate) keys: Dictionary,
    /// Sorted by replica, none twice.
    pub(crate) parts: SmallVec<[DeltaPart; 1]>,
}

/// One writer's share of a delta.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DeltaPart {
    pub(crate) span: Span,
    /// True if the span takes effect. In a pull, that is only on the writer's last page.
    pub(crate) closed: bool,
    /// The writer's record, if its version lies in the span.
    pub(crate) record: Option<Box<Record>>,
    /// Sorted by key, none twice; versions lie in the span.
    pub(crate) cells: SmallVec<[DeltaCell; 1]>,
    /// The extra parts of the few cells that have any, by key, sorted.
    pub(crate) extras: Vec<(u32, CellExtra)>,
    /// Dedup entries in the order of their versions, which lie in the span.
    pub(crate) dedup: Vec<DedupEntry>,
    /// The cells that the writer dropped in the span, in the order of versions.
    pub(crate) tombstones: Vec<Tombstone>,
}

/// A cell that its writer dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    /// The version at which it was dropped.
    pub(crate) version: Version,
    /// The names of the cell's key, see
    /// [`key_bytes`](crate::lattice::writer::tombstones::key_bytes).
    pub(crate) key: KeyBytes,
}

/// A cell with its key's number in the delta's dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeltaCell {
    pub(crate) key: u32,
    pub(crate) version: Version,
    pub(crate) amounts: Amounts,
}

impl Delta {
    /// Makes a canonical delta of parts whose keys are numbered by `names`. It keeps only the names
    /// in use, and sorts everything. O(cells) if keys came in order, else O(cells log cells).
    #[inline]
    pub(crate) fn from_parts(mut parts: SmallVec<[DeltaPart; 1]>, names: &impl KeyNames) -> Self {
        // Fast path: most deltas carry one change.
        if let [part] = parts.as_mut_slice()
            && let [cell] = part.cells.as_mut_slice()
            && part.extras.is_empty()
            && part.dedup.is_empty()
            && part.tombstones.is_empty()
        {
            let keys = Dictionary::of_one(names.names(cell.key));
            cell.key = 0;
            return Self { keys, parts };
        }
        Self::from_many(parts, names)
    }

    #[inline(never)]
    fn from_many(mut parts: SmallVec<[DeltaPart; 1]>, names: &impl KeyNames) -> Self {
        let (keys, numbering) = Dictionary::of_used(names, parts.iter().map(DeltaPart::keys));
        for part in &mut parts {
            part.renumber(&numbering);
        }
        parts.sort_by_key(|part| part.span.replica);
        Self { keys, parts }
    }

    /// The parts of all deltas, with no writer twice. O(cells log cells).
    pub(crate) fn union(deltas: impl IntoIterator<Item = Self>) -> Self {
        let mut deltas: Vec<Self> = deltas.into_iter().filter(|delta| !delta.is_empty()).collect();
        if deltas.len() < 2 {
            return deltas.pop().unwrap_or_default();
        }
        let mut all = Keys::default();
        let mut parts = SmallVec::new();
        for Self { keys, parts: theirs } in deltas {
            for mut part in theirs {
                let numbers: Vec<u32> = (0..keys.pairs.len() as u32)
                    .map(|key| all.intern_unbounded(keys.names(key)))
                    .collect();
                part.cells.iter_mut().for_each(|cell| cell.key = numbers[cell.key as usize]);
                part.extras.iter_mut().for_each(|extra| extra.0 = numbers[extra.0 as usize]);
                part.dedup.iter_mut().for_each(|entry| entry.renumber(|key| numbers[key as usize]));
                parts.push(part);
            }
        }
        Self::from_parts(parts, &all)
    }

    /// The spans that take effect when the delta is joined.
    pub fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.parts.iter().filter(|part| part.closed).map(|part| part.span)
    }

    /// Every writer that has a part in this delta.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.parts.iter().map(|part| part.span.replica)
    }

    /// Keeps only the parts of some writers.
    pub fn retain(&mut self, mut keep: impl FnMut(ReplicaId) -> bool) {
        self.parts.retain(|part| keep(part.span.replica));
    }

    /// True if there is no part: joining it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The number of cells in all parts.
    pub fn cell_count(&self) -> usize {
        self.parts.iter().map(|part| part.cells.len()).sum()
    }

    /// True if some part is a page before its writer's last.
    pub fn has_open_part(&self) -> bool {
        self.parts.iter().any(|part| !part.closed)
    }

    /// Cuts the delta of *one flush* into consecutive spans that each encode to at most `bytes_max`
    /// bytes, or to one cell. A delta with dedup entries or tombstones stays whole: no replica may
    /// hold an amount without its entry.
    ///
    /// The delta must come from one snapshot, and no key may have moved twice in it. The delta of a
    /// flush is one. Each cut is then a state that the writer was in. O(cells log cells).
    pub fn split(self, bytes_max: usize) -> Vec<Self> {
        if self.encoded_bytes_max() <= bytes_max
            || self.parts.iter().any(|part| !part.dedup.is_empty() || !part.tombstones.is_empty())
        {
            return vec![self];
        }
        self.parts
            .iter()
            .flat_map(|part| part.cut(&self.keys, bytes_max))
            .map(|part| Self::from_parts(smallvec![part], &self.keys))
            .collect()
    }
}

impl DeltaPart {
    pub(crate) fn new(span: Span, closed: bool) -> Self {
        Self {
            span,
            closed,
            record: None,
            cells: SmallVec::new(),
            extras: Vec::new(),
            dedup: Vec::new(),
            tombstones: Vec::new(),
        }
    }

    /// True if the part replaces everything that a replica holds of the writer up to `seen`. The
    /// writer has forgotten tombstones that such a replica lacks, so the part is its whole
    /// snapshot.
    pub(crate) fn replaces(&self, seen: Version) -> bool {
        let forgot = self.record.as_ref().map_or(0, |record| record.forgot());
        self.span.after == 0 && seen > 0 && seen < forgot
    }

    fn renumber(&mut self, numbering: &KeyRanks) {
        if !matches!(numbering, KeyRanks::Same) {
            self.cells.iter_mut().for_each(|cell| cell.key = numbering.rank(cell.key));
        }
        if !self.cells.is_sorted_by_key(|cell| cell.key) {
            let order = sorted_by_number(
                self.cells.iter().map(|cell| u64::from(cell.key)).zip(0..).collect(),
            );
            self.cells = order.into_iter().map(|at| self.cells[at as usize]).collect();
        }
        self.extras.iter_mut().for_each(|extra| extra.0 = numbering.rank(extra.0));
        self.extras.sort_unstable_by_key(|extra| extra.0);
        self.dedup.iter_mut().for_each(|entry| entry.renumber(|key| numbering.rank(key)));
    }

    /// The keys of all cells and entries.
    fn keys(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.cells.iter().map(|cell| cell.key).chain(self.dedup.iter().flat_map(DedupEntry::keys))
    }

    pub(crate) fn extra(&self, key: u32) -> Option<&CellExtra> {
        self.extras.binary_search_by_key(&key, |extra| extra.0).ok().map(|at| &self.extras[at].1)
    }

    /// Consecutive spans of at most `bytes_max` estimated bytes, in version order.
    fn cut(&self, keys: &Dictionary, bytes_max: usize) -> Vec<Self> {
        let mut cells = self.cells.clone();
        cells.sort_unstable_by_key(|cell| cell.version);
        let mut cuts = Vec::new();
        let (mut cut, mut bytes) = (self.cut_after(self.span.after), Delta::PART_BYTES_MAX);
        let mut record = self.record.as_ref();
        for cell in cells {
            let extra = self.extra(cell.key);
            // The record's bytes count with the first cell after it.
            let record_bytes = record
                .take_if(|record| record.version < cell.version)
                .map_or(0, |record| record.bytes_max());
            let cost = Delta::cell_bytes_max(keys.names(cell.key), cell, extra) + record_bytes;
            if bytes + cost > bytes_max && !cut.cells.is_empty() {
                cuts.push(cut.end());
                cut = self.cut_after(cuts.last().map_or(self.span.after, |cut| cut.span.upto));
                bytes = Delta::PART_BYTES_MAX;
            }
            bytes += cost;
            cut.extras.extend(extra.map(|extra| (cell.key, extra.clone())));
            cut.cells.push(cell);
        }
        if bytes + record.map_or(0, |record| record.bytes_max()) > bytes_max
            && record.is_some()
            && !cut.cells.is_empty()
        {
            cuts.push(cut.end());
            cut = self.cut_after(cuts.last().map_or(self.span.after, |cut| cut.span.upto));
        }
        cuts.push(cut);
        for cut in &mut cuts {
            let Span { after, upto, .. } = cut.span;
            cut.record = self
                .record
                .as_ref()
                .filter(|record| after < record.version && record.version <= upto)
                .cloned();
        }
        cuts
    }

    /// A cut that ends with its newest cell.
    fn end(mut self) -> Self {
        self.span.upto = self.cells.last().map_or(self.span.upto, |last| last.version);
        self
    }

    fn cut_after(&self, after: Version) -> Self {
        Self::new(Span { after, ..self.span }, self.closed)
    }
}
