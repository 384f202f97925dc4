//! Lists of counters: in the order of names, a page at a time, and the largest totals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;

use crate::lattice::counter_map::CounterMap;
use crate::lattice::keys::KeyId;
use crate::lattice::keys::names::BUCKET_PREFIX;

/// A page of counters with their totals, in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterPage<'a> {
    /// The names and totals.
    pub counters: Vec<(&'a str, i128)>,
    /// The name after which the next page starts. None if there is no next page.
    pub next: Option<&'a str>,
}

impl CounterMap {
    /// Sorts up to `max` of the names that are new since the last call. Returns true if all names
    /// are sorted.
    ///
    /// Listing sorts all new names first. If it must be quick or runs under a lock, call this in
    /// small steps before.
    ///
    /// # Complexity
    /// O(max log counters): about 1 µs per name in random order among 1,000,000. The order takes no
    /// memory until the first call.
    pub fn sort_names(&self, max: usize) -> bool {
        self.keys().sort_counters(max)
    }

    /// The counters whose names start with `prefix` and sort after `after`, in the order of the
    /// bytes of their names. An empty `prefix` means all names, an empty `after` starts at the
    /// first.
    ///
    /// Looks at up to `max` names, and leaves out counters that were interned and never written. So
    /// a page may be short, or even empty, with more to come.
    ///
    /// # Complexity
    /// O(log counters + max), after [`sort_names`](Self::sort_names) of all names that are new.
    ///
    /// # Examples
    /// ```
    /// use counter_core::{CounterMap, ReplicaId};
    /// let mut map = CounterMap::new();
    /// for (name, amount) in [("likes:2", 5), ("clicks", 1), ("likes:1", 7)] {
    ///     map.add(ReplicaId::new(1, 1), name, "ord", amount)?;
    /// }
    /// let page = map.counters_after("likes:", "", 10);
    /// assert_eq!((page.counters, page.next), (vec![("likes:1", 7), ("likes:2", 5)], None));
    /// # Ok::<(), counter_core::WriteError>(())
    /// ```
    pub fn counters_after(&self, prefix: &str, after: &str, max: usize) -> CounterPage<'_> {
        self.list(prefix, after, max, |_| None)
    }

    /// Like [`counters_after`](Self::counters_after), but adds the pending amount of each counter.
    pub(crate) fn list(
        &self,
        prefix: &str,
        after: &str,
        max: usize,
        pending: impl Fn(u32) -> Option<i128>,
    ) -> CounterPage<'_> {
        self.sort_names(usize::MAX >> 1);
        let start = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let mut numbers = self.keys().counters_from(start, max);
        let looked_at = numbers.len();
        // Names with one prefix are neighbours.
        let ends_before = |&number: &u32| self.keys().counter_name(number).starts_with(prefix);
        numbers.truncate(numbers.partition_point(ends_before));
        let goes_on = max > 0 && looked_at == max && numbers.len() == max;
        let next = numbers.last().filter(|_| goes_on).map(|&last| self.keys().counter_name(last));
        let listed = numbers.into_iter().filter_map(|number| {
            let pending = pending(number);
            let is_bucket = self.keys().counter_name(number).starts_with(BUCKET_PREFIX);
            let is_listed = !is_bucket && (pending.is_some() || self.is_listed(number));
            let total = self.cells().total(number) + pending.unwrap_or(0);
            is_listed.then(|| (self.keys().counter_name(number), total))
        });
        CounterPage { counters: listed.collect(), next }
    }

    /// The numbers of the first `max` buckets of windows after a name, by expiry. Names that are
    /// not sorted yet are left out.
    pub(crate) fn buckets_after(&self, after: &str, max: usize) -> Vec<u32> {
        let start = match after {
            "" => Bound::Included(BUCKET_PREFIX),
            after => Bound::Excluded(after),
        };
        let mut numbers = self.keys().counters_from(start, max);
        numbers.retain(|&number| self.keys().counter_name(number).starts_with(BUCKET_PREFIX));
        numbers
    }

    /// The name of a counter by its number.
    pub(crate) fn counter_name(&self, number: u32) -> &str {
        self.keys().counter_name(number)
    }

    /// True if a list includes the counter: some writer has a cell of it, and it was not removed. A
    /// counter that was only interned has no cell. O(1) if its total is not 0, else up to O(regions
    /// * writers).
    fn is_listed(&self, counter: u32) -> bool {
        self.cells().total(counter) != 0
            || self
                .keys()
                .of_counter(counter)
                .any(|key| self.is_written(KeyId(key)) && !self.cells().is_removed(key))
    }

    fn is_written(&self, KeyId(key): KeyId) -> bool {
        self.writers().iter().any(|writer| writer.slot(key, key).is_some())
    }
}

/// The counters with the largest totals, over any number of pages. Among equal totals, the name
/// that sorts first wins.
///
/// # Examples
/// ```
/// use counter_core::{CounterMap, Largest, ReplicaId};
/// let mut map = CounterMap::new();
/// for (name, amount) in [("a", 5), ("b", 1), ("c", 7)] {
///     map.add(ReplicaId::new(1, 1), name, "ord", amount)?;
/// }
/// let (mut largest, mut after) = (Largest::new(2), Some(""));
/// while let Some(name) = after {
///     let page = map.counters_after("", name, 2);
///     largest.take(&page);
///     after = page.next;
/// }
/// assert_eq!(largest.into_counters(), [("c".to_owned(), 7), ("a".to_owned(), 5)]);
/// # Ok::<(), counter_core::WriteError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Largest {
    max: usize,
    /// The smallest of them is on top.
    heap: BinaryHeap<(Reverse<i128>, String)>,
}

impl Largest {
    /// Keeps up to `max` counters.
    pub fn new(max: usize) -> Self {
        Self { max, heap: BinaryHeap::new() }
    }

    /// Takes the counters of a page. O(counters), plus O(log max) for each that is kept.
    pub fn take(&mut self, page: &CounterPage<'_>) {
        for &(name, total) in &page.counters {
            if self.heap.len() == self.max {
                let is_larger = |(smallest, last): &(Reverse<i128>, String)| {
                    (Reverse(total), name) < (*smallest, last)
                };
                if !self.heap.peek().is_some_and(is_larger) {
                    continue;
                }
                self.heap.pop();
            }
            self.heap.push((Reverse(total), name.to_owned()));
        }
    }

    /// The counters with their totals, the largest first.
    pub fn into_counters(self) -> Vec<(String, i128)> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|(Reverse(total), name)| (name, total)).collect()
    }
}
