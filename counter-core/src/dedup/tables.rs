//! The dedup entries of all writers: looks ids up, and builds the entries that a replica writes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::dedup::chunk::{Add, ClientChunk, Forgotten};
use crate::dedup::entry::{DedupEntry, EntryBody, EntryKind, EntrySource, Single};
use crate::dedup::id::{AddId, IdStatus};
use crate::dedup::table::{DedupBounds, DedupTable, PutOutcome};
use crate::lattice::keys::{Keys, Renumbering};
use crate::lattice::state_hash::entry_hash;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// The most bytes of an absorbed entry in a delta besides its name: two versions, a replica, an
/// age, a chunk.
const ABSORBED_ENTRY_BYTES_MAX: usize = 72;

/// One known copy of an add: its writer, its amount, and whether it was taken back or absorbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownCopy {
    pub(crate) writer: ReplicaId,
    /// The add; unknown if the amount is 0.
    pub(crate) add: Add,
    /// The amount of it that was taken back, by its writer and by others on the writer's behalf.
    pub(crate) taken_back: i64,
    /// Some if a successor absorbed it: true if the successor let it stand.
    pub(crate) absorbed: Option<bool>,
}

/// An entry that its holder is about to write, under its next version.
pub(crate) struct NewEntry {
    name: Arc<[u8]>,
    source: Option<EntrySource>,
    /// The version of its latest add; None if that is the version under which it is written.
    fresh: Option<Version>,
    body: EntryBody,
}

/// The dedup tables of the writers that have entries.
///
/// Invariant: only writers that are held have a table, and it holds their entries as of the same
/// version as their cells.
#[derive(Clone, Debug, Default)]
pub(crate) struct DedupTables {
    tables: BTreeMap<ReplicaId, Box<DedupTable>>,
    bounds: DedupBounds,
}

/// The tables themselves.
impl DedupTables {
    /// Sets how many entries are kept of each writer.
    pub(crate) fn set_bounds(&mut self, bounds: DedupBounds) {
        self.bounds = bounds;
    }

    pub(crate) fn bounds(&self) -> DedupBounds {
        self.bounds
    }

    /// True if no writer has entries.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The entries of a writer, if it has any.
    #[inline]
    pub(crate) fn of(&self, writer: ReplicaId) -> Option<&DedupTable> {
        self.tables.get(&writer).map(Box::as_ref)
    }

    /// The number of entries of all writers.
    pub(crate) fn len(&self) -> usize {
        self.tables.values().map(|table| table.len()).sum()
    }

    /// The sum of the hashes of all entries.
    pub(crate) fn hash(&self) -> u128 {
        self.tables.values().fold(0, |sum, table| sum.wrapping_add(table.hash()))
    }

    /// The keys of the adds in a writer's entries, those that it absorbed included. O(entries).
    pub(crate) fn keys_of(&self, writer: ReplicaId) -> HashSet<u32> {
        self.of(writer).into_iter().flat_map(DedupTable::keys).collect()
    }

    /// The keys that entries name.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u32> + '_ {
        self.tables.values().flat_map(|table| table.since(0)).flat_map(DedupEntry::keys)
    }

    /// Renumbers the keys. All keys of entries are kept.
    pub(crate) fn renumber(&mut self, renumbering: &Renumbering) {
        let rank = |key| renumbering.key(key).unwrap_or(key);
        self.tables.values_mut().for_each(|table| table.renumber(rank));
    }

    /// Takes an entry unless a newer one of its name is held, see [`DedupTable::put`].
    pub(crate) fn put(&mut self, writer: ReplicaId, entry: DedupEntry, keys: &Keys) -> PutOutcome {
        let hash = entry_hash(writer, &entry, keys);
        self.tables.entry(writer).or_default().put(entry, hash, self.bounds)
    }

    /// Writes a new entry of its holder under this version.
    pub(crate) fn write(
        &mut self,
        holder: ReplicaId,
        version: Version,
        NewEntry { name, source, fresh, body }: NewEntry,
        keys: &Keys,
    ) -> PutOutcome {
        let fresh = fresh.unwrap_or(version);
        let mut body = body;
        if let EntryBody::Client(chunk) = &mut body {
            chunk.set_version(version);
        }
        self.put(holder, DedupEntry { version, fresh, name, source, body }, keys)
    }

    /// Drops the entries of a writer that are no longer needed once writers are folded, see
    /// [`DedupTable::trim`].
    pub(crate) fn trim(&mut self, writer: ReplicaId, is_folded: impl Fn(ReplicaId) -> bool) {
        if let Some(table) = self.tables.get_mut(&writer) {
            table.trim(self.bounds, is_folded);
        }
    }

    /// Like [`trim`](Self::trim), for all writers.
    pub(crate) fn trim_all(&mut self, is_folded: impl Fn(ReplicaId) -> bool) {
        self.tables.values_mut().for_each(|table| table.trim(self.bounds, &is_folded));
    }

    /// Forgets the entries of writers that are not held.
    pub(crate) fn retain(&mut self, is_held: impl Fn(ReplicaId) -> bool) {
        self.tables.retain(|writer, _| is_held(*writer));
    }

    /// Makes the entries of `from` those of `to`, including mentions of `from` in them.
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId, keys: &Keys) {
        if let Some(table) = self.tables.remove(&from) {
            for entry in table.since(0).cloned() {
                self.put(to, entry.renamed(from, to), keys);
            }
        }
    }
}

/// Looking ids up.
impl DedupTables {
    /// The number of clients with forgotten numbers. A client that two writers remember counts
    /// twice. O(writers with entries).
    pub(crate) fn forgotten_count(&self) -> usize {
        self.tables.values().map(|table| table.len_of(EntryKind::Forgotten)).sum()
    }

    /// The status of an add: applied if a held writer applied it and nobody took it back. Copies by
    /// writers that are not held do not count. O(writers that hold entries).
    pub(crate) fn status(&self, id: AddId<'_>, text: &str) -> IdStatus {
        let (kind, name) = id.place();
        let mut has_forgotten = false;
        for (&writer, table) in &self.tables {
            if table.body(kind, &name).is_some_and(|body| body.stands(id))
                && !self.is_taken_back(writer, text)
            {
                return IdStatus::Applied;
            }
            if table.absorbed(kind, &name).any(|(_, entry)| entry.body.stands(id)) {
                return IdStatus::Applied;
            }
            has_forgotten |= table.len_of(EntryKind::Forgotten) > 0;
        }
        match id {
            AddId::Numbered { client, sequence } if has_forgotten => {
                self.forgotten_status(client, sequence)
            }
            _ => IdStatus::New,
        }
    }

    fn forgotten_status(&self, client: &str, sequence: u64) -> IdStatus {
        let looks = self.tables.values().filter_map(|table| {
            let forgotten = table.forgotten(client.as_bytes())?;
            Some(forgotten.status(sequence))
        });
        looks.fold(IdStatus::New, |all, one| match (all, one) {
            (IdStatus::Applied, _) | (_, IdStatus::Applied) => IdStatus::Applied,
            (IdStatus::CannotTell, _) | (_, IdStatus::CannotTell) => IdStatus::CannotTell,
            _ => IdStatus::New,
        })
    }

    /// The forgotten numbers of a client at one writer.
    pub(crate) fn forgotten(&self, replica: ReplicaId, client: &[u8]) -> Option<Forgotten> {
        self.of(replica)?.forgotten(client)
    }

    /// Adds of a writer at a key up to this version are settled; 0 if none are known to be.
    pub(crate) fn settled_upto(&self, writer: ReplicaId, key: &[u8]) -> Version {
        self.of(writer).map_or(0, |table| table.settled_upto(key))
    }

    /// The writers whose cells contain an add that `writer` applied, each with the first version
    /// that did: the writer itself, and those that have absorbed it and folded it.
    pub(crate) fn contained_in(
        &self,
        writer: ReplicaId,
        id: AddId<'_>,
        is_folded: impl Fn(ReplicaId) -> bool,
    ) -> SmallVec<[(ReplicaId, Version); 2]> {
        let (kind, name) = id.place();
        let own = self.of(writer).and_then(|table| table.own(kind, &name)).map(|entry| {
            // The cell was written one version before the entry.
            (writer, entry.body.version_of(id, entry.fresh).saturating_sub(1))
        });
        let mut seen_in: SmallVec<[(ReplicaId, Version); 2]> = own.into_iter().collect();
        if is_folded(writer) {
            for (&holder, table) in &self.tables {
                let absorbed = table.absorbed(kind, &name).find(|(source, _)| *source == writer);
                seen_in.extend(
                    absorbed.map(|(_, entry)| (holder, entry.body.version_of(id, entry.version))),
                );
            }
        }
        seen_in
    }

    /// True if a writer other than this one surely applied an add, though it forgot the entry.
    pub(crate) fn is_sure_elsewhere(&self, replica: ReplicaId, id: AddId<'_>) -> bool {
        let AddId::Numbered { client, sequence } = id else { return false };
        let is_sure = |table: &DedupTable| {
            let forgotten = table.forgotten(client.as_bytes());
            forgotten.is_some_and(|known| known.status(sequence) == IdStatus::Applied)
        };
        self.tables.iter().any(|(writer, table)| *writer != replica && is_sure(table))
    }

    /// The greatest number up to which some writer has surely applied all adds of a client.
    pub(crate) fn sure(&self, client: &[u8]) -> u64 {
        let known = self.tables.values().filter_map(|table| table.forgotten(client));
        known.map(Forgotten::sure).max().unwrap_or(0)
    }

    /// All known copies of an add, in the order of their writers. Includes the copy of `also`, of
    /// which perhaps only the taking back is known.
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
        for (&writer, table) in &self.tables {
            if let Some(copy) = table.body(kind, &name).and_then(|body| body.copy(id)) {
                let taken_back = if copy.taken_back { copy.add.amount } else { 0 };
                known_copies.push(KnownCopy { add: copy.add, taken_back, ..none(writer) });
            }
            for (source, entry) in table.absorbed(kind, &name) {
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
                // If one successor took it back, it stays taken back.
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

    /// The replicas that took back the add of `writer` for an id, on its behalf, in the order of
    /// ids. Adds of the opposite sign restore part of it.
    pub(crate) fn taken_back(
        &self,
        writer: ReplicaId,
        id: &str,
    ) -> SmallVec<[(ReplicaId, Add); 1]> {
        let mut took = SmallVec::new();
        let mut name = None;
        for (&holder, table) in &self.tables {
            if table.len_of(EntryKind::TakenBack) == 0 {
                continue;
            }
            let name = name.get_or_insert_with(|| DedupEntry::taken_back_name(writer, id));
            if let Some(EntryBody::TakenBack(add)) = table.body(EntryKind::TakenBack, name) {
                took.push((holder, *add));
            }
        }
        took
    }

    fn is_taken_back(&self, writer: ReplicaId, id: &str) -> bool {
        self.taken_back(writer, id).iter().any(|(_, add)| add.amount != 0)
    }

    /// The sequence numbers of an entry that may have two copies, or that another replica took
    /// back; 0 stands for a single id. Empty if only one writer has the entry, and no writer has
    /// forgotten or taken back anything. O(writers that hold entries).
    pub(crate) fn doubtful(&self, kind: EntryKind, name: &[u8]) -> SmallVec<[u64; 8]> {
        let (mut applied, mut holders, mut any) = (SmallVec::new(), 0, false);
        for table in self.tables.values() {
            let own = table.body(kind, name).into_iter();
            for body in own.chain(table.absorbed(kind, name).map(|(_, entry)| &entry.body)) {
                holders += 1;
                match body {
                    EntryBody::Client(chunk) => applied.extend(chunk.sequences()),
                    _ => applied.push(0),
                }
            }
            any |= table.len_of(EntryKind::TakenBack) > 0 || table.len_of(EntryKind::Forgotten) > 0;
        }
        if holders < 2 && !any {
            return SmallVec::new();
        }
        applied.sort_unstable();
        applied.dedup();
        applied
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
        let mut absorbed = self.of(replica)?.absorbed(kind, &name);
        absorbed.find(|(source, _)| *source == writer).map(|(_, entry)| entry)
    }

    /// True if `replica` may note one more add that it takes back on behalf of another writer.
    pub(crate) fn may_take_back(&self, replica: ReplicaId) -> bool {
        self.of(replica)
            .is_none_or(|table| table.len_of(EntryKind::TakenBack) < self.bounds.taken_back())
    }

    /// True if `replica` holds an own entry of an add.
    pub(crate) fn holds_own(&self, replica: ReplicaId, id: AddId<'_>) -> bool {
        let (kind, name) = id.place();
        self.of(replica).and_then(|table| table.body(kind, &name)?.copy(id)).is_some()
    }

    /// The oldest entry of a writer above a version. O(log entries).
    pub(crate) fn next_entry(&self, replica: ReplicaId, after: Version) -> Option<DedupEntry> {
        self.of(replica)?.next_after(after).cloned()
    }

    /// The entries that `replica` absorbed.
    pub(crate) fn absorbed_by(&self, replica: ReplicaId) -> Vec<DedupEntry> {
        let entries = self.of(replica).into_iter().flat_map(|table| table.since(0));
        entries.filter(|entry| entry.source.is_some()).cloned().collect()
    }

    /// The adds that an ended writer took back on behalf of writers that stay.
    pub(crate) fn took_back_for_others(
        &self,
        ended: ReplicaId,
        stays: impl Fn(ReplicaId) -> bool,
    ) -> Vec<(ReplicaId, String, Add)> {
        let entries = self.of(ended).into_iter().flat_map(|table| table.since(0));
        let took = entries.filter_map(|entry| match &entry.body {
            EntryBody::TakenBack(add) => Some((
                DedupEntry::taken_back_from(&entry.name)?,
                entry.name.get(ReplicaId::BYTES..)?,
                *add,
            )),
            _ => None,
        });
        let took = took.filter(|(writer, ..)| stays(*writer));
        took.filter_map(|(writer, id, add)| {
            Some((writer, std::str::from_utf8(id).ok()?.to_owned(), add))
        })
        .collect()
    }

    /// The absorbed entries that `replica` drops once these writers are folded.
    pub(crate) fn surplus(
        &self,
        replica: ReplicaId,
        is_folded: impl Fn(ReplicaId) -> bool,
    ) -> Vec<DedupEntry> {
        self.of(replica)
            .map_or(Vec::new(), |table| table.surplus(self.bounds, &is_folded).cloned().collect())
    }
}

/// Building the entries that a replica writes.
impl DedupTables {
    /// The entry for an add that `replica` applies. Also returns true if the entry is new.
    pub(crate) fn applied(&self, replica: ReplicaId, id: AddId<'_>, add: Add) -> (NewEntry, bool) {
        let (kind, name) = id.place();
        let held = self.of(replica).and_then(|table| table.body(kind, &name));
        let is_new = held.is_none();
        let body = match (held, id) {
            (Some(EntryBody::Client(chunk)), AddId::Numbered { sequence, .. }) => {
                let mut chunk = chunk.clone();
                chunk.apply(sequence, add);
                EntryBody::Client(chunk)
            }
            (_, AddId::Numbered { sequence, .. }) => {
                EntryBody::Client(ClientChunk::new(sequence, add))
            }
            (_, AddId::Single(_)) => EntryBody::Single(Single { add, taken_back: false }),
        };
        (NewEntry { name: name.as_slice().into(), source: None, fresh: None, body }, is_new)
    }

    /// The entry after `replica` takes back an add of its own.
    pub(crate) fn own_taken_back(&self, replica: ReplicaId, id: AddId<'_>) -> Option<NewEntry> {
        let (kind, name) = id.place();
        let DedupEntry { fresh, mut body, .. } = self.of(replica)?.own(kind, &name)?.clone();
        body.take_back(id);
        let name = name.as_slice().into();
        Some(NewEntry { name, source: None, fresh: Some(fresh), body })
    }

    /// The entry after `replica` takes back an add that it absorbed from `writer`.
    pub(crate) fn absorbed_taken_back(
        &self,
        replica: ReplicaId,
        writer: ReplicaId,
        id: AddId<'_>,
    ) -> Option<NewEntry> {
        let DedupEntry { name, source, mut body, .. } =
            self.absorbed_entry(replica, writer, id)?.clone();
        body.take_back(id);
        Some(NewEntry { name, source, fresh: None, body })
    }

    /// The entry that a successor absorbs from an ended writer: a chunk or a single id, with the
    /// decision about each copy. Keeps everything that the successor absorbed before. None if there
    /// is nothing new in it. O(log entries).
    ///
    /// The writer's own entry stays beside it until the fold, so the id is known at every moment.
    pub(crate) fn absorbed(
        &self,
        successor: ReplicaId,
        name: Arc<[u8]>,
        source: EntrySource,
        body: EntryBody,
    ) -> Option<NewEntry> {
        let held = self.of(successor).and_then(|table| {
            let mut absorbed = table.absorbed(body.kind(), &name);
            absorbed.find(|(replica, _)| *replica == source.replica).map(|(_, entry)| entry)
        });
        let body = match (held.map(|entry| &entry.body), body) {
            (None, body) => body,
            (Some(EntryBody::Client(held)), EntryBody::Client(chunk))
                if chunk.sequences().any(|sequence| !held.applied(sequence)) =>
            {
                EntryBody::Client(held.joined(&chunk))
            }
            _ => return None,
        };
        let age =
            held.and_then(|entry| entry.source).map_or(source.age, |held| held.age.min(source.age));
        Some(NewEntry { name, source: Some(EntrySource { age, ..source }), fresh: None, body })
    }
}

impl NewEntry {
    /// The amount that its holder took back, in total, of the add of `writer` for an id. An amount
    /// of 0 undoes the taking back.
    pub(crate) fn taken_back(writer: ReplicaId, id: &str, add: Add) -> Self {
        let name = DedupEntry::taken_back_name(writer, id);
        Self { name, source: None, fresh: None, body: EntryBody::TakenBack(add) }
    }

    /// The numbers of a client that its holder has forgotten.
    pub(crate) fn forgotten(client: &[u8], forgotten: Forgotten) -> Self {
        Self {
            name: client.into(),
            source: None,
            fresh: None,
            body: EntryBody::Forgotten(forgotten),
        }
    }

    /// The version up to which adds at a key are settled.
    pub(crate) fn settled(key: &[u8], upto: Version) -> Self {
        Self { name: key.into(), source: None, fresh: None, body: EntryBody::Settled(upto) }
    }

    /// An absorbed entry with another body.
    pub(crate) fn of_absorbed(entry: &DedupEntry, body: EntryBody) -> Self {
        Self { name: entry.name.clone(), source: entry.source, fresh: None, body }
    }

    /// About how many bytes an absorbed entry costs each peer.
    pub(crate) fn absorbed_bytes_max(&self) -> usize {
        self.name.len() + ABSORBED_ENTRY_BYTES_MAX
    }
}
