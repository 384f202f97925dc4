//! The bounded table of callers: each waits for copies of what this replica wrote, or for versions
//! to arrive here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use counter_core::{ReplicaId, Version};

use crate::protocol::interface::{Copies, Waited};

#[derive(Debug)]
struct CopiesWaiter {
    id: u64,
    copies: Copies,
    /// The own version that must be copied. `None` until the pending amounts are flushed.
    version: Option<Version>,
    deadline: Duration,
}

#[derive(Debug)]
struct VersionsWaiter {
    /// The versions that are missing, ascending by writer. The last one is awaited next.
    lacking: Vec<(ReplicaId, Version)>,
    deadline: Duration,
}

/// Every caller that waits.
///
/// Invariant: `next` holds the last missing version of each entry of `versions`, and nothing else.
/// A version that arrives therefore costs only the callers that wait for it next.
#[derive(Debug, Default)]
pub(super) struct PendingAcks {
    copies: Vec<CopiesWaiter>,
    versions: BTreeMap<u64, VersionsWaiter>,
    /// The one version that each entry of `versions` waits for next.
    next: BTreeSet<(ReplicaId, Version, u64)>,
    /// The sum of the lengths of all `lacking`.
    lacking: usize,
    entries_max: usize,
    lacking_max: usize,
}

impl PendingAcks {
    pub(super) fn new(entries_max: usize, lacking_max: usize) -> Self {
        Self { entries_max, lacking_max, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.versions.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.copies.len() + self.versions.len()
    }

    /// Adds a caller that waits for copies of `version`, or of the next flush if that is `None`.
    /// False if there is no room.
    pub(super) fn put_copies(
        &mut self,
        id: u64,
        copies: Copies,
        version: Option<Version>,
        deadline: Duration,
    ) -> bool {
        let room = self.len() < self.entries_max;
        if room {
            self.copies.push(CopiesWaiter { id, copies, version, deadline });
        }
        room
    }

    /// Adds a caller that waits until every version of `lacking` is here. False if there is no
    /// room.
    pub(super) fn put_versions(
        &mut self,
        id: u64,
        lacking: Vec<(ReplicaId, Version)>,
        deadline: Duration,
    ) -> bool {
        let room =
            self.len() < self.entries_max && self.lacking + lacking.len() <= self.lacking_max;
        if let Some((writer, version)) = lacking.last().copied().filter(|_| room) {
            self.next.insert((writer, version, id));
            self.lacking += lacking.len();
            self.versions.insert(id, VersionsWaiter { lacking, deadline });
        }
        room
    }

    /// A caller has stopped waiting.
    pub(super) fn cancel(&mut self, id: u64) {
        self.copies.retain(|wait| wait.id != id);
        self.remove_versions(id);
    }

    fn remove_versions(&mut self, id: u64) -> Option<VersionsWaiter> {
        let wait = self.versions.remove(&id)?;
        self.lacking -= wait.lacking.len();
        if let Some((writer, version)) = wait.lacking.last() {
            self.next.remove(&(*writer, *version, id));
        }
        Some(wait)
    }

    /// A flush put everything that was pending into `version`.
    pub(super) fn flushed(&mut self, version: Version) {
        self.copies.iter_mut().for_each(|wait| wait.version = wait.version.or(Some(version)));
    }

    /// The newest own version whose copies a caller waits for.
    pub(super) fn version_wanted(&self) -> Option<Version> {
        self.copies.iter().filter_map(|wait| wait.version).max()
    }

    /// A writer whose version some caller waits for next: the lowest one if there are several.
    pub(super) fn writer_wanted(&self) -> Option<ReplicaId> {
        self.next.first().map(|(writer, _, _)| *writer)
    }

    /// Takes the callers whose copies are reached or whose time is over. `acked` is the version of
    /// this replica that each enrolled replica holds, greatest first. O(callers log replicas).
    pub(super) fn take_copies(&mut self, acked: &[Version], now: Duration) -> Vec<(u64, Waited)> {
        let enrolled = acked.len();
        let mut answers = Vec::new();
        self.copies.retain(|wait| {
            let held =
                wait.version.map_or(0, |version| acked.partition_point(|held| *held >= version));
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

    /// Takes the callers whose versions are all here or whose time is over. O(awaited writers +
    /// callers that move).
    pub(super) fn take_versions(
        &mut self,
        seen: impl Fn(ReplicaId) -> Version,
        now: Duration,
    ) -> Vec<(u64, Waited)> {
        let mut answers = Vec::new();
        let mut from = None;
        while let Some((writer, version, id)) = self.next_after(from) {
            let here = seen(writer);
            if here < version {
                // Callers that wait for more of the same writer keep waiting.
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
        for wait in over.into_iter().filter_map(|id| Some((id, self.remove_versions(id)?))) {
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

    /// Drops the versions that are here from the end of a caller's list. True if nothing is left,
    /// and the caller is removed then.
    fn advance(&mut self, id: u64, seen: impl Fn(ReplicaId) -> Version) -> bool {
        let Some(mut wait) = self.remove_versions(id) else { return false };
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

    /// When the first caller's time is over. O(callers).
    pub(super) fn deadline(&self) -> Option<Duration> {
        let copies = self.copies.iter().map(|wait| wait.deadline).min();
        let versions = self.versions.values().map(|wait| wait.deadline).min();
        [copies, versions].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn id(node: u64) -> ReplicaId {
        ReplicaId::new(node, 1)
    }

    #[test]
    fn copies_include_the_writer() {
        assert_eq!(
            [Copies::Nodes(0), Copies::Nodes(2), Copies::Majority, Copies::All]
                .map(|copies| copies.of(4)),
            [1, 2, 3, 4]
        );
        let mut pending = PendingAcks::new(8, 8);
        assert!(
            pending.put_copies(1, Copies::Nodes(2), Some(5), 9 * MS)
                && pending.put_copies(2, Copies::All, None, 9 * MS)
        );
        assert_eq!(pending.take_copies(&[7, 4, 0], MS), []);
        pending.flushed(6);
        assert_eq!(pending.version_wanted(), Some(6));
        assert_eq!(pending.take_copies(&[7, 5, 0], MS), [(1, Waited::Reached)]);
        assert_eq!(
            pending.take_copies(&[7, 6, 0], 9 * MS),
            [(2, Waited::Few { held: 2, wanted: 3, enrolled: 3 })]
        );
        assert!(pending.is_empty());
    }

    #[test]
    fn wait_ends_with_the_last_version() {
        let mut pending = PendingAcks::new(8, 8);
        assert!(pending.put_versions(1, vec![(id(1), 5), (id(2), 3)], 9 * MS));
        assert!(pending.put_versions(2, vec![(id(2), 2)], 9 * MS));
        assert_eq!(
            pending.take_versions(|writer| if writer == id(2) { 2 } else { 9 }, MS),
            [(2, Waited::Reached)]
        );
        assert_eq!(pending.take_versions(|writer| if writer == id(2) { 3 } else { 0 }, MS), []);
        assert_eq!(pending.take_versions(|_| 5, MS), [(1, Waited::Reached)]);
        assert!(pending.is_empty() && pending.lacking == 0 && pending.next.is_empty());
    }

    #[test]
    fn expired_wait_reports_missing_versions() {
        let mut pending = PendingAcks::new(8, 8);
        assert!(pending.put_versions(1, vec![(id(1), 5), (id(2), 3), (id(3), 1)], 9 * MS));
        let seen = |writer| if writer == id(2) { 3 } else { 0 };
        assert_eq!(
            pending.take_versions(seen, 9 * MS),
            [(1, Waited::Behind { writers: 2, versions: 6 })]
        );
        assert!(pending.is_empty() && pending.lacking == 0 && pending.next.is_empty());
    }

    #[test]
    fn waits_are_bounded() {
        let mut pending = PendingAcks::new(2, 3);
        assert!(!pending.put_versions(1, vec![(id(1), 5); 4], MS), "more than may be lacking");
        assert!(
            pending.put_versions(1, vec![(id(1), 5)], MS)
                && pending.put_copies(2, Copies::All, Some(1), MS)
        );
        assert!(!pending.put_copies(3, Copies::All, Some(1), MS));
        pending.cancel(1);
        assert!(pending.put_copies(3, Copies::All, Some(1), MS));
    }
}
