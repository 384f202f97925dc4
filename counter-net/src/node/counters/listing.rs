//! Lists of counters: all of them by name, and those with the largest totals.

use std::iter::FusedIterator;
use std::sync::Arc;

use counter_core::{CounterPage, Largest};

use crate::shared::Shared;

/// Names that a list looks at under one lock. That takes less than 0.1 ms.
const LISTED_A_LOCK: usize = 128;

/// Pages after which `top` yields its processor. A busy machine then preempts it between two locks
/// and not under one, where that would delay adds.
const PAGES_A_YIELD: usize = 64;

/// A counter of a list; see [`Node::counters`](crate::Node::counters).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterTotal {
    /// The counter's name.
    pub name: String,
    /// The sum over all regions, this node's own adds included.
    pub total: i128,
}

/// The counters of a node in the order of their names; see
/// [`Node::counters`](crate::Node::counters).
///
/// Reads the node page by page. A counter that exists throughout is listed exactly once, with its
/// total at some moment of the iteration. A counter that is created meanwhile is listed if its name
/// comes later.
#[derive(Clone)]
pub struct Counters {
    shared: Arc<Shared>,
    prefix: String,
    /// The name after which the next page starts. None after the last page.
    after: Option<String>,
    page: std::vec::IntoIter<CounterTotal>,
}

impl Counters {
    pub(super) fn new(shared: Arc<Shared>, prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { shared, prefix, after: Some(String::new()), page: Vec::new().into_iter() }
    }

    /// Continues after the counter `name`, whether it exists or not, instead of the present
    /// position.
    pub fn after(mut self, name: &str) -> Self {
        self.after = Some(name.to_owned());
        self.page = Vec::new().into_iter();
        self
    }
}

impl Iterator for Counters {
    type Item = CounterTotal;

    fn next(&mut self) -> Option<CounterTotal> {
        loop {
            if let Some(counter) = self.page.next() {
                return Some(counter);
            }
            let after = self.after.take()?;
            let (page, next) = self.shared.page_of_counters(&self.prefix, &after, |page| {
                let counters = page.counters.iter();
                let counters =
                    counters.map(|&(name, total)| CounterTotal { name: name.to_owned(), total });
                (counters.collect::<Vec<_>>(), page.next.map(str::to_owned))
            });
            (self.page, self.after) = (page.into_iter(), next);
        }
    }
}

impl FusedIterator for Counters {}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Shared {
    /// The counters with the largest totals.
    pub(super) fn top(&self, prefix: &str, count: usize) -> Vec<CounterTotal> {
        let (mut largest, mut after) = (Largest::new(count), Some(String::new()));
        let mut pages = 0_usize;
        while let Some(name) = after {
            pages += 1;
            if pages.is_multiple_of(PAGES_A_YIELD) {
                std::thread::yield_now();
            }
            after = self.page_of_counters(prefix, &name, |page| {
                largest.take(&page);
                page.next.map(str::to_owned)
            });
        }
        let counters = largest.into_counters().into_iter();
        counters.map(|(name, total)| CounterTotal { name, total }).collect()
    }

    /// Reads one page of counters under one shared lock. Sorts new names before that, under locks
    /// that are as short.
    fn page_of_counters<R>(
        &self,
        prefix: &str,
        after: &str,
        read: impl FnOnce(CounterPage<'_>) -> R,
    ) -> R {
        loop {
            let state = self.read_after_writers();
            if state.sort_some_names() {
                return read(state.replica.counters_after(prefix, after, LISTED_A_LOCK));
            }
        }
    }
}
