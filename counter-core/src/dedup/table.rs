//! What one writer remembers of the adds that came with an id.
//!
//! A dedup entry is a small cell of its own: it has a version in its holder's sequence, and a
//! greater version replaces the whole. Which entries are kept follows from the entries alone. Of
//! the holder's own entries of a kind the latest are kept, by the version at which an add was last
//! applied, so taking old adds back displaces no newer ones; of those that it absorbed the
//! youngest, by age. So whoever holds a writer as of a version holds the same entries, and entries
//! that were absorbed never displace the holder's own.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::dedup::entry::{Entry, ID_CHUNK, KINDS, Kind, Said};
use crate::lattice::versions::vector::Version;
use crate::replica_id::ReplicaId;

/// Entries of a kind that are kept of one writer: chunks of clients, and single ids. The oldest
/// goes first. With names of 16 bytes an entry takes about 200 bytes, so a writer's own come to 4
/// MB at the most, and those that it absorbed to as much.
pub const DEDUP_ENTRIES_MAX: usize = 10_000;

/// Clients that all writers together go on knowing after their entries were forgotten. Those that
/// come later, once there are so many, are remembered by count only, as single ids are. No client
/// is dropped for another: whoever invents clients takes room from new ones and from nobody else.
pub const CLIENTS_MAX: usize = 100_000;

/// The most entries that one writer can have, of all kinds.
pub(crate) const ENTRIES_MAX: usize = Bounds(DEDUP_ENTRIES_MAX).all();

/// How many entries of each kind are kept of one writer. All follow from one number,
/// [`DEDUP_ENTRIES_MAX`] but in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds(usize);

impl Default for Bounds {
    fn default() -> Self {
        Self(DEDUP_ENTRIES_MAX)
    }
}

impl Bounds {
    pub(crate) fn of(dedup_entries_max: usize) -> Self {
        Self(dedup_entries_max)
    }

    /// A writer's own chunks of clients, or its own single ids; and as many that it absorbed of
    /// folded writers.
    const fn entries(self) -> usize {
        self.0
    }

    /// Adds that a writer takes back in the name of writers that ended, before those are folded: as
    /// many as one of them can name. More wait for the fold.
    pub(crate) const fn taken_back(self) -> usize {
        self.0 * (ID_CHUNK as usize + 1)
    }

    /// See [`CLIENTS_MAX`].
    pub(crate) const fn clients(self) -> usize {
        self.0 * (CLIENTS_MAX / DEDUP_ENTRIES_MAX)
    }

    /// Clients in one writer's table. What a successor absorbs may pass [`clients`](Self::clients),
    /// since nodes that had not met may each have come near it.
    pub(crate) const fn forgotten(self) -> usize {
        2 * self.clients()
    }

    /// Absorbed entries of a kind, of writers that are not folded yet. Only a writer that absorbs
    /// more than ten full tables in one round drops any before the fold.
    const fn absorbed(self) -> usize {
        10 * self.0
    }

    const fn all(self) -> usize {
        2 * self.entries() + self.taken_back() + self.forgotten() + 2 * self.absorbed()
    }
}

/// One writer's entries; most writers have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Option<Box<Shelves>>);

#[derive(Clone, Debug, Default)]
struct Shelves {
    own: [Shelf; KINDS],
    /// Absorbed chunks and absorbed single ids.
    absorbed: [Absorbed; 2],
    /// Sum of the hashes of all entries.
    hash: u128,
}

/// Entries with their hashes, the oldest first.
type InOrder = BTreeMap<Version, (Entry, u128)>;

#[derive(Clone, Debug, Default)]
struct Shelf {
    versions: HashMap<Arc<[u8]>, Version, RandomState>,
    in_order: InOrder,
    /// The versions of those entries that are older than their version, by how fresh they are.
    older: BTreeMap<Version, Version>,
}

/// Whose entries of one name there are, and at which version.
type Sources = SmallVec<[(ReplicaId, Version); 1]>;

#[derive(Clone, Debug, Default)]
struct Absorbed {
    versions: HashMap<Arc<[u8]>, Sources, RandomState>,
    in_order: InOrder,
}

/// What became of an entry that was put into a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Put {
    /// Whether it was taken: none of its name that is as new was held.
    pub(crate) taken: bool,
    /// The oldest of its kind, which had to make room.
    pub(crate) forgotten: Option<Entry>,
}

impl Table {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.in_order().map(|in_order| in_order.len()).sum()
    }

    /// Entries of a kind that are the holder's own.
    pub(crate) fn len_of(&self, kind: Kind) -> usize {
        self.0.as_ref().map_or(0, |shelves| shelves.own[kind as usize].in_order.len())
    }

    /// The sum of the hashes of all entries.
    pub(crate) fn hash(&self) -> u128 {
        self.0.as_ref().map_or(0, |shelves| shelves.hash)
    }

    /// The holder's own entry of a name.
    #[inline]
    pub(crate) fn own(&self, kind: Kind, name: &[u8]) -> Option<&Entry> {
        let shelf = &self.0.as_ref()?.own[kind as usize];
        shelf.in_order.get(shelf.versions.get(name)?).map(|(entry, _)| entry)
    }

    /// What the holder's own entry of a name says.
    #[inline]
    pub(crate) fn said(&self, kind: Kind, name: &[u8]) -> Option<&Said> {
        self.own(kind, name).map(|entry| &entry.said)
    }

    /// What the entries of a name that the holder absorbed say, with their writers.
    #[inline]
    pub(crate) fn absorbed(
        &self,
        kind: Kind,
        name: &[u8],
    ) -> impl Iterator<Item = (ReplicaId, &Entry)> {
        let shelf = self
            .0
            .as_ref()
            .and_then(|shelves| shelves.absorbed.get(kind as usize))
            .filter(|shelf| !shelf.in_order.is_empty());
        let sources = shelf.and_then(|shelf| Some((shelf, shelf.versions.get(name)?))).into_iter();
        sources.flat_map(|(shelf, sources)| {
            sources
                .iter()
                .filter_map(|(replica, version)| Some((*replica, &shelf.in_order.get(version)?.0)))
        })
    }

    /// Takes an entry unless a newer one of its name is held; the oldest of the holder's own of its
    /// kind makes room. Absorbed ones are only dropped by [`trim`](Self::trim). O(log entries).
    pub(crate) fn put(&mut self, entry: Entry, hash: u128, bounds: Bounds) -> Put {
        let shelves = self.0.get_or_insert_default();
        let kind = entry.said.kind();
        let (older, in_order) = match entry.source {
            None => shelves.own[kind as usize].note(&entry),
            Some(source) => shelves.absorbed[kind as usize % 2].note(&entry, source.replica),
        };
        let Ok(older) = older else { return Put::default() };
        let (is_own, version, fresh) = (entry.source.is_none(), entry.version, entry.fresh);
        let stood = older.and_then(|older| in_order.remove(&older));
        shelves.hash =
            shelves.hash.wrapping_sub(stood.as_ref().map_or(0, |stood| stood.1)).wrapping_add(hash);
        let same_version = in_order.insert(version, (entry, hash));
        if is_own {
            shelves.own[kind as usize].rank(stood.map(|stood| stood.0.fresh), version, fresh);
        }
        if let Some((stood, stood_hash)) = same_version {
            // Only a writer that breaks the rules gives two entries one version.
            shelves.hash = shelves.hash.wrapping_sub(stood_hash);
            shelves.forget_name(&stood);
        }
        let max = match kind {
            Kind::Client | Kind::Single => bounds.entries(),
            Kind::TakenBack => bounds.taken_back(),
            Kind::Forgotten => bounds.forgotten(),
        };
        let own = &mut shelves.own[kind as usize];
        let forgotten = if is_own && own.in_order.len() > max { own.pop_oldest() } else { None };
        let forgotten = forgotten.map(|(oldest, hash)| {
            shelves.hash = shelves.hash.wrapping_sub(hash);
            shelves.forget_name(&oldest);
            oldest
        });
        Put { taken: true, forgotten }
    }

    /// Drops what was taken back of writers that are folded, and of the entries absorbed of them
    /// all but the youngest [`DEDUP_ENTRIES_MAX`] of a kind. O(1) where there is nothing to drop,
    /// else O(entries).
    pub(crate) fn trim(&mut self, bounds: Bounds, is_folded: impl Fn(ReplicaId) -> bool) {
        let Some(shelves) = &mut self.0 else { return };
        let mut gone: Vec<Entry> = shelves.surplus(bounds, &is_folded).cloned().collect();
        let settled =
            |entry: &&(Entry, u128)| Entry::taken_back_from(&entry.0.name).is_none_or(&is_folded);
        gone.extend(
            shelves.own[Kind::TakenBack as usize]
                .in_order
                .values()
                .filter(settled)
                .map(|(entry, _)| entry.clone()),
        );
        for entry in gone {
            let kind = entry.said.kind() as usize;
            let in_order = if entry.source.is_some() {
                &mut shelves.absorbed[kind].in_order
            } else {
                &mut shelves.own[kind].in_order
            };
            if let Some((_, hash)) = in_order.remove(&entry.version) {
                shelves.hash = shelves.hash.wrapping_sub(hash);
            }
            shelves.forget_name(&entry);
        }
    }

    /// The absorbed entries that [`trim`](Self::trim) would drop.
    pub(crate) fn surplus(
        &self,
        bounds: Bounds,
        is_folded: impl Fn(ReplicaId) -> bool,
    ) -> Vec<Entry> {
        self.0.iter().flat_map(|shelves| shelves.surplus(bounds, &is_folded)).cloned().collect()
    }

    fn in_order(&self) -> impl Iterator<Item = &InOrder> + Clone {
        let shelves = self.0.iter();
        shelves.flat_map(|shelves| {
            shelves
                .own
                .iter()
                .map(|shelf| &shelf.in_order)
                .chain(shelves.absorbed.iter().map(|shelf| &shelf.in_order))
        })
    }

    /// The oldest entry above a version. O(log entries).
    pub(crate) fn next_after(&self, after: Version) -> Option<&Entry> {
        let next = |in_order: &'_ InOrder| {
            in_order
                .range((Bound::Excluded(after), Bound::Unbounded))
                .next()
                .map(|(version, _)| *version)
        };
        let (in_order, version) = self
            .in_order()
            .filter_map(|in_order| Some((in_order, next(in_order)?)))
            .min_by_key(|found| found.1)?;
        in_order.get(&version).map(|(entry, _)| entry)
    }

    /// The entries above a version, oldest first. O(changed log entries).
    pub(crate) fn since(&self, after: Version) -> impl Iterator<Item = &Entry> {
        std::iter::successors(self.next_after(after), |entry| self.next_after(entry.version))
    }
}

impl Shelves {
    fn forget_name(&mut self, entry: &Entry) {
        let kind = entry.said.kind() as usize;
        match entry.source {
            None => drop(self.own[kind].versions.remove(&*entry.name)),
            Some(source) => self.absorbed[kind % 2].forget_name(&entry.name, source.replica),
        }
    }

    /// Absorbed entries of folded writers beyond the bound of a kind, and of all writers beyond the
    /// bound of those, oldest first.
    fn surplus(
        &self,
        bounds: Bounds,
        is_folded: &impl Fn(ReplicaId) -> bool,
    ) -> impl Iterator<Item = &Entry> {
        self.absorbed.iter().filter(move |shelf| shelf.in_order.len() > bounds.entries()).flat_map(
            move |shelf| {
                let age = |entry: &Entry| entry.source.map_or(0, |source| source.age);
                let mut all: Vec<&Entry> =
                    shelf.in_order.values().map(|(entry, _)| entry).collect();
                all.sort_unstable_by_key(|entry| (age(entry), std::cmp::Reverse(entry.version)));
                let (mut folded, mut every) = (0, 0);
                all.retain(|entry| {
                    let counts = entry.source.is_none_or(|source| is_folded(source.replica));
                    (folded, every) = (folded + usize::from(counts), every + 1);
                    (counts && folded > bounds.entries()) || every > bounds.absorbed()
                });
                all
            },
        )
    }
}

/// The version of the older entry that a newer one replaces, if there is one; an error where what
/// is held is as new.
type Older = Result<Option<Version>, ()>;

impl Shelf {
    /// Takes note of how fresh an entry is that was put, in place of one of its name that was this
    /// fresh.
    fn rank(&mut self, stood: Option<Version>, version: Version, fresh: Version) {
        stood.and_then(|stood| self.older.remove(&stood));
        if fresh < version {
            self.older.insert(fresh, version);
        }
    }

    /// Removes the least fresh. O(log entries).
    fn pop_oldest(&mut self) -> Option<(Entry, u128)> {
        // An entry that is older than its version is found by that, and is older than all that come
        // after its version.
        let first = self.in_order.first_key_value().map(|(version, _)| *version);
        match self
            .older
            .first_key_value()
            .filter(|(fresh, _)| first.is_none_or(|first| **fresh < first))
            .map(|(fresh, _)| *fresh)
        {
            Some(fresh) => {
                let version = self.older.remove(&fresh)?;
                self.in_order.remove(&version)
            }
            None => self.in_order.pop_first().map(|(_, oldest)| oldest),
        }
    }

    fn note(&mut self, entry: &Entry) -> (Older, &mut InOrder) {
        let older = match self.versions.get_mut(&*entry.name) {
            Some(held) if *held >= entry.version => Err(()),
            Some(held) => Ok(Some(std::mem::replace(held, entry.version))),
            None => {
                self.versions.insert(entry.name.clone(), entry.version);
                Ok(None)
            }
        };
        (older, &mut self.in_order)
    }
}

impl Absorbed {
    fn note(&mut self, entry: &Entry, source: ReplicaId) -> (Older, &mut InOrder) {
        let sources = self.versions.entry(entry.name.clone()).or_default();
        let older = match sources.iter_mut().find(|(replica, _)| *replica == source) {
            Some((_, held)) if *held >= entry.version => Err(()),
            Some((_, held)) => Ok(Some(std::mem::replace(held, entry.version))),
            None => {
                sources.push((source, entry.version));
                Ok(None)
            }
        };
        (older, &mut self.in_order)
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
    use crate::dedup::entry::{Add, Single, Source};

    fn single(version: Version, name: &str) -> Entry {
        let said = Said::Single(Single { add: Add { key: 0, amount: 1 }, taken_back: false });
        Entry { version, fresh: version, name: name.as_bytes().into(), source: None, said }
    }

    fn absorbed(version: Version, name: &str, node: u64, age: u64) -> Entry {
        Entry {
            source: Some(Source { replica: ReplicaId::new(node, 1), age }),
            ..single(version, name)
        }
    }

    fn names(table: &Table) -> Vec<String> {
        table.since(0).map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect()
    }

    #[test]
    fn the_newest_are_kept_in_whatever_order_they_came() {
        let (mut forth, mut back) = (Table::default(), Table::default());
        let count = DEDUP_ENTRIES_MAX as u64 + 5;
        let put = |table: &mut Table, version: u64| {
            assert!(
                table
                    .put(single(version, &version.to_string()), version.into(), Bounds::default())
                    .taken
            )
        };
        (1..=count).for_each(|version| put(&mut forth, version));
        (1..=count).rev().for_each(|version| put(&mut back, version));
        assert_eq!((forth.len(), back.len()), (DEDUP_ENTRIES_MAX, DEDUP_ENTRIES_MAX));
        assert_eq!(names(&forth), names(&back));
        assert_eq!((forth.hash(), forth.said(Kind::Single, b"5").is_some()), (back.hash(), false));
    }

    #[test]
    fn a_newer_entry_replaces_the_older_of_its_name() {
        let mut table = Table::default();
        let mut put =
            |version, name, hash| table.put(single(version, name), hash, Bounds::default()).taken;
        assert!(put(1, "a", 1) && put(2, "b", 2) && put(3, "a", 4));
        assert!(!put(1, "a", 1), "what is not newer is skipped");
        assert_eq!((names(&table), table.hash()), (vec!["b".to_owned(), "a".to_owned()], 6));
        assert_eq!(table.since(2).count(), 1);
    }

    #[test]
    fn taking_old_adds_back_displaces_no_newer_ones() {
        let bounds = Bounds::of(4);
        let taken = |version, name: &str, fresh| Entry { fresh, ..single(version, name) };
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
            let mut table = Table::default();
            let mut order: Vec<&Entry> = entries.iter().collect();
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
    fn absorbed_entries_displace_only_older_absorbed_ones_and_only_after_the_fold() {
        let mut table = Table::default();
        for at in 0..DEDUP_ENTRIES_MAX as u64 {
            table.put(single(at + 1, &at.to_string()), 1, Bounds::default());
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
                        Bounds::default()
                    )
                    .forgotten,
                None
            );
        }
        table.trim(Bounds::default(), |_| false);
        assert_eq!(
            (table.len(), table.hash()),
            (3 * DEDUP_ENTRIES_MAX, 3 * DEDUP_ENTRIES_MAX as u128)
        );
        table.trim(Bounds::default(), |replica| replica.node == 1);
        assert_eq!(table.len(), 3 * DEDUP_ENTRIES_MAX);
        table.trim(Bounds::default(), |_| true);
        assert_eq!(
            (table.len(), table.len_of(Kind::Single), table.hash()),
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
        assert_eq!(table.absorbed(Kind::Single, name(0).as_bytes()).count(), 1);
        assert_eq!(
            table.absorbed(Kind::Single, name(2 * DEDUP_ENTRIES_MAX as u64 - 1).as_bytes()).count(),
            0
        );
    }
}
