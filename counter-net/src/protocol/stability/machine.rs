//! Finds out which of this node's states other replicas hold. It asks live members, and answers
//! them.

use std::time::Duration;

use counter_core::{CounterMap, Replica, ReplicaId, VersionVector};

use super::cluster_view::ClusterView;
use super::confirmations::Confirmations;
use super::snapshots::{Snapshots, Stable};
use super::targets::{Agreement, Confirmed};
use crate::protocol::context::{Context, Timer};
use crate::protocol::interface::{MessageKind, NodeId, Refusal};
use crate::protocol::membership::{LAG_CELLS_MAX, Lag, Membership, Shortfall};
use crate::protocol::peers::{Asked, ConnectedPeer, Peers};
use crate::protocol::wire::{ConfirmMessage, GossipMessage, Request, TargetMessage};

/// The most peers asked at a time for their digests.
const QUESTIONS_MAX: usize = 8;
/// The longest time between two checks while a counter is watched.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The states that this node held a moment ago, and which of them other replicas hold.
///
/// Invariant: a replica counts as a holder of a state only by its own digest or confirmation, never
/// because cells were sent to it.
#[derive(Debug)]
pub(crate) struct Stability {
    confirmations: Confirmations,
    snapshots: Snapshots,
}

impl Stability {
    pub(crate) fn new(ctx: &Context) -> Self {
        Self {
            confirmations: Confirmations::new(ctx.own, ctx.config.confirm_interval),
            snapshots: Snapshots::default(),
        }
    }

    /// This node continues as another replica.
    pub(crate) fn renew(&mut self, own: ReplicaId) {
        self.snapshots.start_again();
        self.confirmations.renew(own);
    }

    /// The connection to a peer closed.
    pub(crate) fn peer_down(&mut self, peer: NodeId) {
        self.confirmations.down(peer);
    }

    /// A member is forgotten.
    pub(crate) fn forget_member(&mut self, node: NodeId) {
        self.confirmations.forget(node);
    }

    /// Writers were folded, and digests no longer name them.
    pub(crate) fn forget_folded(&mut self, map: &CounterMap) {
        self.snapshots.forget_folded(map);
    }

    /// A writer's version moved without a cell, so a target may be covered now.
    pub(crate) fn look_again(&mut self) {
        self.confirmations.look_again();
    }

    /// Readers of the members would see a difference. Earlier confirmations may no longer be
    /// enough.
    pub(crate) fn members_changed(&mut self) {
        self.confirmations.members_changed();
    }
}

/// Agreement of the live members.
impl Stability {
    /// How far the live members have confirmed this node's state. See [`Agreement`].
    ///
    /// O(members + writers).
    pub(crate) fn agreement(
        &mut self,
        ctx: &Context,
        map: &CounterMap,
        peers: &Peers,
        membership: &Membership,
        is_synced: bool,
    ) -> Agreement {
        let view = view(ctx, map, membership, is_synced);
        let mut agreement = self.confirmations.agreement(&view, ctx.now);
        // An earlier release is not asked, so it is not late.
        let is_asked = |incarnation: &ReplicaId| {
            peers.get(NodeId(incarnation.node)).is_none_or(ConnectedPeer::confirms)
        };
        agreement.late.retain(is_asked);
        agreement
    }

    /// Proposes, confirms and passes on what is due.
    pub(crate) fn poll(
        &mut self,
        ctx: &mut Context,
        map: &CounterMap,
        peers: &mut Peers,
        membership: &Membership,
        is_synced: bool,
    ) {
        if membership.is_leaving()
            || membership.numbering().is_open()
            || !self.confirmations.is_due(change_stamp(ctx, map), ctx.now)
        {
            return;
        }
        let view = view(ctx, map, membership, is_synced);
        let due = self.confirmations.poll(&view, ctx.now, &mut ctx.rng);
        if let Some(target) = due.target {
            let message = GossipMessage { target: Some(target), ..GossipMessage::default() };
            ctx.publish_envelope(MessageKind::Confirm, message);
        }
        if due.spreads {
            let asked = confirming_peers(ctx, peers);
            for (peer, bits) in self.confirmations.spread(&view, &asked, ctx.now) {
                peers.send(ctx, peer, Asked::Confirm, &Request::confirm(bits));
            }
        }
        match self.confirmations.deadline() {
            Some(at) => ctx.timers.set(Timer::Confirm, at),
            None => ctx.timers.cancel(Timer::Confirm),
        }
    }

    /// Takes a target that its proposer gossiped.
    ///
    /// # Errors
    /// It is malformed, or another node's.
    pub(crate) fn take_target(
        &mut self,
        ctx: &Context,
        signer: NodeId,
        target: &TargetMessage,
    ) -> Result<(), Refusal> {
        self.confirmations.take_target(target, Some(signer), ctx.now)
    }

    /// Answers a peer's bits with this node's.
    ///
    /// # Errors
    /// The message is malformed.
    pub(crate) fn serve(
        &mut self,
        ctx: &Context,
        map: &CounterMap,
        peers: &mut Peers,
        peer: NodeId,
        message: &ConfirmMessage,
    ) -> Result<ConfirmMessage, Refusal> {
        let (answer, news) = self.confirmations.serve(peer, message, ctx.now)?;
        self.note_confirmed(ctx, map, peers, news);
        Ok(answer)
    }

    /// Takes a peer's answer, and sends it a target that it lacks.
    ///
    /// # Errors
    /// The answer is malformed.
    pub(crate) fn take_answer(
        &mut self,
        ctx: &mut Context,
        map: &CounterMap,
        peers: &mut Peers,
        peer: NodeId,
        answer: &ConfirmMessage,
    ) -> Result<(), Refusal> {
        let (news, unknown) = self.confirmations.take_answer(peer, answer, ctx.now)?;
        self.note_confirmed(ctx, map, peers, news);
        if let Some(whole) = unknown {
            peers.send(ctx, peer, Asked::Confirm, &Request::confirm(whole));
        }
        Ok(())
    }

    /// A connected peer that confirmed a target is known to hold it.
    fn note_confirmed(&self, ctx: &Context, map: &CounterMap, peers: &mut Peers, news: Confirmed) {
        for (node, digest) in news {
            let Some(peer) = peers.get(node).filter(|peer| peer.has_digest()) else { continue };
            // This is not the peer's own digest: `heard` may hold cells that are only on their way
            // to it.
            let mut heard = peer.heard().clone();
            heard.join(&digest);
            let lacks = self.shortfall(ctx, map, &heard);
            peers.hear(node, heard, lacks, ctx.now);
        }
    }
}

/// Digests of other replicas, and how far they lag.
impl Stability {
    /// Takes a peer's digest as it is now, which may name more than its disk holds.
    pub(crate) fn hear(
        &mut self,
        ctx: &Context,
        map: &CounterMap,
        peers: &mut Peers,
        membership: &Membership,
        peer: NodeId,
        digest: VersionVector,
    ) {
        if let Some(incarnation) = membership.replica_of(peer) {
            self.confirmations.note_digest(incarnation, &digest, ctx.now);
        }
        let lacks = self.shortfall(ctx, map, &digest);
        peers.hear(peer, digest, lacks, ctx.now);
    }

    /// An enrolled replica keeps what its own digest names.
    pub(crate) fn take_promise(&mut self, incarnation: ReplicaId, digest: &VersionVector) {
        self.snapshots.confirm(incarnation, digest);
    }

    /// An enrolled replica keeps exactly the version vector with this hash.
    pub(crate) fn take_promised_hash(&mut self, incarnation: ReplicaId, hash: u128) {
        self.snapshots.confirm_hash(incarnation, hash);
    }

    /// How far a member is from this node, which holds `seen`, by the target that the member
    /// confirmed last. `None` before anything was heard of it.
    pub(crate) fn lag(
        &self,
        ctx: &Context,
        map: &CounterMap,
        node: NodeId,
        seen: &VersionVector,
        now: Duration,
    ) -> Option<Lag> {
        let (digest, heard) = self.confirmations.covered_by(node)?;
        let lacks = self.shortfall(ctx, map, digest);
        let versions = seen.beside(digest).map(|(_, version, known)| version.saturating_sub(known));
        Some(Lag {
            cells_behind: lacks.cells,
            time_behind: lacks.time,
            versions_behind: versions.fold(0, u64::saturating_add),
            versions_ahead: 0,
            heard: now.saturating_sub(heard),
        })
    }

    /// How far the sender of a digest is behind this node.
    fn shortfall(&self, ctx: &Context, map: &CounterMap, digest: &VersionVector) -> Shortfall {
        if digest.contains(&map.version_vector()) {
            return Shortfall::default();
        }
        Shortfall {
            cells: map.cells_since(digest, LAG_CELLS_MAX),
            time: self.snapshots.behind_for(digest, ctx.now),
        }
    }
}

/// Stable totals.
impl Stability {
    /// A counter's total at the latest state that every enrolled replica is known to hold.
    pub(crate) fn total(
        &mut self,
        ctx: &mut Context,
        map: &CounterMap,
        membership: &Membership,
        counter: &str,
    ) -> Option<Stable> {
        if self.snapshots.watch(map, counter, ctx.now) {
            ctx.timers.set_by(Timer::Stable, ctx.now);
        }
        self.snapshots.settle(&membership.others_enrolled(map));
        self.snapshots.stable(counter, ctx.now)
    }

    /// Takes a snapshot if the state has moved and the last one is old enough.
    pub(crate) fn snapshot_if_due(&mut self, ctx: &mut Context, map: &CounterMap) {
        self.snapshots.take_if_due(map, change_stamp(ctx, map), ctx.now);
        if self.snapshots.is_watched()
            && let Some(due) = self.snapshots.due()
        {
            ctx.timers.set_by(Timer::Stable, due);
        }
    }

    /// Checks whether a later state is stable. Returns the peers to ask for their digests, because
    /// they lack the latest snapshot.
    pub(crate) fn check(
        &mut self,
        ctx: &mut Context,
        replica: &Replica,
        peers: &Peers,
        membership: &Membership,
    ) -> Vec<NodeId> {
        self.snapshots.unwatch(ctx.now);
        if !self.snapshots.is_watched() || membership.is_leaving() {
            return Vec::new();
        }
        self.snapshot_if_due(ctx, replica.map());
        let others = membership.others_enrolled(replica.map());
        let without = self.snapshots.without_latest(&others);
        self.snapshots.settle(&others);
        let (mut asked, mut again) = (Vec::new(), ctx.now + LOOK_INTERVAL);
        if !without.is_empty() {
            if ctx.now >= self.snapshots.next_question() {
                self.snapshots.asked(ctx.now);
                asked = some_free(ctx, peers, &without);
            }
            again = self.snapshots.next_question();
        }
        ctx.timers.set_by(Timer::Stable, again);
        asked
    }
}

/// A number that changes whenever the state does.
fn change_stamp(ctx: &Context, map: &CounterMap) -> u64 {
    map.seen_of(ctx.own).wrapping_add(ctx.out.stats().cells_joined)
}

fn view<'a>(
    ctx: &Context,
    map: &'a CounterMap,
    membership: &'a Membership,
    is_synced: bool,
) -> ClusterView<'a> {
    ClusterView::new(ctx.own, map, membership, change_stamp(ctx, map), is_synced)
}

/// The peers that answer and have no open request about confirmations, in random order.
fn confirming_peers(ctx: &mut Context, peers: &Peers) -> Vec<NodeId> {
    let is_free = |(node, peer): &(NodeId, &ConnectedPeer)| {
        let answers = peer.has_digest() && !peer.is_silent() && peer.confirms();
        let is_free = answers && !peer.rests(ctx.now);
        is_free && !peers.awaits(*node, |asked| asked == Asked::Confirm)
    };
    let mut free: Vec<NodeId> = peers.iter().filter(is_free).map(|(node, _)| node).collect();
    ctx.rng.shuffle(&mut free);
    free
}

/// Some connected peers among these replicas, in random order, that have no open request for their
/// digest.
fn some_free(ctx: &mut Context, peers: &Peers, among: &[ReplicaId]) -> Vec<NodeId> {
    let is_free = |node: &NodeId| {
        let answers = peers.get(*node).is_some_and(|p| p.has_digest() && !p.rests(ctx.now));
        answers && !peers.awaits(*node, Asked::tells_digest)
    };
    let nodes = among.iter().map(|replica| NodeId(replica.node));
    let mut free: Vec<NodeId> = nodes.filter(is_free).collect();
    ctx.rng.shuffle(&mut free);
    free.truncate(QUESTIONS_MAX);
    free
}
