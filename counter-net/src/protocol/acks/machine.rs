//! The acks of this replica's changes, and the callers that wait for them.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{ReplicaId, Version, VersionVector};

use super::pending::{Copies, PendingAcks, Waited};
use crate::protocol::config::ProtocolConfig;
use crate::protocol::input::NodeId;

/// The least time between two questions to a peer whose last ack fell short.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// The least time between two attempts to fetch versions that a caller waits for.
const FETCH_INTERVAL: Duration = Duration::from_millis(100);

/// The acknowledgements of this replica's versions, and the callers that wait for some.
///
/// Invariant: an ack is never taken back, because a replica keeps for good what it holds. So the
/// newest ack of each replica is all there is to remember.
#[derive(Debug)]
pub(crate) struct Acks {
    pending: PendingAcks,
    /// The newest own version that each replica acknowledged, for replicas whose connection closed.
    remembered: BTreeMap<ReplicaId, Version>,
    remembered_max: usize,
    /// Peers that are not asked before a time, because their last ack fell short.
    ask_again_at: BTreeMap<NodeId, Duration>,
    /// Awaited versions are not fetched before this time.
    fetch_at: Duration,
}

impl Acks {
    pub(crate) fn new(config: &ProtocolConfig) -> Self {
        Self {
            pending: PendingAcks::new(config.waits_max, config.waits_lacking_max),
            remembered: BTreeMap::new(),
            remembered_max: config.heard_replicas_max,
            ask_again_at: BTreeMap::new(),
            fetch_at: Duration::ZERO,
        }
    }

    /// True if nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many callers wait.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// A caller waits for copies of `version`, or of the next flush if that is `None`. False if
    /// there is no room.
    pub(crate) fn await_copies(
        &mut self,
        id: u64,
        copies: Copies,
        version: Option<Version>,
        deadline: Duration,
    ) -> bool {
        self.pending.put_copies(id, copies, version, deadline)
    }

    /// A caller waits until `versions` are counted here. `None` if they already are, and false if
    /// there is no room.
    pub(crate) fn await_versions(
        &mut self,
        id: u64,
        versions: &VersionVector,
        counted: impl Fn(ReplicaId) -> Version,
        deadline: Duration,
    ) -> Option<bool> {
        let lacking: Vec<(ReplicaId, Version)> =
            versions.iter().filter(|(writer, version)| counted(*writer) < *version).collect();
        (!lacking.is_empty()).then(|| self.pending.put_versions(id, lacking, deadline))
    }

    /// The caller waits no more.
    pub(crate) fn cancel(&mut self, id: u64) {
        self.pending.cancel(id);
    }

    /// A flush put everything that was pending into `version`.
    pub(crate) fn flushed(&mut self, version: Version) {
        self.pending.flushed(version);
    }

    /// The newest own version whose copies a caller waits for.
    pub(crate) fn version_wanted(&self) -> Option<Version> {
        self.pending.version_wanted()
    }

    /// The version that a replica had acknowledged when its connection closed, or 0.
    pub(crate) fn remembered(&self, replica: ReplicaId) -> Version {
        self.remembered.get(&replica).copied().unwrap_or(0)
    }

    /// Keeps a replica's ack beyond its connection.
    pub(crate) fn remember(&mut self, replica: ReplicaId, version: Version) {
        let has_room = self.remembered.len() < self.remembered_max;
        if version > 0 && (has_room || self.remembered.contains_key(&replica)) {
            let newest = self.remembered.entry(replica).or_default();
            *newest = (*newest).max(version);
        }
    }

    /// The connection to a peer closed.
    pub(crate) fn peer_down(&mut self, peer: NodeId) {
        self.ask_again_at.remove(&peer);
    }

    /// True unless the peer's last ack fell short a moment ago.
    pub(crate) fn may_ask(&self, peer: NodeId, now: Duration) -> bool {
        self.ask_again_at.get(&peer).is_none_or(|at| *at <= now)
    }

    /// A peer that was asked about the version `asked` acknowledged `version`.
    pub(crate) fn answered(
        &mut self,
        peer: NodeId,
        version: Version,
        asked: Version,
        now: Duration,
    ) {
        if version < asked {
            self.ask_again_at.insert(peer, now + ASK_AGAIN);
        } else {
            self.ask_again_at.remove(&peer);
        }
    }

    /// Takes the callers whose copies are reached or whose time is over. `acked` is the version of
    /// this replica that each enrolled replica holds, greatest first. O(callers log replicas).
    pub(crate) fn take_copies(&mut self, acked: &[Version], now: Duration) -> Vec<(u64, Waited)> {
        self.pending.take_copies(acked, now)
    }

    /// Takes the callers whose versions are all counted here or whose time is over. O(awaited
    /// writers + callers that move).
    pub(crate) fn take_versions(
        &mut self,
        counted: impl Fn(ReplicaId) -> Version,
        now: Duration,
    ) -> Vec<(u64, Waited)> {
        self.pending.take_versions(counted, now)
    }

    /// The writer whose versions are to be fetched now. The next fetch waits for its interval.
    pub(crate) fn take_fetch(&mut self, now: Duration) -> Option<ReplicaId> {
        let writer = self.pending.writer_wanted().filter(|_| self.fetch_at <= now)?;
        self.fetch_at = now + FETCH_INTERVAL;
        Some(writer)
    }

    /// When to look again. O(callers + peers).
    pub(crate) fn deadline(&self, now: Duration) -> Option<Duration> {
        let ask_again = self.ask_again_at.values().copied().filter(|at| *at > now).min();
        let fetch = self.pending.writer_wanted().map(|_| self.fetch_at);
        [self.pending.deadline(), ask_again, fetch].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn acks_outlive_connections_and_never_shrink() {
        let mut acks = Acks::new(&ProtocolConfig { heard_replicas_max: 1, ..Default::default() });
        let (one, two) = (ReplicaId::new(1, 1), ReplicaId::new(2, 1));
        acks.remember(one, 5);
        acks.remember(one, 3);
        acks.remember(two, 9);
        assert_eq!((acks.remembered(one), acks.remembered(two)), (5, 0), "there is room for one");
    }

    #[test]
    fn short_ack_is_asked_again_later() {
        let mut acks = Acks::new(&ProtocolConfig::default());
        let peer = NodeId(1);
        acks.answered(peer, 4, 5, MS);
        assert!(!acks.may_ask(peer, MS) && acks.may_ask(peer, MS + ASK_AGAIN));
        assert_eq!(acks.deadline(MS), Some(MS + ASK_AGAIN));
        acks.answered(peer, 5, 5, 2 * MS);
        assert!(acks.may_ask(peer, 2 * MS));
    }

    #[test]
    fn awaited_versions_are_fetched_at_intervals() {
        let mut acks = Acks::new(&ProtocolConfig::default());
        let writer = ReplicaId::new(1, 1);
        let versions: VersionVector = [(writer, 5)].into_iter().collect();
        assert_eq!(acks.await_versions(1, &versions, |_| 5, 900 * MS), None);
        assert_eq!(acks.await_versions(1, &versions, |_| 4, 900 * MS), Some(true));
        assert_eq!(acks.take_fetch(MS), Some(writer));
        assert_eq!(acks.take_fetch(2 * MS), None);
        assert_eq!(acks.take_fetch(MS + FETCH_INTERVAL), Some(writer));
        assert_eq!(acks.take_versions(|_| 5, 200 * MS), [(1, Waited::Reached)]);
        assert!(acks.is_idle());
    }
}
