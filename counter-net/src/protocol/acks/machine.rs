//! The acks of this replica's changes, and the callers that wait for them.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{CounterMap, Replica, ReplicaId, Version, VersionVector};
use serde_bytes::ByteBuf;

use super::pending::PendingAcks;
use crate::protocol::context::{Context, Timer};
use crate::protocol::gossip::own_since;
use crate::protocol::interface::{Copies, NodeId, Notice, ProtocolConfig, Waited};
use crate::protocol::membership::Membership;
use crate::protocol::peers::{Asked, Peers};
use crate::protocol::promises::Committed;
use crate::protocol::wire::{AckRequest, Id, Request};

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

    /// How many callers wait.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// A caller waits until enough replicas hold what was added here before. Pending amounts belong
    /// to it too; they get their version with the next flush.
    pub(crate) fn await_copies(
        &mut self,
        ctx: &mut Context,
        replica: &Replica,
        id: u64,
        copies: Copies,
        within: Duration,
    ) {
        let version = (!replica.has_pending()).then(|| replica.map().seen_of(ctx.own));
        if !self.pending.put_copies(id, copies, version, ctx.now.saturating_add(within)) {
            answer(ctx, [(id, Waited::TooMany)]);
        }
    }

    /// A caller waits until `versions` are counted here.
    pub(crate) fn await_versions(
        &mut self,
        ctx: &mut Context,
        map: &CounterMap,
        id: u64,
        versions: &VersionVector,
        within: Duration,
    ) {
        let is_lacking =
            |(writer, version): &(ReplicaId, Version)| map.counted_up_to(*writer) < *version;
        let lacking: Vec<(ReplicaId, Version)> = versions.iter().filter(is_lacking).collect();
        if lacking.is_empty() {
            answer(ctx, [(id, Waited::Reached)]);
        } else if !self.pending.put_versions(id, lacking, ctx.now.saturating_add(within)) {
            answer(ctx, [(id, Waited::TooMany)]);
        }
    }

    /// A caller has stopped waiting.
    pub(crate) fn cancel(&mut self, id: u64) {
        self.pending.cancel(id);
    }

    /// A flush put everything that was pending into `version`.
    pub(crate) fn flushed(&mut self, version: Version) {
        self.pending.flushed(version);
    }

    /// The connection to a peer is about to be forgotten. Its ack is kept.
    pub(crate) fn peer_down(
        &mut self,
        ctx: &Context,
        peers: &Peers,
        membership: &Membership,
        peer: NodeId,
    ) {
        self.ask_again_at.remove(&peer);
        if let (Some(connected), Some(replica)) = (peers.get(peer), membership.replica_of(peer)) {
            self.remember(replica, connected.holds(ctx.own));
        }
    }

    fn remember(&mut self, replica: ReplicaId, version: Version) {
        let has_room = self.remembered.len() < self.remembered_max;
        if version > 0 && (has_room || self.remembered.contains_key(&replica)) {
            let newest = self.remembered.entry(replica).or_default();
            *newest = (*newest).max(version);
        }
    }

    /// A peer that was asked about the version `asked` holds this replica up to `version`.
    pub(crate) fn take_ack(
        &mut self,
        ctx: &Context,
        peers: &mut Peers,
        peer: NodeId,
        version: Version,
        asked: Version,
    ) {
        peers.hear_writer(peer, ctx.own, version.min(asked));
        if version < asked {
            self.ask_again_at.insert(peer, ctx.now + ASK_AGAIN);
        } else {
            self.ask_again_at.remove(&peer);
        }
    }

    /// Answers the callers whose wait is over, and asks peers for the acks that are missing.
    /// Returns a writer whose versions are to be fetched, because gossip did not bring them.
    pub(crate) fn poll(
        &mut self,
        ctx: &mut Context,
        replica: &Replica,
        peers: &mut Peers,
        membership: &Membership,
        committed: &Committed,
    ) -> Option<ReplicaId> {
        if self.pending.is_empty() {
            ctx.timers.cancel(Timer::Acks);
            return None;
        }
        let map = replica.map();
        let version = self.pending.version_wanted().filter(|_| !membership.numbering().is_open());
        if let Some(version) = version {
            self.ask_for_acks(ctx, replica, version, peers, membership, committed);
            let mut acked: Vec<Version> = membership
                .enrolled(map)
                .into_iter()
                .map(|replica| self.acked_by(replica, ctx, peers, membership))
                .collect();
            acked.sort_unstable_by(|a, b| b.cmp(a));
            answer(ctx, self.pending.take_copies(&acked, ctx.now));
        }
        answer(ctx, self.pending.take_versions(|writer| map.counted_up_to(writer), ctx.now));
        let fetch = self.take_fetch(ctx.now);
        match self.deadline(ctx.now) {
            Some(at) => ctx.timers.set(Timer::Acks, at),
            None => ctx.timers.cancel(Timer::Acks),
        }
        fetch
    }

    /// Asks every connected peer that is not known to hold `version`, with one question at a time
    /// for each.
    fn ask_for_acks(
        &self,
        ctx: &mut Context,
        replica: &Replica,
        version: Version,
        peers: &mut Peers,
        membership: &Membership,
        committed: &Committed,
    ) {
        for node in peers.nodes() {
            let Some(peer) = peers.get(node) else { continue };
            let rests = !peer.has_digest() || peer.rests(ctx.now) || !self.may_ask(node, ctx.now);
            let known = peer.holds(ctx.own);
            if rests
                || known >= version
                || peers.awaits(node, |asked| matches!(asked, Asked::Ack { .. }))
            {
                continue;
            }
            let is_kept = membership
                .replica_of(node)
                .is_some_and(|peer| committed.keeps(replica.map(), peer));
            let cells = is_kept
                .then(|| own_since(replica, known).encode())
                .filter(|bytes| bytes.len() <= ctx.config.ask_bytes_max);
            let ack = AckRequest { replica: Id(ctx.own), delta: cells.map(ByteBuf::from) };
            let asked = Asked::Ack { version: replica.map().seen_of(ctx.own) };
            peers.send(ctx, node, asked, &Request::ack(ack));
        }
    }

    /// True unless the peer's last ack fell short a moment ago.
    fn may_ask(&self, peer: NodeId, now: Duration) -> bool {
        self.ask_again_at.get(&peer).is_none_or(|at| *at <= now)
    }

    /// The version of this replica that `incarnation` is known to hold.
    fn acked_by(
        &self,
        incarnation: ReplicaId,
        ctx: &Context,
        peers: &Peers,
        membership: &Membership,
    ) -> Version {
        if incarnation == ctx.own {
            return Version::MAX;
        }
        let node = NodeId(incarnation.node);
        let runs = membership.replica_of(node) == Some(incarnation);
        let heard = peers.get(node).filter(|_| runs).map_or(0, |peer| peer.holds(ctx.own));
        heard.max(self.remembered.get(&incarnation).copied().unwrap_or(0))
    }

    /// The writer whose versions are to be fetched now. The next fetch waits for its interval.
    fn take_fetch(&mut self, now: Duration) -> Option<ReplicaId> {
        let writer = self.pending.writer_wanted().filter(|_| self.fetch_at <= now)?;
        self.fetch_at = now + FETCH_INTERVAL;
        Some(writer)
    }

    /// When to look again. O(callers + peers).
    fn deadline(&self, now: Duration) -> Option<Duration> {
        let ask_again = self.ask_again_at.values().copied().filter(|at| *at > now).min();
        let fetch = self.pending.writer_wanted().map(|_| self.fetch_at);
        [self.pending.deadline(), ask_again, fetch].into_iter().flatten().min()
    }
}

/// Tells callers that their wait is over.
fn answer(ctx: &mut Context, answers: impl IntoIterator<Item = (u64, Waited)>) {
    for (id, how) in answers {
        ctx.out.notify(Notice::Waited { id, how });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const WRITER: ReplicaId = ReplicaId::new(1, 1);

    fn context(config: ProtocolConfig) -> (Context, Replica) {
        let replica = Replica::new(ReplicaId::new(9, 1), "ord").expect("a region");
        (Context::new(config, &replica, 1, Duration::ZERO), replica)
    }

    #[test]
    fn acks_outlive_connections_and_never_shrink() {
        let mut acks = Acks::new(&ProtocolConfig { heard_replicas_max: 1, ..Default::default() });
        acks.remember(WRITER, 5);
        acks.remember(WRITER, 3);
        acks.remember(ReplicaId::new(2, 1), 9);
        assert_eq!(acks.remembered, BTreeMap::from([(WRITER, 5)]), "there is room for one");
    }

    #[test]
    fn short_ack_is_asked_again_later() {
        let (mut ctx, _) = context(ProtocolConfig::default());
        let mut acks = Acks::new(&ctx.config);
        let (mut peers, peer) = (Peers::default(), NodeId(1));
        ctx.now = MS;
        acks.take_ack(&ctx, &mut peers, peer, 4, 5);
        assert!(!acks.may_ask(peer, MS) && acks.may_ask(peer, MS + ASK_AGAIN));
        assert_eq!(acks.deadline(MS), Some(MS + ASK_AGAIN));
        acks.take_ack(&ctx, &mut peers, peer, 5, 5);
        assert!(acks.may_ask(peer, MS));
    }

    #[test]
    fn awaited_versions_are_fetched_at_intervals() {
        let (mut ctx, replica) = context(ProtocolConfig::default());
        let mut acks = Acks::new(&ctx.config);
        let none = VersionVector::new();
        acks.await_versions(&mut ctx, replica.map(), 1, &none, 900 * MS);
        assert_eq!(acks.len(), 0, "nothing is missing");
        let versions: VersionVector = [(WRITER, 5)].into_iter().collect();
        acks.await_versions(&mut ctx, replica.map(), 1, &versions, 900 * MS);
        assert_eq!(acks.take_fetch(MS), Some(WRITER));
        assert_eq!(acks.take_fetch(2 * MS), None);
        assert_eq!(acks.take_fetch(MS + FETCH_INTERVAL), Some(WRITER));
        assert_eq!(acks.pending.take_versions(|_| 5, 200 * MS), [(1, Waited::Reached)]);
        assert_eq!(acks.len(), 0);
    }
}
