//! The table of connected peers, and the requests to them that have no answer yet.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{ReplicaId, Version, VersionVector};

use super::connected_peer::ConnectedPeer;
use super::open_requests::{Asked, OpenRequest, OpenRequests};
use crate::protocol::context::{Context, Timer};
use crate::protocol::interface::{NodeId, Notice};
use crate::protocol::membership::{Lag, Shortfall};
use crate::protocol::wire::{DigestAssembly, PeerStatus, Request};

/// Every connected peer, and every open request.
///
/// Invariant: a request is open only while its peer is connected, and for no longer than the
/// request timeout.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    connected: BTreeMap<NodeId, ConnectedPeer>,
    requests: OpenRequests,
    /// The number of the last own digest that went out in parts.
    digest_serial: u64,
}

/// Connections.
impl Peers {
    /// A connection to a peer is open. True if that is news.
    pub(crate) fn up(&mut self, peer: NodeId) -> bool {
        let is_news = !self.contains(peer);
        self.connected.entry(peer).or_default();
        is_news
    }

    /// The last connection to a peer closed. Its requests are dropped. False if it was not
    /// connected.
    pub(crate) fn down(&mut self, ctx: &mut Context, peer: NodeId) -> bool {
        if self.connected.remove(&peer).is_none() {
            return false;
        }
        self.requests.close_all_of(ctx, peer);
        ctx.timers.cancel(Timer::Retry(peer));
        true
    }

    pub(crate) fn get(&self, peer: NodeId) -> Option<&ConnectedPeer> {
        self.connected.get(&peer)
    }

    fn get_mut(&mut self, peer: NodeId) -> Option<&mut ConnectedPeer> {
        self.connected.get_mut(&peer)
    }

    pub(crate) fn contains(&self, peer: NodeId) -> bool {
        self.connected.contains_key(&peer)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connected.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.connected.len()
    }

    /// The connected nodes, ascending.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.connected.keys().copied().collect()
    }

    /// The nodes of the replicas in `of` that are connected, each once.
    pub(crate) fn connected_among(&self, of: &[ReplicaId]) -> Vec<NodeId> {
        let nodes = of.iter().map(|replica| NodeId(replica.node));
        let mut nodes: Vec<NodeId> = nodes.filter(|node| self.contains(*node)).collect();
        nodes.dedup();
        nodes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &ConnectedPeer)> {
        self.connected.iter().map(|(node, peer)| (*node, peer))
    }

    /// True if the connection to a peer is open and not silent, so the peer is there.
    pub(crate) fn is_reachable(&self, peer: NodeId) -> bool {
        self.get(peer).is_some_and(|peer| !peer.is_silent())
    }

    /// A peer fell silent. False if it is not connected.
    pub(crate) fn fell_silent(&mut self, peer: NodeId) -> bool {
        self.get_mut(peer).map(|peer| peer.set_silent(true)).is_some()
    }

    /// A peer said something. True if it was silent.
    pub(crate) fn spoke(&mut self, peer: NodeId) -> bool {
        self.get_mut(peer).is_some_and(|peer| peer.set_silent(false))
    }
}

/// Requests.
impl Peers {
    /// Sends a request.
    pub(crate) fn send(&mut self, ctx: &mut Context, peer: NodeId, asked: Asked, what: &Request) {
        self.requests.send(ctx, peer, asked, what);
    }

    /// Closes the request that a peer answered, or that failed. `None` if the peer was not asked.
    pub(crate) fn close(
        &mut self,
        ctx: &mut Context,
        id: u64,
        peer: NodeId,
    ) -> Option<OpenRequest> {
        self.requests.get(id).filter(|request| request.peer == peer)?;
        self.requests.close(ctx, id)
    }

    /// Closes a request whose time is over.
    pub(crate) fn close_overdue(&mut self, ctx: &mut Context, id: u64) -> Option<OpenRequest> {
        self.requests.close(ctx, id)
    }

    /// True if a peer has an open request of this kind.
    pub(crate) fn awaits(&self, peer: NodeId, test: impl Fn(Asked) -> bool) -> bool {
        self.count_open(peer, test) > 0
    }

    /// How many open requests of this kind a peer has.
    pub(crate) fn count_open(&self, peer: NodeId, test: impl Fn(Asked) -> bool) -> usize {
        self.requests.count(peer, test)
    }

    /// When the oldest open ask for cells was sent.
    pub(crate) fn cells_asked(&self) -> Option<Duration> {
        self.requests.cells_asked()
    }

    /// A random peer that does not rest and has no open request, apart from pulls, confirmations
    /// and parts of a digest.
    pub(crate) fn random_free(&self, ctx: &mut Context) -> Option<NodeId> {
        let is_short = |asked| !matches!(asked, Asked::Pull | Asked::Confirm | Asked::Digest);
        let is_free = |(node, peer): &(NodeId, &ConnectedPeer)| {
            !peer.rests(ctx.now) && !self.awaits(*node, is_short)
        };
        let free: Vec<NodeId> = self.iter().filter(is_free).map(|(node, _)| node).collect();
        if free.is_empty() { None } else { Some(free[ctx.rng.usize(..free.len())]) }
    }

    /// The node of a writer if it may be asked, else a random free peer.
    pub(crate) fn free_node_of(&self, ctx: &mut Context, writer: ReplicaId) -> Option<NodeId> {
        let node = NodeId(writer.node);
        let is_at_hand = self.get(node).is_some_and(|peer| !peer.rests(ctx.now));
        if is_at_hand { Some(node) } else { self.random_free(ctx) }
    }

    /// A peer's answer was in order.
    pub(crate) fn request_succeeded(&mut self, peer: NodeId) {
        self.get_mut(peer).into_iter().for_each(ConnectedPeer::request_succeeded);
    }

    /// A request to a peer failed. The peer rests, and is asked again afterwards.
    pub(crate) fn request_failed(&mut self, ctx: &mut Context, peer: NodeId) {
        if let Some(until) = self.get_mut(peer).map(|peer| peer.request_failed(ctx.now)) {
            ctx.timers.set(Timer::Retry(peer), until);
        }
    }
}

/// Digests and status of peers.
impl Peers {
    /// A peer holds `heard`, and was behind this node by `lacks`.
    pub(crate) fn hear(
        &mut self,
        peer: NodeId,
        heard: VersionVector,
        lacks: Shortfall,
        now: Duration,
    ) {
        if let Some(peer) = self.get_mut(peer) {
            peer.hear(heard, lacks, now);
        }
    }

    /// The peer holds `writer` up to `version`, as its gossip or a page given to it shows.
    pub(crate) fn hear_writer(&mut self, peer: NodeId, writer: ReplicaId, version: Version) {
        self.get_mut(peer).into_iter().for_each(|peer| peer.hear_writer(writer, version));
    }

    /// Keeps this node's digest at the time of a compare with a peer, because the hashes of its
    /// buckets went along. Only that of the latest such compare is kept.
    pub(crate) fn set_compared(&mut self, peer: NodeId, digest: VersionVector) {
        if let Some(peer) = self.get_mut(peer) {
            peer.set_compared(digest);
        }
    }

    /// Takes the digest of a compare, by its hash. `None` if another one is kept.
    pub(crate) fn take_compared(&mut self, peer: NodeId, hash: u128) -> Option<VersionVector> {
        self.get_mut(peer)?.take_compared(hash)
    }

    /// A peer held exactly what this node held when this node asked.
    pub(crate) fn set_equal(&mut self, peer: NodeId, synced: bool) {
        self.get_mut(peer).into_iter().for_each(|peer| peer.set_equal(synced));
    }

    /// A peer answered an ask without its digest, and said whether it waits for others.
    pub(crate) fn set_waits(&mut self, peer: NodeId, waits: bool) {
        self.get_mut(peer).into_iter().for_each(|peer| peer.set_waits(waits));
    }

    /// A peer answered an ask with its digest.
    pub(crate) fn set_status(&mut self, peer: NodeId, status: PeerStatus) {
        self.get_mut(peer).into_iter().for_each(|peer| peer.set_status(status));
    }

    /// A peer runs an earlier release, which cannot confirm targets. It is reported once.
    pub(crate) fn set_confirms_nothing(&mut self, ctx: &mut Context, peer: NodeId) {
        if self.get_mut(peer).is_some_and(ConnectedPeer::set_confirms_nothing) {
            ctx.out.notify(Notice::EarlierRelease { peer });
        }
    }

    /// A peer cannot take parts of digests.
    pub(crate) fn set_takes_no_parts(&mut self, peer: NodeId) {
        self.get_mut(peer).into_iter().for_each(ConnectedPeer::set_takes_no_parts);
    }

    /// The number of the next own digest that goes out in parts.
    pub(crate) fn next_digest_serial(&mut self) -> u64 {
        self.digest_serial += 1;
        self.digest_serial
    }

    /// The parts of a peer's digest that have come so far.
    pub(crate) fn incoming_digest(&mut self, peer: NodeId) -> Option<&mut DigestAssembly> {
        self.get_mut(peer).map(ConnectedPeer::incoming_digest)
    }

    /// Forgets what was heard of other writers.
    pub(crate) fn retain_writers(&mut self, keep: impl Fn(ReplicaId) -> bool) {
        self.connected.values_mut().for_each(|peer| peer.retain_writers(&keep));
    }

    /// How far a peer is from `seen`. `None` before its first digest. O(writers).
    pub(crate) fn lag(&self, peer: NodeId, seen: &VersionVector, now: Duration) -> Option<Lag> {
        self.get(peer)?.lag(seen, now)
    }
}

/// How far this node has pulled from its peers.
impl Peers {
    /// Marks every peer as pulled whose digest this node holds.
    pub(crate) fn mark_pulled(&mut self, seen_of: impl Fn(ReplicaId) -> Version) {
        self.connected.values_mut().for_each(|peer| peer.mark_pulled(&seen_of));
    }

    /// What was pulled was dropped.
    pub(crate) fn forget_pulled(&mut self) {
        self.connected.values_mut().for_each(ConnectedPeer::forget_pulled);
    }

    /// A pull from a peer ended. It was to bring these versions. A writer that it did not bring is
    /// not asked of this peer again until the peer holds more.
    pub(crate) fn pull_ended(
        &mut self,
        peer: NodeId,
        promised: &VersionVector,
        seen: impl Fn(ReplicaId) -> Version,
    ) {
        self.get_mut(peer).into_iter().for_each(|peer| peer.pull_ended(promised, &seen));
    }

    /// True if a divergence from a peer may be repaired: it is connected, and the last repair is
    /// an `interval` ago.
    pub(crate) fn may_repair(&self, peer: NodeId, now: Duration, interval: Duration) -> bool {
        self.get(peer).is_some_and(|peer| peer.may_repair(now, interval))
    }

    /// A full pull from a peer begins.
    pub(crate) fn begin_repair(&mut self, peer: NodeId, now: Duration) {
        self.get_mut(peer).into_iter().for_each(|peer| peer.begin_repair(now));
    }

    /// Peers that have neither answered with everything nor failed too often to wait for.
    pub(crate) fn unresolved(&self) -> usize {
        self.connected.values().filter(|peer| !peer.is_resolved()).count()
    }

    /// True if a peer other than this one has yet to answer.
    pub(crate) fn any_other_unresolved(&self, peer: NodeId) -> bool {
        self.iter().any(|(node, other)| node != peer && !other.is_resolved())
    }

    /// True if a connected peer has ever sent its digest.
    pub(crate) fn any_digest(&self) -> bool {
        self.connected.values().any(ConnectedPeer::has_digest)
    }

    /// True if a peer has sent its digest and is not pulled to the end.
    pub(crate) fn any_pulling(&self) -> bool {
        self.connected.values().any(|peer| peer.has_digest() && !peer.is_resolved())
    }

    /// True if this node has held, at some time, everything that some peer held.
    pub(crate) fn any_pulled(&self) -> bool {
        self.connected.values().any(|peer| peer.is_pulled() && peer.answered_ask())
    }

    /// True if an unsynced peer waits for others.
    pub(crate) fn any_waits(&self) -> bool {
        self.connected.values().any(ConnectedPeer::waits)
    }

    /// True if this node has held, at some time, everything that some synced peer held.
    pub(crate) fn any_synced_pulled(&self) -> bool {
        self.connected.values().any(|peer| peer.is_pulled() && peer.is_synced())
    }
}
