//! Dedup entries in the map: written by their holder, taken with its cells, and asked for when an
//! add comes with an id.

use std::sync::Arc;

use smallvec::SmallVec;

use super::CounterMap;
use super::join::Joined;
use crate::dedup::entry::{Add, Chunk, Entry, Forgotten, Id, Kind, Look, Said, Single, Source};
use crate::dedup::table::{Bounds, Put};
use crate::lattice::delta::Part;
use crate::lattice::keys::Keys;
use crate::lattice::state_hash::entry_hash;
use crate::lattice::versions::vector::Version;
use crate::lattice::writer::Writer;
use crate::replica_id::ReplicaId;

/// What an absorbed entry takes in a delta besides its name, at most: two versions, a replica, an
/// age, a chunk.
const ENTRY_BYTES: usize = 72;

/// One of the copies of an add: who applied it, and what became of it as far as is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stance {
    pub(crate) writer: ReplicaId,
    /// What was added; unknown where the amount is 0.
    pub(crate) add: Add,
    /// How much of it was taken back: by its writer, and by others in its name.
    pub(crate) taken_back: i64,
    /// Whether a successor absorbed it, and then whether it stands for good.
    pub(crate) absorbed: Option<bool>,
}

impl CounterMap {
    /// Dedup entries held of all writers.
    pub fn entry_count(&self) -> usize {
        self.writers.iter().map(|writer| writer.dedup.len()).sum()
    }

    /// Clients of which some entry was forgotten, of all writers; one of two writers counts twice.
    /// O(writers).
    pub(crate) fn forgotten_count(&self) -> usize {
        self.noting().map(|writer| writer.dedup.len_of(Kind::Forgotten)).sum()
    }

    /// Whether some writer that is held applied the add with this id, and that was not taken back:
    /// what was taken back for the sake of a replica of which nothing is held counts nowhere here.
    /// O(writers that hold entries).
    pub(crate) fn look(&self, id: Id<'_>, text: &str) -> Look {
        let (kind, name) = id.place();
        let mut has_forgotten = false;
        for writer in self.noting() {
            if writer.dedup.said(kind, &name).is_some_and(|said| said.stands(id))
                && !self.is_taken_back(writer.id, text)
            {
                return Look::Applied;
            }
            if writer.dedup.absorbed(kind, &name).any(|(_, entry)| entry.said.stands(id)) {
                return Look::Applied;
            }
            has_forgotten |= writer.dedup.len_of(Kind::Forgotten) > 0;
        }
        match id {
            Id::Of { client, sequence } if has_forgotten => {
                self.look_at_forgotten(client, sequence)
            }
            _ => Look::New,
        }
    }

    fn look_at_forgotten(&self, client: &str, sequence: u64) -> Look {
        let looks = self
            .noting()
            .filter_map(|writer| Some(forgotten(writer, client.as_bytes())?.look(sequence)));
        looks.fold(Look::New, |all, one| match (all, one) {
            (Look::Applied, _) | (_, Look::Applied) => Look::Applied,
            (Look::CannotTell, _) | (_, Look::CannotTell) => Look::CannotTell,
            _ => Look::New,
        })
    }

    /// What is no longer remembered of a client by one writer.
    pub(crate) fn forgotten(&self, replica: ReplicaId, client: &[u8]) -> Option<Forgotten> {
        forgotten(self.writer(replica)?, client)
    }

    /// Whether a writer other than this one is sure to have applied an add, though it forgot the
    /// entry.
    pub(crate) fn is_sure_beside(&self, replica: ReplicaId, id: Id<'_>) -> bool {
        let Id::Of { client, sequence } = id else { return false };
        let is_sure = |writer: &Writer| {
            writer.id != replica
                && forgotten(writer, client.as_bytes())
                    .is_some_and(|known| known.look(sequence) == Look::Applied)
        };
        self.noting().any(is_sure)
    }

    /// All copies of an add that are known, in the order of their writers; and that of `also`, of
    /// which perhaps only is known that it was taken back.
    pub(crate) fn stances(
        &self,
        id: Id<'_>,
        text: &str,
        also: Option<ReplicaId>,
    ) -> SmallVec<[Stance; 2]> {
        let (kind, name) = id.place();
        let mut stances: SmallVec<[Stance; 2]> = SmallVec::new();
        let none = |writer| Stance { writer, add: Add::default(), taken_back: 0, absorbed: None };
        for writer in self.noting() {
            if let Some(copy) = writer.dedup.said(kind, &name).and_then(|said| said.copy(id)) {
                let taken_back = if copy.taken_back { copy.add.amount } else { 0 };
                stances.push(Stance { add: copy.add, taken_back, ..none(writer.id) });
            }
            for (source, entry) in writer.dedup.absorbed(kind, &name) {
                if let Some(copy) = entry.said.copy(id) {
                    stances.push(Stance {
                        add: copy.add,
                        absorbed: Some(!copy.taken_back),
                        ..none(source)
                    });
                }
            }
        }
        stances.extend(also.map(none));
        stances.sort_unstable_by_key(|stance| stance.writer);
        stances.dedup_by(|next, kept| {
            let is_same = next.writer == kept.writer;
            if is_same {
                kept.add = if kept.add.amount == 0 { next.add } else { kept.add };
                kept.taken_back += next.taken_back;
                // What one successor took back stays so.
                kept.absorbed = match (kept.absorbed, next.absorbed) {
                    (Some(one), Some(other)) => Some(one && other),
                    (one, other) => one.or(other),
                };
            }
            is_same
        });
        for stance in &mut stances {
            for (_, add) in self.taken_back(stance.writer, text) {
                stance.add = if stance.add.amount == 0 { add } else { stance.add };
                stance.taken_back += add.amount;
            }
        }
        stances
    }

    /// Who took back, or gave again as a negative amount, what `writer` had added for an id, in its
    /// name; in the order of ids.
    pub(crate) fn taken_back(
        &self,
        writer: ReplicaId,
        id: &str,
    ) -> SmallVec<[(ReplicaId, Add); 1]> {
        let mut took = SmallVec::new();
        let mut name = None;
        for holder in self.noting().filter(|holder| holder.dedup.len_of(Kind::TakenBack) > 0) {
            let name = name.get_or_insert_with(|| Entry::taken_back_name(writer, id));
            if let Some(Said::TakenBack(add)) = holder.dedup.said(Kind::TakenBack, name) {
                took.push((holder.id, *add));
            }
        }
        took
    }

    fn is_taken_back(&self, writer: ReplicaId, id: &str) -> bool {
        self.taken_back(writer, id).iter().any(|(_, add)| add.amount != 0)
    }

    /// The sequence numbers in a client's chunk that may have two copies, or that somebody took
    /// back in another's name: none where only one writer knows the chunk and nobody forgot or took
    /// back anything. None twice. O(writers that hold entries).
    pub(crate) fn doubtful(&self, kind: Kind, name: &[u8]) -> SmallVec<[u64; 8]> {
        let (mut applied, mut holders, mut any) = (SmallVec::new(), 0, false);
        for writer in self.noting() {
            let own = writer.dedup.said(kind, name).into_iter();
            for said in own.chain(writer.dedup.absorbed(kind, name).map(|(_, entry)| &entry.said)) {
                holders += 1;
                match said {
                    Said::Client(chunk) => applied.extend(chunk.sequences()),
                    _ => applied.push(0),
                }
            }
            any |= writer.dedup.len_of(Kind::TakenBack) > 0
                || writer.dedup.len_of(Kind::Forgotten) > 0;
        }
        if holders < 2 && !any {
            return SmallVec::new();
        }
        applied.sort_unstable();
        applied.dedup();
        applied
    }

    fn noting(&self) -> impl Iterator<Item = &Writer> {
        self.writers.iter().filter(|writer| !writer.dedup.is_empty())
    }

    /// Notes that `replica`, whose cell holds it already, applied an add. Returns whether this
    /// began a new entry, and which one had to make room for it.
    pub(crate) fn note_applied(
        &mut self,
        replica: ReplicaId,
        id: Id<'_>,
        add: Add,
    ) -> (bool, Option<Entry>) {
        let (kind, name) = id.place();
        let held = self.writer(replica).and_then(|writer| writer.dedup.said(kind, &name));
        let is_new = held.is_none();
        let said = match (held, id) {
            (Some(Said::Client(chunk)), Id::Of { sequence, .. }) => {
                let mut chunk = chunk.clone();
                chunk.apply(sequence, add);
                Said::Client(chunk)
            }
            (_, Id::Of { sequence, .. }) => Said::Client(Chunk::new(sequence, add)),
            (_, Id::Single(_)) => Said::Single(Single { add, taken_back: false }),
        };
        (is_new, self.write_entry(replica, name.as_slice().into(), None, None, said).forgotten)
    }

    /// Sets the bit that `replica` took back its own copy of an add.
    pub(crate) fn note_own_taken_back(&mut self, replica: ReplicaId, id: Id<'_>) {
        let (kind, name) = id.place();
        let held = self.writer(replica).and_then(|writer| writer.dedup.own(kind, &name));
        if let Some(Entry { fresh, mut said, .. }) = held.cloned() {
            said.take_back(id);
            self.write_entry(replica, name.as_slice().into(), None, Some(fresh), said);
        }
    }

    /// Whether `replica` has absorbed an entry of `writer` with an add.
    pub(crate) fn has_absorbed(&self, replica: ReplicaId, writer: ReplicaId, id: Id<'_>) -> bool {
        self.absorbed_entry(replica, writer, id).is_some_and(|entry| entry.said.copy(id).is_some())
    }

    fn absorbed_entry(&self, replica: ReplicaId, writer: ReplicaId, id: Id<'_>) -> Option<&Entry> {
        let (kind, name) = id.place();
        self.writer(replica)?
            .dedup
            .absorbed(kind, &name)
            .find(|(source, _)| *source == writer)
            .map(|(_, entry)| entry)
    }

    /// Sets the bit that `replica` took back a copy of an add that it has absorbed.
    pub(crate) fn note_absorbed_taken_back(
        &mut self,
        replica: ReplicaId,
        writer: ReplicaId,
        id: Id<'_>,
    ) {
        if let Some(Entry { name, source, mut said, .. }) =
            self.absorbed_entry(replica, writer, id).cloned()
        {
            said.take_back(id);
            self.write_entry(replica, name, source, None, said);
        }
    }

    /// Notes what `replica` took back in all of what `writer` had added for an id; an amount of 0
    /// undoes it.
    pub(crate) fn note_taken_back(
        &mut self,
        replica: ReplicaId,
        writer: ReplicaId,
        id: &str,
        add: Add,
    ) {
        self.write_entry(
            replica,
            Entry::taken_back_name(writer, id),
            None,
            None,
            Said::TakenBack(add),
        );
    }

    /// How many dedup entries are kept of each writer.
    pub(crate) fn dedup_bounds(&self) -> Bounds {
        self.dedup_bounds
    }

    /// Whether `replica` may note one more add that it takes back in another's name.
    pub(crate) fn may_take_back(&self, replica: ReplicaId) -> bool {
        self.writer(replica).is_none_or(|writer| {
            writer.dedup.len_of(Kind::TakenBack) < self.dedup_bounds.taken_back()
        })
    }

    /// Whether `replica` holds an own entry of an add.
    pub(crate) fn holds_own(&self, replica: ReplicaId, id: Id<'_>) -> bool {
        let (kind, name) = id.place();
        self.writer(replica).and_then(|writer| writer.dedup.said(kind, &name)?.copy(id)).is_some()
    }

    /// Notes what `replica` no longer remembers of a client.
    pub(crate) fn note_forgotten(
        &mut self,
        replica: ReplicaId,
        client: &[u8],
        forgotten: Forgotten,
    ) {
        self.write_entry(replica, client.into(), None, None, Said::Forgotten(forgotten));
    }

    /// Writes an entry as new; or where `fresh` is given, as no younger than that.
    fn write_entry(
        &mut self,
        replica: ReplicaId,
        name: Arc<[u8]>,
        source: Option<Source>,
        fresh: Option<Version>,
        said: Said,
    ) -> Put {
        let at = self.writer_or_new(replica);
        let writer = &mut self.writers[at];
        writer.seen += 1;
        put(
            writer,
            &self.keys,
            self.dedup_bounds,
            Entry { version: writer.seen, fresh: fresh.unwrap_or(writer.seen), name, source, said },
        )
    }

    /// The oldest entry of a writer above a version. O(log entries).
    pub(crate) fn next_entry(&self, replica: ReplicaId, after: Version) -> Option<Entry> {
        self.writer(replica)?.dedup.next_after(after).cloned()
    }

    /// Makes a chunk or a single id of a writer that ended its successor's: known as applied, and
    /// with what was decided of each copy. What the successor absorbed before stays. Returns about
    /// how many bytes the change costs each peer. O(log entries).
    ///
    /// The writer's own entry stays beside it until the fold: there is no moment at which an id is
    /// not known.
    pub(crate) fn absorb_entry(
        &mut self,
        successor: ReplicaId,
        name: Arc<[u8]>,
        source: Source,
        said: Said,
    ) -> usize {
        let held = self.writer(successor).and_then(|writer| {
            writer
                .dedup
                .absorbed(said.kind(), &name)
                .find(|(replica, _)| *replica == source.replica)
                .map(|(_, entry)| entry)
        });
        let said = match (held.map(|entry| &entry.said), said) {
            (None, said) => said,
            (Some(Said::Client(held)), Said::Client(chunk))
                if chunk.sequences().any(|sequence| !held.applied(sequence)) =>
            {
                Said::Client(held.joined(&chunk))
            }
            _ => return 0,
        };
        let age =
            held.and_then(|entry| entry.source).map_or(source.age, |held| held.age.min(source.age));
        let bytes = name.len() + ENTRY_BYTES;
        self.write_entry(successor, name, Some(Source { age, ..source }), None, said);
        bytes
    }

    /// What a writer that ended took back in the name of writers that are still held besides
    /// `folding`.
    pub(crate) fn took_back_for_others(
        &self,
        ended: ReplicaId,
        folding: &[ReplicaId],
    ) -> Vec<(ReplicaId, String, Add)> {
        let entries = self.writer(ended).into_iter().flat_map(|writer| writer.dedup.since(0));
        let took = entries.filter_map(|entry| match &entry.said {
            Said::TakenBack(add) => Some((
                Entry::taken_back_from(&entry.name)?,
                entry.name.get(ReplicaId::BYTES..)?,
                *add,
            )),
            _ => None,
        });
        let stays =
            |writer: ReplicaId| folding.binary_search(&writer).is_err() && !self.is_folded(writer);
        let took = took.filter(|(writer, ..)| stays(*writer));
        took.filter_map(|(writer, id, add)| {
            Some((writer, std::str::from_utf8(id).ok()?.to_owned(), add))
        })
        .collect()
    }

    /// How many changes a writer and the later incarnations of its node before `own` have made.
    /// O(writers).
    pub(crate) fn written_since(&self, ended: ReplicaId, own: ReplicaId) -> Version {
        let of_node = self.writers.iter().filter(|writer| {
            writer.id.node == ended.node && writer.id >= ended && writer.id != own
        });
        of_node.fold(0, |written, writer| written.saturating_add(writer.seen))
    }

    /// The absorbed entries that `replica` will drop when these incarnations are folded.
    pub(crate) fn surplus(&self, replica: ReplicaId, folding: &[ReplicaId]) -> Vec<Entry> {
        let is_folded =
            |source: ReplicaId| self.is_folded(source) || folding.binary_search(&source).is_ok();
        self.writer(replica)
            .map_or(Vec::new(), |writer| writer.dedup.surplus(self.dedup_bounds, is_folded))
    }

    /// Drops what goes with the folds that are on record.
    pub(crate) fn trim_entries(&mut self) {
        let Self { writers, incarnations, dedup_bounds, .. } = self;
        let noting = writers.iter_mut().filter(|writer| !writer.dedup.is_empty());
        noting.for_each(|writer| {
            writer.dedup.trim(*dedup_bounds, |replica| incarnations.is_folded(replica))
        });
    }

    /// Takes the entries of a part that are newer than `seen`; `key` is the number here of a key
    /// there.
    pub(super) fn take_entries(
        &mut self,
        at: usize,
        part: &Part,
        seen: Version,
        key: impl Fn(u32) -> u32,
        joined: &mut Joined,
    ) {
        for entry in part.dedup.iter().filter(|entry| entry.version > seen) {
            self.take_entry(at, entry, &key, joined);
        }
        self.trim_entries_of(at);
    }

    pub(super) fn take_entry(
        &mut self,
        at: usize,
        entry: &Entry,
        key: impl Fn(u32) -> u32,
        joined: &mut Joined,
    ) {
        let mut entry = entry.clone();
        entry.renumber(key);
        let (kind, name) = (entry.said.kind(), entry.name.clone());
        let writer = &mut self.writers[at];
        if put(writer, &self.keys, self.dedup_bounds, entry).taken {
            joined.entries.push((kind, name));
        }
    }

    pub(super) fn trim_entries_of(&mut self, at: usize) {
        let Self { writers, incarnations, dedup_bounds, .. } = self;
        writers[at].dedup.trim(*dedup_bounds, |replica| incarnations.is_folded(replica));
    }
}

fn forgotten(writer: &Writer, client: &[u8]) -> Option<Forgotten> {
    match writer.dedup.said(Kind::Forgotten, client) {
        Some(Said::Forgotten(forgotten)) => Some(*forgotten),
        _ => None,
    }
}

pub(super) fn put(writer: &mut Writer, keys: &Keys, dedup: Bounds, entry: Entry) -> Put {
    let hash = entry_hash(writer.id, &entry, keys);
    writer.dedup.put(entry, hash, dedup)
}
