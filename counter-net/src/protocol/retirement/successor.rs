//! The successor's work: it absorbs, folds, rebases and forgets, a step at a time.

use std::time::Duration;

use counter_core::{Flushed, Inheritance, Replica, ReplicaId, Version};

use crate::protocol::context::Timer;
use crate::protocol::input::NodeId;
use crate::protocol::output::Notice;
use crate::protocol::pull::Asked;
use crate::protocol::replicator::Replicator;
use crate::protocol::stability::WaitsFor;
use crate::protocol::stats::Event;

/// Time between two steps, and between two looks whether the next one may be taken.
const STEP_INTERVAL: Duration = Duration::from_millis(250);
/// The most peers asked for their digests between two steps.
pub(super) const ASKED_A_STEP: usize = 8;
/// The longest time that a node must have run before it takes over work that another replica ended
/// in the middle of. Otherwise a node that crashes again and again would leave it half done each
/// time.
const RUN_FIRST_MAX: Duration = Duration::from_secs(60);
/// A node must have run this many times as long as such work takes before it begins it.
const RUN_FIRST_FACTOR: u32 = 8;
/// About the bytes of one absorbed cell in a delta.
const ABSORBED_CELL_BYTES: usize = 35;

impl Replicator {
    /// An enrolled replica that this successor waits for, if there is one.
    pub fn waits_for(&self, replica: &Replica) -> Option<ReplicaId> {
        let upto = self.upto(replica, self.retirement.work.as_ref()?)?;
        replica.map().first_disagreeing(self.ctx.own, upto, |member| self.promises.shown(member))
    }

    /// Takes the next step if it may be taken, and comes back while there is work. O(writers) if
    /// nothing changed and one replica is missing.
    pub(crate) fn on_retire(&mut self, replica: &mut Replica) {
        if self.leaving {
            // The successor of this incarnation takes over its work. A late write would come too
            // late for it.
            self.promises.want(WaitsFor::Retirement, false);
            return self.pursue_leave(replica);
        }
        if replica.map().is_ended(self.ctx.own) {
            // Others take over its work, and this node continues as a new incarnation.
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
        self.promises.want(WaitsFor::Retirement, waits);
        if waits || !self.retirement.claims.is_empty() {
            // This comes before the work, which may set an earlier time.
            self.ctx.timers.set(Timer::Retire, self.ctx.now + STEP_INTERVAL);
        }
        match work {
            Some(work) => self.inherit(replica, work),
            None if waits => self.forget_cleared(replica),
            None => {}
        }
        if waits {
            self.publish_own(replica, &Flushed::default());
        }
        self.ctx.out.set_ended(replica.map().ended_count());
    }

    fn inherit(&mut self, replica: &mut Replica, mut work: Inheritance) {
        let bytes_max = self.step_bytes();
        // A directory may be older than what others hold of its node. It folds nothing before it
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
            self.ctx.out.count_many(Event::RetirementByte, bytes);
            match bytes > 0 {
                true => self.retirement.work = Some(work),
                // Incarnations that were claimed during this round are the next round's.
                false => self.retirement.is_stale = true,
            }
        } else if work.absorbed().is_some() {
            replica.fold(&mut work);
            self.ctx.out.count_many(Event::IncarnationFolded, work.incarnations().len());
            self.incarnations_changed(replica);
            self.retirement.work = Some(work);
        } else {
            match replica.absorb(&mut work, bytes_max) {
                Ok(bytes) => self.ctx.out.count_many(Event::RetirementByte, bytes),
                Err(_) => self.ctx.out.count(Event::RetirementStalled),
            }
            self.retirement.work = Some(work);
        }
        if replica.has_pending() {
            // Absorbing a dedup entry may have taken an add back.
            self.ctx.timers.set_by(Timer::Flush, self.publisher.next_flush().max(self.ctx.now));
        }
        // The state hash moved and no value did.
        self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
    }

    /// True if another replica ended in the middle of this work, and this node has not run for long
    /// enough yet. The time depends on the work, because short work is not left half done.
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
        self.ctx.now < self.ctx.started + takes.saturating_mul(RUN_FIRST_FACTOR).min(RUN_FIRST_MAX)
    }

    /// Drops from the own cells the resets of incarnations that are folded everywhere.
    fn forget_cleared(&mut self, replica: &mut Replica) {
        let upto = replica.map().record(self.ctx.own).map_or(0, |record| record.version);
        if !replica.names_folded() {
            self.retirement.forgets = false;
        } else if self.first_without(replica, upto).is_some() {
            self.ask_behind(replica, upto);
        } else {
            let bytes = replica.forget_cleared(self.step_bytes());
            self.ctx.out.count_many(Event::RetirementByte, bytes);
            self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
        }
    }

    /// A step's share of the rate, at most what one gossip message carries.
    fn step_bytes(&self) -> usize {
        let share =
            (self.ctx.config.absorption_bytes_per_s as f64 * STEP_INTERVAL.as_secs_f64()) as usize;
        share.min(self.ctx.config.payload_bytes_max / 2).max(1)
    }

    /// The version that all others must hold before the next step. `None` if it needs nobody.
    fn upto(&self, replica: &Replica, work: &Inheritance) -> Option<Version> {
        match work.is_folded() {
            true => None,
            false => Some(work.absorbed().unwrap_or(replica.map().record(self.ctx.own)?.version)),
        }
    }

    fn first_without(&mut self, replica: &Replica, upto: Version) -> Option<ReplicaId> {
        // A crash takes this node back to its disk, so its own promise counts no more than
        // another's.
        let map = replica.map();
        match self
            .commits
            .promised()
            .is_some_and(|on_disk| !map.agrees(self.ctx.own, upto, on_disk))
        {
            true => Some(self.ctx.own),
            false => self.promises.first_without(map, self.ctx.own, upto),
        }
    }

    /// The connected peers that have not promised `upto` and every record about ended incarnations.
    fn behind(&self, replica: &Replica, upto: Version) -> Vec<NodeId> {
        let behind = self.promises.behind(replica.map(), self.ctx.own, upto);
        self.connected(behind)
    }

    /// The connected nodes among those of these replicas.
    pub(in crate::protocol) fn connected(&self, replicas: Vec<ReplicaId>) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = replicas
            .into_iter()
            .map(|incarnation| NodeId(incarnation.node))
            .filter(|node| self.peers.contains(*node))
            .collect();
        nodes.dedup();
        nodes
    }

    /// Asks some of the peers for their digests whose promise this successor waits for. They get
    /// the cells that they lack as always.
    fn ask_behind(&mut self, replica: &Replica, upto: Version) {
        let behind = self.behind(replica, upto);
        self.ask_digests(replica, behind);
    }

    /// Asks some of these peers for their digests, unless they were asked before.
    pub(in crate::protocol) fn ask_digests(&mut self, replica: &Replica, mut peers: Vec<NodeId>) {
        self.ctx.rng.shuffle(&mut peers);
        for peer in peers.into_iter().take(ASKED_A_STEP) {
            let rests = self.peers.get(peer).is_none_or(|source| source.rests(self.ctx.now));
            if !rests && !self.awaits(peer, |asked| matches!(asked, Asked::Ask { .. })) {
                self.ask_digest(replica, peer);
            }
        }
    }

    /// A record brought news about ended incarnations.
    pub(crate) fn incarnations_changed(&mut self, replica: &Replica) {
        self.peers.retain_writers(|writer| !replica.map().is_folded(writer));
        self.commits.retain(|writer| !replica.map().is_folded(writer));
        self.snapshots.forget_folded(replica.map());
        self.promises.forget_ended(replica.map());
        (self.retirement.forgets, self.retirement.is_stale) = (true, true);
        self.ctx.timers.set_by(Timer::Retire, self.ctx.now);
    }

    /// Looks up the work for ended incarnations anew, because records changed or this node may do
    /// more than before.
    pub(crate) fn look_for_ended(&mut self) {
        self.retirement.is_stale = true;
        self.ctx.timers.set_by(Timer::Retire, self.ctx.now);
    }
}
