//! This node asks: new peers at once, a random one each round, anyone on a gap; and pulls what their answers show it to lack.

use std::time::Duration;

use counter_core::{Cursor, Delta, Replica};
use serde_bytes::ByteBuf;

use super::flush::own_since;
use super::input::NodeId;
use super::message::{Ask, Compare, Noted, Page, Request, Response, State, Tell};
use super::output::{Alarm, Refusal};
use super::replicator::Replicator;
use super::stats::Kind;
use super::timer::Timer;
use super::wire::{self, Hash, pack_vector, unpack_vector};

/// How long the first peer's cells are waited for before others are pulled from too.
const HOLD: Duration = Duration::from_millis(200);
/// The least time between two questions about gaps that no known digest fills.
const GAP_ASK_INTERVAL: Duration = Duration::from_millis(100);
/// How many failures in a row a pull survives at its peer.
const RESUMES_MAX: u32 = 2;
/// How many request timeouts a delta beyond a gap may wait.
const GAP_TIMEOUTS: u32 = 3;

/// A request without an answer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Pending {
    pub peer: NodeId,
    pub asked: Asked,
    sent: Duration,
}

/// What was asked.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Compare,
    /// With cells or only for the digest.
    Ask {
        cells: bool,
    },
    Pull,
    Tell,
}

impl Asked {
    fn kind(self) -> Kind {
        match self {
            Asked::Compare => Kind::Compare,
            Asked::Ask { .. } => Kind::Ask,
            Asked::Pull => Kind::Pull,
            Asked::Tell => Kind::Tell,
        }
    }
}

impl Replicator {
    pub(super) fn on_peer_up(&mut self, replica: &mut Replica, peer: NodeId) {
        if peer == self.node() || !self.sources.up(peer) {
            return;
        }
        self.absolve_connected(peer);
        if self.sources.len() == 1 {
            // The first connection, or the first after having been alone: others may not know what changed meanwhile.
            self.next_announce = self.next_announce.max(self.now + self.config.announce_interval);
            self.announce_soon();
        }
        self.ask(replica, peer);
    }

    pub(super) fn on_peer_down(&mut self, replica: &mut Replica, peer: NodeId) {
        if !self.sources.down(peer) {
            return;
        }
        let lost: Vec<u64> = self.pending.iter().filter(|(_, pending)| pending.peer == peer).map(|(id, _)| *id).collect();
        for id in lost {
            self.forget(id);
        }
        self.timers.cancel(Timer::Retry(peer));
        self.out.stats.pulls_failed += u64::from(self.pulls.end(peer).is_some());
        if !self.leaving {
            self.watch_lost(peer);
        }
        self.plan(replica);
    }

    fn send(&mut self, peer: NodeId, asked: Asked, request: &Request) {
        let id = self.out.request(peer, asked.kind(), request);
        self.pending.insert(id, Pending { peer, asked, sent: self.now });
        self.timers.set(Timer::Request(id), self.now + self.config.request_timeout);
    }

    fn forget(&mut self, id: u64) -> Option<Pending> {
        self.timers.cancel(Timer::Request(id));
        self.pending.remove(&id)
    }

    fn awaits(&self, peer: NodeId, test: impl Fn(Asked) -> bool) -> bool {
        self.pending.values().any(|pending| pending.peer == peer && test(pending.asked))
    }

    /// Since when the cells of an ask are awaited.
    fn cells_asked(&self) -> Option<Duration> {
        self.pending.values().filter(|pending| pending.asked == Asked::Ask { cells: true }).map(|pending| pending.sent).min()
    }

    /// Sends the whole digest, and this replica's record where the peer may not have it; asks one peer at a time for cells as well.
    fn ask(&mut self, replica: &mut Replica, peer: NodeId) {
        if self.awaits(peer, |asked| matches!(asked, Asked::Ask { .. })) {
            return;
        }
        let cells = self.cells_asked().is_none();
        let known = self.sources.get(peer).is_some_and(|source| source.heard.get(self.own) > 0);
        let ask = Ask {
            announcement: self.own_announcement(),
            have: pack_vector(&replica.map().version_vector()),
            birth: (!known).then(|| ByteBuf::from(self.birth.clone())),
            announcements: Hash(self.members.hash()),
            cells,
        };
        if cells {
            self.timers.set(Timer::Hold, self.now + HOLD);
        }
        self.send(peer, Asked::Ask { cells }, &Request::ask(ask));
    }

    /// Tells a peer what this node holds; a leaving one adds its last cells.
    pub(super) fn tell(&mut self, replica: &mut Replica, peer: NodeId) {
        let known = self.sources.get(peer).map_or(0, |source| source.heard.get(self.own));
        let last = if self.leaving { Some(own_since(replica, known).encode()) } else { None };
        let tell = Tell {
            announcement: self.own_announcement(),
            have: pack_vector(&replica.map().version_vector()),
            delta: last.filter(|bytes| bytes.len() <= self.config.page_bytes_max).map(ByteBuf::from),
        };
        self.send(peer, Asked::Tell, &Request::tell(tell));
    }

    pub(super) fn set_next_round(&mut self) {
        let interval = self.jittered(self.config.anti_entropy_interval);
        self.timers.set(Timer::Round, self.now + interval);
    }

    /// The time, up to 20 % shorter or longer.
    pub(super) fn jittered(&mut self, time: Duration) -> Duration {
        time.mul_f64(0.8 + 0.4 * self.rng.f64())
    }

    /// One round with one random peer: a compare of hashes, or an ask where none was answered yet.
    pub(super) fn on_round(&mut self, replica: &mut Replica) {
        self.set_next_round();
        self.gaps.drop_older(self.now.saturating_sub(self.config.request_timeout * GAP_TIMEOUTS));
        self.plan(replica);
        let Some(peer) = self.random_peer() else { return };
        self.out.stats.rounds += 1;
        if self.sources.get(peer).is_none_or(|source| source.heard_at.is_none()) {
            return self.ask(replica, peer);
        }
        let compare = Compare {
            seen: Hash(replica.map().version_vector().hash()),
            state: Hash(replica.map_mut().state_hash().0),
            announcements: Hash(self.members.hash()),
            stale: self.members.is_stale(self.now),
        };
        self.send(peer, Asked::Compare, &Request::compare(compare));
    }

    /// A peer that is not resting after a failure and has nothing to answer but a pull.
    fn random_peer(&mut self) -> Option<NodeId> {
        let free = |(peer, source): (NodeId, &super::sources::Source)| {
            (source.rest_until <= self.now && !self.awaits(peer, |asked| asked != Asked::Pull)).then_some(peer)
        };
        let free: Vec<NodeId> = self.sources.iter().filter_map(free).collect();
        if free.is_empty() { None } else { Some(free[self.rng.usize(..free.len())]) }
    }

    pub(super) fn on_retry(&mut self, replica: &mut Replica, peer: NodeId) {
        if let Some(pull) = self.pulls.get(peer).filter(|_| !self.awaits(peer, |asked| asked == Asked::Pull)) {
            let request = Request::pull(pull.request(self.own));
            self.send(peer, Asked::Pull, &request);
        }
        match self.sources.get(peer) {
            Some(source) if !source.pulled => self.ask(replica, peer),
            _ => self.plan(replica),
        }
    }

    /// Gossip did not bring what lies before it: it is pulled from whoever is known to have it, else one random peer is asked.
    pub(super) fn on_gap(&mut self, replica: &mut Replica) {
        self.plan(replica);
        let unclaimed = self.gaps.writers().iter().any(|writer| !self.pulls.is_claimed(*writer));
        if unclaimed && let Some(peer) = self.random_peer() {
            self.next_gap_ask = self.now + GAP_ASK_INTERVAL;
            self.ask(replica, peer);
        }
    }

    /// Begins every pull that is wanted and has room: each writer from one peer at a time.
    pub(super) fn plan(&mut self, replica: &mut Replica) {
        // The first peer's answer may bring everything: for a moment nobody else is asked for the same.
        if self.cells_asked().is_some_and(|sent| self.now < sent + HOLD) {
            return;
        }
        let seen = replica.map().version_vector();
        self.sources.mark_pulled(&seen);
        for peer in self.sources.nodes().collect::<Vec<_>>() {
            let Some(source) = self.sources.get(peer).filter(|source| source.rest_until <= self.now) else { continue };
            if !self.pulls.has_room(peer) || self.awaits(peer, |asked| asked == Asked::Ask { cells: true }) {
                continue;
            }
            let mut wanted = source.wanted(&seen);
            wanted.retain(|(_, writer)| *writer != self.own);
            if !wanted.is_empty() && source.heard.get(self.own) == 0 {
                // It does not know this replica yet, and would refuse: an ask brings the record.
                self.ask(replica, peer);
                continue;
            }
            if let Some(pull) = self.pulls.begin(peer, &wanted, &seen) {
                let request = Request::pull(pull.request(self.own));
                self.out.stats.pulls += 1;
                self.send(peer, Asked::Pull, &request);
            }
        }
    }

    pub(super) fn on_response(&mut self, replica: &mut Replica, peer: NodeId, id: u64, payload: &[u8]) {
        let Some(pending) = self.pending.get(&id).copied().filter(|pending| pending.peer == peer) else {
            self.out.stats.count_in(Kind::Other, payload.len());
            return self.out.stats.refuse(Refusal::Unasked);
        };
        self.forget(id);
        self.out.stats.count_in(pending.asked.kind(), payload.len());
        let taken = wire::decode(payload, usize::MAX).and_then(|response| self.take_response(replica, pending, response));
        match taken {
            Ok(()) => {
                if let Some(source) = self.sources.get_mut(peer) {
                    source.failures = 0;
                }
            }
            Err(reason) => {
                self.out.refuse(peer, reason);
                self.failed(replica, pending, false);
            }
        }
    }

    fn take_response(&mut self, replica: &mut Replica, pending: Pending, response: Response) -> Result<(), Refusal> {
        let peer = pending.peer;
        match (pending.asked, response) {
            (Asked::Compare, Response { same: Some(same), .. }) => {
                self.out.stats.rounds_equal += 1;
                self.hear_equal(replica, peer, same.synced);
                Ok(())
            }
            (Asked::Compare | Asked::Ask { .. }, Response { state: Some(state), .. }) => self.take_state(replica, peer, state),
            (Asked::Pull, Response { page: Some(page), .. }) => self.take_page(replica, peer, page),
            (Asked::Tell, Response { noted: Some(noted), .. }) => self.take_noted(peer, &noted),
            (_, Response { refused: Some(_), .. }) => Err(Refusal::RefusedByPeer),
            _ => Err(Refusal::Unasked),
        }
    }

    /// The peer holds what this node held when it asked.
    fn hear_equal(&mut self, replica: &Replica, peer: NodeId, synced: bool) {
        self.sources.hear(peer, replica.map().version_vector(), self.now);
        if let Some(source) = self.sources.get_mut(peer) {
            (source.synced, source.pulled) = (synced, true);
        }
    }

    fn take_noted(&mut self, peer: NodeId, noted: &Noted) -> Result<(), Refusal> {
        let heard = unpack_vector(&noted.have, self.config.digest_replicas_max)?;
        self.sources.hear(peer, heard, self.now);
        Ok(())
    }

    fn take_state(&mut self, replica: &mut Replica, peer: NodeId, state: State) -> Result<(), Refusal> {
        self.take_announcements(&state.announcements);
        let Some(have) = state.have else {
            self.hear_equal(replica, peer, state.synced);
            return Ok(());
        };
        let heard = unpack_vector(&have, self.config.digest_replicas_max)?;
        self.sources.hear(peer, heard.clone(), self.now);
        if let Some(source) = self.sources.get_mut(peer) {
            source.synced = state.synced;
        }
        let joined = state.delta.map_or(Ok(()), |bytes| self.join_bytes(replica, &bytes));
        self.plan(replica);
        let seen = replica.map().version_vector();
        if seen == heard {
            if replica.map_mut().state_hash().0 != state.state.0 {
                self.diverged(peer);
            }
        } else if !heard.contains(&seen) && heard.get(self.own) > 0 && !self.awaits(peer, |asked| asked == Asked::Tell) {
            self.tell(replica, peer);
        }
        joined
    }

    pub(super) fn join_bytes(&mut self, replica: &mut Replica, bytes: &[u8]) -> Result<(), Refusal> {
        let delta = Delta::decode(bytes).map_err(|_| Refusal::Malformed)?;
        self.join(replica, delta)
    }

    fn take_page(&mut self, replica: &mut Replica, peer: NodeId, page: Page) -> Result<(), Refusal> {
        self.out.stats.pages += 1;
        let delta = Delta::decode(&page.delta).map_err(|_| Refusal::Malformed)?;
        let next = page.next.map(ByteBuf::into_vec);
        if next.as_ref().is_some_and(|next| Cursor::decode(next).is_err()) {
            return Err(Refusal::Malformed);
        }
        let Some(pull) = self.pulls.get_mut(peer) else { return Err(Refusal::Unasked) };
        let (progress, repair) = (pull.page(delta, next)?, pull.repair);
        if repair {
            self.repair(replica, progress.ready)?
        } else {
            self.join(replica, progress.ready)?
        }
        if progress.done {
            self.finish(replica, peer);
        } else if let Some(pull) = self.pulls.get(peer) {
            let request = Request::pull(pull.request(self.own));
            self.send(peer, Asked::Pull, &request);
        }
        Ok(())
    }

    /// A pull came to its end. What it did not bring, though the peer was heard to hold it when the pull began, is not asked of this peer again
    /// until its digest grows.
    fn finish(&mut self, replica: &mut Replica, peer: NodeId) {
        if let (Some(pull), Some(source)) = (self.pulls.end(peer), self.sources.get_mut(peer)) {
            for (writer, promised) in pull.promised().iter() {
                if replica.map().seen_of(writer) < promised {
                    source.asked.insert(writer, promised);
                } else {
                    source.asked.remove(&writer);
                }
            }
        }
        self.plan(replica);
    }

    /// Equal version vectors and unequal hashes: a fault of ours. Counted; repaired by a full pull, once in a while.
    pub(super) fn diverged(&mut self, peer: NodeId) {
        self.out.stats.divergences += 1;
        let Some(source) = self.sources.get_mut(peer) else { return };
        let due = source.repaired_at.is_none_or(|at| self.now >= at + self.config.repair_interval);
        if !due || !self.pulls.has_room(peer) {
            return;
        }
        source.repaired_at = Some(self.now);
        self.out.stats.repairs += 1;
        self.out.alarm(Alarm::Diverged { peer });
        let request = Request::pull(self.pulls.begin_repair(peer).request(self.own));
        self.send(peer, Asked::Pull, &request);
    }

    pub(super) fn on_request_failed(&mut self, replica: &mut Replica, peer: NodeId, id: u64) {
        if self.pending.get(&id).is_some_and(|pending| pending.peer == peer)
            && let Some(pending) = self.forget(id)
        {
            self.failed(replica, pending, true);
        }
    }

    pub(super) fn on_overdue(&mut self, replica: &mut Replica, id: u64) {
        if let Some(pending) = self.forget(id) {
            self.failed(replica, pending, false);
        }
    }

    /// The peer rests for a while. A pull whose page was lost goes on from there at the same peer afterwards; where that is of no use, or has
    /// failed too often, its writers are pulled elsewhere from the start.
    fn failed(&mut self, replica: &mut Replica, pending: Pending, resume: bool) {
        let resume = resume && self.sources.get(pending.peer).is_some_and(|source| source.failures < RESUMES_MAX);
        if pending.asked == Asked::Pull && !resume {
            self.out.stats.pulls_failed += u64::from(self.pulls.end(pending.peer).is_some());
        }
        if let Some(until) = self.sources.failed(pending.peer, self.now) {
            self.timers.set(Timer::Retry(pending.peer), until);
        }
        self.plan(replica);
    }
}
