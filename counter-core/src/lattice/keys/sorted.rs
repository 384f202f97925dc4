//! The order of names: their numbers in sorted runs. New names are sorted in only on request.

use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::names::NameSet;
use super::order::sorted_by_name;

/// The most numbers in a run: 1 KiB. With longer runs, an insertion moves more memory. With shorter
/// ones, the list of runs grows. At 1,000,000 names both are cheap at this size.
const RUN_MAX: usize = 256;

/// The numbers in each part of a run that an insertion in its middle divides. The rest is room for
/// more.
const RUN_FILL: usize = RUN_MAX * 3 / 4;

/// The numbers of a [`NameSet`] in the order of its names: 4 bytes per name that came in order, and
/// about 6 in random order.
///
/// A new name costs nothing until the order is needed: names numbered `upto` or above are not
/// sorted yet. [`catch_up`](Self::catch_up) sorts some of them through a shared reference. An empty
/// value is always valid, because it can catch up with all names.
///
/// A `BTreeMap` of names takes 54 bytes per name. One sorted list takes 4, but a new name in its
/// middle moves megabytes. A read that first sorted all 1,000,000 names would hold its lock for 40
/// ms.
#[derive(Default)]
pub(crate) struct SortedNames {
    /// Boxed, because interior mutability inside the map makes the compiler reload the map's other
    /// fields after each write: up to 3 % more instructions in a join.
    runs: Box<Mutex<Runs>>,
}

impl Clone for SortedNames {
    fn clone(&self) -> Self {
        Self { runs: Box::new(Mutex::new(self.lock().clone())) }
    }
}

impl SortedNames {
    /// Sorts up to `max` new names. Returns true if none is left. O(max log names).
    pub(crate) fn catch_up(&self, names: &NameSet, max: usize) -> bool {
        let mut runs = self.lock();
        let upto = names.len().min(runs.upto as usize + max) as u32;
        if upto > runs.upto {
            let new = sorted_by_name((runs.upto..upto).collect(), |number| names.name(number));
            runs.insert(names, &new);
            runs.upto = upto;
        }
        upto as usize == names.len()
    }

    /// The numbers of the first `max` sorted names from `start` on, in order. O(log names + max).
    pub(crate) fn range(&self, names: &NameSet, start: Bound<&str>, max: usize) -> Vec<u32> {
        self.lock().from(names, start).take(max).collect()
    }

    /// Forgets some names and renumbers the others: `to` gives the new number of a name, or None if
    /// it is gone. The new numbers start at 0, have no gaps, and keep the order of the old ones.
    /// O(names).
    pub(crate) fn renumber(&mut self, to: impl Fn(u32) -> Option<u32>) {
        let runs = self.runs.get_mut().unwrap_or_else(PoisonError::into_inner);
        runs.list.iter_mut().for_each(|run| *run = run.iter().copied().filter_map(&to).collect());
        runs.list.retain(|run| !run.is_empty());
        runs.upto = runs.list.iter().map(Vec::len).sum::<usize>() as u32;
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sorted runs of numbers. No run is empty, and all names of a run are before those of the next.
#[derive(Clone, Default)]
struct Runs {
    list: Vec<Vec<u32>>,
    /// The names with a number below this are in the runs.
    upto: u32,
}

impl Runs {
    /// The run that the name belongs to: the last one that does not start after it.
    fn run_of(&self, names: &NameSet, from: usize, name: &[u8]) -> usize {
        let starts_up_to = |run: &Vec<u32>| run.first().is_none_or(|&n| names.bytes(n) <= name);
        (from + self.list[from..].partition_point(starts_up_to)).saturating_sub(1)
    }

    /// Inserts the numbers of new names, which are sorted.
    fn insert(&mut self, names: &NameSet, mut new: &[u32]) {
        if self.list.is_empty() {
            self.list.push(Vec::new());
        }
        let mut at = 0;
        while let Some(&first) = new.first() {
            at = self.run_of(names, at, names.bytes(first));
            let end = self.list.get(at + 1).map(|next| names.bytes(next[0]));
            let count = match end {
                Some(end) => new.partition_point(|&number| names.bytes(number) < end),
                None => new.len(),
            };
            let (here, rest) = new.split_at(count);
            insert_into(&mut self.list[at], names, here);
            self.divide(at);
            new = rest;
        }
    }

    /// Divides a run that has become too long.
    fn divide(&mut self, at: usize) {
        let run = &mut self.list[at];
        if run.len() <= RUN_MAX {
            return;
        }
        let run = std::mem::take(run);
        // If names come in order, nothing is inserted before the last run, so full runs waste no
        // room.
        let is_last = at + 1 == self.list.len();
        let fill = if is_last { RUN_MAX } else { run.len().div_ceil(run.len().div_ceil(RUN_FILL)) };
        let parts = run.chunks(fill).map(|part| {
            let mut room = Vec::with_capacity(RUN_MAX);
            room.extend_from_slice(part);
            room
        });
        self.list.splice(at..=at, parts);
    }

    fn from(&self, names: &NameSet, start: Bound<&str>) -> impl Iterator<Item = u32> + '_ {
        let (at, within) = match start {
            Bound::Unbounded => (0, 0),
            Bound::Included(name) | Bound::Excluded(name) => {
                let at = self.run_of(names, 0, name.as_bytes());
                let before = |&number: &u32| match start {
                    Bound::Excluded(_) => names.bytes(number) <= name.as_bytes(),
                    _ => names.bytes(number) < name.as_bytes(),
                };
                (at, self.list.get(at).map_or(0, |run| run.partition_point(before)))
            }
        };
        self.list.iter().skip(at).flatten().skip(within).copied()
    }
}

/// Inserts sorted numbers into a sorted run. Works from the back, so that each number moves once.
fn insert_into(run: &mut Vec<u32>, names: &NameSet, new: &[u32]) {
    let mut end = run.len();
    run.resize(end + new.len(), 0);
    for (before, &number) in new.iter().enumerate().rev() {
        let name = names.bytes(number);
        let at = run[..end].partition_point(|&other| names.bytes(other) < name);
        run.copy_within(at..end, at + before + 1);
        run[at + before] = number;
        end = at;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn all(sorted: &SortedNames, names: &NameSet) -> Vec<String> {
        let numbers = sorted.range(names, Bound::Unbounded, usize::MAX);
        numbers.into_iter().map(|number| names.name(number).to_owned()).collect()
    }

    #[test]
    fn names_in_order_fill_their_runs() {
        let (mut names, sorted) = (NameSet::default(), SortedNames::default());
        for i in 0..10_000 {
            names.intern(&format!("n{i:05}"));
        }
        while !sorted.catch_up(&names, 100) {}
        let runs = sorted.lock();
        assert_eq!(runs.list.len(), 10_000_usize.div_ceil(RUN_MAX));
        assert!(runs.list.iter().all(|run| run.capacity() <= RUN_MAX));
    }

    #[test]
    fn many_names_between_two_others_divide_a_run() {
        let (mut names, sorted) = (NameSet::default(), SortedNames::default());
        for name in ["a", "z"] {
            names.intern(name);
        }
        assert!(sorted.catch_up(&names, 2));
        for i in (0..5_000).rev() {
            names.intern(&format!("m{i:05}"));
        }
        assert!(!sorted.catch_up(&names, 4_999));
        assert_eq!(all(&sorted, &names).len(), 5_001);
        assert!(sorted.catch_up(&names, 1) && all(&sorted, &names).is_sorted());
        let runs = sorted.lock();
        assert!(runs.list.iter().all(|run| (1..=RUN_MAX).contains(&run.len())));
    }

    proptest! {
        #[test]
        fn ranges_are_those_of_a_sorted_map(
            made in prop::collection::vec("[a-c\\x00é]{1,5}", 0..600),
            steps in prop::collection::vec(0..200usize, 1..20),
            (name, excluded, max) in ("[a-cé]{0,3}", any::<bool>(), 0..50usize),
            modulus in 2..5u32,
        ) {
            let (mut names, mut sorted) = (NameSet::default(), SortedNames::default());
            let mut steps = steps.into_iter().cycle();
            let mut oracle = BTreeMap::new();
            for chunk in made.chunks(37) {
                oracle.extend(chunk.iter().map(|name| (name.clone(), names.intern(name))));
                sorted.catch_up(&names, steps.next().unwrap_or_default());
            }
            prop_assert!(sorted.catch_up(&names, usize::MAX >> 1));
            let start = if excluded { Bound::Excluded(&*name) } else { Bound::Included(&*name) };
            let expected = oracle.range::<str, _>((start, Bound::Unbounded)).take(max);
            let expected: Vec<u32> = expected.map(|(_, number)| *number).collect();
            prop_assert_eq!(sorted.clone().range(&names, start, max), expected);
            // Some names go, and the others close the gaps.
            let mut kept = NameSet::default();
            let gone = |number: u32| number.is_multiple_of(modulus);
            let to: Vec<Option<u32>> = (0..names.len() as u32)
                .map(|number| (!gone(number)).then(|| kept.intern(names.name(number))))
                .collect();
            sorted.renumber(|number| to[number as usize]);
            kept.intern("aaaaaab");
            prop_assert!(sorted.catch_up(&kept, 1));
            let mut expected: Vec<&String> =
                oracle.iter().filter(|entry| !gone(*entry.1)).map(|entry| entry.0).collect();
            let new = "aaaaaab".to_owned();
            expected.push(&new);
            expected.sort();
            prop_assert!(all(&sorted, &kept).iter().eq(expected));
        }
    }
}
