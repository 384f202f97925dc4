//! Who is known to hold how much of what this replica wrote, who counts, and the question that
//! finds out at once.

use std::time::Duration;

use counter_core::{Replica, ReplicaId, Version, VersionVector};
use serde_bytes::ByteBuf;

use super::pending::{Copies, Waited, lacking};
use crate::protocol::gossip::own_since;
use crate::protocol::input::NodeId;
use crate::protocol::output::{Notice, Refusal};
use crate::protocol::pull::Asked;
use crate::protocol::replicator::Replicator;
use crate::protocol::replicator::Timer;
use crate::protocol::wire::{self, Id};
use crate::protocol::wire::{Hold, Request, Response};

/// The least time between two questions to a peer that did not hold what it was asked about.
const HOLD_AGAIN: Duration = Duration::from_millis(20);
/// The least time between two questions for versions that somebody waits for here.
const CHASE_INTERVAL: Duration = Duration::from_millis(100);

impl Replicator {
    /// The replicas that count for copies and for what is stable: every writer known whose
    /// incarnation nobody claims, reachable or not, but for earlier incarnations of a node whose
    /// later incarnation is known, and for those that said they leave. Ascending; this replica is
    /// one of them. O(writers).
    pub(crate) fn enrolled(&self, replica: &Replica) -> Vec<ReplicaId> {
        let mut writers: Vec<ReplicaId> = replica.map().enrolled().collect();
        writers.push(self.own);
        writers.sort_unstable();
        writers.dedup();
        let last_incarnation =
            |at: &usize| writers.get(at + 1).is_none_or(|next| next.node != writers[*at].node);
        (0..writers.len())
            .filter(last_incarnation)
            .map(|at| writers[at])
            .filter(|incarnation| *incarnation == self.own || !self.has_left(replica, *incarnation))
            .collect()
    }

    /// Of the replicas that count for copies and for what is stable, those that are not there. Each
    /// keeps counting until its node starts again under its name or from its directory, or an
    /// operator retires it. Ascending; O(writers).
    pub fn missing(&self, replica: &Replica) -> Vec<ReplicaId> {
        let is_there = |incarnation: &ReplicaId| {
            *incarnation == self.own
                || self
                    .members
                    .get(NodeId(incarnation.node))
                    .is_some_and(|entry| entry.replica == *incarnation && entry.is_live())
        };
        self.enrolled(replica).into_iter().filter(|incarnation| !is_there(incarnation)).collect()
    }

    fn has_left(&self, replica: &Replica, incarnation: ReplicaId) -> bool {
        replica.map().has_left(incarnation)
            || self.held.left.contains(&incarnation)
            || self
                .members
                .get(NodeId(incarnation.node))
                .is_some_and(|entry| entry.replica == incarnation && entry.has_left())
    }

    /// Before its entry is forgotten: it left, and does not count again.
    pub(crate) fn remember_leave(&mut self, node: NodeId) {
        if let Some(entry) = self.members.get(node).filter(|entry| entry.has_left())
            && self.held.left.len() < self.config.heard_replicas_max
        {
            self.held.left.insert(entry.replica);
        }
    }

    /// Before its connection is forgotten: what it showed to hold stays so.
    pub(crate) fn remember_holder(&mut self, peer: NodeId) {
        self.held.again.remove(&peer);
        let (Some(source), Some(entry)) = (self.sources.get(peer), self.members.get(peer)) else {
            return;
        };
        let (version, incarnation) = (source.heard.get(self.own), entry.replica);
        if version > 0
            && (self.held.shown.contains_key(&incarnation)
                || self.held.shown.len() < self.config.heard_replicas_max)
        {
            let shown = self.held.shown.entry(incarnation).or_default();
            *shown = (*shown).max(version);
        }
    }

    /// The version of this replica that `incarnation` is known to hold.
    fn holding(&self, incarnation: ReplicaId) -> Version {
        if incarnation == self.own {
            return Version::MAX;
        }
        let is_peer = self
            .members
            .get(NodeId(incarnation.node))
            .is_some_and(|entry| entry.replica == incarnation);
        let heard = self
            .sources
            .get(NodeId(incarnation.node))
            .filter(|_| is_peer)
            .map_or(0, |source| source.heard.get(self.own));
        heard.max(self.held.shown.get(&incarnation).copied().unwrap_or(0))
    }

    pub(crate) fn on_await_copies(
        &mut self,
        replica: &mut Replica,
        id: u64,
        copies: Copies,
        within: Duration,
    ) {
        // What is pending belongs to it, and gets its version with the flush.
        let version = (!replica.has_pending()).then(|| replica.map().seen_of(self.own));
        if !self.waits.put_copies(id, copies, version, self.now.saturating_add(within)) {
            self.out.notify(Notice::Waited { id, how: Waited::TooMany });
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
        let lacking = lacking(versions, |writer| replica.map().counted_up_to(writer));
        if lacking.is_empty() {
            self.out.notify(Notice::Waited { id, how: Waited::Reached });
        } else if !self.waits.put_versions(id, lacking, self.now.saturating_add(within)) {
            self.out.notify(Notice::Waited { id, how: Waited::TooMany });
        }
    }

    /// Answers the waits that are reached or over, asks for what the others need, and sets the time
    /// to look again.
    pub(crate) fn serve_waits(&mut self, replica: &mut Replica) {
        if self.waits.is_empty() {
            return self.timers.cancel(Timer::Wait);
        }
        if let Some(version) = self.waits.version_wanted().filter(|_| !self.numbering.is_open()) {
            self.ask_holders(replica, version);
            let mut holdings: Vec<Version> = self
                .enrolled(replica)
                .into_iter()
                .map(|incarnation| self.holding(incarnation))
                .collect();
            holdings.sort_unstable_by(|a, b| b.cmp(a));
            let answers = self.waits.take_copies(&holdings, self.now);
            self.answer_waits(answers);
        }
        let map = replica.map();
        let answers = self.waits.take_versions_here(|writer| map.counted_up_to(writer), self.now);
        self.answer_waits(answers);
        self.chase(replica);
        let again = self.held.again.values().copied().filter(|at| *at > self.now).min();
        let chase = self.waits.writer_wanted().map(|_| self.held.next_chase);
        match [self.waits.deadline(), again, chase].into_iter().flatten().min() {
            Some(at) => self.timers.set(Timer::Wait, at),
            None => self.timers.cancel(Timer::Wait),
        }
    }

    fn answer_waits(&mut self, answers: Vec<(u64, Waited)>) {
        for (id, how) in answers {
            self.out.notify(Notice::Waited { id, how });
        }
    }

    /// Asks every connected peer that is not known to hold `version`, one question at a time each.
    fn ask_holders(&mut self, replica: &Replica, version: Version) {
        for peer in self.sources.nodes().collect::<Vec<_>>() {
            let Some(source) = self.sources.get(peer) else { continue };
            let rests = source.heard_at.is_none()
                || source.rest_until > self.now
                || self.held.again.get(&peer).is_some_and(|at| *at > self.now);
            let known = source.heard.get(self.own);
            if rests
                || known >= version
                || self.awaits(peer, |asked| matches!(asked, Asked::Hold { .. }))
            {
                continue;
            }
            let is_kept =
                self.members.get(peer).is_some_and(|entry| self.is_kept(replica, entry.replica));
            let cells = is_kept
                .then(|| own_since(replica, known).encode())
                .filter(|bytes| bytes.len() <= self.config.ask_bytes_max);
            let hold = Hold { replica: Id(self.own), delta: cells.map(ByteBuf::from) };
            self.send(
                peer,
                Asked::Hold { version: replica.map().seen_of(self.own) },
                &Request::hold(hold),
            );
        }
    }

    /// A peer says how much of this replica it holds. Less than it was asked about: it is asked
    /// again a little later.
    pub(crate) fn take_held(&mut self, peer: NodeId, version: Version, asked: Version) {
        self.sources.hear_writer(peer, self.own, version.min(asked));
        if version < asked {
            self.held.again.insert(peer, self.now + HOLD_AGAIN);
        } else {
            self.held.again.remove(&peer);
        }
    }

    /// A peer asks how much of its own writer is held here, and may bring the cells along.
    pub(crate) fn serve_hold(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        hold: &Hold,
    ) -> Result<Response, Refusal> {
        let writer = hold.replica.0;
        if writer.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        self.not_ended(replica, writer)?;
        if let Some(bytes) = &hold.delta {
            let delta = wire::decode_delta(bytes)?;
            if delta.replicas().any(|other| other != writer) {
                return Err(Refusal::ForgedWriter);
            }
            if delta.has_open_part() {
                return Err(Refusal::Malformed);
            }
            self.join_or_wait(replica, peer, delta, bytes.len())?;
        }
        Ok(Response::held(replica.map().seen_of(writer)))
    }

    /// Somebody waits for versions that did not come by themselves: their writer is asked, or,
    /// where it is not connected, a random peer.
    fn chase(&mut self, replica: &mut Replica) {
        let Some(writer) = self.waits.writer_wanted().filter(|_| self.held.next_chase <= self.now)
        else {
            return;
        };
        self.held.next_chase = self.now + CHASE_INTERVAL;
        self.plan(replica);
        if self.pulls.is_claimed(writer) {
            return;
        }
        let node = NodeId(writer.node);
        let at_hand = self.sources.get(node).is_some_and(|source| source.rest_until <= self.now);
        if let Some(peer) = if at_hand { Some(node) } else { self.random_peer() } {
            self.ask(replica, peer);
        }
    }
}
