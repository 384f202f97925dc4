//! Answers to this node's requests: digests, pages of a pull, refusals.

use std::time::Duration;

use counter_core::{Cursor, Delta, Replica, VersionVector};
use serde_bytes::ByteBuf;

use super::commits::promised;
use super::open_requests::{Asked, OpenRequest};
use crate::protocol::input::NodeId;
use crate::protocol::output::{Alarm, Notice, Refusal};
use crate::protocol::replicator::Replicator;
use crate::protocol::replicator::Timer;
use crate::protocol::stats::Kind;
use crate::protocol::wire::PeerStatus;
use crate::protocol::wire::{self, unpack_vector};
use crate::protocol::wire::{Noted, PageMessage, Request, Response, StateMessage};

/// After this time a peer that waits for others is asked again, while this node waits too.
const WAITING_INTERVAL: Duration = Duration::from_millis(200);

impl Replicator {
    pub(crate) fn on_response(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        id: u64,
        payload: &[u8],
    ) {
        let Some(request) = self.requests.get(id, peer) else {
            self.out.stats.count_in(Kind::Other, payload.len());
            return self.out.stats.refuse(Refusal::Unasked);
        };
        self.close(id);
        self.out.stats.count_in(request.asked.kind(), payload.len());
        let taken = wire::decode(payload, usize::MAX)
            .and_then(|response| self.take_response(replica, request, response));
        match taken {
            Ok(()) => {
                self.peers.succeeded(peer);
            }
            Err(reason) => {
                self.out.refuse(peer, reason);
                self.failed(replica, request, false);
            }
        }
    }

    fn take_response(
        &mut self,
        replica: &mut Replica,
        request: OpenRequest,
        response: Response,
    ) -> Result<(), Refusal> {
        let (peer, incarnation) = (request.peer, response.incarnation);
        let behind = response.uncommitted.clone();
        if let Some(refused) = &response.refused {
            if refused.reason == Refusal::UnknownVersion.label() && self.peers.contains(peer) {
                // This is an earlier release. It does everything else.
                match request.asked {
                    Asked::Confirm => {
                        if self.peers.set_confirms_nothing(peer) {
                            self.out.notify(Notice::EarlierRelease { peer });
                        }
                    }
                    Asked::Digest => self.peers.set_takes_no_parts(peer),
                    Asked::Number => self.cannot_number(peer),
                    _ => return Err(Refusal::RefusedByPeer),
                }
                return Ok(());
            }
            if refused.reason == Refusal::Ended.label() {
                self.told_ended(request.asker);
            }
            if refused.reason == Refusal::SecondProcess.label() {
                self.out.notify(Notice::SecondProcess);
            }
            return Err(Refusal::RefusedByPeer);
        }
        if self.is_ended(replica, peer, incarnation) {
            return Err(Refusal::Ended);
        }
        match (request.asked, response) {
            (Asked::Compare { seen }, Response { same: Some(same), .. }) => {
                self.out.stats.rounds_equal += 1;
                self.hear_equal(replica, peer, (incarnation, &behind), seen, same.synced)
            }
            (Asked::Compare { .. } | Asked::Ask { .. }, Response { state: Some(state), .. }) => {
                self.take_state(replica, request, incarnation, state, &behind)
            }
            (Asked::Pull, Response { page: Some(page), .. }) => self.take_page(replica, peer, page),
            (Asked::Tell, Response { noted: Some(noted), .. }) => {
                self.take_noted(replica, peer, incarnation, &noted, &behind)
            }
            (Asked::Confirm, Response { confirm: Some(answer), .. }) => {
                self.take_confirmed(replica, peer, &answer)
            }
            (Asked::Digest, Response { taken: Some(_), .. }) => Ok(()),
            (Asked::Number, Response { numbered: Some(numbered), .. }) => {
                self.take_numbered(peer, &numbered)
            }
            (Asked::Ack { version }, Response { ack: Some(ack), .. }) => {
                self.take_ack(peer, ack.version, version);
                Ok(())
            }
            _ => Err(Refusal::Unasked),
        }
    }

    /// The peer's version vector has the hash `asked`, so it holds what this node held when it
    /// asked. The versions in `behind` are not on the peer's disk. This node may hold more by now.
    fn hear_equal(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        (incarnation, behind): (Option<u64>, &[u8]),
        asked: u128,
        synced: bool,
    ) -> Result<(), Refusal> {
        let behind = unpack_vector(behind, self.config.digest_replicas_max)?;
        if behind.is_empty()
            && let Some(incarnation) = self.incarnation_heard(replica, peer, incarnation)
        {
            self.snapshots.show_hash(incarnation, asked);
        }
        let seen = replica.map().version_vector();
        if seen.digest_hash() == asked {
            self.shown(replica, peer, incarnation, &promised(&seen, &behind));
            self.hear(replica, peer, seen);
        }
        self.peers.note_equal(peer, synced);
        Ok(())
    }

    fn take_noted(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
        noted: &Noted,
        behind: &[u8],
    ) -> Result<(), Refusal> {
        if let Some(digest) =
            self.read_digest(peer, incarnation, (&noted.have, behind), noted.part, None)?
        {
            self.heard(replica, peer, incarnation, &digest);
        }
        Ok(())
    }

    fn take_state(
        &mut self,
        replica: &mut Replica,
        request: OpenRequest,
        incarnation: Option<u64>,
        state: StateMessage,
        behind: &[u8],
    ) -> Result<(), Refusal> {
        let peer = request.peer;
        self.take_announcements(&state.announcements);
        let Some(have) = state.have else {
            self.peers.said_waits(peer, state.waits);
            if let Asked::Compare { seen } = request.asked {
                self.hear_equal(replica, peer, (incarnation, behind), seen, state.synced)?;
            }
            return Ok(());
        };
        let answer = PeerStatus { synced: state.synced, waits: state.waits };
        let digest =
            self.read_digest(peer, incarnation, (&have, behind), state.part, Some(answer))?;
        if let Some(digest) = &digest {
            self.heard(replica, peer, incarnation, digest);
            self.take_answer(peer, answer);
        }
        let joined = state.delta.map_or(Ok(()), |bytes| self.join_bytes(replica, peer, &bytes));
        self.plan(replica);
        if let Some(digest) = digest {
            if digest.have == replica.map().version_vector() {
                if replica.state_hash().0 != state.state.0 {
                    self.diverged(peer);
                }
            } else {
                self.tell_what_lacks(replica, peer, &digest.have);
            }
        }
        joined
    }

    /// Takes what an answer said beside its digest, once the digest is whole.
    pub(crate) fn take_answer(&mut self, peer: NodeId, answer: PeerStatus) {
        self.peers.said(peer, answer);
        if answer.waits && !self.is_synced() {
            self.timers.set_by(Timer::Retry(peer), self.now + WAITING_INTERVAL);
        }
    }

    /// Tells a peer what this node holds, if the peer answered and lacks some of it.
    pub(crate) fn tell_what_lacks(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        heard: &VersionVector,
    ) {
        let lacks = !heard.contains(&replica.map().version_vector());
        if lacks && heard.get(self.own) > 0 && !self.awaits(peer, |asked| asked == Asked::Tell) {
            self.tell(replica, peer);
        }
    }

    pub(crate) fn join_bytes(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let delta = wire::decode_delta(bytes)?;
        self.take_pulled(replica, peer, delta)
    }

    /// Joins what a peer answered, or holds it back until it is whole.
    fn take_pulled(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        delta: Delta,
    ) -> Result<(), Refusal> {
        let nothing = VersionVector::new();
        let heard = self.peers.get(peer).map_or(&nothing, |source| source.heard());
        match self.catch_up.hold(delta, (peer, heard), self.now) {
            Some(delta) => self.join(replica, delta),
            None if self.catch_up.is_over_bound() => self.join_held(replica),
            None => self.join_whole(replica),
        }
    }

    /// Joins everything that was held back.
    pub(crate) fn join_held(&mut self, replica: &mut Replica) -> Result<(), Refusal> {
        self.catch_up.take().into_iter().try_for_each(|delta| self.join(replica, delta))
    }

    /// Joins what was held back since this node has caught up, if it is whole.
    pub(crate) fn join_whole(&mut self, replica: &mut Replica) -> Result<(), Refusal> {
        let is_whole = self.is_synced()
            && self.catch_up.is_whole(replica.map(), self.own, &self.peers, self.now);
        if is_whole { self.join_held(replica) } else { Ok(()) }
    }

    fn take_page(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        page: PageMessage,
    ) -> Result<(), Refusal> {
        self.out.stats.pages += 1;
        let delta = wire::decode_delta(&page.delta)?;
        let next = page.next.map(ByteBuf::into_vec);
        if next.as_ref().is_some_and(|next| Cursor::decode(next).is_err()) {
            return Err(Refusal::Malformed);
        }
        let Some(pull) = self.pulls.get_mut(peer) else { return Err(Refusal::Unasked) };
        let progress =
            pull.page(delta, next, self.now).inspect_err(|reason| self.out.alarm_of(*reason))?;
        let repair = pull.repair;
        if repair {
            self.repair(replica, progress.ready)?
        } else {
            self.take_pulled(replica, peer, progress.ready)?
        }
        if progress.done {
            self.finish_pull(replica, peer);
        } else if let Some(pull) = self.pulls.get(peer) {
            let next = Request::pull(pull.request(self.own));
            self.send(peer, Asked::Pull, &next);
        }
        Ok(())
    }

    /// A pull came to its end.
    fn finish_pull(&mut self, replica: &mut Replica, peer: NodeId) {
        if let Some(pull) = self.pulls.end(peer) {
            let seen = |writer| self.catch_up.seen_of(replica.map(), writer);
            self.peers.pull_ended(peer, pull.promised(), seen);
        }
        self.plan(replica);
    }

    /// Equal version vectors with unequal hashes are a fault of this software. It is counted, and
    /// repaired by a full pull once in a while.
    pub(crate) fn diverged(&mut self, peer: NodeId) {
        self.out.stats.divergences += 1;
        let is_due = self.peers.may_repair(peer, self.now, self.config.repair_interval);
        if !is_due || !self.pulls.has_room(peer) {
            return;
        }
        self.peers.begin_repair(peer, self.now);
        self.out.stats.repairs += 1;
        self.out.alarm(Alarm::Diverged { peer });
        let request = Request::pull(self.pulls.begin_repair(peer, self.now).request(self.own));
        self.send(peer, Asked::Pull, &request);
    }
}
