//! What one writer remembers of the adds that came with an id, so that a repeated one counts once.
//!
//! A mark is a small cell of its own: it has a version in its writer's sequence, and a greater version replaces the whole mark. Which marks
//! are kept follows from the versions alone, the newest [`MARKS_MAX`] of a kind: so whoever holds a writer as of a version holds the same marks.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::mark::{KINDS, Kind, Mark, Said};
use crate::version_vector::Version;

/// Marks of a kind that are kept of one writer: clients, single ids, and adds taken back. The oldest goes first. With names of 16 bytes a mark
/// takes about 200 bytes, so a writer's marks come to 6 MB at the most.
pub const MARKS_MAX: usize = 10_000;

/// One writer's marks; most writers have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Option<Box<Shelves>>);

#[derive(Clone, Debug, Default)]
struct Shelves {
    of_kind: [Shelf; KINDS],
    /// Sum of the hashes of all marks.
    hash: u128,
}

#[derive(Clone, Debug, Default)]
struct Shelf {
    versions: HashMap<Arc<[u8]>, Version>,
    /// Marks with their hashes; the oldest goes first.
    in_order: BTreeMap<Version, (Mark, u128)>,
}

impl Marks {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |shelves| shelves.of_kind.iter().map(|shelf| shelf.in_order.len()).sum())
    }

    /// The sum of the hashes of all marks.
    pub(crate) fn hash(&self) -> u128 {
        self.0.as_ref().map_or(0, |shelves| shelves.hash)
    }

    pub(crate) fn get(&self, kind: Kind, name: &[u8]) -> Option<&Mark> {
        let shelf = &self.0.as_ref()?.of_kind[kind as usize];
        shelf.in_order.get(shelf.versions.get(name)?).map(|(mark, _)| mark)
    }

    /// Takes a mark unless a newer one of its name is held; the oldest of its kind makes room. Returns whether it was taken. O(log marks).
    pub(crate) fn put(&mut self, mark: Mark, hash: u128, marks_max: usize) -> bool {
        let shelves = self.0.get_or_insert_default();
        let shelf = &mut shelves.of_kind[mark.said.kind() as usize];
        if shelf.versions.get(&*mark.name).is_some_and(|held| *held >= mark.version) {
            return false;
        }
        if let Some(older) = shelf.versions.insert(mark.name.clone(), mark.version) {
            let stood = shelf.in_order.remove(&older).map_or(0, |(_, hash)| hash);
            shelves.hash = shelves.hash.wrapping_sub(stood);
        }
        shelves.hash = shelves.hash.wrapping_add(hash);
        if let Some((stood, stood_hash)) = shelf.in_order.insert(mark.version, (mark, hash)) {
            // Only a writer that breaks the rules gives two marks one version.
            shelf.versions.remove(&stood.name);
            shelves.hash = shelves.hash.wrapping_sub(stood_hash);
        }
        if shelf.in_order.len() > marks_max
            && let Some((_, (oldest, hash))) = shelf.in_order.pop_first()
        {
            shelf.versions.remove(&oldest.name);
            shelves.hash = shelves.hash.wrapping_sub(hash);
        }
        true
    }

    /// The oldest mark above a version. O(log marks).
    pub(crate) fn next_after(&self, after: Version) -> Option<&Mark> {
        let shelves = self.0.as_ref()?;
        let next = |shelf: &'_ Shelf| shelf.in_order.range((Bound::Excluded(after), Bound::Unbounded)).next().map(|(version, _)| *version);
        let (at, version) =
            shelves.of_kind.iter().enumerate().filter_map(|(at, shelf)| Some((at, next(shelf)?))).min_by_key(|found| found.1)?;
        shelves.of_kind[at].in_order.get(&version).map(|(mark, _)| mark)
    }

    /// The marks above a version, oldest first. O(changed log marks).
    pub(crate) fn since(&self, after: Version) -> impl Iterator<Item = &Mark> {
        std::iter::successors(self.next_after(after), |mark| self.next_after(mark.version))
    }

    /// Whether the add with this name is known, taken back or not.
    pub(crate) fn said(&self, kind: Kind, name: &[u8]) -> Option<&Said> {
        self.get(kind, name).map(|mark| &mark.said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Add;

    fn single(version: Version, name: &str) -> Mark {
        Mark { version, name: name.as_bytes().into(), said: Said::Single(Add { key: 0, amount: 1 }) }
    }

    fn names(marks: &Marks) -> Vec<String> {
        marks.since(0).map(|mark| String::from_utf8_lossy(&mark.name).into_owned()).collect()
    }

    #[test]
    fn the_newest_are_kept_in_whatever_order_they_came() {
        let (mut forth, mut back) = (Marks::default(), Marks::default());
        let count = MARKS_MAX as u64 + 5;
        let put = |marks: &mut Marks, version: u64| assert!(marks.put(single(version, &version.to_string()), version.into(), MARKS_MAX));
        (1..=count).for_each(|version| put(&mut forth, version));
        (1..=count).rev().for_each(|version| put(&mut back, version));
        assert_eq!((forth.len(), back.len()), (MARKS_MAX, MARKS_MAX));
        assert_eq!(names(&forth), names(&back));
        assert_eq!((forth.hash(), forth.said(Kind::Single, b"5").is_some()), (back.hash(), false));
    }

    #[test]
    fn a_newer_mark_replaces_the_older_of_its_name() {
        let mut marks = Marks::default();
        assert!(marks.put(single(1, "a"), 1, 9) && marks.put(single(2, "b"), 2, 9) && marks.put(single(3, "a"), 4, 9));
        assert!(!marks.put(single(1, "a"), 1, 9), "what is not newer is skipped");
        assert_eq!((names(&marks), marks.hash()), (vec!["b".to_owned(), "a".to_owned()], 6));
        assert_eq!(marks.since(2).count(), 1);
    }
}
