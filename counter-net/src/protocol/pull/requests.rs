//! Requests under way: each has a deadline, and a failure that lets its peer rest and its work go
//! on elsewhere.

use std::time::Duration;

use counter_core::Replica;

use super::asked::{Asked, Pending};
use crate::protocol::input::NodeId;
use crate::protocol::replicator::Replicator;
use crate::protocol::replicator::Timer;
use crate::protocol::wire::Request;

/// How many failures in a row a pull survives at its peer.
const RESUMES_MAX: u32 = 2;

impl Replicator {
    pub(crate) fn send(&mut self, peer: NodeId, asked: Asked, request: &Request) {
        let id = self.out.request(peer, asked.kind(), request);
        self.pending.insert(id, Pending { peer, asked, asker: self.own, sent: self.now });
        self.timers.set(Timer::Request(id), self.now + self.config.request_timeout);
    }

    pub(crate) fn forget(&mut self, id: u64) -> Option<Pending> {
        self.timers.cancel(Timer::Request(id));
        self.pending.remove(&id)
    }

    pub(crate) fn awaits(&self, peer: NodeId, test: impl Fn(Asked) -> bool) -> bool {
        self.pending.values().any(|pending| pending.peer == peer && test(pending.asked))
    }

    /// Since when the cells of an ask are awaited.
    pub(crate) fn cells_asked(&self) -> Option<Duration> {
        self.pending
            .values()
            .filter(|pending| pending.asked == Asked::Ask { cells: true })
            .map(|pending| pending.sent)
            .min()
    }

    pub(crate) fn on_request_failed(&mut self, replica: &mut Replica, peer: NodeId, id: u64) {
        if self.pending.get(&id).is_some_and(|pending| pending.peer == peer)
            && let Some(pending) = self.forget(id)
        {
            self.failed(replica, pending, true);
        }
    }

    pub(crate) fn on_overdue(&mut self, replica: &mut Replica, id: u64) {
        if let Some(pending) = self.forget(id) {
            self.failed(replica, pending, false);
        }
    }

    /// The peer rests for a while. A pull whose page was lost goes on from there at the same peer
    /// afterwards; where that is of no use, or has failed too often, its writers are pulled
    /// elsewhere from the start.
    pub(crate) fn failed(&mut self, replica: &mut Replica, pending: Pending, resume: bool) {
        if pending.asked == Asked::Digest {
            // The peer asks again where it misses a part. A digest of many parts must not count as
            // many failures.
            return;
        }
        let resume = resume
            && self.sources.get(pending.peer).is_some_and(|source| source.failures < RESUMES_MAX);
        if pending.asked == Asked::Pull && !resume {
            self.out.stats.pulls_failed += u64::from(self.pulls.end(pending.peer).is_some());
        }
        if let Some(until) = self.sources.failed(pending.peer, self.now) {
            self.timers.set(Timer::Retry(pending.peer), until);
        }
        self.plan(replica);
    }
}
