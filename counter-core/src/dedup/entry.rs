//! One dedup entry: a writer's memory of one id, or of eight numbers of a client.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::dedup::id::{AddId, IdStatus};
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// Sequence numbers of one client that share an entry; the first of them is a multiple of this.
/// More would make every click longer, because it sends the whole entry again. Fewer would take
/// more entries for each client.
pub const ID_CHUNK: u64 = 8;

/// The number of kinds.
pub(crate) const KINDS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntryKind {
    Client = 0,
    Single = 1,
    TakenBack = 2,
    Forgotten = 3,
}

/// A dedup entry. Only its holder writes it; a greater version replaces the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DedupEntry {
    /// Its version in the holder's sequence.
    pub(crate) version: Version,
    /// The version of its latest add. Taking an add back does not change it. The least fresh entry
    /// is forgotten first.
    pub(crate) fresh: Version,
    /// Its bytes depend on the kind. A chunk: the client, then the chunk's number in 8 bytes. A
    /// single id: the id. Taken back: the writer's replica id in 16 bytes, then the add's id.
    /// Forgotten: the client.
    pub(crate) name: Arc<[u8]>,
    /// The writer of an absorbed entry; None for the holder's own. Only chunks and single ids are
    /// absorbed.
    pub(crate) source: Option<EntrySource>,
    pub(crate) body: EntryBody,
}

/// The origin of an absorbed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntrySource {
    /// The writer that applied the adds.
    pub(crate) replica: ReplicaId,
    /// The number of changes that its holders had made after it by the time it was absorbed. The
    /// oldest entry is forgotten first.
    pub(crate) age: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryBody {
    /// The sequence numbers of a client's chunk that the writer applied.
    Client(ClientChunk),
    /// The add that the writer applied for an id.
    Single(Single),
    /// The amount that the holder took back on behalf of an ended writer, whose own entry it cannot
    /// change. It is 0 or has the other sign if others took it back too. It is dropped with that
    /// writer's entries.
    TakenBack(Add),
    /// The numbers of a client that are no longer remembered.
    Forgotten(Forgotten),
}

/// One add whose id names no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Single {
    pub(crate) add: Add,
    /// True if its writer took it back, because another writer's copy stands.
    pub(crate) taken_back: bool,
}

/// The forgotten numbers of a client that numbers its adds from 1 without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// The greatest number whose entry was forgotten. Above `sure` and up to here, nobody can tell
    /// which numbers were applied.
    pub(crate) upto: u64,
    /// The writer applied every number from 1 to this one and took none of them back. That is known
    /// without their entries.
    pub(crate) sure: u64,
}

impl Forgotten {
    /// Forgets one of the writer's own chunks.
    pub(crate) fn with(mut self, chunk: &ClientChunk) -> Self {
        self.upto = self.upto.max(chunk.last);
        while self.sure < chunk.last && chunk.stands(self.sure + 1) {
            self.sure += 1;
        }
        self
    }

    pub(crate) fn join(self, other: Self) -> Self {
        Self { upto: self.upto.max(other.upto), sure: self.sure.max(other.sure) }
    }

    pub(crate) fn look(&self, sequence: u64) -> IdStatus {
        match sequence {
            _ if (1..=self.sure).contains(&sequence) => IdStatus::Applied,
            _ if sequence <= self.upto => IdStatus::CannotTell,
            _ => IdStatus::New,
        }
    }
}

/// One holder's copy of one add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddCopy {
    /// Unknown if the amount is 0.
    pub(crate) add: Add,
    pub(crate) taken_back: bool,
}

impl EntryBody {
    pub(crate) fn kind(&self) -> EntryKind {
        match self {
            Self::Client(_) => EntryKind::Client,
            Self::Single(_) => EntryKind::Single,
            Self::TakenBack(_) => EntryKind::TakenBack,
            Self::Forgotten(_) => EntryKind::Forgotten,
        }
    }

    /// Its copy of an add; None if the add was not applied. The entry must be the one of the id's
    /// place.
    pub(crate) fn copy(&self, id: AddId<'_>) -> Option<AddCopy> {
        match (self, id) {
            (Self::Client(chunk), AddId::Of { sequence, .. }) => chunk.copy(sequence),
            (Self::Single(Single { add, taken_back }), AddId::Single(_)) => {
                Some(AddCopy { add: *add, taken_back: *taken_back })
            }
            _ => None,
        }
    }

    /// True if the add was applied and its writer did not take it back.
    pub(crate) fn stands(&self, id: AddId<'_>) -> bool {
        match (self, id) {
            (Self::Client(chunk), AddId::Of { sequence, .. }) => chunk.stands(sequence),
            (Self::Single(single), AddId::Single(_)) => !single.taken_back,
            _ => false,
        }
    }

    /// Marks an add as taken back.
    pub(crate) fn take_back(&mut self, id: AddId<'_>) {
        match (self, id) {
            (Self::Client(chunk), AddId::Of { sequence, .. }) => chunk.take_back(sequence),
            (Self::Single(single), _) => single.taken_back = true,
            _ => {}
        }
    }

    fn adds_mut(&mut self) -> impl Iterator<Item = &mut Add> {
        let (runs, one) = match self {
            Self::Client(chunk) => (chunk.runs.as_mut_slice(), None),
            Self::Single(Single { add, .. }) | Self::TakenBack(add) => {
                (Default::default(), Some(add))
            }
            Self::Forgotten(_) => (Default::default(), None),
        };
        runs.iter_mut().map(|run| &mut run.add).chain(one).filter(|add| add.amount != 0)
    }

    fn adds(&self) -> impl Iterator<Item = Add> + Clone + '_ {
        let (runs, one) = match self {
            Self::Client(chunk) => (chunk.runs.as_slice(), None),
            Self::Single(Single { add, .. }) | Self::TakenBack(add) => {
                (Default::default(), Some(*add))
            }
            Self::Forgotten(_) => (Default::default(), None),
        };
        runs.iter().map(|run| run.add).chain(one).filter(|add| add.amount != 0)
    }
}

impl DedupEntry {
    /// The keys that it names.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.body.adds().map(|add| add.key)
    }

    /// Renumbers its keys.
    pub(crate) fn renumber(&mut self, rank: impl Fn(u32) -> u32) {
        self.body.adds_mut().for_each(|add| add.key = rank(add.key));
    }

    /// The same entry after the writer `from` was renamed to `to`. The name of a
    /// [`EntryBody::TakenBack`] begins with the writer that had applied the add.
    pub(crate) fn renamed(self, from: ReplicaId, to: ReplicaId) -> Self {
        let rest = self
            .name
            .strip_prefix(from.to_bytes().as_slice())
            .filter(|_| self.body.kind() == EntryKind::TakenBack);
        match rest {
            Some(id) => Self { name: [to.to_bytes().as_slice(), id].concat().into(), ..self },
            None => self,
        }
    }

    /// The name of the entry that takes back what `replica` applied for `id`.
    pub(crate) fn taken_back_name(replica: ReplicaId, id: &str) -> Arc<[u8]> {
        [&replica.to_bytes()[..], id.as_bytes()].concat().into()
    }

    /// The replica in the name of such an entry.
    pub(crate) fn taken_back_from(name: &[u8]) -> Option<ReplicaId> {
        Some(ReplicaId::from_bytes(*name.first_chunk()?))
    }

    /// True if releases before format 2 can read it. Their entries have no taken-back bits, no
    /// sources and no forgotten numbers.
    pub(crate) fn is_of_format_1(&self) -> bool {
        self.source.is_none()
            && match &self.body {
                EntryBody::Client(chunk) => chunk.taken_back == 0,
                EntryBody::Single(single) => !single.taken_back,
                EntryBody::TakenBack(_) => true,
                EntryBody::Forgotten(_) => false,
            }
    }
}

/// The key and the amount of one add; unknown if the amount is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Add {
    pub(crate) key: u32,
    pub(crate) amount: i64,
}

/// Equal adds of applied numbers that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddRun {
    pub(crate) count: u8,
    pub(crate) add: Add,
}

/// The adds of eight sequence numbers of a client, the first a multiple of eight: which were
/// applied, and what each added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientChunk {
    /// The greatest number that was applied.
    pub(crate) last: u64,
    /// Bit i: `last - i` was applied; bit 0 is set.
    pub(crate) applied: u8,
    /// Bit i: `last - i` was taken back by its writer, because another writer's copy stands. A
    /// subset of `applied`.
    pub(crate) taken_back: u8,
    /// The adds of the applied numbers, from the greatest down. Numbers beyond the last run have
    /// unknown adds.
    pub(crate) runs: SmallVec<[AddRun; 1]>,
}

impl ClientChunk {
    pub(crate) fn new(sequence: u64, add: Add) -> Self {
        Self { last: sequence, applied: 1, taken_back: 0, runs: compressed(&[add]) }
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

    /// Every number that one of the two applied. If both applied a number, the first one's add
    /// counts.
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for sequence in other.sequences().filter(|sequence| !self.applied(*sequence)) {
            all.apply(sequence, other.copy(sequence).map_or(Add::default(), |copy| copy.add));
            if !other.stands(sequence) {
                all.take_back(sequence);
            }
        }
        all
    }

    /// The part of it for some of its numbers; None if that is empty.
    pub(crate) fn only(&self, keeps: impl Fn(u64) -> bool) -> Option<Self> {
        let mut only: Option<Self> = None;
        for sequence in self.sequences().filter(|sequence| keeps(*sequence)) {
            let add = self.copy(sequence).map_or(Add::default(), |copy| copy.add);
            match &mut only {
                Some(only) => only.apply(sequence, add),
                None => only = Some(Self::new(sequence, add)),
            }
            if !self.stands(sequence) {
                only.iter_mut().for_each(|only| only.take_back(sequence));
            }
        }
        only
    }

    fn copy(&self, sequence: u64) -> Option<AddCopy> {
        let add = || {
            self.known().find(|known| known.0 == sequence).map_or(Add::default(), |known| known.1)
        };
        self.applied(sequence).then(|| AddCopy { add: add(), taken_back: !self.stands(sequence) })
    }

    /// Notes an add of this chunk; an amount of 0 stands for an unknown add. A number that was
    /// applied before is applied anew: its copy was taken back for another that is not held here.
    pub(crate) fn apply(&mut self, sequence: u64, add: Add) {
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
            if self.applied(sequence) && newer < adds.len() {
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
