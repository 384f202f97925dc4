//! One dedup entry: a writer's memory of one id, or of eight numbers of a client.

use std::sync::Arc;

use crate::dedup::chunk::{Add, AddCopy, ClientChunk, Forgotten};
use crate::dedup::id::AddId;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// The number of kinds.
pub(crate) const KINDS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntryKind {
    Client = 0,
    Single = 1,
    TakenBack = 2,
    Forgotten = 3,
    Settled = 4,
}

/// A dedup entry. Only its holder writes it, and a greater version replaces the whole entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DedupEntry {
    /// Its version in the holder's sequence.
    pub(crate) version: Version,
    /// The version of its latest add. Taking an add back does not change this. The least fresh
    /// entry is forgotten first.
    pub(crate) fresh: Version,
    /// The bytes that identify it among entries of its kind. For a chunk: the client, then the
    /// chunk's number in 8 bytes. For a single id: the id. For an add taken back: the writer's
    /// replica id in 16 bytes, then the add's id. For forgotten numbers: the client. For settled
    /// adds: their key, as [`key_bytes`](crate::lattice::writer::tombstones::key_bytes).
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
    /// The number of changes that its holders had made between it and its absorption. The oldest
    /// entry is forgotten first.
    pub(crate) age: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryBody {
    /// The sequence numbers of a client's chunk that the writer applied.
    Client(ClientChunk),
    /// The add that the writer applied for an id.
    Single(Single),
    /// The amount that the holder took back on behalf of an ended writer, whose own entry it cannot
    /// change. If others took the add back too, it may be 0 or have the opposite sign. It is
    /// dropped with that writer's entries.
    TakenBack(Add),
    /// The numbers of a client that are no longer remembered.
    Forgotten(Forgotten),
    /// Adds at a key up to this version no longer depend on resets, see
    /// [`settled`](crate::dedup::settled).
    Settled(Version),
}

/// One add whose id names no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Single {
    pub(crate) add: Add,
    /// True if its writer took it back, because another writer's copy stands.
    pub(crate) taken_back: bool,
}

impl EntryBody {
    pub(crate) fn kind(&self) -> EntryKind {
        match self {
            Self::Client(_) => EntryKind::Client,
            Self::Single(_) => EntryKind::Single,
            Self::TakenBack(_) => EntryKind::TakenBack,
            Self::Forgotten(_) => EntryKind::Forgotten,
            Self::Settled(_) => EntryKind::Settled,
        }
    }

    /// Its copy of an add; None if the add was not applied. The entry must be the one that
    /// [`AddId::place`] names.
    pub(crate) fn copy(&self, id: AddId<'_>) -> Option<AddCopy> {
        match (self, id) {
            (Self::Client(chunk), AddId::Numbered { sequence, .. }) => chunk.copy(sequence),
            (Self::Single(Single { add, taken_back }), AddId::Single(_)) => {
                Some(AddCopy { add: *add, taken_back: *taken_back })
            }
            _ => None,
        }
    }

    /// True if the add was applied and its writer did not take it back.
    pub(crate) fn stands(&self, id: AddId<'_>) -> bool {
        match (self, id) {
            (Self::Client(chunk), AddId::Numbered { sequence, .. }) => chunk.stands(sequence),
            (Self::Single(single), AddId::Single(_)) => !single.taken_back,
            _ => false,
        }
    }

    /// The version of the add in its writer's sequence. `fresh` is that of the entry's latest add,
    /// which stands in for an unknown one. The entry must be the one that [`AddId::place`] names.
    pub(crate) fn version_of(&self, id: AddId<'_>, fresh: Version) -> Version {
        match (self, id) {
            (Self::Client(chunk), AddId::Numbered { sequence, .. }) => {
                chunk.version_of(sequence).unwrap_or(fresh)
            }
            _ => fresh,
        }
    }

    /// Marks an add as taken back.
    pub(crate) fn take_back(&mut self, id: AddId<'_>) {
        match (self, id) {
            (Self::Client(chunk), AddId::Numbered { sequence, .. }) => chunk.take_back(sequence),
            (Self::Single(single), _) => single.taken_back = true,
            _ => {}
        }
    }

    fn adds_mut(&mut self) -> impl Iterator<Item = &mut Add> {
        let (runs, one) = match self {
            Self::Client(chunk) => (chunk.runs_mut(), None),
            Self::Single(Single { add, .. }) | Self::TakenBack(add) => {
                (Default::default(), Some(add))
            }
            Self::Forgotten(_) | Self::Settled(_) => (Default::default(), None),
        };
        runs.iter_mut().map(|run| &mut run.add).chain(one).filter(|add| add.amount != 0)
    }

    fn adds(&self) -> impl Iterator<Item = Add> + Clone + '_ {
        let (runs, one) = match self {
            Self::Client(chunk) => (chunk.runs(), None),
            Self::Single(Single { add, .. }) | Self::TakenBack(add) => {
                (Default::default(), Some(*add))
            }
            Self::Forgotten(_) | Self::Settled(_) => (Default::default(), None),
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

    /// The name of the entry that takes back the add of `replica` for `id`.
    pub(crate) fn taken_back_name(replica: ReplicaId, id: &str) -> Arc<[u8]> {
        [&replica.to_bytes()[..], id.as_bytes()].concat().into()
    }

    /// The replica in the name of an [`EntryBody::TakenBack`].
    pub(crate) fn taken_back_from(name: &[u8]) -> Option<ReplicaId> {
        Some(ReplicaId::from_bytes(*name.first_chunk()?))
    }

    /// True if releases before format 3 cannot read it.
    pub(crate) fn is_of_format_3(&self) -> bool {
        matches!(self.body, EntryBody::Settled(_))
    }

    /// True if releases before format 2 can read it. Their entries have no taken-back bits, sources
    /// or forgotten numbers.
    pub(crate) fn is_of_format_1(&self) -> bool {
        self.source.is_none()
            && match &self.body {
                EntryBody::Client(chunk) => !chunk.has_taken_back(),
                EntryBody::Single(single) => !single.taken_back,
                EntryBody::TakenBack(_) => true,
                EntryBody::Forgotten(_) | EntryBody::Settled(_) => false,
            }
    }
}
