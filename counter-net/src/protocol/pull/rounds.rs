//! Decides when this node asks, and which writers it pulls from which peer. It asks new peers at
//! once, a random peer each round, and any peer about a gap.

use std::time::Duration;

use counter_core::Replica;
use serde_bytes::ByteBuf;

use super::open_requests::Asked;
use super::peers::ConnectedPeer;
use crate::protocol::gossip::own_since;
use crate::protocol::input::NodeId;
use crate::protocol::replicator::Replicator;
use crate::protocol::replicator::Timer;
use crate::protocol::wire::DigestPiece;
use crate::protocol::wire::Hash;
use crate::protocol::wire::{Ask, Compare, Request, Tell};

/// How long this node waits for the first peer's cells before it pulls from other peers too.
const FIRST_PEER_WAIT: Duration = Duration::from_millis(200);
/// A delta may wait beyond a gap for this many request timeouts.
const GAP_TIMEOUTS: u32 = 3;

impl Replicator {
    pub(crate) fn on_peer_up(&mut self, replica: &mut Replica, peer: NodeId) {
        if peer == self.node() || !self.peers.up(peer) {
            return;
        }
        self.absolve_connected(peer);
        if self.peers.len() == 1 {
            // This is the first connection, or the first after a time alone. Others may not know
            // what changed meanwhile.
            self.announcer.wait_until(self.now + self.config.announce_interval);
            self.announce_soon();
        }
        self.ask(replica, peer);
    }

    pub(crate) fn on_peer_down(&mut self, replica: &mut Replica, peer: NodeId) {
        self.remember_ack(peer);
        if !self.peers.down(peer) {
            return;
        }
        for id in self.requests.of_peer(peer) {
            self.close(id);
        }
        self.timers.cancel(Timer::Retry(peer));
        self.refuse_deferred(peer);
        self.confirmations.down(peer);
        self.out.stats.pulls_failed += u64::from(self.pulls.end(peer).is_some());
        if !self.leaving {
            self.watch_lost(peer);
            self.dial_soon(self.now);
        }
        self.plan(replica);
    }

    /// Sends the whole digest, and this replica's record if the peer may not have it. Cells are
    /// asked of one peer at a time.
    pub(crate) fn ask(&mut self, replica: &mut Replica, peer: NodeId) {
        if self.awaits(peer, |asked| matches!(asked, Asked::Ask { .. })) {
            return;
        }
        let cells = self.cells_asked().is_none();
        self.send_ask(replica, peer, cells);
    }

    /// Asks for the peer's digest and no cells.
    pub(crate) fn ask_digest(&mut self, replica: &Replica, peer: NodeId) {
        self.send_ask(replica, peer, false);
    }

    fn send_ask(&mut self, replica: &Replica, peer: NodeId, cells: bool) {
        if self.numbering.is_open() {
            return self.send_number_ask(peer);
        }
        let DigestPiece { have, behind, part } = self.digest_for(replica, peer);
        let known = self.peers.get(peer).is_some_and(|source| source.holds(self.own) > 0);
        let ask = Ask {
            announcement: self.own_announcement(),
            have,
            uncommitted: behind,
            birth: (!known).then(|| ByteBuf::from(self.publisher.birth())),
            announcements: Hash(self.members.hash()),
            cells,
            part,
        };
        if cells {
            self.timers.set(Timer::FirstPeerWait, self.now + FIRST_PEER_WAIT);
        }
        self.send(peer, Asked::Ask { cells }, &Request::ask(ask));
    }

    /// Tells a peer what this node holds. A leaving node adds its last cells.
    pub(crate) fn tell(&mut self, replica: &mut Replica, peer: NodeId) {
        if self.numbering.is_open() {
            return;
        }
        let known = self.peers.get(peer).map_or(0, |source| source.holds(self.own));
        let last = self.may_send_cells(replica, peer).then(|| own_since(replica, known).encode());
        let DigestPiece { have, behind, part } = self.digest_for(replica, peer);
        let tell = Tell {
            announcement: self.own_announcement(),
            have,
            uncommitted: behind,
            delta: last
                .filter(|bytes| bytes.len() <= self.config.page_bytes_max)
                .map(ByteBuf::from),
            successor: None,
            part,
        };
        self.send(peer, Asked::Tell, &Request::tell(tell));
    }

    /// True if a leaving node may send its last cells unasked. Here too a peer must be known before
    /// it is served: every replica that holds anything of this node is named by its last statement.
    fn may_send_cells(&self, replica: &Replica, peer: NodeId) -> bool {
        let is_known = |incarnation| {
            replica.map().record(incarnation).is_some()
                && self.serves(incarnation).is_ok()
                && self.commits.keeps(replica.map(), incarnation)
        };
        self.leaving && self.members.get(peer).is_some_and(|entry| is_known(entry.replica))
    }

    pub(crate) fn set_next_round(&mut self) {
        let interval = self.jittered(self.config.anti_entropy_interval);
        self.timers.set(Timer::Round, self.now + interval);
    }

    /// The duration, up to 20 % shorter or longer.
    pub(crate) fn jittered(&mut self, time: Duration) -> Duration {
        time.mul_f64(0.8 + 0.4 * self.rng.f64())
    }

    /// One round with one random peer: a compare of hashes, or an ask if no ask was answered yet.
    pub(crate) fn on_round(&mut self, replica: &mut Replica) {
        self.set_next_round();
        self.gaps.drop_older(self.now.saturating_sub(self.config.request_timeout * GAP_TIMEOUTS));
        self.plan(replica);
        let Some(peer) = self.random_peer() else { return };
        self.out.stats.rounds += 1;
        // Its digest may have come with a request of its own. Only its answer says whether it is
        // synced and waits.
        if self
            .peers
            .get(peer)
            .is_none_or(|source| !source.has_answered() || !source.answered_ask())
        {
            return self.ask(replica, peer);
        }
        self.compare(replica, peer);
    }

    /// Compares hashes with a peer.
    pub(crate) fn compare(&mut self, replica: &mut Replica, peer: NodeId) {
        let seen = replica.map().version_vector().digest_hash();
        let compare = Compare {
            seen: Hash(seen),
            state: Hash(replica.state_hash().0),
            announcements: Hash(self.members.hash()),
            stale: self.members.is_stale(self.now),
        };
        self.send(peer, Asked::Compare { seen }, &Request::compare(compare));
    }

    /// A random peer that does not rest and has no open request, apart from pulls, bits of targets
    /// and parts of a digest.
    pub(crate) fn random_peer(&mut self) -> Option<NodeId> {
        let free = |(peer, source): (NodeId, &ConnectedPeer)| {
            (!source.rests(self.now)
                && !self.awaits(peer, |asked| {
                    !matches!(asked, Asked::Pull | Asked::Confirm | Asked::Digest)
                }))
            .then_some(peer)
        };
        let free: Vec<NodeId> = self.peers.iter().filter_map(free).collect();
        if free.is_empty() { None } else { Some(free[self.rng.usize(..free.len())]) }
    }

    pub(crate) fn on_retry(&mut self, replica: &mut Replica, peer: NodeId) {
        if let Some(pull) =
            self.pulls.get(peer).filter(|_| !self.awaits(peer, |asked| asked == Asked::Pull))
        {
            let request = Request::pull(pull.request(self.own));
            self.send(peer, Asked::Pull, &request);
        }
        match self.peers.get(peer) {
            Some(source) if !source.is_pulled() || !(source.is_synced() || self.is_synced()) => {
                self.ask(replica, peer)
            }
            _ => self.plan(replica),
        }
    }

    /// Gossip did not bring the predecessor of a waiting delta. It is pulled from a peer that is
    /// known to have it, else one random peer is asked.
    pub(crate) fn on_gap(&mut self, replica: &mut Replica) {
        self.plan(replica);
        let unclaimed =
            self.gaps.writers().iter().any(|writer| !self.pulls.is_claimed(*writer, self.now));
        if unclaimed && let Some(peer) = self.random_peer() {
            self.gaps.asked(self.now);
            self.ask(replica, peer);
        }
    }

    /// Begins every pull that is wanted and has room. Each writer is pulled from one peer at a
    /// time.
    pub(crate) fn plan(&mut self, replica: &mut Replica) {
        // The first peer's answer may bring everything, so for a moment nobody else is asked for
        // it.
        if self.cells_asked().is_some_and(|sent| self.now < sent + FIRST_PEER_WAIT) {
            return;
        }
        let seen = self.catch_up.seen(replica.map());
        self.peers.mark_pulled(&seen);
        for peer in self.peers.nodes().collect::<Vec<_>>() {
            let Some(source) = self.peers.get(peer).filter(|source| !source.rests(self.now)) else {
                continue;
            };
            if !self.pulls.has_room(peer)
                || self.awaits(peer, |asked| asked == Asked::Ask { cells: true })
            {
                continue;
            }
            let mut wanted = source.wanted(&seen);
            wanted.retain(|(_, writer)| *writer != self.own);
            if !wanted.is_empty() && source.holds(self.own) == 0 {
                // The peer does not know this replica yet and would refuse. An ask brings the
                // record.
                self.ask(replica, peer);
                continue;
            }
            if let Some(pull) = self.pulls.begin(peer, &wanted, &seen, self.now) {
                let request = Request::pull(pull.request(self.own));
                self.out.stats.pulls += 1;
                self.send(peer, Asked::Pull, &request);
            }
        }
    }
}
