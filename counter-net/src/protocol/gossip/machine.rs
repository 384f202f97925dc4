//! Publishes this node's cells, and keeps deltas of others that came too early.

use counter_core::{Delta, Flushed, Replica, ReplicaId, Span, Version};

use super::gaps::Gaps;
use super::publisher::{Publisher, own_since};
use crate::protocol::context::{Context, Timer};
use crate::protocol::interface::{Counted, MessageKind};
use crate::protocol::peers::Peers;
use crate::protocol::promises::Committed;

/// The most payloads published for one flush. Peers pull a longer flush in pages, which is cheaper
/// for all.
const PAYLOADS_A_FLUSH_MAX: usize = 32;
/// A delta may wait beyond a gap for this many request timeouts.
const GAP_TIMEOUTS: u32 = 3;

/// The gossip of this node's own cells, and the deltas of others that wait.
///
/// Invariant: no own cell is published twice. While peers are connected, none is published before
/// the disk names another node's replica.
#[derive(Debug)]
pub(crate) struct Gossip {
    publisher: Publisher,
    gaps: Gaps,
}

impl Gossip {
    pub(crate) fn new(ctx: &Context, replica: &Replica) -> Self {
        let config = &ctx.config;
        Self {
            publisher: Publisher::new(replica, ctx.now),
            gaps: Gaps::new(config.gap_entries_max, config.gap_bytes_max, ctx.now),
        }
    }

    /// This node continues as another replica, which no peer knows yet.
    pub(crate) fn renew(&mut self, replica: &Replica) {
        self.publisher.renew(replica);
    }

    /// Nothing has gone out yet, so the next publication carries all own cells.
    pub(crate) fn start_again(&mut self) {
        self.publisher.start_again();
    }

    /// The delta from nothing to this replica's first version. It brings the replica's record to
    /// peers that do not know it.
    pub(crate) fn birth(&self) -> &[u8] {
        self.publisher.birth()
    }
}

/// Own cells.
impl Gossip {
    /// True if the last flush is long enough ago.
    pub(crate) fn may_flush(&self, ctx: &Context) -> bool {
        ctx.now >= self.publisher.next_flush()
    }

    /// Schedules the next flush for the end of the interval.
    pub(crate) fn flush_soon(&self, ctx: &mut Context) {
        ctx.timers.set_by(Timer::Flush, self.publisher.next_flush().max(ctx.now));
    }

    /// Turns pending amounts into cells.
    pub(crate) fn flush(&mut self, ctx: &Context, replica: &mut Replica) -> Flushed {
        let flushed = replica.flush();
        self.publisher.flushed(ctx.now, ctx.config.flush_interval);
        flushed
    }

    /// True if this node's record was never published, as on a node that has counted nothing.
    pub(crate) fn is_unpublished(&self) -> bool {
        self.publisher.published() == 0
    }

    /// Publishes the own cells that were not published yet, of which a flush just wrote `flushed`.
    /// Peers pull those that do not fit or get lost.
    pub(crate) fn publish_own(
        &mut self,
        ctx: &mut Context,
        replica: &Replica,
        flushed: Option<Span>,
        peers: &Peers,
        committed: &mut Committed,
    ) {
        let (after, upto) = (self.publisher.published(), replica.map().seen_of(ctx.own));
        if upto <= after || !committed.may_publish(replica.map(), ctx.own, !peers.is_empty()) {
            return;
        }
        self.publisher.publish(upto);
        if flushed.is_some() {
            ctx.out.count(Counted::Flush);
        }
        if peers.is_empty() {
            return;
        }
        // The record, which is no cell, comes before the first flush.
        let before = if after == 0 {
            replica.map().record(ctx.own).map_or(0, |record| record.version)
        } else {
            after
        };
        // Split only a delta of exactly one flush. In any other, a reset may have changed a cell
        // twice.
        let one_flush = flushed.is_some_and(|span| (span.after, span.upto) == (before, upto));
        for payload in payloads(ctx, own_since(replica, after), one_flush) {
            ctx.out.publish(MessageKind::GossipDelta, payload);
        }
    }
}

/// Deltas of others that came too early.
impl Gossip {
    /// Lets a delta wait until the version before the `gap` is here. It is dropped if there is no
    /// room.
    pub(crate) fn wait(&mut self, ctx: &mut Context, gap: Span, delta: Delta, bytes: usize) {
        ctx.out.count(Counted::Gap);
        if !self.gaps.put(gap.replica, gap.after, delta, bytes, ctx.now) {
            ctx.out.count(Counted::GapDropped);
        }
        let at = (ctx.now + ctx.config.gap_patience).max(self.gaps.next_ask());
        ctx.timers.set_by(Timer::Gap, at);
    }

    /// Takes the next delta of `writer` whose predecessor is seen.
    pub(crate) fn take_ready(&mut self, writer: ReplicaId, seen: Version) -> Option<Delta> {
        self.gaps.take_ready(writer, seen)
    }

    /// Drops the deltas that have waited for too long. Their writer may be gone, with the versions
    /// before them.
    pub(crate) fn drop_overdue(&mut self, ctx: &Context) {
        self.gaps.drop_older(ctx.now.saturating_sub(ctx.config.request_timeout * GAP_TIMEOUTS));
    }

    /// The writers of waiting deltas, ascending. O(log n) a writer.
    pub(crate) fn waiting_writers(&self) -> Vec<ReplicaId> {
        self.gaps.writers()
    }

    /// A peer is asked about a gap now.
    pub(crate) fn asked(&mut self, ctx: &Context) {
        self.gaps.asked(ctx.now);
    }

    /// How many deltas wait, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.gaps.entries(), self.gaps.bytes())
    }
}

/// The delta's bytes, in as many payloads as it takes. Empty if the delta cannot be cut or is too
/// long for gossip.
fn payloads(ctx: &mut Context, delta: Delta, can_cut: bool) -> Vec<Vec<u8>> {
    let bytes_max = ctx.config.payload_bytes_max;
    let whole = delta.encode();
    if whole.len() <= bytes_max {
        return vec![whole];
    }
    if can_cut && whole.len() / bytes_max < PAYLOADS_A_FLUSH_MAX {
        let cut: Vec<Vec<u8>> = delta.split(bytes_max).iter().map(Delta::encode).collect();
        if cut.iter().all(|payload| payload.len() <= bytes_max) {
            return cut;
        }
    }
    ctx.out.count(Counted::Unpublished);
    Vec::new()
}
