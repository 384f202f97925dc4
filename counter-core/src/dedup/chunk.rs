//! Eight numbers of a client in one entry, and the summary of a client's forgotten numbers.

use smallvec::{SmallVec, smallvec};

use crate::dedup::id::IdStatus;
use crate::lattice::versions::Version;

/// The number of sequence numbers of one client that share an entry. The first of them is a
/// multiple of this. With more, each add would take more bytes, because it sends the whole entry
/// again. With fewer, each client would need more entries.
pub const ID_CHUNK: u64 = 8;

/// One holder's copy of one add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddCopy {
    /// Unknown if the amount is 0.
    pub(crate) add: Add,
    pub(crate) taken_back: bool,
}

/// The key and the amount of one add; unknown if the amount is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Add {
    pub(crate) key: u32,
    pub(crate) amount: i64,
}

/// Equal adds of consecutive applied numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddRun {
    pub(crate) count: u8,
    pub(crate) add: Add,
}

/// The adds of eight sequence numbers of a client, the first a multiple of eight: which numbers
/// were applied, and the add of each.
///
/// Invariant: the last number was applied, only applied numbers were taken back, and there are as
/// few runs as possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientChunk {
    /// The greatest number that was applied.
    last: u64,
    /// Bit i: `last - i` was applied; bit 0 is set.
    applied: u8,
    /// Bit i: `last - i` was taken back by its writer, because another writer's copy stands. A
    /// subset of `applied`.
    taken_back: u8,
    /// The adds of the applied numbers, from the greatest down. Numbers beyond the last run have
    /// unknown adds.
    runs: SmallVec<[AddRun; 1]>,
    /// The versions of the applied numbers' adds in their writer's sequence, from the greatest
    /// number down; [`NEXT`] for an add that is about to be written. Empty if they are unknown.
    versions: SmallVec<[Version; 1]>,
}

/// Stands for the version of the change that is about to be written.
const NEXT: Version = Version::MAX;

impl ClientChunk {
    /// A chunk with one add, which is about to be written.
    pub(crate) fn new(sequence: u64, add: Add) -> Self {
        let (runs, versions) = (compressed(&[add]), smallvec![NEXT]);
        Self { last: sequence, applied: 1, taken_back: 0, runs, versions }
    }

    /// A chunk from its parts; None if they break the invariant.
    pub(crate) fn from_parts(last: u64, applied: u8, runs: SmallVec<[AddRun; 1]>) -> Option<Self> {
        let count: u32 = runs.iter().map(|run| u32::from(run.count)).sum();
        let ends_known = runs.last().is_none_or(|run| run.add.amount != 0);
        let is_valid = applied & 1 == 1 && count <= applied.count_ones() && ends_known;
        let versions = SmallVec::new();
        is_valid.then_some(Self { last, applied, taken_back: 0, runs, versions })
    }

    /// The versions of the applied numbers' adds, from the greatest number down; empty if unknown.
    pub(crate) fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// True if the version of some add is known.
    pub(crate) fn has_versions(&self) -> bool {
        !self.versions.is_empty()
    }

    /// Sets the versions of all applied numbers' adds; none if they are unknown.
    pub(crate) fn set_versions(&mut self, versions: SmallVec<[Version; 1]>) {
        self.versions = versions;
    }

    /// The same chunk for a holder that is about to absorb it: its cell contains the adds from now
    /// on.
    pub(crate) fn absorbed_now(mut self) -> Self {
        self.versions = smallvec![NEXT; self.len() as usize];
        self
    }

    /// The same chunk without the adds of some numbers, which stay applied; None if that is no
    /// change.
    pub(crate) fn without_adds(&self, is_gone: impl Fn(u64) -> bool) -> Option<Self> {
        if !self.known().any(|(sequence, _)| is_gone(sequence)) {
            return None;
        }
        let adds: SmallVec<[Add; ID_CHUNK as usize]> = self
            .sequences()
            .map(|sequence| self.copy(sequence).filter(|_| !is_gone(sequence)))
            .map(|copy| copy.map_or(Add::default(), |copy| copy.add))
            .collect();
        Some(Self { runs: compressed(&adds), ..self.clone() })
    }

    /// The version of the add of a number; None if it was not applied, or the version is unknown.
    pub(crate) fn version_of(&self, sequence: u64) -> Option<Version> {
        let at = self.sequences().position(|applied| applied == sequence)?;
        self.versions.get(at).copied().filter(|version| *version > 0)
    }

    /// Sets the version of the add that is about to be written.
    pub(crate) fn set_version(&mut self, version: Version) {
        self.versions.iter_mut().filter(|held| **held == NEXT).for_each(|held| *held = version);
    }

    /// The greatest number that was applied.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Bit i: `last - i` was applied.
    pub(crate) fn applied_bits(&self) -> u8 {
        self.applied
    }

    /// Bit i: `last - i` was taken back.
    pub(crate) fn taken_back_bits(&self) -> u8 {
        self.taken_back
    }

    /// True if some number was taken back.
    pub(crate) fn has_taken_back(&self) -> bool {
        self.taken_back != 0
    }

    /// The same chunk with the numbers of these bits taken back; None if one of them was not
    /// applied.
    pub(crate) fn with_taken_back(self, taken_back: u8) -> Option<Self> {
        (taken_back & !self.applied == 0).then_some(Self { taken_back, ..self })
    }

    /// The same chunk with nothing taken back.
    pub(crate) fn without_taken_back(self) -> Self {
        Self { taken_back: 0, ..self }
    }

    /// The number of applied numbers.
    pub(crate) fn len(&self) -> u32 {
        self.applied.count_ones()
    }

    /// The adds of the applied numbers, from the greatest down. Numbers beyond the last run have
    /// unknown adds.
    pub(crate) fn runs(&self) -> &[AddRun] {
        &self.runs
    }

    /// The runs, to renumber their keys.
    pub(super) fn runs_mut(&mut self) -> &mut [AddRun] {
        &mut self.runs
    }

    /// The add of every number in the chunk, if it is the same for all.
    pub(crate) fn one_add(&self) -> Option<Add> {
        match self.runs.as_slice() {
            [run] if u32::from(run.count) == self.len() => Some(run.add),
            _ => None,
        }
    }

    fn bit(&self, sequence: u64) -> Option<u8> {
        self.last.checked_sub(sequence).filter(|back| *back < ID_CHUNK).map(|back| 1 << back)
    }

    /// True if `sequence`, one of this chunk, was applied.
    pub(crate) fn applied(&self, sequence: u64) -> bool {
        self.bit(sequence).is_some_and(|bit| self.applied & bit != 0)
    }

    /// True if `sequence` was applied and its writer did not take it back.
    pub(crate) fn stands(&self, sequence: u64) -> bool {
        self.bit(sequence).is_some_and(|bit| self.applied & !self.taken_back & bit != 0)
    }

    pub(crate) fn take_back(&mut self, sequence: u64) {
        self.taken_back |= self.bit(sequence).unwrap_or(0) & self.applied;
    }

    /// A chunk with every number that one of the two applied. If both applied a number, the add of
    /// `self` counts.
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for sequence in other.sequences().filter(|sequence| !self.applied(*sequence)) {
            let add = other.copy(sequence).map_or(Add::default(), |copy| copy.add);
            all.apply_at(sequence, add, other.version_of(sequence).unwrap_or(0));
            if !other.stands(sequence) {
                all.take_back(sequence);
            }
        }
        all
    }

    /// The chunk reduced to the numbers that `keeps` accepts; None if none is left.
    pub(crate) fn only(&self, keeps: impl Fn(u64) -> bool) -> Option<Self> {
        let mut only: Option<Self> = None;
        for sequence in self.sequences().filter(|sequence| keeps(*sequence)) {
            let add = self.copy(sequence).map_or(Add::default(), |copy| copy.add);
            let version = self.version_of(sequence).unwrap_or(0);
            let only = only.get_or_insert_with(|| Self {
                versions: SmallVec::new(),
                ..Self::new(sequence, add)
            });
            only.apply_at(sequence, add, version);
            if !self.stands(sequence) {
                only.take_back(sequence);
            }
        }
        only
    }

    /// Its copy of an add; None if the add was not applied.
    pub(super) fn copy(&self, sequence: u64) -> Option<AddCopy> {
        let add = || {
            self.known().find(|known| known.0 == sequence).map_or(Add::default(), |known| known.1)
        };
        self.applied(sequence).then(|| AddCopy { add: add(), taken_back: !self.stands(sequence) })
    }

    /// Notes an add of this chunk that is about to be written. An amount of 0 stands for an unknown
    /// add. A number that was applied before is applied again: it was taken back in favour of a
    /// copy that is not held here.
    pub(crate) fn apply(&mut self, sequence: u64, add: Add) {
        self.apply_at(sequence, add, NEXT);
    }

    fn apply_at(&mut self, sequence: u64, add: Add, version: Version) {
        let was_applied = self.applied(sequence);
        let before = std::mem::take(&mut self.versions);
        let version_before = |at: usize| before.get(at).copied().unwrap_or(0);
        let versions: SmallVec<[(u64, Version); ID_CHUNK as usize]> = self
            .sequences()
            .enumerate()
            .map(|(at, applied)| (applied, version_before(at)))
            .filter(|(applied, _)| *applied != sequence)
            .collect();
        let newer = versions.iter().take_while(|(applied, _)| *applied > sequence).count();
        let mut versions: SmallVec<[Version; 1]> =
            versions.into_iter().map(|(_, version)| version).collect();
        versions.insert(newer, version);
        if versions.iter().any(|version| *version > 0) {
            self.versions = versions;
        }
        let mut adds: SmallVec<[Add; ID_CHUNK as usize]> = SmallVec::new();
        self.runs
            .iter()
            .for_each(|run| adds.extend(std::iter::repeat_n(run.add, run.count.into())));
        if sequence > self.last {
            let by = sequence - self.last;
            (self.applied, self.taken_back) = (self.applied << by | 1, self.taken_back << by);
            self.last = sequence;
            adds.insert(0, add);
        } else {
            let back = self.last - sequence;
            let newer = (self.applied & ((1 << back) - 1)).count_ones() as usize;
            if adds.len() < newer {
                adds.resize(newer, Add::default());
            }
            if was_applied && newer < adds.len() {
                adds.remove(newer);
            }
            (self.applied, self.taken_back) =
                (self.applied | 1 << back, self.taken_back & !(1 << back));
            adds.insert(newer, add);
        }
        self.runs = compressed(&adds);
    }

    /// The sequence numbers with known adds, from the greatest down.
    pub(crate) fn known(&self) -> impl Iterator<Item = (u64, Add)> + '_ {
        let adds = self.runs.iter().flat_map(|run| std::iter::repeat_n(run.add, run.count.into()));
        self.sequences().zip(adds).filter(|(_, add)| add.amount != 0)
    }

    /// Every sequence number that was applied, from the greatest down.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        (0..ID_CHUNK)
            .filter(|back| self.applied >> back & 1 == 1)
            .map(|back| self.last.wrapping_sub(back))
    }
}

/// Equal neighbours as runs. Unknown adds at the end need none.
fn compressed(adds: &[Add]) -> SmallVec<[AddRun; 1]> {
    let mut runs: SmallVec<[AddRun; 1]> = SmallVec::new();
    for &add in adds {
        match runs.last_mut() {
            Some(run) if run.add == add => run.count += 1,
            _ => runs.push(AddRun { count: 1, add }),
        }
    }
    while runs.last().is_some_and(|run| run.add.amount == 0) {
        runs.pop();
    }
    runs
}

/// The forgotten numbers of a client that numbers its adds from 1 without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// The greatest number whose entry was forgotten. Nobody can tell which numbers above `sure`
    /// and up to this one were applied.
    upto: u64,
    /// The writer applied every number from 1 to this one, and took none of them back. Their
    /// entries are not needed to know that.
    sure: u64,
}

impl Forgotten {
    /// None if a sure number is not among the forgotten ones.
    pub(crate) fn new(upto: u64, sure: u64) -> Option<Self> {
        (sure <= upto).then_some(Self { upto, sure })
    }

    /// The greatest number whose entry was forgotten.
    pub(crate) fn upto(self) -> u64 {
        self.upto
    }

    /// The writer is known to have applied every number up to this one.
    pub(crate) fn sure(self) -> u64 {
        self.sure
    }

    /// Forgets an absorbed chunk. Its numbers do not become sure.
    pub(crate) fn with_absorbed(self, chunk: &ClientChunk) -> Self {
        Self { upto: self.upto.max(chunk.last), ..self }
    }

    /// Forgets one of the writer's own chunks. Its numbers become sure if they continue the sure
    /// ones without a gap.
    pub(crate) fn with_own(mut self, chunk: &ClientChunk) -> Self {
        self.upto = self.upto.max(chunk.last);
        while self.sure < chunk.last && chunk.stands(self.sure + 1) {
            self.sure += 1;
        }
        self
    }

    pub(crate) fn join(self, other: Self) -> Self {
        Self { upto: self.upto.max(other.upto), sure: self.sure.max(other.sure) }
    }

    pub(crate) fn status(&self, sequence: u64) -> IdStatus {
        match sequence {
            _ if (1..=self.sure).contains(&sequence) => IdStatus::Applied,
            _ if sequence <= self.upto => IdStatus::CannotTell,
            _ => IdStatus::New,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::id::{chunk_name, client_of};

    const ONE: Add = Add { key: 3, amount: 1 };

    #[test]
    fn a_chunk_tells_its_numbers_apart() {
        let mut chunk = ClientChunk::new(100, ONE);
        chunk.apply(98, ONE);
        chunk.apply(103, ONE);
        let applied: Vec<u64> = (96..104).filter(|&sequence| chunk.applied(sequence)).collect();
        assert_eq!(
            (applied, chunk.last, chunk.runs.len(), chunk.runs[0].count),
            (vec![98, 100, 103], 103, 1, 3)
        );
        assert_eq!(
            (chunk_name(b"a", 103), chunk_name(b"a", 104) == chunk_name(b"a", 103)),
            (chunk_name(b"a", 96), false)
        );
        assert_eq!(client_of(&chunk_name(b"a:b", u64::MAX)), b"a:b");
    }

    #[test]
    fn taken_back_add_is_applied_anew() {
        let mut chunk = ClientChunk::new(100, ONE);
        chunk.apply(98, Add { key: 4, amount: 2 });
        for sequence in [98, 100] {
            chunk.take_back(sequence);
            chunk.apply(sequence, ONE);
            assert!(chunk.stands(sequence));
        }
        assert_eq!(
            (chunk.applied, chunk.taken_back, chunk.known().collect::<Vec<_>>()),
            (0b101, 0, vec![(100, ONE), (98, ONE)])
        );
    }

    #[test]
    fn adds_of_a_chunk_are_known_in_any_order() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2_000 {
            let first = random.u64(496..504);
            let mut chunk = ClientChunk::new(first, Add { key: 0, amount: 500 });
            let mut truth = std::collections::BTreeMap::from([(first, 500)]);
            for _ in 0..random.usize(..20) {
                let (sequence, amount) =
                    (random.u64(496..504), [1, 1, 1, 2, 500][random.usize(..5)]);
                if !chunk.applied(sequence) {
                    chunk.apply(sequence, Add { key: 0, amount });
                    truth.insert(sequence, amount);
                }
            }
            let kept: Vec<(u64, i64)> =
                truth.iter().rev().map(|(sequence, amount)| (*sequence, *amount)).collect();
            assert_eq!(
                chunk.known().map(|(sequence, add)| (sequence, add.amount)).collect::<Vec<_>>(),
                kept
            );
            assert!(chunk.sequences().eq(kept.iter().map(|kept| kept.0)));
        }
    }
}
