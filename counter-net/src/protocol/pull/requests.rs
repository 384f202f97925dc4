//! Sends requests and handles those that fail: the peer rests, and its work goes on elsewhere.

use std::time::Duration;

use counter_core::Replica;

use super::open_requests::{Asked, OpenRequest};
use crate::protocol::context::Timer;
use crate::protocol::input::NodeId;
use crate::protocol::replicator::Replicator;
use crate::protocol::stats::Event;
use crate::protocol::wire::Request;

/// How many failures in a row a pull survives at its peer.
const RESUMES_MAX: u32 = 2;

impl Replicator {
    pub(crate) fn send(&mut self, peer: NodeId, asked: Asked, request: &Request) {
        let id = self.ctx.out.request(peer, asked.kind(), request);
        self.requests
            .insert(id, OpenRequest { peer, asked, asker: self.ctx.own, sent: self.ctx.now });
        self.ctx.timers.set(Timer::Request(id), self.ctx.now + self.ctx.config.request_timeout);
    }

    /// Closes a request, with its timer.
    pub(super) fn close(&mut self, id: u64) -> Option<OpenRequest> {
        self.ctx.timers.cancel(Timer::Request(id));
        self.requests.remove(id)
    }

    /// True if a peer has an open request of this kind.
    pub(crate) fn awaits(&self, peer: NodeId, test: impl Fn(Asked) -> bool) -> bool {
        self.requests.count(peer, test) > 0
    }

    /// When the oldest open ask for cells was sent.
    pub(super) fn cells_asked(&self) -> Option<Duration> {
        self.requests.cells_asked()
    }

    pub(crate) fn on_request_failed(&mut self, replica: &mut Replica, peer: NodeId, id: u64) {
        if self.requests.get(id, peer).is_some()
            && let Some(request) = self.close(id)
        {
            self.failed(replica, request, true);
        }
    }

    pub(crate) fn on_overdue(&mut self, replica: &mut Replica, id: u64) {
        if let Some(request) = self.close(id) {
            self.failed(replica, request, false);
        }
    }

    /// The peer rests for a while. A pull that lost a page resumes there afterwards. If that is of
    /// no use, or failed too often, its writers are pulled elsewhere from the start.
    pub(super) fn failed(&mut self, replica: &mut Replica, request: OpenRequest, resume: bool) {
        if request.asked == Asked::Digest {
            // The peer asks again if it misses a part. A digest of many parts must not count as
            // many failures.
            return;
        }
        let resume = resume
            && self.peers.get(request.peer).is_some_and(|source| source.failures() < RESUMES_MAX);
        if request.asked == Asked::Pull && !resume {
            if self.pulls.end(request.peer).is_some() {
                self.ctx.out.count(Event::PullFailed);
            }
        }
        if let Some(until) = self.peers.failed(request.peer, self.ctx.now) {
            self.ctx.timers.set(Timer::Retry(request.peer), until);
        }
        self.plan(replica);
    }
}
