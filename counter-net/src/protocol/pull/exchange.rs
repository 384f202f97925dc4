//! Sends this node's digest to peers: in asks, in tells, and in as many parts as it takes.

use std::time::Duration;

use counter_core::{Replica, ReplicaId, StateHash, VersionVector};
use serde_bytes::ByteBuf;

use crate::protocol::context::{Context, Timer};
use crate::protocol::gossip::{Gossip, own_since};
use crate::protocol::interface::NodeId;
use crate::protocol::membership::Membership;
use crate::protocol::peers::{Asked, Peers};
use crate::protocol::promises::Committed;
use crate::protocol::retirement::Leave;
use crate::protocol::wire::{Ask, BucketHashes, Compare, DigestPart, NumberAsk, Request, Tell};
use crate::protocol::wire::{DigestPiece, Hash, Id, NONE_FOLLOW, cut, pack_vector};

/// How long this node waits for the first peer's cells before it pulls from other peers too.
pub(super) const FIRST_PEER_WAIT: Duration = Duration::from_millis(200);
/// The most peers asked for their digests at a time.
pub(crate) const ASKED_AT_ONCE_MAX: usize = 8;

/// Borrows the machines that describe this node in its messages: its cells, its promises and its
/// announcement.
///
/// Invariant: while the number of this incarnation is open, peers get no digest and no cell of it.
pub(crate) struct DigestExchange<'a> {
    pub ctx: &'a mut Context,
    pub peers: &'a mut Peers,
    pub replica: &'a Replica,
    pub membership: &'a Membership,
    pub gossip: &'a Gossip,
    pub committed: &'a Committed,
    pub leave: &'a Leave,
}

impl DigestExchange<'_> {
    /// Sends the whole digest, and this replica's record if the peer may not have it. Only one peer
    /// at a time is asked for cells.
    pub(crate) fn ask(&mut self, peer: NodeId) {
        if !self.peers.awaits(peer, |asked| matches!(asked, Asked::Ask { .. })) {
            let cells = self.peers.cells_asked().is_none();
            self.send_ask(peer, cells);
        }
    }

    /// Asks for the peer's digest and no cells.
    pub(crate) fn ask_digest(&mut self, peer: NodeId) {
        self.send_ask(peer, false);
    }

    /// Asks some of these peers for their digests, unless they were asked before.
    pub(crate) fn ask_digests(&mut self, mut peers: Vec<NodeId>) {
        self.ctx.rng.shuffle(&mut peers);
        for peer in peers.into_iter().take(ASKED_AT_ONCE_MAX) {
            let rests = self.peers.get(peer).is_none_or(|peer| peer.rests(self.ctx.now));
            if !rests && !self.peers.awaits(peer, |asked| matches!(asked, Asked::Ask { .. })) {
                self.ask_digest(peer);
            }
        }
    }

    fn send_ask(&mut self, peer: NodeId, cells: bool) {
        if self.membership.numbering().is_open() {
            return self.ask_number(peer);
        }
        let DigestPiece { have, uncommitted, part } = self.digest_for(peer);
        let is_known = self.peers.get(peer).is_some_and(|peer| peer.holds(self.ctx.own) > 0);
        let ask = Ask {
            announcement: self.membership.own_announcement(self.ctx.now),
            have,
            uncommitted,
            birth: (!is_known).then(|| ByteBuf::from(self.gossip.birth())),
            announcements: Hash(self.membership.hash()),
            cells,
            part,
        };
        if cells {
            self.ctx.timers.set(Timer::FirstPeerWait, self.ctx.now + FIRST_PEER_WAIT);
        }
        self.peers.send(self.ctx, peer, Asked::Ask { cells }, &Request::ask(ask));
    }

    /// Asks a peer for the latest incarnation of this node that it knows.
    fn ask_number(&mut self, peer: NodeId) {
        if !self.peers.awaits(peer, |asked| asked == Asked::Number) {
            let ask = NumberAsk { replica: Id(self.ctx.own) };
            self.peers.send(self.ctx, peer, Asked::Number, &Request::number(ask));
        }
    }

    /// Tells a peer what this node holds. A leaving node adds its last cells.
    pub(crate) fn tell(&mut self, peer: NodeId) {
        if self.membership.numbering().is_open() {
            return;
        }
        let known = self.peers.get(peer).map_or(0, |peer| peer.holds(self.ctx.own));
        let last = self.may_send_cells(peer).then(|| own_since(self.replica, known).encode());
        let DigestPiece { have, uncommitted, part } = self.digest_for(peer);
        let tell = Tell {
            announcement: self.membership.own_announcement(self.ctx.now),
            have,
            uncommitted,
            delta: last
                .filter(|bytes| bytes.len() <= self.ctx.config.page_bytes_max)
                .map(ByteBuf::from),
            successor: None,
            part,
            is_excerpt: false,
        };
        self.peers.send(self.ctx, peer, Asked::Tell, &Request::tell(tell));
    }

    /// True if a leaving node may send its last cells unasked. Here too a peer must be known before
    /// it is served, because this node's last statement has to name every replica that holds
    /// anything of it.
    fn may_send_cells(&self, peer: NodeId) -> bool {
        let map = self.replica.map();
        let is_known = |incarnation: ReplicaId| {
            map.record(incarnation).is_some()
                && self.leave.serves(incarnation)
                && self.committed.keeps(map, incarnation)
        };
        self.membership.is_leaving() && self.membership.replica_of(peer).is_some_and(is_known)
    }

    /// Tells a peer what this node holds, if the peer knows this replica and lacks some of that. A
    /// peer whose digest `heard` came in buckets gets only what it lacks.
    pub(crate) fn tell_lacking(&mut self, peer: NodeId, heard: &VersionVector, in_buckets: bool) {
        let own = self.replica.map().version_vector();
        let lacks = own.beside(heard).filter(|(_, version, there)| there < version);
        let lacking: VersionVector = lacks.map(|(writer, version, _)| (writer, version)).collect();
        let is_told = self.peers.awaits(peer, |asked| asked == Asked::Tell);
        if lacking.is_empty() || heard.get(self.ctx.own) == 0 || is_told {
            return;
        }
        match in_buckets && !self.membership.is_leaving() {
            true => self.tell_excerpt(peer, &lacking),
            false => self.tell(peer),
        }
    }

    /// Tells a peer which writers it lacks something of.
    fn tell_excerpt(&mut self, peer: NodeId, lacking: &VersionVector) {
        if self.membership.numbering().is_open() {
            return;
        }
        let tell = Tell {
            announcement: self.membership.own_announcement(self.ctx.now),
            have: pack_vector(lacking),
            uncommitted: ByteBuf::new(),
            delta: None,
            successor: None,
            part: None,
            is_excerpt: true,
        };
        self.peers.send(self.ctx, peer, Asked::Tell, &Request::tell(tell));
    }

    /// Compares hashes with a peer. `state` is the hash of this node's state. A long digest is
    /// compared in buckets `at_once`, or else after the peer has said that something differs.
    pub(crate) fn compare(&mut self, peer: NodeId, state: StateHash, at_once: bool) {
        let digest = self.replica.map().version_vector();
        let seen = digest.digest_hash();
        let is_bucketed = digest.len() >= self.ctx.config.bucketed_min;
        let buckets = is_bucketed.then(|| match at_once {
            true => BucketHashes::of(&digest).pack(),
            false => ByteBuf::new(),
        });
        let compare = Compare {
            seen: Hash(seen),
            state: Hash(state.0),
            announcements: Hash(self.membership.hash()),
            stale: self.membership.is_stale(self.ctx.now),
            buckets,
        };
        self.peers.send(self.ctx, peer, Asked::Compare { seen }, &Request::compare(compare));
        if at_once && is_bucketed {
            self.peers.set_compared(peer, digest);
        }
    }

    /// This node's digest for a message to `peer`. If it is too long this is its first part, and
    /// the others are sent now.
    ///
    /// A peer that asks faster than it takes parts is sent the first part only. Otherwise it would
    /// fill this node's memory.
    pub(crate) fn digest_for(&mut self, peer: NodeId) -> DigestPiece {
        let digest = self.replica.map().version_vector();
        let replicas_max = self.ctx.config.digest_replicas_max;
        // An earlier release takes the first part for the whole, and asks for more than it lacks.
        let takes_parts = self.peers.get(peer).is_some_and(|peer| peer.takes_parts());
        let others_follow =
            digest.len() > replicas_max && takes_parts && !self.has_parts_under_way(peer);
        let serial = if others_follow { self.peers.next_digest_serial() } else { NONE_FOLLOW };
        let mut pieces =
            cut(&digest, &self.not_promised(&digest), serial, replicas_max).into_iter();
        let first = pieces.next().unwrap_or_default();
        for DigestPiece { have, uncommitted, part } in pieces.filter(|_| others_follow) {
            if let Some(part) = part {
                let further = DigestPart { replica: Id(self.ctx.own), have, uncommitted, part };
                self.peers.send(self.ctx, peer, Asked::Digest, &Request::digest(further));
            }
        }
        first
    }

    /// True if the parts that a peer has yet to take may name `heard_replicas_max` replicas
    /// together. No further parts are sent then.
    fn has_parts_under_way(&self, peer: NodeId) -> bool {
        let (config, parts) =
            (&self.ctx.config, self.peers.count_open(peer, |asked| asked == Asked::Digest));
        parts.saturating_mul(config.digest_replicas_max) >= config.heard_replicas_max
    }

    /// How many of the versions in `held` this node does not promise to keep, by writer. These are
    /// not committed, or the last statement of this leaver does not name them. O(writers log
    /// writers).
    pub(crate) fn not_promised(&self, held: &VersionVector) -> VersionVector {
        let mut not_promised = self.committed.uncommitted(held);
        if let Some(statement) = self.leave.statement() {
            for (writer, version) in held.iter() {
                not_promised.raise(writer, version.saturating_sub(statement.get(writer)));
            }
        }
        not_promised
    }
}
