//! Gathers the pages of a pull. A writer's span counts only with its last page.

use std::collections::BTreeMap;

use crate::error::StagingError;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::delta::Delta;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// Gathers the pages that *one source* sends. If each page took its own span, the snapshot would
/// break: a cell that changes during the pull is missing at its old version. If the source then
/// died, two replicas would have equal version vectors and different states.
///
/// At most `cells_max` cells are staged.
///
/// # Examples
/// ```
/// use counter_core::{CounterMap, ReplicaId, Staging};
/// let mut source = CounterMap::new();
/// for number in 0..1_000 {
///     source.add(ReplicaId::new(1, 1), &format!("page {number}"), "ord", 1)?;
/// }
/// let (mut fresh, mut staging, mut cursor) = (CounterMap::new(), Staging::new(10_000), None);
/// let mut pages = 0;
/// loop {
///     let page = source.page_since(&fresh.version_vector(), None, cursor.as_ref(), 4_096);
///     fresh.join_delta(&staging.push(page.delta)?)?; // empty until the writer's last page
///     pages += 1;
///     cursor = page.next;
///     if cursor.is_none() {
///         break;
///     }
/// }
/// assert!(pages > 5);
/// assert_eq!(fresh.total_of_all(), 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Staging {
    /// The writers with incomplete pages, each with the newest cell so far of each key.
    pages: CounterMap,
    /// By staged writer, the version that must be held for its pages to be complete: the highest
    /// that a request named.
    after: BTreeMap<ReplicaId, Version>,
    cells_max: usize,
}

impl Staging {
    /// A staging area for `cells_max` cells.
    pub fn new(cells_max: usize) -> Self {
        Self {
            pages: CounterMap::with_bounds(usize::MAX, usize::MAX),
            after: BTreeMap::new(),
            cells_max,
        }
    }

    /// Takes a page and returns the delta that it completes: closed parts, perhaps none.
    ///
    /// # Errors
    /// `TooManyCells`: everything staged is dropped. Start the pull again, or give it up.
    ///
    /// # Complexity
    /// O(cells of the page), and for the last page of a writer O(cells staged of it).
    pub fn push(&mut self, mut page: Delta) -> Result<Delta, StagingError> {
        if !page.has_open_part()
            && page.replicas().all(|replica| !self.after.contains_key(&replica))
        {
            return Ok(page);
        }
        let mut ended = Vec::new();
        for part in &mut page.parts {
            let replica = part.span.replica;
            if !part.closed || self.after.contains_key(&replica) {
                let after = self.after.entry(replica).or_default();
                *after = part.span.after.max(*after);
                ended.extend(
                    std::mem::replace(&mut part.closed, false).then_some((replica, part.span.upto)),
                );
            }
        }
        self.pages.stage(&page);
        page.parts.retain(|part| part.closed);
        if self.cell_count() > self.cells_max {
            *self = Self::new(self.cells_max);
            return Err(StagingError::TooManyCells);
        }
        let complete = ended.into_iter().filter_map(|(replica, upto)| self.close(replica, upto));
        Ok(Delta::union(std::iter::once(page).chain(complete)))
    }

    /// Forgets the pages of one writer, because its source died or another has them.
    pub fn drop_replica(&mut self, replica: ReplicaId) {
        self.after.remove(&replica);
        self.pages.discard_writer(replica);
        if self.after.is_empty() {
            // The names go with the last cells.
            *self = Self::new(self.cells_max);
        }
    }

    /// The number of cells and dedup entries staged.
    pub fn cell_count(&self) -> usize {
        self.pages.cell_count() + self.pages.entry_count()
    }

    fn close(&mut self, replica: ReplicaId, upto: Version) -> Option<Delta> {
        let after = self.after.get(&replica).copied()?;
        // If the end goes backwards, the pages come from more than one source. They are dropped,
        // and the writer is pulled again. The same holds if the source has forgotten drops that its
        // first pages may have lacked.
        let forgot = self.pages.record(replica).map_or(0, |record| record.forgot());
        let is_one_source = self.pages.seen_of(replica) == upto && (after == 0 || after >= forgot);
        let delta = is_one_source.then(|| self.pages.delta_of(replica, after)).flatten();
        self.drop_replica(replica);
        delta
    }
}
