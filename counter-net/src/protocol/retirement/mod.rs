//! Ended incarnations: who claims them, the successor's work a step at a time and at a bounded
//! rate, and what this node does when it leaves or when its own incarnation was ended.
//!
//! `docs/retirement.md` draws it. The steps themselves are the core's (`Inheritance`); this room
//! knows when each may be taken. Its state is [`Retirement`], which nothing outside changes but
//! through its verbs: [`Leave`] is this node's own leave, [`Promises`] what the enrolled have
//! shown, [`Claims`] what waits to be claimed.
//!
//! Invariant: a step is taken only when every enrolled replica was shown to hold what it rests on.

mod claims;
mod leave;
mod promises;

use std::time::Duration;

use counter_core::{Flushed, Inheritance, Replica, ReplicaId, Version, VersionVector};

use claims::Claims;
use leave::Leave;
use promises::Promises;

use crate::protocol::input::NodeId;
use crate::protocol::output::{Notice, Refusal, RetireError};
use crate::protocol::pull::Asked;
use crate::protocol::replicator::Replicator;
use crate::protocol::replicator::Timer;

/// How often the successor looks whether it may go on.
const STEP_INTERVAL: Duration = Duration::from_millis(250);

/// Peers that are asked for their digests at one look.
const ASKED_A_STEP: usize = 8;

/// How long at most a node has run before it absorbs a successor that ended at its work. A node
/// that crashes again and again would otherwise leave half of that work behind each time.
const AFTER_ONE_THAT_FAILED: Duration = Duration::from_secs(60);

/// How many times longer than the work takes a node has run before it, where another ended at it.
const PATIENCE_FACTOR: u32 = 8;

/// About what one absorbed cell takes in a delta.
const ABSORBED_CELL_BYTES: usize = 35;

/// How long an incarnation must have been silent before an operator may retire it without force.
const QUIET: Duration = Duration::from_secs(600);

/// A leaver looks this often who covers its last statement.
const LEAVE_INTERVAL: Duration = Duration::from_millis(100);

/// What this node has to do for ended incarnations, and for its own end.
#[derive(Debug)]
pub(super) struct Retirement {
    work: Option<Inheritance>,
    /// Records changed: what there is to do is looked up anew.
    is_stale: bool,
    /// Own cells may still name what was cleared of incarnations that are folded.
    forgets: bool,
    promises: Promises,
    claims: Claims,
    leave: Leave,
}

impl Default for Retirement {
    fn default() -> Self {
        let (promises, claims, leave) = Default::default();
        Self { work: None, is_stale: true, forgets: false, promises, claims, leave }
    }
}

impl Retirement {
    /// Whether a member was shown to cover this node's last statement.
    pub(super) fn is_leave_covered(&self) -> bool {
        self.leave.is_covered()
    }
}

impl Replicator {
    /// Claims an incarnation that is lost for good, as an operator says it is. Feed
    /// [`Input::LocalChange`](crate::protocol::Input::LocalChange) afterwards.
    ///
    /// # Errors
    /// As [`force_retire`](Self::force_retire), and where it was heard of within the last ten
    /// minutes: nothing changed.
    pub fn retire(&mut self, replica: &mut Replica, ended: ReplicaId) -> Result<(), RetireError> {
        self.may_retire(replica, ended)?;
        let ago = self.members.last_word(ended).map(|last_word| self.now.saturating_sub(last_word));
        match ago.filter(|ago| *ago < QUIET) {
            Some(ago) => Err(RetireError::Recent { ago }),
            None => self.force_retire(replica, ended),
        }
    }

    /// As [`retire`](Self::retire), however late the incarnation was heard of. What it counted and
    /// no other node holds is lost.
    ///
    /// # Errors
    /// The incarnation is not known, is this replica's own, has ended already, or is live: nothing
    /// changed.
    pub fn force_retire(
        &mut self,
        replica: &mut Replica,
        ended: ReplicaId,
    ) -> Result<(), RetireError> {
        self.may_retire(replica, ended)?;
        self.claim_node(replica, ended);
        Ok(())
    }

    fn may_retire(&self, replica: &Replica, ended: ReplicaId) -> Result<(), RetireError> {
        if ended == self.own {
            return Err(RetireError::Own);
        }
        // Where all that claimed it have ended themselves, it may be claimed anew.
        if replica.map().is_folded(ended) || replica.map().successor_of(ended).is_some() {
            return Err(RetireError::Ended);
        }
        if replica.map().seen_of(ended) == 0 {
            return Err(RetireError::Unknown);
        }
        if self.is_live(ended) { Err(RetireError::Live) } else { Ok(()) }
    }

    fn is_live(&self, incarnation: ReplicaId) -> bool {
        self.members
            .get(NodeId(incarnation.node))
            .is_some_and(|entry| entry.replica == incarnation && entry.is_live())
    }

    /// Claims an incarnation, and those before it that it had no time to claim: what a node wrote
    /// is folded in the order of its incarnations.
    fn claim_node(&mut self, replica: &mut Replica, ended: ReplicaId) {
        let is_before = |incarnation: &ReplicaId| {
            incarnation.node == ended.node
                && incarnation.incarnation < ended.incarnation
                && *incarnation != self.own
                && !self.is_live(*incarnation)
        };
        let before: Vec<ReplicaId> = replica.map().enrolled().filter(is_before).collect();
        before.into_iter().chain([ended]).for_each(|incarnation| self.claim(replica, incarnation));
    }

    /// Claims an earlier incarnation of this very node, which has ended, whether anything of it is
    /// known here or not. One that left, and held more than is here, is claimed once that is here.
    /// Feed [`Input::LocalChange`](crate::protocol::Input::LocalChange) afterwards.
    pub fn claim_earlier(&mut self, replica: &mut Replica, earlier: ReplicaId) {
        if earlier != self.own
            && !replica.map().is_ended(earlier)
            && replica.map().covers_final_of(earlier)
        {
            self.claim(replica, earlier);
        }
    }

    fn claim(&mut self, replica: &mut Replica, ended: ReplicaId) {
        if replica.claim(ended).is_some() {
            self.publish_own(replica, &Flushed::default());
            // Also for the store: no value moved.
            self.out.notify(Notice::Changed { keys: Vec::new() });
            self.incarnations_changed(replica);
        }
    }

    /// Of the enrolled replicas, one that this successor waits for; None where it waits for nobody.
    pub fn waits_for(&self, replica: &Replica) -> Option<ReplicaId> {
        let upto = self.upto(replica, self.retirement.work.as_ref()?)?;
        replica.map().first_without(self.own, upto, |member| self.retirement.promises.shown(member))
    }

    /// What all others must hold before the next step; None where it needs nobody.
    fn upto(&self, replica: &Replica, work: &Inheritance) -> Option<Version> {
        match work.is_folded() {
            true => None,
            false => Some(work.absorbed().unwrap_or(replica.map().record(self.own)?.version)),
        }
    }

    /// Some record said something new of incarnations that ended.
    pub(super) fn incarnations_changed(&mut self, replica: &Replica) {
        self.sources.retain_writers(|writer| !replica.map().is_folded(writer));
        self.committed.retain(|writer| !replica.map().is_folded(writer));
        self.snapshots.forget_folded(replica.map());
        self.retirement.promises.forget_ended(replica.map());
        (self.retirement.forgets, self.retirement.is_stale) = (true, true);
        self.timers.set_by(Timer::Retire, self.now);
    }

    /// Looks whether a step may be taken, takes it, and comes back while there is work. O(writers)
    /// where nothing changed and one replica is missing.
    pub(super) fn on_retire(&mut self, replica: &mut Replica) {
        if self.leaving {
            // Whoever takes this incarnation over takes over its work: nothing may be written any
            // more that might come too late for that.
            self.retirement.promises.want(false);
            return self.pursue_leave(replica);
        }
        if replica.map().is_ended(self.own) {
            // Others take over what it was at, and it goes on as a new incarnation.
            return;
        }
        self.claim_waiting(replica);
        let begun = self.retirement.work.as_ref().is_some_and(Inheritance::has_begun);
        if begun || self.retirement.is_stale {
            let work = self.retirement.work.take();
            self.retirement.work = replica.inheritance(work);
        }
        self.retirement.is_stale = false;
        let work = self.retirement.work.take();
        let waits = work.is_some() || self.retirement.forgets;
        self.retirement.promises.want(waits);
        if waits || !self.retirement.claims.is_empty() {
            // Before the work: what it changes may be looked at sooner.
            self.timers.set(Timer::Retire, self.now + STEP_INTERVAL);
        }
        match work {
            Some(work) => self.inherit(replica, work),
            None if waits => self.forget_cleared(replica),
            None => {}
        }
        if waits {
            self.publish_own(replica, &Flushed::default());
        }
        self.out.stats.incarnations_ended = replica.map().ended_count();
    }

    /// Claims those that left, and those whose claimants have all ended, where it is this node's
    /// turn.
    fn claim_waiting(&mut self, replica: &mut Replica) {
        if self.retirement.is_stale {
            let later = self.rng.f64();
            let waiting = replica
                .map()
                .without_successor()
                .into_iter()
                .filter(|incarnation| *incarnation != self.own)
                .collect();
            self.retirement.claims.wait_for(waiting, later, self.now);
            self.claim_own_earlier(replica);
            self.look_for_later(replica);
        }
        if self.retirement.claims.is_empty()
            || !self.is_synced()
            || replica.map().is_ended(self.own)
        {
            return;
        }
        let is_first = !self
            .members
            .iter()
            .any(|(_, entry)| entry.is_live() && entry.synced && entry.replica < self.own);
        for incarnation in self.retirement.claims.due(is_first, self.now) {
            if replica.map().covers_final_of(incarnation) {
                self.claim(replica, incarnation);
            }
        }
    }

    /// Claims the incarnations of this very node before this one: they ended when it started. A
    /// start from a directory claims those that it remembers; others may know more, such as of a
    /// disk that was set back, or of a node that has a name and no disk.
    fn claim_own_earlier(&mut self, replica: &mut Replica) {
        // Without a name and a disk nothing was this node's before.
        let has_past = self.numbering.asks() || self.committed.promised().is_some();
        if !has_past
            || !self.is_synced()
            || self.numbering.is_open()
            || replica.map().is_ended(self.own)
        {
            return;
        }
        let is_earlier = |incarnation: &ReplicaId| {
            incarnation.node == self.own.node && incarnation.incarnation < self.own.incarnation
        };
        let earlier: Vec<ReplicaId> = replica.map().enrolled().filter(is_earlier).collect();
        for incarnation in earlier
            .into_iter()
            .filter(|incarnation| replica.map().covers_final_of(*incarnation))
            .collect::<Vec<_>>()
        {
            self.claim(replica, incarnation);
        }
    }

    fn inherit(&mut self, replica: &mut Replica, mut work: Inheritance) {
        let bytes_max = self.step_bytes();
        // A directory may be older than what others hold of its node: it folds nothing before it
        // has met them.
        if !self.is_synced() || !self.in_touch() || self.is_too_early(replica, &work) {
            self.retirement.work = Some(work);
            return;
        }
        if !work.has_begun() && self.claim_for_the_ended(replica) {
            return;
        }
        if let Some(upto) = self.upto(replica, &work)
            && self.first_without(replica, upto).is_some()
        {
            self.ask_behind(replica, upto);
            self.retirement.work = Some(work);
            return;
        }
        if work.is_folded() {
            let bytes = replica.rebase(bytes_max);
            self.out.stats.retirement_bytes += bytes as u64;
            match bytes > 0 {
                true => self.retirement.work = Some(work),
                // What was claimed during this round is the next one's.
                false => self.retirement.is_stale = true,
            }
        } else if work.absorbed().is_some() {
            replica.fold(&mut work);
            self.out.stats.incarnations_folded += work.incarnations().len() as u64;
            self.incarnations_changed(replica);
            self.retirement.work = Some(work);
        } else {
            match replica.absorb(&mut work, bytes_max) {
                Ok(bytes) => self.out.stats.retirement_bytes += bytes as u64,
                Err(_) => self.out.stats.retirement_stalled += 1,
            }
            self.retirement.work = Some(work);
        }
        if replica.has_pending() {
            // Absorbing a dedup entry may have taken an add back.
            self.timers.set_by(Timer::Flush, self.next_flush.max(self.now));
        }
        // The state hash moved and no value did.
        self.out.notify(Notice::Changed { keys: Vec::new() });
    }

    /// Whether another has ended at this very work, and this node has not run for some time itself.
    /// How long depends on the work: what takes no time is not left half done.
    fn is_too_early(&self, replica: &Replica, work: &Inheritance) -> bool {
        let was_at_work = |incarnation: &ReplicaId| {
            replica.map().record(*incarnation).is_some_and(counter_core::Record::is_absorbing)
        };
        if work.has_begun() || !work.incarnations().iter().any(was_at_work) {
            return false;
        }
        let cells: usize = work
            .incarnations()
            .iter()
            .map(|incarnation| replica.map().cells_of(*incarnation))
            .sum();
        let steps = cells * ABSORBED_CELL_BYTES / self.step_bytes();
        let takes = STEP_INTERVAL.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        self.now < self.started + takes.saturating_mul(PATIENCE_FACTOR).min(AFTER_ONE_THAT_FAILED)
    }

    /// Where all that claimed an incarnation have ended, it is claimed anew before one of them is
    /// absorbed: with its claimant's record the word that it ended would go. True where something
    /// was claimed.
    fn claim_for_the_ended(&mut self, replica: &mut Replica) -> bool {
        let open = replica
            .map()
            .without_successor()
            .into_iter()
            .filter(|incarnation| *incarnation != self.own);
        let open: Vec<ReplicaId> =
            open.filter(|incarnation| replica.map().covers_final_of(*incarnation)).collect();
        let is_any = !open.is_empty();
        open.into_iter().for_each(|incarnation| self.claim(replica, incarnation));
        is_any
    }

    /// What own resets cleared of incarnations that are folded everywhere is dropped from the own
    /// cells.
    fn forget_cleared(&mut self, replica: &mut Replica) {
        let upto = replica.map().record(self.own).map_or(0, |record| record.version);
        if !replica.names_folded() {
            self.retirement.forgets = false;
        } else if self.first_without(replica, upto).is_some() {
            self.ask_behind(replica, upto);
        } else {
            self.out.stats.retirement_bytes += replica.forget_cleared(self.step_bytes()) as u64;
            self.out.notify(Notice::Changed { keys: Vec::new() });
        }
    }

    /// A step's share of the rate, and no more than one gossip message carries.
    fn step_bytes(&self) -> usize {
        let share =
            (self.config.absorption_bytes_per_s as f64 * STEP_INTERVAL.as_secs_f64()) as usize;
        share.min(self.config.payload_bytes_max / 2).max(1)
    }

    /// Asks some of the peers that did not show what this successor waits for; what they miss comes
    /// to them as always.
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

    /// Goes on as a new writer: this incarnation was ended by others, somebody else writes under
    /// its id, or a second process ran above it.
    pub(super) fn renew(&mut self, replica: &mut Replica) {
        let incarnations = replica
            .map()
            .replicas()
            .filter(|incarnation| incarnation.node == self.own.node)
            .map(|incarnation| incarnation.incarnation);
        let latest = ReplicaId {
            incarnation: incarnations.fold(self.own.incarnation, u64::max),
            ..self.own
        };
        let incarnation = ReplicaId {
            incarnation: latest.follows().incarnation | u64::from(self.rng.u32(..)),
            ..self.own
        };
        let (before, is_certain) =
            (self.own, self.is_below_ended(replica) && !replica.map().is_ended(self.own));
        let Ok(changed) = replica.renew(incarnation) else { return };
        if is_certain {
            // Nobody else writes as the one before.
            replica.claim(before);
        }
        self.out.changed(changed);
        self.out.notify(Notice::Changed { keys: Vec::new() });
        self.own = incarnation;
        self.members.renew(incarnation);
        self.members_changed = true;
        self.birth = crate::protocol::gossip::birth_of(replica);
        self.published = 0;
        self.snapshots.start_again();
        self.confirmations.renew(incarnation);
        self.retirement = Retirement::default();
        self.out.stats.renewals += 1;
        self.out.notify(Notice::Renewed { replica: incarnation });
        self.publish_own(replica, &Flushed::default());
        self.announce_soon();
        // Nobody knows this incarnation yet: each peer gets its record with the next question.
        for peer in self.sources.nodes().collect::<Vec<_>>() {
            self.ask_digest(replica, peer);
        }
        self.incarnations_changed(replica);
    }

    /// This replica leaves for good: another is to be its successor.
    pub(super) fn want_leave(&mut self, replica: &mut Replica) {
        self.retirement.leave.want(self.now);
        self.timers.set(Timer::Retire, self.now);
        self.state_leave(replica);
    }

    /// Writes the last statement once every connected peer is known, or has had its time.
    fn state_leave(&mut self, replica: &mut Replica) {
        let known = |peer: NodeId| {
            let entry = self.members.get(peer);
            entry.is_some_and(|entry| replica.map().seen_of(entry.replica) > 0)
        };
        let all_known =
            self.sources.iter().all(|(peer, source)| source.failures > 0 || known(peer));
        if !self.retirement.leave.is_due(all_known, self.now) {
            return;
        }
        self.flush(replica);
        replica.leave();
        self.retirement.leave.state(replica.map().version_vector());
        self.publish_own(replica, &Flushed::default());
        self.out.notify(Notice::Changed { keys: Vec::new() });
        for peer in self.sources.nodes().collect::<Vec<_>>() {
            self.tell(replica, peer);
        }
    }

    /// Until a member was shown to cover the last statement, those that may are asked again and
    /// again.
    fn pursue_leave(&mut self, replica: &mut Replica) {
        if !self.retirement.leave.is_wanted() || self.retirement.leave.is_over() {
            return;
        }
        self.timers.set(Timer::Retire, self.now + LEAVE_INTERVAL);
        if !self.retirement.leave.has_stated() {
            return self.state_leave(replica);
        }
        let mut peers: Vec<NodeId> =
            self.sources.nodes().filter(|peer| self.may_succeed(replica, *peer)).collect();
        self.rng.shuffle(&mut peers);
        for peer in peers.into_iter().take(ASKED_A_STEP) {
            if !self.awaits(peer, |asked| asked.tells_digest()) {
                self.ask_digest(replica, peer);
            }
        }
    }

    /// Whether a connected peer may hold what this leaver leaves: it is live, known, and does not
    /// leave itself.
    fn may_succeed(&self, replica: &Replica, peer: NodeId) -> bool {
        self.members.get(peer).is_some_and(|entry| {
            entry.is_live()
                && self.retirement.leave.serves(entry.replica)
                && !replica.map().has_left(entry.replica)
        })
    }

    /// Whether a leave is over: None where this node does not leave for good.
    pub(super) fn has_left_for_good(&self, replica: &Replica) -> Option<bool> {
        let leave = &self.retirement.leave;
        let nobody = || {
            leave.has_stated() && !self.sources.nodes().any(|peer| self.may_succeed(replica, peer))
        };
        leave.is_wanted().then(|| leave.is_over() || replica.map().is_ended(self.own) || nobody())
    }

    /// Whether the last statement is written, so that nobody would take what is written now.
    pub(super) fn has_stated_leave(&self) -> bool {
        self.retirement.leave.has_stated()
    }

    /// A member says that the incarnation which asked it has ended. If it is this one, a leaver is
    /// done by that, and any other goes on as a new one.
    pub(super) fn told_ended(&mut self, asker: ReplicaId) {
        if asker == self.own {
            self.retirement.leave.claimed();
            self.renew_due |= !self.leaving;
        }
    }

    /// How many of the versions in `held` this node does not promise to keep, by writer: those that
    /// are not committed, and where it leaves those that its last statement does not name.
    /// O(writers log writers).
    pub(super) fn not_promised(&self, held: &VersionVector) -> VersionVector {
        let mut behind = self.committed.behind(held);
        if let Some(stated) = self.retirement.leave.stated() {
            for (writer, version) in held.iter() {
                behind.raise(writer, version.saturating_sub(stated.get(writer)));
            }
        }
        behind
    }

    /// After its last statement, a leaver serves nobody whom that does not name.
    ///
    /// # Errors
    /// `NotRecorded`.
    pub(super) fn serves(&self, requester: ReplicaId) -> Result<(), Refusal> {
        if self.retirement.leave.serves(requester) { Ok(()) } else { Err(Refusal::NotRecorded) }
    }

    /// A leaver of an earlier release, which held `have`, names this node its successor.
    pub(super) fn take_bequest(
        &mut self,
        replica: &mut Replica,
        from: ReplicaId,
        successor: ReplicaId,
        have: &VersionVector,
    ) {
        let map = replica.map();
        let covers = have.iter().all(|(writer, version)| map.counted_up_to(writer) >= version);
        if successor == self.own && from != self.own && covers && self.is_synced() && !self.leaving
        {
            self.claim_node(replica, from);
        }
    }

    /// The incarnation of a peer sent its own digest.
    pub(super) fn shown(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
        digest: &VersionVector,
    ) {
        let Some(incarnation) = self.incarnation_heard(replica, peer, incarnation) else { return };
        self.snapshots.show(incarnation, digest);
        if self.may_succeed(replica, peer) {
            self.retirement.leave.shown(digest, |writer| replica.map().is_folded(writer));
        }
        self.retirement.promises.show(incarnation, digest);
    }

    /// Which enrolled replica speaks, if one does.
    pub(super) fn incarnation_heard(
        &self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
    ) -> Option<ReplicaId> {
        let incarnation = ReplicaId::new(peer.0, incarnation?);
        (incarnation != self.own
            && replica.map().seen_of(incarnation) > 0
            && !replica.map().is_ended(incarnation))
        .then_some(incarnation)
    }

    fn first_without(&mut self, replica: &Replica, upto: Version) -> Option<ReplicaId> {
        // A crash takes this node back to its disk, so its own word counts no more than another's.
        let map = replica.map();
        match self.committed.promised().is_some_and(|on_disk| !map.agrees(self.own, upto, on_disk))
        {
            true => Some(self.own),
            false => self.retirement.promises.first_without(map, self.own, upto),
        }
    }

    /// Connected peers whose digest does not yet show `upto` and every record that speaks of
    /// incarnations that ended.
    fn behind(&self, replica: &Replica, upto: Version) -> Vec<NodeId> {
        let behind = self.retirement.promises.behind(replica.map(), self.own, upto);
        let mut nodes: Vec<NodeId> = behind
            .into_iter()
            .map(|incarnation| NodeId(incarnation.node))
            .filter(|node| self.sources.contains(*node))
            .collect();
        nodes.dedup();
        nodes
    }

    /// Whether a peer speaks as an incarnation that has ended: nothing is taken from it but through
    /// members.
    pub(super) fn is_ended(
        &self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
    ) -> bool {
        incarnation
            .is_some_and(|incarnation| replica.map().is_ended(ReplicaId::new(peer.0, incarnation)))
    }

    /// The peer's digest, as it is now: what was folded here is no longer of interest.
    pub(super) fn hear(&mut self, replica: &Replica, peer: NodeId, mut digest: VersionVector) {
        digest.retain(|writer| !replica.map().is_folded(writer));
        if let Some(incarnation) = self.members.get(peer).map(|entry| entry.replica) {
            self.confirmations.note_digest(incarnation, &digest, self.now);
        }
        let lacks = self.shortfall(replica, &digest);
        self.sources.hear(peer, digest, lacks, self.now);
    }

    /// Records changed, or this node may do more than before: what there is to do for ended
    /// incarnations is looked up anew.
    pub(super) fn look_for_ended(&mut self) {
        self.retirement.is_stale = true;
        self.timers.set_by(Timer::Retire, self.now);
    }
}
