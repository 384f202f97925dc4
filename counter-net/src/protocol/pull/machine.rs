//! Decides which writers are pulled from which peer, and when the pulled cells take effect.

use std::time::Duration;

use counter_core::{CounterMap, Cursor, Delta, Replica, ReplicaId, Version, VersionVector};
use serde_bytes::ByteBuf;

use super::catch_up::CatchUp;
use super::exchange::{DigestExchange, FIRST_PEER_WAIT};
use super::peer_pull::{PulledCells, Pulls};
use crate::protocol::context::{Context, Timer};
use crate::protocol::interface::{Alarm, Counted, NodeId, Refusal};
use crate::protocol::peers::{Asked, OpenRequest, Peers};
use crate::protocol::wire::{self, PageMessage, Request};

/// How long after a difference the next digests are expected to differ too. 3 s. Under load each
/// round finds a difference.
const DIFFERS_FOR: Duration = Duration::from_secs(3);
/// How many failed requests in a row to its peer a pull survives.
const RESUMES_MAX: u32 = 2;

/// The pulls in flight, and the pulled cells that are not whole yet.
///
/// Invariant: each writer is pulled from one peer at a time, and from one more if all so far are
/// silent.
#[derive(Debug)]
pub(crate) struct AntiEntropy {
    pulls: Pulls,
    catch_up: CatchUp,
    /// When a peer's digest last differed from this node's.
    differed_at: Option<Duration>,
}

impl AntiEntropy {
    pub(crate) fn new(ctx: &Context, replica: &Replica) -> Self {
        let config = &ctx.config;
        Self {
            pulls: Pulls::new(
                config.pulls_max,
                config.staging_cells_max,
                config.digest_replicas_max,
            ),
            catch_up: CatchUp::new(replica.map(), ctx.own, config.staging_cells_max),
            differed_at: None,
        }
    }

    /// A peer's digest differs from this node's.
    pub(crate) fn differed(&mut self, ctx: &Context) {
        self.differed_at = Some(ctx.now);
    }

    /// True if the next digest will probably differ too, as under load.
    pub(crate) fn is_differing(&self, ctx: &Context) -> bool {
        self.differed_at.is_some_and(|at| ctx.now < at + DIFFERS_FOR)
    }

    /// Sets the time of the next round.
    pub(crate) fn set_next_round(ctx: &mut Context) {
        let interval = ctx.jittered(ctx.config.anti_entropy_interval);
        ctx.timers.set(Timer::Round, ctx.now + interval);
    }

    /// True if `writer` is being pulled, and need not be pulled from another peer too.
    pub(crate) fn is_pulling(&self, ctx: &Context, writer: ReplicaId) -> bool {
        self.pulls.is_pulling(writer, ctx.now)
    }

    /// The pulls in flight, and the cells that they have staged.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        (self.pulls.len(), self.pulls.staged_cells())
    }
}

/// Pulls.
impl AntiEntropy {
    /// Begins every pull that is needed and has room.
    pub(crate) fn begin_pulls(&mut self, exchange: &mut DigestExchange<'_>) {
        let (now, own) = (exchange.ctx.now, exchange.ctx.own);
        // The first peer's answer may bring everything, so for a moment nobody else is asked for
        // it.
        if exchange.peers.cells_asked().is_some_and(|sent| now < sent + FIRST_PEER_WAIT) {
            return;
        }
        let seen = self.catch_up.seen(exchange.replica.map());
        exchange.peers.mark_pulled(|writer| seen.get(writer));
        for node in exchange.peers.nodes() {
            let Some(peer) = exchange.peers.get(node).filter(|peer| !peer.rests(now)) else {
                continue;
            };
            if !self.pulls.has_room(node)
                || exchange.peers.awaits(node, |asked| asked == Asked::Ask { cells: true })
            {
                continue;
            }
            let mut wanted = peer.wanted(&seen);
            wanted.retain(|(_, writer)| *writer != own);
            if !wanted.is_empty() && peer.holds(own) == 0 {
                // The peer does not know this replica yet and would refuse. An ask brings the
                // record.
                exchange.ask(node);
                continue;
            }
            if let Some(pull) = self.pulls.begin(node, &wanted, &seen, now) {
                let request = Request::pull(pull.request(own));
                exchange.ctx.out.count(Counted::Pull);
                exchange.peers.send(exchange.ctx, node, Asked::Pull, &request);
            }
        }
    }

    /// Asks for the next page of a pull, unless a page is on its way.
    pub(crate) fn continue_pull(&self, ctx: &mut Context, peers: &mut Peers, peer: NodeId) {
        if let Some(pull) = self.pulls.get(peer)
            && !peers.awaits(peer, |asked| asked == Asked::Pull)
        {
            let request = Request::pull(pull.request(ctx.own));
            peers.send(ctx, peer, Asked::Pull, &request);
        }
    }

    /// Takes a page of a pull, and returns the cells that it completes.
    ///
    /// # Errors
    /// No page was asked for, the page is malformed or out of order, or a bound of this node
    /// refuses it.
    pub(crate) fn take_page(
        &mut self,
        ctx: &mut Context,
        peer: NodeId,
        page: PageMessage,
    ) -> Result<PulledCells, Refusal> {
        ctx.out.count(Counted::Page);
        let delta = wire::decode_delta(&page.delta)?;
        let next = page.next.map(ByteBuf::into_vec);
        if next.as_ref().is_some_and(|next| Cursor::decode(next).is_err()) {
            return Err(Refusal::Malformed);
        }
        let pull = self.pulls.get_mut(peer).ok_or(Refusal::Unasked)?;
        pull.page(delta, next, ctx.now).inspect_err(|reason| ctx.out.alarm_if_join_refused(*reason))
    }

    /// The last page of a pull came.
    pub(crate) fn finish_pull(&mut self, map: &CounterMap, peers: &mut Peers, peer: NodeId) {
        if let Some(pull) = self.pulls.end(peer) {
            peers.pull_ended(peer, pull.promised(), |writer| self.catch_up.seen_of(map, writer));
        }
    }

    /// Gives up the pull from a peer. Its writers are pulled elsewhere from the start.
    pub(crate) fn abandon(&mut self, ctx: &mut Context, peer: NodeId) {
        if self.pulls.end(peer).is_some() {
            ctx.out.count(Counted::PullFailed);
        }
    }

    /// A request failed, and its peer rests for a while. A pull that lost a page resumes there
    /// afterwards, unless `resume` is false or the peer failed too often.
    pub(crate) fn request_failed(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        request: OpenRequest,
        resume: bool,
    ) {
        let peer = request.peer;
        let is_hopeful = peers.get(peer).is_some_and(|peer| peer.failures() < RESUMES_MAX);
        if request.asked == Asked::Pull && !(resume && is_hopeful) {
            self.abandon(ctx, peer);
        }
        peers.request_failed(ctx, peer);
    }

    /// Equal version vectors with unequal hashes are a fault of this software. It is counted, and
    /// repaired by a full pull once in a while.
    pub(crate) fn diverged(&mut self, ctx: &mut Context, peers: &mut Peers, peer: NodeId) {
        ctx.out.count(Counted::Divergence);
        let is_due = peers.may_repair(peer, ctx.now, ctx.config.repair_interval);
        if !is_due || !self.pulls.has_room(peer) {
            return;
        }
        peers.begin_repair(peer, ctx.now);
        ctx.out.count(Counted::Repair);
        ctx.out.alarm(Alarm::Diverged { peer });
        let request = Request::pull(self.pulls.begin_repair(peer, ctx.now).request(ctx.own));
        peers.send(ctx, peer, Asked::Pull, &request);
    }
}

/// Pulled cells.
impl AntiEntropy {
    /// The version of a writer that is held, in the state or in a waiting part.
    pub(crate) fn seen_of(&self, map: &CounterMap, writer: ReplicaId) -> Version {
        self.catch_up.seen_of(map, writer)
    }

    /// Takes the cells of an answer of `source`. Returns the deltas to join now, in order.
    pub(crate) fn take_pulled(
        &mut self,
        ctx: &Context,
        map: &CounterMap,
        peers: &Peers,
        (source, delta): (ReplicaId, Delta),
        is_synced: bool,
    ) -> Vec<Delta> {
        let nothing = VersionVector::new();
        let heard = peers.get(NodeId(source.node)).map_or(&nothing, |peer| peer.heard());
        match self.catch_up.hold(delta, (source, heard), ctx.now) {
            Some(delta) => vec![delta],
            None if self.catch_up.is_over_bound() => self.catch_up.take(),
            None => self.take_whole(ctx, map, peers, is_synced),
        }
    }

    /// Drops the parts that wait if an incarnation that brought one has ended. Everything is pulled
    /// again then. Returns true if it did.
    pub(crate) fn drop_ended(&mut self, map: &CounterMap, peers: &mut Peers) -> bool {
        let has_dropped = self.catch_up.drop_ended(map);
        if has_dropped {
            self.note_dropped(peers);
        }
        has_dropped
    }

    /// Pulled cells were dropped, and have to be asked for again.
    fn note_dropped(&mut self, peers: &mut Peers) {
        self.pulls.forget_promised();
        peers.forget_pulled();
    }

    /// Takes the parts that wait, if this node has caught up and they are whole.
    pub(crate) fn take_whole(
        &mut self,
        ctx: &Context,
        map: &CounterMap,
        peers: &Peers,
        is_synced: bool,
    ) -> Vec<Delta> {
        let is_whole = is_synced && self.catch_up.is_whole(map, ctx.own, peers, ctx.now);
        if is_whole { self.catch_up.take() } else { Vec::new() }
    }

    /// This node has caught up. Takes the parts that wait. Drops them if no peer was pulled to the
    /// end, because they are then only a part of the peers' state.
    pub(crate) fn take_caught_up(&mut self, peers: &mut Peers) -> Vec<Delta> {
        let parts = self.catch_up.take();
        if parts.is_empty() || peers.any_pulled() || peers.any_synced_pulled() {
            return parts;
        }
        self.note_dropped(peers);
        Vec::new()
    }
}
