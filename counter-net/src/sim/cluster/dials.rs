//! The way from a dial to a connection. The handshake takes round trips, and it may be refused or
//! not answered at all.

use std::time::Duration;

use super::Sim;
use crate::protocol::{Input, NodeId, Search};
use crate::sim::network::Event;

/// The pause before a failed dial is tried again for the first time. It doubles with each further
/// try.
const REDIAL_MIN: Duration = Duration::from_millis(200);
/// How many times a dial is tried again: over some 100 seconds.
const REDIALS_MAX: u32 = 9;

impl Sim {
    /// `from` dials `to`. Until that has succeeded or failed, `to` is a candidate of `from`.
    pub(super) fn dial(&mut self, from: usize, to: usize) {
        self.dial_after(from, to, Duration::ZERO);
    }

    pub(super) fn dial_after(&mut self, from: usize, to: usize, pause: Duration) {
        let incarnation = self.hosts[from].incarnation;
        let Some(alive) = self.hosts[from].alive.as_mut() else { return };
        if from == to || !alive.dialling.insert(to) {
            return;
        }
        self.search(from);
        let at = self.now + pause + self.latency(from, to);
        self.queue.push(at, Event::Dialled { from, incarnation, to, tries: 0 });
    }

    /// A node's machine wants to reach a member at the address that the member announced.
    pub(super) fn dial_member(&mut self, from: usize, node: NodeId, addresses: &[Vec<u8>]) {
        let Some(to) = addresses.first().and_then(|bytes| {
            usize::try_from(u64::from_be_bytes(bytes.as_slice().try_into().ok()?)).ok()
        }) else {
            return;
        };
        if self.hosts.get(to).is_some_and(|host| host.node == node) {
            self.links.want(from, to);
            self.dial(from, to);
        }
    }

    pub(super) fn on_discovered(&mut self, host: usize) {
        if let Some(alive) = self.hosts[host].alive.as_mut() {
            alive.is_sure = true;
        }
        self.search(host);
    }

    /// Tells a node how far its search for peers has come.
    fn search(&mut self, host: usize) {
        let Some(alive) = self.hosts[host].alive.as_ref() else { return };
        let search =
            Search { candidates: alive.dialling.len(), unsure: !alive.is_sure, key_refused: false };
        self.hand(host, Input::Search(search), None);
    }

    pub(super) fn on_dialled(&mut self, from: usize, to: usize, tries: u32) {
        let incarnation = self.hosts[from].incarnation;
        if self.links.epoch(from, to).is_some() {
            return self.end_dial(from, to);
        }
        if !self.links.is_whole(from, to) {
            return self.queue.push(
                self.now + self.config.dial_timeout,
                Event::DialFailed { from, incarnation, to, tries },
            );
        }
        // The first packet has arrived: one way of the first round trip is over.
        let ways = if self.is_up(to) { 2 * self.config.handshake.max(1) - 1 } else { 1 };
        let took: Duration = (0..ways).map(|_| self.latency(from, to)).sum();
        let event = match self.is_up(to) {
            true => Event::Connected { from, incarnation, to, tries },
            false => Event::DialFailed { from, incarnation, to, tries },
        };
        self.queue.push(self.now + took, event);
    }

    pub(super) fn on_connected(&mut self, from: usize, to: usize, tries: u32) {
        let possible =
            self.links.is_wanted(from, to) && self.is_up(to) && self.links.is_whole(from, to);
        if !possible {
            return self.on_dial_failed(from, to, tries);
        }
        if self.links.open(from, to) {
            self.mesh.offer(from, to);
            for (end, other) in [(from, to), (to, from)] {
                let peer = self.hosts[other].node;
                self.hand(end, Input::PeerUp { peer }, None);
            }
        }
        self.end_dial(from, to);
    }

    /// A peer whose dial failed is no longer a candidate. It is dialled again after a pause that
    /// doubles.
    pub(super) fn on_dial_failed(&mut self, from: usize, to: usize, tries: u32) {
        let (peer, incarnation) = (self.hosts[to].node, self.hosts[from].incarnation);
        self.hand(from, Input::DialFailed { peer }, None);
        self.end_dial(from, to);
        if self.links.is_wanted(from, to) && tries < REDIALS_MAX {
            let pause = REDIAL_MIN.saturating_mul(1 << tries).mul_f64(0.5 + 0.5 * self.rng.f64());
            self.queue
                .push(self.now + pause, Event::Dialled { from, incarnation, to, tries: tries + 1 });
        }
    }

    fn end_dial(&mut self, from: usize, to: usize) {
        let ended = self.hosts[from].alive.as_mut().is_some_and(|alive| alive.dialling.remove(&to));
        if ended {
            self.search(from);
        }
    }
}
