//! Dedup entries in the map: their holder writes them, a join takes them with its cells, and an add
//! with an id looks them up.

use std::sync::Arc;

use smallvec::SmallVec;

use super::CounterMap;
use super::join::Joined;
use crate::dedup::entry::{
    Add, AddId, Chunk, DedupEntry, EntryBody, EntryKind, EntrySource, Forgotten, IdStatus, Single,
};
use crate::dedup::table::{DedupBounds, Put};
use crate::lattice::delta::DeltaPart;
use crate::lattice::versions::vector::Version;
use crate::lattice::writer::Writer;
use crate::replica_id::ReplicaId;

/// The most bytes of an absorbed entry in a delta besides its name: two versions, a replica, an
/// age, a chunk.
const ABSORBED_ENTRY_BYTES_MAX: usize = 72;

/// One copy of an add as it is known here: its writer, its amount, and whether it was taken back or
/// absorbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownCopy {
    pub(crate) writer: ReplicaId,
    /// The add; unknown if the amount is 0.
    pub(crate) add: Add,
    /// The amount that was taken back of it, by its writer and by others on its behalf.
    pub(crate) taken_back: i64,
    /// Some if a successor absorbed it: true if the successor let it stand.
    pub(crate) absorbed: Option<bool>,
}

impl CounterMap {
    /// The number of dedup entries of all writers.
    pub fn entry_count(&self) -> usize {
        self.writers.iter().map(|writer| writer.entries().len()).sum()
    }

    /// The number of clients with a forgotten entry. One that two writers know counts twice.
    /// O(writers).
    pub(crate) fn forgotten_count(&self) -> usize {
        self.with_entries().map(|writer| writer.entries().len_of(EntryKind::Forgotten)).sum()
    }

    /// The status of an add: applied if a held writer applied it and nobody took it back. A copy of
    /// a writer that is not held does not count, even if it is known that it was taken back.
    /// O(writers that hold entries).
    pub(crate) fn look(&self, id: AddId<'_>, text: &str) -> IdStatus {
        let (kind, name) = id.place();
        let mut has_forgotten = false;
        for writer in self.with_entries() {
            if writer.entries().body(kind, &name).is_some_and(|body| body.stands(id))
                && !self.is_taken_back(writer.id(), text)
            {
                return IdStatus::Applied;
            }
            if writer.entries().absorbed(kind, &name).any(|(_, entry)| entry.body.stands(id)) {
                return IdStatus::Applied;
            }
            has_forgotten |= writer.entries().len_of(EntryKind::Forgotten) > 0;
        }
        match id {
            AddId::Of { client, sequence } if has_forgotten => {
                self.look_at_forgotten(client, sequence)
            }
            _ => IdStatus::New,
        }
    }

    fn look_at_forgotten(&self, client: &str, sequence: u64) -> IdStatus {
        let looks = self
            .with_entries()
            .filter_map(|writer| Some(forgotten(writer, client.as_bytes())?.look(sequence)));
        looks.fold(IdStatus::New, |all, one| match (all, one) {
            (IdStatus::Applied, _) | (_, IdStatus::Applied) => IdStatus::Applied,
            (IdStatus::CannotTell, _) | (_, IdStatus::CannotTell) => IdStatus::CannotTell,
            _ => IdStatus::New,
        })
    }

    /// The forgotten numbers of a client at one writer.
    pub(crate) fn forgotten(&self, replica: ReplicaId, client: &[u8]) -> Option<Forgotten> {
        forgotten(self.writer(replica)?, client)
    }

    /// True if a writer other than this one surely applied an add, though it forgot the entry.
    pub(crate) fn is_sure_beside(&self, replica: ReplicaId, id: AddId<'_>) -> bool {
        let AddId::Of { client, sequence } = id else { return false };
        let is_sure = |writer: &Writer| {
            writer.id() != replica
                && forgotten(writer, client.as_bytes())
                    .is_some_and(|known| known.look(sequence) == IdStatus::Applied)
        };
        self.with_entries().any(is_sure)
    }

    /// All known copies of an add, in the order of their writers. `also` is included even if
    /// nothing is known of its copy except that it was taken back.
    pub(crate) fn known_copies(
        &self,
        id: AddId<'_>,
        text: &str,
        also: Option<ReplicaId>,
    ) -> SmallVec<[KnownCopy; 2]> {
        let (kind, name) = id.place();
        let mut known_copies: SmallVec<[KnownCopy; 2]> = SmallVec::new();
        let none =
            |writer| KnownCopy { writer, add: Add::default(), taken_back: 0, absorbed: None };
        for writer in self.with_entries() {
            if let Some(copy) = writer.entries().body(kind, &name).and_then(|body| body.copy(id)) {
                let taken_back = if copy.taken_back { copy.add.amount } else { 0 };
                known_copies.push(KnownCopy { add: copy.add, taken_back, ..none(writer.id()) });
            }
            for (source, entry) in writer.entries().absorbed(kind, &name) {
                if let Some(copy) = entry.body.copy(id) {
                    known_copies.push(KnownCopy {
                        add: copy.add,
                        absorbed: Some(!copy.taken_back),
                        ..none(source)
                    });
                }
            }
        }
        known_copies.extend(also.map(none));
        known_copies.sort_unstable_by_key(|known| known.writer);
        known_copies.dedup_by(|next, kept| {
            let is_same = next.writer == kept.writer;
            if is_same {
                kept.add = if kept.add.amount == 0 { next.add } else { kept.add };
                kept.taken_back += next.taken_back;
                // A copy that one successor took back stays so.
                kept.absorbed = match (kept.absorbed, next.absorbed) {
                    (Some(one), Some(other)) => Some(one && other),
                    (one, other) => one.or(other),
                };
            }
            is_same
        });
        for known in &mut known_copies {
            for (_, add) in self.taken_back(known.writer, text) {
                known.add = if known.add.amount == 0 { add } else { known.add };
                known.taken_back += add.amount;
            }
        }
        known_copies
    }

    /// The replicas that took back what `writer` had added for an id, on its behalf, in the order
    /// of ids. A negative amount gives something back.
    pub(crate) fn taken_back(
        &self,
        writer: ReplicaId,
        id: &str,
    ) -> SmallVec<[(ReplicaId, Add); 1]> {
        let mut took = SmallVec::new();
        let mut name = None;
        for holder in
            self.with_entries().filter(|holder| holder.entries().len_of(EntryKind::TakenBack) > 0)
        {
            let name = name.get_or_insert_with(|| DedupEntry::taken_back_name(writer, id));
            if let Some(EntryBody::TakenBack(add)) =
                holder.entries().body(EntryKind::TakenBack, name)
            {
                took.push((holder.id(), *add));
            }
        }
        took
    }

    fn is_taken_back(&self, writer: ReplicaId, id: &str) -> bool {
        self.taken_back(writer, id).iter().any(|(_, add)| add.amount != 0)
    }

    /// The sequence numbers in a client's chunk that may have two copies, or that another replica
    /// took back. Empty if only one writer knows the chunk and nobody forgot or took back anything.
    /// No number comes twice. O(writers that hold entries).
    pub(crate) fn doubtful(&self, kind: EntryKind, name: &[u8]) -> SmallVec<[u64; 8]> {
        let (mut applied, mut holders, mut any) = (SmallVec::new(), 0, false);
        for writer in self.with_entries() {
            let own = writer.entries().body(kind, name).into_iter();
            for body in
                own.chain(writer.entries().absorbed(kind, name).map(|(_, entry)| &entry.body))
            {
                holders += 1;
                match body {
                    EntryBody::Client(chunk) => applied.extend(chunk.sequences()),
                    _ => applied.push(0),
                }
            }
            any |= writer.entries().len_of(EntryKind::TakenBack) > 0
                || writer.entries().len_of(EntryKind::Forgotten) > 0;
        }
        if holders < 2 && !any {
            return SmallVec::new();
        }
        applied.sort_unstable();
        applied.dedup();
        applied
    }

    fn with_entries(&self) -> impl Iterator<Item = &Writer> {
        self.writers.iter().filter(|writer| !writer.entries().is_empty())
    }

    /// Notes that `replica` applied an add; its cell has the amount already. Returns whether this
    /// began a new entry, and the entry that was dropped for it.
    pub(crate) fn note_applied(
        &mut self,
        replica: ReplicaId,
        id: AddId<'_>,
        add: Add,
    ) -> (bool, Option<DedupEntry>) {
        let (kind, name) = id.place();
        let held = self.writer(replica).and_then(|writer| writer.entries().body(kind, &name));
        let is_new = held.is_none();
        let body = match (held, id) {
            (Some(EntryBody::Client(chunk)), AddId::Of { sequence, .. }) => {
                let mut chunk = chunk.clone();
                chunk.apply(sequence, add);
                EntryBody::Client(chunk)
            }
            (_, AddId::Of { sequence, .. }) => EntryBody::Client(Chunk::new(sequence, add)),
            (_, AddId::Single(_)) => EntryBody::Single(Single { add, taken_back: false }),
        };
        (is_new, self.write_entry(replica, name.as_slice().into(), None, None, body).forgotten)
    }

    /// Notes that `replica` took back its own copy of an add.
    pub(crate) fn note_own_taken_back(&mut self, replica: ReplicaId, id: AddId<'_>) {
        let (kind, name) = id.place();
        let held = self.writer(replica).and_then(|writer| writer.entries().own(kind, &name));
        if let Some(DedupEntry { fresh, mut body, .. }) = held.cloned() {
            body.take_back(id);
            self.write_entry(replica, name.as_slice().into(), None, Some(fresh), body);
        }
    }

    /// True if `replica` has absorbed an entry of `writer` with this add.
    pub(crate) fn has_absorbed(
        &self,
        replica: ReplicaId,
        writer: ReplicaId,
        id: AddId<'_>,
    ) -> bool {
        self.absorbed_entry(replica, writer, id).is_some_and(|entry| entry.body.copy(id).is_some())
    }

    fn absorbed_entry(
        &self,
        replica: ReplicaId,
        writer: ReplicaId,
        id: AddId<'_>,
    ) -> Option<&DedupEntry> {
        let (kind, name) = id.place();
        self.writer(replica)?
            .entries()
            .absorbed(kind, &name)
            .find(|(source, _)| *source == writer)
            .map(|(_, entry)| entry)
    }

    /// Notes that `replica` took back a copy of an add that it has absorbed.
    pub(crate) fn note_absorbed_taken_back(
        &mut self,
        replica: ReplicaId,
        writer: ReplicaId,
        id: AddId<'_>,
    ) {
        if let Some(DedupEntry { name, source, mut body, .. }) =
            self.absorbed_entry(replica, writer, id).cloned()
        {
            body.take_back(id);
            self.write_entry(replica, name, source, None, body);
        }
    }

    /// Notes the whole amount that `replica` took back of what `writer` had added for an id. 0
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
            DedupEntry::taken_back_name(writer, id),
            None,
            None,
            EntryBody::TakenBack(add),
        );
    }

    /// The bounds of each writer's dedup entries.
    pub(crate) fn dedup_bounds(&self) -> DedupBounds {
        self.dedup_bounds
    }

    /// True if `replica` may note one more add that it takes back on behalf of another writer.
    pub(crate) fn may_take_back(&self, replica: ReplicaId) -> bool {
        self.writer(replica).is_none_or(|writer| {
            writer.entries().len_of(EntryKind::TakenBack) < self.dedup_bounds.taken_back()
        })
    }

    /// True if `replica` holds an own entry of an add.
    pub(crate) fn holds_own(&self, replica: ReplicaId, id: AddId<'_>) -> bool {
        let (kind, name) = id.place();
        self.writer(replica)
            .and_then(|writer| writer.entries().body(kind, &name)?.copy(id))
            .is_some()
    }

    /// Notes the numbers of a client that `replica` has forgotten.
    pub(crate) fn note_forgotten(
        &mut self,
        replica: ReplicaId,
        client: &[u8],
        forgotten: Forgotten,
    ) {
        self.write_entry(replica, client.into(), None, None, EntryBody::Forgotten(forgotten));
    }

    /// Writes an entry under the writer's next version. `fresh` is the version of its latest add;
    /// None if that is the new version.
    fn write_entry(
        &mut self,
        replica: ReplicaId,
        name: Arc<[u8]>,
        source: Option<EntrySource>,
        fresh: Option<Version>,
        body: EntryBody,
    ) -> Put {
        let at = self.writer_or_new(replica);
        let writer = &mut self.writers[at];
        let version = writer.next_version();
        writer.hold_up_to(version);
        let entry = DedupEntry { version, fresh: fresh.unwrap_or(version), name, source, body };
        writer.put_entry(&self.keys, self.dedup_bounds, entry)
    }

    /// The oldest entry of a writer above a version. O(log entries).
    pub(crate) fn next_entry(&self, replica: ReplicaId, after: Version) -> Option<DedupEntry> {
        self.writer(replica)?.entries().next_after(after).cloned()
    }

    /// Gives its successor a chunk or a single id of a writer that ended, with the decision about
    /// each copy. Anything that the successor absorbed before stays. Returns about how many bytes
    /// the change costs each peer. O(log entries).
    ///
    /// The writer's own entry stays beside it until the fold, so the id is known at every moment.
    pub(crate) fn absorb_entry(
        &mut self,
        successor: ReplicaId,
        name: Arc<[u8]>,
        source: EntrySource,
        body: EntryBody,
    ) -> usize {
        let held = self.writer(successor).and_then(|writer| {
            writer
                .entries()
                .absorbed(body.kind(), &name)
                .find(|(replica, _)| *replica == source.replica)
                .map(|(_, entry)| entry)
        });
        let body = match (held.map(|entry| &entry.body), body) {
            (None, body) => body,
            (Some(EntryBody::Client(held)), EntryBody::Client(chunk))
                if chunk.sequences().any(|sequence| !held.applied(sequence)) =>
            {
                EntryBody::Client(held.joined(&chunk))
            }
            _ => return 0,
        };
        let age =
            held.and_then(|entry| entry.source).map_or(source.age, |held| held.age.min(source.age));
        let bytes = name.len() + ABSORBED_ENTRY_BYTES_MAX;
        self.write_entry(successor, name, Some(EntrySource { age, ..source }), None, body);
        bytes
    }

    /// The adds that a writer that ended took back on behalf of writers that are still held, except
    /// those in `folding`.
    pub(crate) fn took_back_for_others(
        &self,
        ended: ReplicaId,
        folding: &[ReplicaId],
    ) -> Vec<(ReplicaId, String, Add)> {
        let entries = self.writer(ended).into_iter().flat_map(|writer| writer.entries().since(0));
        let took = entries.filter_map(|entry| match &entry.body {
            EntryBody::TakenBack(add) => Some((
                DedupEntry::taken_back_from(&entry.name)?,
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

    /// The number of changes made by a writer and the later incarnations of its node before `own`.
    /// O(writers).
    pub(crate) fn written_since(&self, ended: ReplicaId, own: ReplicaId) -> Version {
        let of_node = self.writers.iter().filter(|writer| {
            writer.id().node == ended.node && writer.id() >= ended && writer.id() != own
        });
        of_node.fold(0, |written, writer| written.saturating_add(writer.seen()))
    }

    /// The absorbed entries that `replica` will drop when these incarnations are folded.
    pub(crate) fn surplus(&self, replica: ReplicaId, folding: &[ReplicaId]) -> Vec<DedupEntry> {
        let is_folded =
            |source: ReplicaId| self.is_folded(source) || folding.binary_search(&source).is_ok();
        self.writer(replica)
            .map_or(Vec::new(), |writer| writer.entries().surplus(self.dedup_bounds, is_folded))
    }

    /// Drops the entries that go with the folds on record.
    pub(crate) fn trim_entries(&mut self) {
        let Self { writers, incarnations, dedup_bounds, .. } = self;
        for writer in writers {
            writer.trim_entries(*dedup_bounds, |replica| incarnations.is_folded(replica));
        }
    }

    /// Takes the entries of a part that are newer than `seen`. `key` maps its keys to those here.
    pub(super) fn take_entries(
        &mut self,
        at: usize,
        part: &DeltaPart,
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
        entry: &DedupEntry,
        key: impl Fn(u32) -> u32,
        joined: &mut Joined,
    ) {
        let mut entry = entry.clone();
        entry.renumber(key);
        let (kind, name) = (entry.body.kind(), entry.name.clone());
        if self.writers[at].put_entry(&self.keys, self.dedup_bounds, entry).taken {
            joined.entries.push((kind, name));
        }
    }

    pub(super) fn trim_entries_of(&mut self, at: usize) {
        let Self { writers, incarnations, dedup_bounds, .. } = self;
        writers[at].trim_entries(*dedup_bounds, |replica| incarnations.is_folded(replica));
    }
}

fn forgotten(writer: &Writer, client: &[u8]) -> Option<Forgotten> {
    match writer.entries().body(EntryKind::Forgotten, client) {
        Some(EntryBody::Forgotten(forgotten)) => Some(*forgotten),
        _ => None,
    }
}
