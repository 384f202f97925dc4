//! Local work first: a flush turns pending amounts into cells, which go out as gossip.

use counter_core::{Delta, Flushed, Replica};

use super::publisher::own_since;
use crate::protocol::context::Timer;
use crate::protocol::replicator::Replicator;
use crate::protocol::stats::{Event, Kind};

/// The most payloads published for one flush. Peers pull a longer flush in pages, which is cheaper
/// for all.
const PAYLOADS_A_FLUSH_MAX: usize = 32;

impl Replicator {
    /// Something is pending. It is flushed at once if the last flush is long enough ago, else when
    /// the interval is over.
    pub(crate) fn on_local_change(&mut self, replica: &mut Replica) {
        if self.ctx.now >= self.publisher.next_flush() {
            self.flush(replica);
        } else {
            self.ctx.timers.set_by(Timer::Flush, self.publisher.next_flush());
        }
    }

    pub(crate) fn flush(&mut self, replica: &mut Replica) {
        if self.has_stated_leave() {
            return;
        }
        let flushed = replica.flush();
        self.publisher.flushed(self.ctx.now, self.ctx.config.flush_interval);
        self.acks.flushed(replica.map().seen_of(self.ctx.own));
        self.publish_own(replica, &flushed);
        self.ctx.out.changed(flushed.changed);
        if replica.has_pending() {
            self.ctx.timers.set_by(Timer::Flush, self.publisher.next_flush());
        }
    }

    /// Publishes the record of a node that has counted nothing yet, with its first announcement.
    /// Otherwise it would spread by pulls alone.
    pub(crate) fn publish_birth(&mut self, replica: &Replica) {
        if self.publisher.published() == 0 && !self.peers.is_empty() {
            self.publish_own(replica, &Flushed::default());
        }
    }

    /// Publishes the own cells that were not published yet. Peers pull those that do not fit or get
    /// lost.
    pub(crate) fn publish_own(&mut self, replica: &Replica, flushed: &Flushed) {
        let (after, upto) = (self.publisher.published(), replica.map().seen_of(self.ctx.own));
        if upto <= after || self.numbering.is_open() || !self.may_publish(replica) {
            return;
        }
        self.publisher.publish(upto);
        if flushed.span.is_some() {
            self.ctx.out.count(Event::Flush);
        }
        if self.peers.is_empty() {
            return;
        }
        let delta = own_since(replica, after);
        // Split only a delta of exactly one flush: a reset may have moved a cell twice. The record,
        // which is no cell, comes before the first flush.
        let before = if after == 0 {
            replica.map().record(self.ctx.own).map_or(0, |record| record.version)
        } else {
            after
        };
        let one_flush = flushed.span.is_some_and(|span| (span.after, span.upto) == (before, upto));
        for payload in self.payloads(delta, one_flush) {
            self.ctx.out.publish(Kind::GossipDelta, payload);
        }
    }

    fn may_publish(&mut self, replica: &Replica) -> bool {
        self.commits.may_publish(replica.map(), self.ctx.own, !self.peers.is_empty())
    }

    /// The delta's bytes, in as many payloads as it takes. None if it cannot be cut or is too much
    /// for gossip.
    fn payloads(&mut self, delta: Delta, can_cut: bool) -> Vec<Vec<u8>> {
        let bytes_max = self.ctx.config.payload_bytes_max;
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
        self.ctx.out.count(Event::Unpublished);
        Vec::new()
    }
}
