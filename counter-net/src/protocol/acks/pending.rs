//! Who waits for what: a number of copies of what this replica wrote, or versions to arrive here. A
//! table, bounded; no clock, no messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use counter_core::{ReplicaId, Version, VersionVector};

/// On how many enrolled replicas a change is to be held, the one that made it included.
///
/// Held means in memory; on the disk as well some milliseconds later, where the holder has a data
/// directory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Copies {
    /// On this many. One loss fewer than this is survived. More waits for slower nodes; more than
    /// there are waits for a newcomer.
    Nodes(usize),
    /// On more than half of the enrolled: any two such sets share a replica.
    Majority,
    /// On every enrolled replica. One that crashed and has not come back keeps this from being
    /// reached.
    All,
}

impl Copies {
    /// How many copies that is among `enrolled` replicas; at least one.
    pub fn of(self, enrolled: usize) -> usize {
        let copies = match self {
            Self::Nodes(nodes) => nodes,
            Self::Majority => enrolled / 2 + 1,
            Self::All => enrolled,
        };
        copies.max(1)
    }
}

/// How a wait ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Waited {
    /// What was waited for is so.
    Reached,
    /// The time is over; this many of the enrolled replicas are known to hold the change.
    Few {
        /// Known holders, this replica included.
        held: usize,
        /// How many were wanted.
        wanted: usize,
        /// Enrolled replicas, this one included.
        enrolled: usize,
    },
    /// The time is over; versions that were waited for are not here.
    Behind {
        /// Writers of whom something is lacking.
        writers: usize,
        /// Versions lacking, over all of them. A version is one change of one cell.
        versions: u64,
    },
    /// Not taken up: too many wait already.
    TooMany,
}

#[derive(Debug)]
struct CopiesWait {
    id: u64,
    copies: Copies,
    /// The own version to be held; `None` until what was pending has been flushed.
    version: Option<Version>,
    deadline: Duration,
}

#[derive(Debug)]
struct VersionsWait {
    /// What was not here when it came, ascending by writer; the next one waited for is the last.
    lacking: Vec<(ReplicaId, Version)>,
    deadline: Duration,
}

/// Every wait, by what it waits for.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    copies: Vec<CopiesWait>,
    versions: BTreeMap<u64, VersionsWait>,
    /// The one version that each of `versions` waits for next.
    next: BTreeSet<(ReplicaId, Version, u64)>,
    /// The sum of the lengths of all `lacking`.
    lacking: usize,
    waits_max: usize,
    lacking_max: usize,
}

impl Waits {
    pub(crate) fn new(waits_max: usize, lacking_max: usize) -> Self {
        Self { waits_max, lacking_max, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.versions.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.copies.len() + self.versions.len()
    }

    /// Waits for copies; of `version`, or of what the next flush writes. False where there is no
    /// room.
    pub(crate) fn put_copies(
        &mut self,
        id: u64,
        copies: Copies,
        version: Option<Version>,
        deadline: Duration,
    ) -> bool {
        let room = self.len() < self.waits_max;
        if room {
            self.copies.push(CopiesWait { id, copies, version, deadline });
        }
        room
    }

    /// Waits until nothing is lacking. False where there is no room.
    pub(crate) fn put_versions(
        &mut self,
        id: u64,
        lacking: Vec<(ReplicaId, Version)>,
        deadline: Duration,
    ) -> bool {
        let room = self.len() < self.waits_max && self.lacking + lacking.len() <= self.lacking_max;
        if let Some((writer, version)) = lacking.last().copied().filter(|_| room) {
            self.next.insert((writer, version, id));
            self.lacking += lacking.len();
            self.versions.insert(id, VersionsWait { lacking, deadline });
        }
        room
    }

    /// Nobody waits for this any more.
    pub(crate) fn forget(&mut self, id: u64) {
        self.copies.retain(|wait| wait.id != id);
        self.take_versions(id);
    }

    fn take_versions(&mut self, id: u64) -> Option<VersionsWait> {
        let wait = self.versions.remove(&id)?;
        self.lacking -= wait.lacking.len();
        if let Some((writer, version)) = wait.lacking.last() {
            self.next.remove(&(*writer, *version, id));
        }
        Some(wait)
    }

    /// Everything that was pending is in `version` now.
    pub(crate) fn flushed(&mut self, version: Version) {
        self.copies.iter_mut().for_each(|wait| wait.version = wait.version.or(Some(version)));
    }

    /// The greatest own version whose copies somebody waits for.
    pub(crate) fn version_wanted(&self) -> Option<Version> {
        self.copies.iter().filter_map(|wait| wait.version).max()
    }

    /// The writer whose version is waited for first, in no particular order of waits.
    pub(crate) fn writer_wanted(&self) -> Option<ReplicaId> {
        self.next.first().map(|(writer, _, _)| *writer)
    }

    /// Takes the waits that are reached, or over at `now`. `holdings` are the own versions that the
    /// enrolled replicas are known to hold, greatest first. O(waits log replicas).
    pub(crate) fn take_copies(
        &mut self,
        holdings: &[Version],
        now: Duration,
    ) -> Vec<(u64, Waited)> {
        let enrolled = holdings.len();
        let mut answers = Vec::new();
        self.copies.retain(|wait| {
            let held =
                wait.version.map_or(0, |version| holdings.partition_point(|held| *held >= version));
            let wanted = wait.copies.of(enrolled);
            if held >= wanted {
                answers.push((wait.id, Waited::Reached));
            } else if wait.deadline <= now {
                answers.push((wait.id, Waited::Few { held, wanted, enrolled }));
            }
            held < wanted && wait.deadline > now
        });
        answers
    }

    /// Takes the waits whose versions are all here, or that are over at `now`. O(writers waited for
    /// + waits that move).
    pub(crate) fn take_versions_here(
        &mut self,
        seen: impl Fn(ReplicaId) -> Version,
        now: Duration,
    ) -> Vec<(u64, Waited)> {
        let mut answers = Vec::new();
        let mut from = None;
        while let Some((writer, version, id)) = self.next_after(from) {
            let here = seen(writer);
            if here < version {
                // Those that wait for more of the same writer wait on.
                from = Some((writer, Version::MAX, u64::MAX));
            } else if self.advance(id, &seen) {
                answers.push((id, Waited::Reached));
            }
        }
        let over: Vec<u64> = self
            .versions
            .iter()
            .filter(|(_, wait)| wait.deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        for wait in over.into_iter().filter_map(|id| Some((id, self.take_versions(id)?))) {
            let lacking = wait
                .1
                .lacking
                .iter()
                .map(|(writer, version)| version.saturating_sub(seen(*writer)))
                .filter(|versions| *versions > 0);
            let (writers, versions) = lacking.fold((0, 0_u64), |(writers, sum), versions| {
                (writers + 1, sum.saturating_add(versions))
            });
            answers.push((wait.0, Waited::Behind { writers, versions }));
        }
        answers
    }

    fn next_after(
        &self,
        from: Option<(ReplicaId, Version, u64)>,
    ) -> Option<(ReplicaId, Version, u64)> {
        match from {
            None => self.next.first().copied(),
            Some(from) => self
                .next
                .range((std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded))
                .next()
                .copied(),
        }
    }

    /// Drops what is here from the end of a wait's list; true, and the wait is gone, where nothing
    /// is left.
    fn advance(&mut self, id: u64, seen: impl Fn(ReplicaId) -> Version) -> bool {
        let Some(mut wait) = self.take_versions(id) else { return false };
        while wait.lacking.last().is_some_and(|(writer, version)| seen(*writer) >= *version) {
            wait.lacking.pop();
        }
        let done = wait.lacking.is_empty();
        if let Some((writer, version)) = wait.lacking.last().copied() {
            self.next.insert((writer, version, id));
            self.lacking += wait.lacking.len();
            self.versions.insert(id, wait);
        }
        done
    }

    /// When the first wait is over. O(waits).
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let copies = self.copies.iter().map(|wait| wait.deadline).min();
        let versions = self.versions.values().map(|wait| wait.deadline).min();
        [copies, versions].into_iter().flatten().min()
    }
}

/// What of `versions` is not here.
pub(crate) fn lacking(
    versions: &VersionVector,
    seen: impl Fn(ReplicaId) -> Version,
) -> Vec<(ReplicaId, Version)> {
    versions.iter().filter(|(writer, version)| seen(*writer) < *version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn id(node: u64) -> ReplicaId {
        ReplicaId::new(node, 1)
    }

    #[test]
    fn copies_are_counted_with_the_writer_among_them() {
        assert_eq!(
            [Copies::Nodes(0), Copies::Nodes(2), Copies::Majority, Copies::All]
                .map(|copies| copies.of(4)),
            [1, 2, 3, 4]
        );
        let mut waits = Waits::new(8, 8);
        assert!(
            waits.put_copies(1, Copies::Nodes(2), Some(5), 9 * MS)
                && waits.put_copies(2, Copies::All, None, 9 * MS)
        );
        assert_eq!(waits.take_copies(&[7, 4, 0], MS), []);
        waits.flushed(6);
        assert_eq!(waits.version_wanted(), Some(6));
        assert_eq!(waits.take_copies(&[7, 5, 0], MS), [(1, Waited::Reached)]);
        assert_eq!(
            waits.take_copies(&[7, 6, 0], 9 * MS),
            [(2, Waited::Few { held: 2, wanted: 3, enrolled: 3 })]
        );
        assert!(waits.is_empty());
    }

    #[test]
    fn a_wait_for_versions_ends_with_the_last_of_them() {
        let mut waits = Waits::new(8, 8);
        assert!(waits.put_versions(1, vec![(id(1), 5), (id(2), 3)], 9 * MS));
        assert!(waits.put_versions(2, vec![(id(2), 2)], 9 * MS));
        assert_eq!(
            waits.take_versions_here(|writer| if writer == id(2) { 2 } else { 9 }, MS),
            [(2, Waited::Reached)]
        );
        assert_eq!(waits.take_versions_here(|writer| if writer == id(2) { 3 } else { 0 }, MS), []);
        assert_eq!(waits.take_versions_here(|_| 5, MS), [(1, Waited::Reached)]);
        assert!(waits.is_empty() && waits.lacking == 0 && waits.next.is_empty());
    }

    #[test]
    fn a_wait_that_is_over_says_how_far_behind_it_is() {
        let mut waits = Waits::new(8, 8);
        assert!(waits.put_versions(1, vec![(id(1), 5), (id(2), 3), (id(3), 1)], 9 * MS));
        let seen = |writer| if writer == id(2) { 3 } else { 0 };
        assert_eq!(
            waits.take_versions_here(seen, 9 * MS),
            [(1, Waited::Behind { writers: 2, versions: 6 })]
        );
        assert!(waits.is_empty() && waits.lacking == 0 && waits.next.is_empty());
    }

    #[test]
    fn waits_are_bounded_by_number_and_by_what_they_lack() {
        let mut waits = Waits::new(2, 3);
        assert!(!waits.put_versions(1, vec![(id(1), 5); 4], MS), "more than may be lacking");
        assert!(
            waits.put_versions(1, vec![(id(1), 5)], MS)
                && waits.put_copies(2, Copies::All, Some(1), MS)
        );
        assert!(!waits.put_copies(3, Copies::All, Some(1), MS));
        waits.forget(1);
        assert!(waits.put_copies(3, Copies::All, Some(1), MS));
    }
}
