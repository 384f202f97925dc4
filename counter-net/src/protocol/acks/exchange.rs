//! Asks peers for acks, answers theirs, and tells callers when their wait is over.

use std::time::Duration;

use counter_core::{Replica, ReplicaId, Version, VersionVector};
use serde_bytes::ByteBuf;

use super::pending::{Copies, Waited};
use crate::protocol::gossip::own_since;
use crate::protocol::input::NodeId;
use crate::protocol::output::{Notice, Refusal};
use crate::protocol::pull::Asked;
use crate::protocol::replicator::{Replicator, Timer};
use crate::protocol::wire::{self, AckRequest, Id, Request, Response};

impl Replicator {
    pub(crate) fn on_await_copies(
        &mut self,
        replica: &mut Replica,
        id: u64,
        copies: Copies,
        within: Duration,
    ) {
        // Pending amounts belong to the wait too. They get their version with the flush.
        let version = (!replica.has_pending()).then(|| replica.map().seen_of(self.own));
        if !self.acks.await_copies(id, copies, version, self.now.saturating_add(within)) {
            self.answer_waits(vec![(id, Waited::TooMany)]);
        }
        self.on_local_change(replica);
    }

    pub(crate) fn on_await_versions(
        &mut self,
        replica: &Replica,
        id: u64,
        versions: &VersionVector,
        within: Duration,
    ) {
        let counted = |writer| replica.map().counted_up_to(writer);
        let deadline = self.now.saturating_add(within);
        match self.acks.await_versions(id, versions, counted, deadline) {
            Some(true) => {}
            Some(false) => self.answer_waits(vec![(id, Waited::TooMany)]),
            None => self.answer_waits(vec![(id, Waited::Reached)]),
        }
    }

    /// Answers the callers whose wait is over, asks peers for the acks that are missing, and sets
    /// the time to look again.
    pub(crate) fn settle_acks(&mut self, replica: &mut Replica) {
        if self.acks.is_idle() {
            return self.timers.cancel(Timer::Acks);
        }
        if let Some(version) = self.acks.version_wanted().filter(|_| !self.numbering.is_open()) {
            self.ask_for_acks(replica, version);
            let enrolled = self.members.enrolled(replica.map());
            let mut acked: Vec<Version> =
                enrolled.into_iter().map(|replica| self.acked_by(replica)).collect();
            acked.sort_unstable_by(|a, b| b.cmp(a));
            let answers = self.acks.take_copies(&acked, self.now);
            self.answer_waits(answers);
        }
        let map = replica.map();
        let answers = self.acks.take_versions(|writer| map.counted_up_to(writer), self.now);
        self.answer_waits(answers);
        self.fetch_awaited(replica);
        match self.acks.deadline(self.now) {
            Some(at) => self.timers.set(Timer::Acks, at),
            None => self.timers.cancel(Timer::Acks),
        }
    }

    fn answer_waits(&mut self, answers: Vec<(u64, Waited)>) {
        for (id, how) in answers {
            self.out.notify(Notice::Waited { id, how });
        }
    }

    /// The version of this replica that `incarnation` is known to hold.
    fn acked_by(&self, incarnation: ReplicaId) -> Version {
        if incarnation == self.own {
            return Version::MAX;
        }
        let node = NodeId(incarnation.node);
        let runs = self.members.get(node).is_some_and(|entry| entry.replica == incarnation);
        let heard =
            self.peers.get(node).filter(|_| runs).map_or(0, |source| source.holds(self.own));
        heard.max(self.acks.remembered(incarnation))
    }

    /// Keeps the ack of a peer whose connection is about to be forgotten.
    pub(crate) fn remember_ack(&mut self, peer: NodeId) {
        self.acks.peer_down(peer);
        if let (Some(source), Some(entry)) = (self.peers.get(peer), self.members.get(peer)) {
            self.acks.remember(entry.replica, source.holds(self.own));
        }
    }

    /// Asks every connected peer that is not known to hold `version`, with one question at a time
    /// for each.
    fn ask_for_acks(&mut self, replica: &Replica, version: Version) {
        for peer in self.peers.nodes().collect::<Vec<_>>() {
            let Some(source) = self.peers.get(peer) else { continue };
            let rests = !source.has_answered()
                || source.rests(self.now)
                || !self.acks.may_ask(peer, self.now);
            let known = source.holds(self.own);
            if rests
                || known >= version
                || self.awaits(peer, |asked| matches!(asked, Asked::Ack { .. }))
            {
                continue;
            }
            let is_kept = self
                .members
                .get(peer)
                .is_some_and(|entry| self.commits.keeps(replica.map(), entry.replica));
            let cells = is_kept
                .then(|| own_since(replica, known).encode())
                .filter(|bytes| bytes.len() <= self.config.ask_bytes_max);
            let ack = AckRequest { replica: Id(self.own), delta: cells.map(ByteBuf::from) };
            self.send(
                peer,
                Asked::Ack { version: replica.map().seen_of(self.own) },
                &Request::ack(ack),
            );
        }
    }

    /// A peer that was asked about the version `asked` holds this replica up to `version`.
    pub(crate) fn take_ack(&mut self, peer: NodeId, version: Version, asked: Version) {
        self.peers.hear_writer(peer, self.own, version.min(asked));
        self.acks.answered(peer, version, asked, self.now);
    }

    /// A peer asks how much of its own writer this node holds, and may bring the cells along.
    pub(crate) fn serve_ack(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        ack: &AckRequest,
    ) -> Result<Response, Refusal> {
        let writer = ack.replica.0;
        if writer.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        self.not_ended(replica, writer)?;
        if let Some(bytes) = &ack.delta {
            let delta = wire::decode_delta(bytes)?;
            if delta.replicas().any(|other| other != writer) {
                return Err(Refusal::ForgedWriter);
            }
            if delta.has_open_part() {
                return Err(Refusal::Malformed);
            }
            self.join_or_wait(replica, peer, delta, bytes.len())?;
        }
        Ok(Response::ack(replica.map().seen_of(writer)))
    }

    /// Fetches awaited versions that gossip did not bring. Their writer is asked, or a random peer
    /// if the writer is not connected.
    fn fetch_awaited(&mut self, replica: &mut Replica) {
        let Some(writer) = self.acks.take_fetch(self.now) else { return };
        self.plan(replica);
        if self.pulls.is_claimed(writer, self.now) {
            return;
        }
        let node = NodeId(writer.node);
        let at_hand = self.peers.get(node).is_some_and(|source| !source.rests(self.now));
        if let Some(peer) = if at_hand { Some(node) } else { self.random_peer() } {
            self.ask(replica, peer);
        }
    }
}
