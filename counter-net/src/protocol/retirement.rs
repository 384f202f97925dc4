//! The heir's work on lives that ended, a step at a time and at a bounded rate; and what this node does when its own life was ended.
//!
//! `docs/retirement.md` draws it. The steps themselves are the core's (`Inheritance`); this room knows when each may be taken.

use std::time::Duration;

use counter_core::{Flushed, Inheritance, Replica, ReplicaId, Version};

use super::asked::Asked;
use super::digest::Piece;
use super::input::NodeId;
use super::message::{Request, Tell};
use super::output::{Notice, RetireError};
use super::replicator::Replicator;
use super::retiring::{Heir, Retirement};
use super::timer::Timer;
use super::wire::Id;

/// How often the heir looks whether it may go on.
const STEP_INTERVAL: Duration = Duration::from_millis(250);

/// Peers that are asked for their digests at one look.
const ASKED_A_STEP: usize = 8;

impl Replicator {
    /// Claims a life that is lost for good, as an operator says it is. Feed [`Input::LocalChange`](super::Input::LocalChange) afterwards.
    ///
    /// # Errors
    /// The life is not known, is this replica's own, has ended already, or is live: nothing changed.
    pub fn retire(&mut self, replica: &mut Replica, ended: ReplicaId) -> Result<(), RetireError> {
        let is_live = self.members.get(NodeId(ended.node)).is_some_and(|entry| entry.replica == ended && entry.is_live());
        if ended == self.own {
            return Err(RetireError::Own);
        }
        if replica.map().is_ended(ended) {
            return Err(RetireError::Ended);
        }
        if replica.map().seen_of(ended) == 0 {
            return Err(RetireError::Unknown);
        }
        if is_live {
            return Err(RetireError::Live);
        }
        self.claim(replica, ended);
        Ok(())
    }

    fn claim(&mut self, replica: &mut Replica, ended: ReplicaId) {
        if replica.claim(ended).is_some() {
            self.publish_own(replica, &Flushed::default());
            self.lives_changed(replica);
        }
    }

    /// Of the enrolled replicas, one that this heir waits for; None where it waits for nobody.
    pub fn waits_for(&self, replica: &Replica) -> Option<ReplicaId> {
        let upto = self.upto(replica, self.retirement.work.as_ref()?)?;
        self.first_without(replica, upto)
    }

    /// What all others must hold before the next step; None where it needs nobody.
    fn upto(&self, replica: &Replica, work: &Inheritance) -> Option<Version> {
        match work.is_folded() {
            true => None,
            false => Some(work.adopted().unwrap_or(replica.map().record(self.own)?.version)),
        }
    }

    /// Some record said something new of lives that ended.
    pub(super) fn lives_changed(&mut self, replica: &Replica) {
        self.sources.retain_writers(|writer| !replica.map().is_folded(writer));
        self.snapshots.forget_folded(replica.map());
        self.retirement.forgets = true;
        self.timers.set_by(Timer::Retire, self.now);
    }

    /// Looks whether a step may be taken, takes it, and comes back while there is work.
    pub(super) fn on_retire(&mut self, replica: &mut Replica) {
        if self.leaving {
            // Whoever takes this life over takes over its work: nothing may be written any more that might come too late for that.
            return self.enrolment.want(false);
        }
        let work = replica.inheritance(self.retirement.work.take());
        let waits = work.is_some() || self.retirement.forgets;
        self.enrolment.want(waits);
        if !waits {
            return;
        }
        self.timers.set(Timer::Retire, self.now + STEP_INTERVAL);
        match work {
            Some(work) => self.inherit(replica, work),
            None => self.forget_cleared(replica),
        }
        self.publish_own(replica, &Flushed::default());
        self.out.stats.lives_ended = replica.map().ended_count();
    }

    fn inherit(&mut self, replica: &mut Replica, mut work: Inheritance) {
        let bytes_max = self.step_bytes();
        if let Some(upto) = self.upto(replica, &work)
            && self.first_without(replica, upto).is_some()
        {
            self.ask_behind(replica, upto);
            self.retirement.work = Some(work);
            return;
        }
        if work.is_folded() {
            let bytes = replica.compact(bytes_max);
            self.out.stats.retirement_bytes += bytes as u64;
            if bytes > 0 {
                self.retirement.work = Some(work);
            }
        } else if work.adopted().is_some() {
            replica.fold(&mut work);
            self.out.stats.lives_folded += work.lives().len() as u64;
            self.lives_changed(replica);
            self.retirement.work = Some(work);
        } else {
            match replica.adopt(&mut work, bytes_max) {
                Ok(bytes) => self.out.stats.retirement_bytes += bytes as u64,
                Err(_) => self.out.stats.retirement_stalled += 1,
            }
            self.retirement.work = Some(work);
        }
        // The state hash moved and no value did.
        self.out.notify(Notice::Changed { keys: Vec::new() });
    }

    /// What own resets cleared of lives that are folded everywhere is dropped from the own cells.
    fn forget_cleared(&mut self, replica: &mut Replica) {
        let upto = replica.map().record(self.own).map_or(0, |record| record.version);
        if !replica.names_folded() {
            self.retirement.forgets = false;
        } else if self.first_without(replica, upto).is_some() {
            self.ask_behind(replica, upto);
        } else {
            self.out.stats.retirement_bytes += replica.forget_cleared(self.step_bytes()) as u64;
        }
    }

    /// A step's share of the rate, and no more than one gossip message carries.
    fn step_bytes(&self) -> usize {
        let share = (self.config.adoption_bytes_per_s as f64 * STEP_INTERVAL.as_secs_f64()) as usize;
        share.min(self.config.payload_bytes_max / 2).max(1)
    }

    /// Asks some of the peers that did not show what this heir waits for; what they miss comes to them as always.
    fn ask_behind(&mut self, replica: &Replica, upto: Version) {
        let mut behind = self.behind(replica, upto);
        self.rng.shuffle(&mut behind);
        for peer in behind.into_iter().take(ASKED_A_STEP) {
            let rests = self.sources.get(peer).is_none_or(|source| source.rest_until > self.now);
            if !rests && !self.awaits(peer, |asked| matches!(asked, Asked::Ask { .. })) {
                self.ask_digest(replica, peer);
            }
        }
    }

    /// Goes on as a new writer: this life was ended by others, or somebody else writes under its id.
    pub(super) fn renew(&mut self, replica: &mut Replica) {
        let lives = replica.map().replicas().filter(|life| life.node == self.own.node).map(|life| life.generation);
        let latest = ReplicaId { generation: lives.fold(self.own.generation, u64::max), ..self.own };
        let life = ReplicaId { generation: latest.follows().generation | u64::from(self.rng.u32(..)), ..self.own };
        let Ok(changed) = replica.renew(life) else { return };
        self.out.changed(changed);
        self.own = life;
        self.members.renew(life);
        self.members_changed = true;
        self.birth = super::own_delta::birth_of(replica);
        self.published = 0;
        self.enrolment.forget();
        self.snapshots.start_again();
        self.confirmations.renew(life);
        self.retirement = Retirement::default();
        self.out.stats.renewals += 1;
        self.out.notify(Notice::Renewed { replica: life });
        self.publish_own(replica, &Flushed::default());
        self.announce_soon();
        // Nobody knows this life yet: each peer gets its record with the next question.
        for peer in self.sources.nodes().collect::<Vec<_>>() {
            self.ask_digest(replica, peer);
        }
        self.lives_changed(replica);
    }

    /// This replica leaves for good: another is to be its heir.
    pub(super) fn want_heir(&mut self) {
        if self.retirement.heir == Heir::None {
            self.retirement.heir = Heir::Wanted;
        }
    }

    /// Whether a leaving replica still has to hear from its heir.
    pub(super) fn lacks_heir(&self) -> bool {
        match self.retirement.heir {
            Heir::None => false,
            Heir::Wanted => self.heir_at_hand().is_some(),
            Heir::Told(peer) => self.sources.contains(peer),
        }
    }

    fn heir_at_hand(&self) -> Option<NodeId> {
        let fit = |node: &NodeId| {
            self.members.get(*node).is_some_and(|entry| entry.is_live())
                && self.sources.get(*node).is_some_and(|source| source.failures == 0 && source.heard.get(self.own) > 0)
        };
        self.sources.nodes().find(fit)
    }

    /// Once all that was written here is handed over, names the heir. It claims this life, and from then on nobody listens to it.
    pub(super) fn name_heir(&mut self, replica: &Replica) {
        if self.retirement.heir != Heir::Wanted || !self.has_handed_over(replica) {
            return;
        }
        let Some(peer) = self.heir_at_hand() else { return };
        let Some(heir) = self.members.get(peer).map(|entry| Id(entry.replica)) else { return };
        self.retirement.heir = Heir::Told(peer);
        self.retirement.bequeathed = true;
        let (announcement, Piece { have, part }) = (self.own_announcement(), self.digest_for(replica, peer));
        self.send(peer, Asked::Tell, &Request::tell(Tell { announcement, have, delta: None, heir: Some(heir), part }));
    }

    /// Whether an heir was named, so that nobody would take what is written now.
    pub(super) fn has_bequeathed(&self) -> bool {
        self.retirement.bequeathed
    }

    /// A peer noted what it was told.
    pub(super) fn heir_noted(&mut self, peer: NodeId) {
        if self.retirement.heir == Heir::Told(peer) {
            self.retirement.heir = Heir::None;
        }
    }

    /// A leaving replica names this one as its heir.
    pub(super) fn take_bequest(&mut self, replica: &mut Replica, from: ReplicaId, heir: ReplicaId) {
        if heir == self.own && from != self.own {
            self.claim(replica, from);
        }
    }
}
