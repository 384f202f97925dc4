//! The dedup entries of one writer.
//!
//! A dedup entry works like a small cell: it has a version in its holder's sequence, and a greater
//! version replaces the whole. A table keeps those of the holder's own entries whose adds are the
//! latest, so taking old adds back displaces no newer entries. Of the absorbed entries it keeps the
//! youngest, and these never displace the holder's own. The choice depends on the entries alone. So
//! all replicas that hold a writer as of one version hold the same entries.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::dedup::chunk::{Forgotten, ID_CHUNK};
use crate::dedup::entry::{DedupEntry, EntryBody, EntryKind, KINDS};
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// The most chunks of clients, and the most single ids, that are kept of one writer. The oldest
/// goes first. With names of 16 bytes an entry takes about 200 bytes. So both kinds take at most 4
/// MB, and those absorbed from folded writers as much again. Other entries have bounds of their
/// own. Keys with settled adds: this many. Clients with forgotten numbers: twice [`CLIENTS_MAX`].
/// While a writer absorbs others: nine times this many adds taken back for them, and ten times this
/// many absorbed entries of a kind.
pub const DEDUP_ENTRIES_MAX: usize = 10_000;

/// The most clients, over all writers, whose forgotten numbers are remembered for good. Entries of
/// later clients are forgotten like single ids. No client displaces another, so an attacker who
/// invents clients takes room only from new ones.
pub const CLIENTS_MAX: usize = 100_000;

/// The most entries of all kinds that one writer can have.
pub(crate) const ENTRIES_MAX: usize = DedupBounds(DEDUP_ENTRIES_MAX).all();

/// The bounds on one writer's entries of each kind. All follow from one number, which is
/// [`DEDUP_ENTRIES_MAX`] except in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DedupBounds(usize);

impl Default for DedupBounds {
    fn default() -> Self {
        Self(DEDUP_ENTRIES_MAX)
    }
}

impl DedupBounds {
    pub(crate) fn of(dedup_entries_max: usize) -> Self {
        Self(dedup_entries_max)
    }

    /// A writer's own chunks, or its own single ids. It may hold as many again that it absorbed
    /// from folded writers.
    const fn entries(self) -> usize {
        self.0
    }

    /// Adds that a writer takes back on behalf of ended writers before it folds them: as many as
    /// the entries of one of them can hold. Further adds wait for the fold.
    pub(crate) const fn taken_back(self) -> usize {
        self.0 * (ID_CHUNK as usize + 1)
    }

    /// See [`CLIENTS_MAX`].
    pub(crate) const fn clients(self) -> usize {
        self.0 * (CLIENTS_MAX / DEDUP_ENTRIES_MAX)
    }

    /// Clients in one writer's table. With absorbed clients they may exceed
    /// [`clients`](Self::clients), because nodes that had not met may each have come near it.
    pub(crate) const fn forgotten(self) -> usize {
        2 * self.clients()
    }

    /// Absorbed entries of a kind, of writers that are folded or not. Only a writer that absorbs
    /// more than ten full tables in one round drops any before the fold.
    const fn absorbed(self) -> usize {
        10 * self.0
    }

    const fn all(self) -> usize {
        3 * self.entries() + self.taken_back() + self.forgotten() + 2 * self.absorbed()
    }
}

/// The dedup entries of one writer.
///
/// Invariant: each name leads to the one entry of that name and kind, and the hash is the sum over
/// all entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct DedupTable {
    own: [OwnEntries; KINDS],
    /// Absorbed chunks and absorbed single ids.
    absorbed: [AbsorbedEntries; 2],
    /// Sum of the hashes of all entries.
    hash: u128,
}

/// Entries with their hashes, the oldest first.
type EntriesByVersion = BTreeMap<Version, (DedupEntry, u128)>;

/// The holder's own entries of one kind.
#[derive(Clone, Debug, Default)]
struct OwnEntries {
    versions: HashMap<Arc<[u8]>, Version, RandomState>,
    by_version: EntriesByVersion,
    /// The versions, by `fresh`, of entries whose latest add is older than their version: an add
    /// was taken back since.
    less_fresh: BTreeMap<Version, Version>,
}

/// The writers of the absorbed entries of one name, with the versions of these entries.
type Sources = SmallVec<[(ReplicaId, Version); 1]>;

/// The absorbed entries of one kind.
#[derive(Clone, Debug, Default)]
struct AbsorbedEntries {
    versions: HashMap<Arc<[u8]>, Sources, RandomState>,
    by_version: EntriesByVersion,
}

/// The result of putting an entry into a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PutOutcome {
    /// True if it was taken: no held entry of its name was as new.
    pub(crate) taken: bool,
    /// The oldest entry of its kind, dropped to make room.
    pub(crate) forgotten: Option<DedupEntry>,
}

impl DedupTable {
    pub(crate) fn len(&self) -> usize {
        self.by_version().map(|by_version| by_version.len()).sum()
    }

    /// The number of the holder's own entries of a kind.
    pub(crate) fn len_of(&self, kind: EntryKind) -> usize {
        self.own[kind as usize].by_version.len()
    }

    /// The sum of the hashes of all entries.
    pub(crate) fn hash(&self) -> u128 {
        self.hash
    }

    /// The holder's own entry of a name.
    #[inline]
    pub(crate) fn own(&self, kind: EntryKind, name: &[u8]) -> Option<&DedupEntry> {
        let of_kind = &self.own[kind as usize];
        of_kind.by_version.get(of_kind.versions.get(name)?).map(|(entry, _)| entry)
    }

    /// The content of the holder's own entry of a name.
    #[inline]
    pub(crate) fn body(&self, kind: EntryKind, name: &[u8]) -> Option<&EntryBody> {
        self.own(kind, name).map(|entry| &entry.body)
    }

    /// The forgotten numbers of a client.
    pub(crate) fn forgotten(&self, client: &[u8]) -> Option<Forgotten> {
        match self.body(EntryKind::Forgotten, client) {
            Some(EntryBody::Forgotten(forgotten)) => Some(*forgotten),
            _ => None,
        }
    }

    /// Adds at a key up to this version are settled; 0 if none are known to be.
    pub(crate) fn settled_upto(&self, key: &[u8]) -> Version {
        match self.body(EntryKind::Settled, key) {
            Some(EntryBody::Settled(upto)) => *upto,
            _ => 0,
        }
    }

    /// The keys of all adds.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u32> + '_ {
        let entries = self.by_version().flat_map(|by_version| by_version.values());
        entries.flat_map(|(entry, _)| entry.keys())
    }

    /// The entries of a name that the holder absorbed, with their writers.
    #[inline]
    pub(crate) fn absorbed(
        &self,
        kind: EntryKind,
        name: &[u8],
    ) -> impl Iterator<Item = (ReplicaId, &DedupEntry)> {
        let of_kind =
            self.absorbed.get(kind as usize).filter(|of_kind| !of_kind.by_version.is_empty());
        let sources =
            of_kind.and_then(|of_kind| Some((of_kind, of_kind.versions.get(name)?))).into_iter();
        sources.flat_map(|(of_kind, sources)| {
            sources.iter().filter_map(|(replica, version)| {
                Some((*replica, &of_kind.by_version.get(version)?.0))
            })
        })
    }

    /// Takes an entry unless a newer one of its name is held. The holder's oldest own entry of that
    /// kind makes room. Absorbed entries are dropped only by [`trim`](Self::trim). O(log entries).
    pub(crate) fn put(&mut self, entry: DedupEntry, hash: u128, bounds: DedupBounds) -> PutOutcome {
        let kind = entry.body.kind();
        let (replaced, by_version) = match entry.source {
            None => self.own[kind as usize].note(&entry),
            Some(source) => self.absorbed[kind as usize % 2].note(&entry, source.replica),
        };
        let Ok(replaced) = replaced else { return PutOutcome::default() };
        let (is_own, version, fresh) = (entry.source.is_none(), entry.version, entry.fresh);
        let previous = replaced.and_then(|replaced| by_version.remove(&replaced));
        self.hash = self
            .hash
            .wrapping_sub(previous.as_ref().map_or(0, |previous| previous.1))
            .wrapping_add(hash);
        let same_version = by_version.insert(version, (entry, hash));
        if is_own {
            self.own[kind as usize].record_freshness(
                previous.map(|previous| previous.0.fresh),
                version,
                fresh,
            );
        }
        if let Some((previous, previous_hash)) = same_version {
            // Only a writer that breaks the rules gives one version to two entries.
            self.hash = self.hash.wrapping_sub(previous_hash);
            self.forget_name(&previous);
        }
        let max = match kind {
            EntryKind::Client | EntryKind::Single | EntryKind::Settled => bounds.entries(),
            EntryKind::TakenBack => bounds.taken_back(),
            EntryKind::Forgotten => bounds.forgotten(),
        };
        let own = &mut self.own[kind as usize];
        let forgotten = if is_own && own.by_version.len() > max { own.pop_oldest() } else { None };
        let forgotten = forgotten.map(|(oldest, hash)| {
            self.hash = self.hash.wrapping_sub(hash);
            self.forget_name(&oldest);
            oldest
        });
        PutOutcome { taken: true, forgotten }
    }

    /// Drops the entries that are no longer needed once writers are folded: those for adds taken
    /// back on their behalf, and all but the youngest [`DEDUP_ENTRIES_MAX`] absorbed from them of
    /// each kind. O(1) if there is nothing to drop, else O(entries).
    pub(crate) fn trim(&mut self, bounds: DedupBounds, is_folded: impl Fn(ReplicaId) -> bool) {
        let mut gone: Vec<DedupEntry> = self.surplus(bounds, &is_folded).cloned().collect();
        let settled = |entry: &&(DedupEntry, u128)| {
            DedupEntry::taken_back_from(&entry.0.name).is_none_or(&is_folded)
        };
        gone.extend(
            self.own[EntryKind::TakenBack as usize]
                .by_version
                .values()
                .filter(settled)
                .map(|(entry, _)| entry.clone()),
        );
        for entry in gone {
            let kind = entry.body.kind() as usize;
            let by_version = if entry.source.is_some() {
                &mut self.absorbed[kind].by_version
            } else {
                &mut self.own[kind].by_version
            };
            if let Some((_, hash)) = by_version.remove(&entry.version) {
                self.hash = self.hash.wrapping_sub(hash);
            }
            self.forget_name(&entry);
        }
    }

    fn by_version(&self) -> impl Iterator<Item = &EntriesByVersion> + Clone {
        let own = self.own.iter().map(|of_kind| &of_kind.by_version);
        own.chain(self.absorbed.iter().map(|of_kind| &of_kind.by_version))
    }

    /// Renumbers the keys of all entries.
    pub(crate) fn renumber(&mut self, rank: impl Fn(u32) -> u32) {
        let own = self.own.iter_mut().map(|of_kind| &mut of_kind.by_version);
        let absorbed = self.absorbed.iter_mut().map(|of_kind| &mut of_kind.by_version);
        for (entry, _) in own.chain(absorbed).flat_map(|by_version| by_version.values_mut()) {
            entry.renumber(&rank);
        }
    }

    /// The oldest entry above a version. O(log entries).
    pub(crate) fn next_after(&self, after: Version) -> Option<&DedupEntry> {
        let next = |by_version: &'_ EntriesByVersion| {
            by_version
                .range((Bound::Excluded(after), Bound::Unbounded))
                .next()
                .map(|(version, _)| *version)
        };
        let (by_version, version) = self
            .by_version()
            .filter_map(|by_version| Some((by_version, next(by_version)?)))
            .min_by_key(|found| found.1)?;
        by_version.get(&version).map(|(entry, _)| entry)
    }

    /// The entries above a version, oldest first. O(changed log entries).
    pub(crate) fn since(&self, after: Version) -> impl Iterator<Item = &DedupEntry> {
        std::iter::successors(self.next_after(after), |entry| self.next_after(entry.version))
    }

    fn forget_name(&mut self, entry: &DedupEntry) {
        let kind = entry.body.kind() as usize;
        match entry.source {
            None => drop(self.own[kind].versions.remove(&*entry.name)),
            Some(source) => self.absorbed[kind % 2].forget_name(&entry.name, source.replica),
        }
    }

    /// The absorbed entries that [`trim`](Self::trim) drops: those beyond the bound for folded
    /// writers or beyond the bound for all writers. Oldest first.
    pub(crate) fn surplus(
        &self,
        bounds: DedupBounds,
        is_folded: &impl Fn(ReplicaId) -> bool,
    ) -> impl Iterator<Item = &DedupEntry> {
        self.absorbed
            .iter()
            .filter(move |of_kind| of_kind.by_version.len() > bounds.entries())
            .flat_map(move |of_kind| {
                let age = |entry: &DedupEntry| entry.source.map_or(0, |source| source.age);
                let mut all: Vec<&DedupEntry> =
                    of_kind.by_version.values().map(|(entry, _)| entry).collect();
                all.sort_unstable_by_key(|entry| (age(entry), std::cmp::Reverse(entry.version)));
                let (mut folded, mut every) = (0, 0);
                all.retain(|entry| {
                    let counts = entry.source.is_none_or(|source| is_folded(source.replica));
                    (folded, every) = (folded + usize::from(counts), every + 1);
                    (counts && folded > bounds.entries()) || every > bounds.absorbed()
                });
                all
            })
    }
}

/// The version of the entry that a new one replaces, if any; an error if the held entry is at least
/// as new.
type Replaced = Result<Option<Version>, ()>;

impl OwnEntries {
    /// Records how fresh a new entry is, in place of the entry that it replaces.
    fn record_freshness(&mut self, previous: Option<Version>, version: Version, fresh: Version) {
        previous.and_then(|previous| self.less_fresh.remove(&previous));
        if fresh < version {
            self.less_fresh.insert(fresh, version);
        }
    }

    /// Removes the least fresh entry. O(log entries).
    fn pop_oldest(&mut self) -> Option<(DedupEntry, u128)> {
        // An entry in `less_fresh` is older than its version suggests, so compare by `fresh`.
        let first = self.by_version.first_key_value().map(|(version, _)| *version);
        match self
            .less_fresh
            .first_key_value()
            .filter(|(fresh, _)| first.is_none_or(|first| **fresh < first))
            .map(|(fresh, _)| *fresh)
        {
            Some(fresh) => {
                let version = self.less_fresh.remove(&fresh)?;
                self.by_version.remove(&version)
            }
            None => self.by_version.pop_first().map(|(_, oldest)| oldest),
        }
    }

    fn note(&mut self, entry: &DedupEntry) -> (Replaced, &mut EntriesByVersion) {
        let replaced = match self.versions.get_mut(&*entry.name) {
            Some(held) if *held >= entry.version => Err(()),
            Some(held) => Ok(Some(std::mem::replace(held, entry.version))),
            None => {
                self.versions.insert(entry.name.clone(), entry.version);
                Ok(None)
            }
        };
        (replaced, &mut self.by_version)
    }
}

impl AbsorbedEntries {
    fn note(&mut self, entry: &DedupEntry, source: ReplicaId) -> (Replaced, &mut EntriesByVersion) {
        let sources = self.versions.entry(entry.name.clone()).or_default();
        let replaced = match sources.iter_mut().find(|(replica, _)| *replica == source) {
            Some((_, held)) if *held >= entry.version => Err(()),
            Some((_, held)) => Ok(Some(std::mem::replace(held, entry.version))),
            None => {
                sources.push((source, entry.version));
                Ok(None)
            }
        };
        (replaced, &mut self.by_version)
    }

    fn forget_name(&mut self, name: &[u8], source: ReplicaId) {
        if let Some(sources) = self.versions.get_mut(name) {
            sources.retain(|(replica, _)| *replica != source);
            if sources.is_empty() {
                self.versions.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::chunk::Add;
    use crate::dedup::entry::{EntrySource, Single};

    fn single(version: Version, name: &str) -> DedupEntry {
        let body = EntryBody::Single(Single { add: Add { key: 0, amount: 1 }, taken_back: false });
        DedupEntry { version, fresh: version, name: name.as_bytes().into(), source: None, body }
    }

    fn absorbed(version: Version, name: &str, node: u64, age: u64) -> DedupEntry {
        DedupEntry {
            source: Some(EntrySource { replica: ReplicaId::new(node, 1), age }),
            ..single(version, name)
        }
    }

    fn names(table: &DedupTable) -> Vec<String> {
        table.since(0).map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect()
    }

    #[test]
    fn newest_entries_are_kept_in_any_order() {
        let (mut forth, mut back) = (DedupTable::default(), DedupTable::default());
        let count = DEDUP_ENTRIES_MAX as u64 + 5;
        let put = |table: &mut DedupTable, version: u64| {
            assert!(
                table
                    .put(
                        single(version, &version.to_string()),
                        version.into(),
                        DedupBounds::default()
                    )
                    .taken
            )
        };
        (1..=count).for_each(|version| put(&mut forth, version));
        (1..=count).rev().for_each(|version| put(&mut back, version));
        assert_eq!((forth.len(), back.len()), (DEDUP_ENTRIES_MAX, DEDUP_ENTRIES_MAX));
        assert_eq!(names(&forth), names(&back));
        assert_eq!(
            (forth.hash(), forth.body(EntryKind::Single, b"5").is_some()),
            (back.hash(), false)
        );
    }

    #[test]
    fn newer_entry_replaces_its_namesake() {
        let mut table = DedupTable::default();
        let mut put = |version, name, hash| {
            table.put(single(version, name), hash, DedupBounds::default()).taken
        };
        assert!(put(1, "a", 1) && put(2, "b", 2) && put(3, "a", 4));
        assert!(!put(1, "a", 1), "what is not newer is skipped");
        assert_eq!((names(&table), table.hash()), (vec!["b".to_owned(), "a".to_owned()], 6));
        assert_eq!(table.since(2).count(), 1);
    }

    #[test]
    fn taking_old_adds_back_displaces_no_newer_ones() {
        let bounds = DedupBounds::of(4);
        let taken = |version, name: &str, fresh| DedupEntry { fresh, ..single(version, name) };
        let entries = [
            single(1, "a"),
            single(2, "b"),
            single(3, "c"),
            single(4, "d"),
            taken(5, "a", 1),
            taken(6, "c", 3),
            single(7, "e"),
            single(8, "f"),
        ];
        for drawn in 0..500 {
            let mut table = DedupTable::default();
            let mut order: Vec<&DedupEntry> = entries.iter().collect();
            fastrand::Rng::with_seed(drawn).shuffle(&mut order);
            order
                .into_iter()
                .for_each(|entry| drop(table.put(entry.clone(), entry.version.into(), bounds)));
            assert_eq!(
                (names(&table), table.hash()),
                (["d", "c", "e", "f"].map(str::to_owned).to_vec(), 4 + 6 + 7 + 8)
            );
        }
    }

    #[test]
    fn absorbed_entries_displace_older_ones_after_the_fold() {
        let mut table = DedupTable::default();
        for at in 0..DEDUP_ENTRIES_MAX as u64 {
            table.put(single(at + 1, &at.to_string()), 1, DedupBounds::default());
        }
        let first = table.len() as u64 + 1;
        // The first writer's are the older ones; every age comes twice, once of each writer.
        for at in 0..2 * DEDUP_ENTRIES_MAX as u64 {
            let node = 1 + at % 2;
            assert_eq!(
                table
                    .put(
                        absorbed(first + at, &format!("of {node}: {at}"), node, at / 2 + 5 * node),
                        1,
                        DedupBounds::default()
                    )
                    .forgotten,
                None
            );
        }
        table.trim(DedupBounds::default(), |_| false);
        assert_eq!(
            (table.len(), table.hash()),
            (3 * DEDUP_ENTRIES_MAX, 3 * DEDUP_ENTRIES_MAX as u128)
        );
        table.trim(DedupBounds::default(), |replica| replica.node == 1);
        assert_eq!(table.len(), 3 * DEDUP_ENTRIES_MAX);
        table.trim(DedupBounds::default(), |_| true);
        assert_eq!(
            (table.len(), table.len_of(EntryKind::Single), table.hash()),
            (2 * DEDUP_ENTRIES_MAX, DEDUP_ENTRIES_MAX, 2 * DEDUP_ENTRIES_MAX as u128)
        );
        let ages: Vec<u64> = table
            .since(first - 1)
            .filter_map(|entry| entry.source.map(|source| source.age))
            .collect();
        assert!(
            ages.len() == DEDUP_ENTRIES_MAX
                && ages.iter().all(|age| *age < DEDUP_ENTRIES_MAX as u64 / 2 + 8)
        );
        let name = |at: u64| format!("of {}: {at}", 1 + at % 2);
        assert_eq!(table.absorbed(EntryKind::Single, name(0).as_bytes()).count(), 1);
        assert_eq!(
            table
                .absorbed(EntryKind::Single, name(2 * DEDUP_ENTRIES_MAX as u64 - 1).as_bytes())
                .count(),
            0
        );
    }
}
