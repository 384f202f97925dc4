//! The successor's work: it claims, absorbs, folds, rebases and forgets, a step at a time.

use std::time::Duration;

use counter_core::{AbsorbRound, CounterMap, Record, Replica, ReplicaId, Version};

use super::claims::Claims;
use crate::protocol::context::{Context, Timer};
use crate::protocol::interface::{Counted, RetireError};
use crate::protocol::membership::Membership;
use crate::protocol::promises::{Committed, Promises};

/// Time between two steps, and between two checks whether the next one may be taken.
const STEP_INTERVAL: Duration = Duration::from_millis(250);
/// The longest time that a node must have run before it takes over work that another replica left
/// unfinished. Otherwise a node that keeps crashing would leave it half done each time.
const RUN_FIRST_MAX: Duration = Duration::from_secs(60);
/// Before such work, a node must have run this many times as long as the work takes.
const RUN_FIRST_FACTOR: u32 = 8;
/// About the bytes of one absorbed cell in a delta.
const ABSORBED_CELL_BYTES: usize = 35;
/// How long an incarnation must have been silent before an operator may retire it without force.
const QUIET: Duration = Duration::from_secs(600);

/// The outcome of a step.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum TakeOver {
    /// There was nothing to do.
    Idle,
    /// The step needs the promises of all other enrolled replicas for this own version.
    Waits(Version),
    /// The own cells changed.
    Changed,
    /// Incarnations were folded.
    Folded,
}

/// This node's work as a successor of ended incarnations.
///
/// Invariant: a successor takes a step only once every enrolled replica has promised to keep what
/// the step rests on.
#[derive(Debug)]
pub(crate) struct Retirement {
    work: Option<AbsorbRound>,
    /// Records changed, so the work has to be looked up again.
    is_stale: bool,
    /// Own cells may still name resets of incarnations that are folded.
    may_forget: bool,
    claims: Claims,
    /// This incarnation was ended, or another process writes as it. It is renewed before the next
    /// input.
    renewal_is_due: bool,
}

impl Default for Retirement {
    fn default() -> Self {
        Self {
            work: None,
            is_stale: true,
            may_forget: false,
            claims: Claims::default(),
            renewal_is_due: false,
        }
    }
}

impl Retirement {
    /// Looks up the work again, because records changed or this node may do more than before.
    pub(crate) fn look_again(&mut self, ctx: &mut Context) {
        self.is_stale = true;
        ctx.timers.set_by(Timer::Retire, ctx.now);
    }

    /// A record brought news about ended incarnations.
    pub(crate) fn incarnations_changed(&mut self, ctx: &mut Context) {
        self.may_forget = true;
        self.look_again(ctx);
    }

    /// This incarnation has to be renewed.
    pub(crate) fn want_renewal(&mut self) {
        self.renewal_is_due = true;
    }

    /// Returns true if this incarnation has to be renewed. Only once for each request.
    pub(crate) fn take_renewal(&mut self) -> bool {
        std::mem::take(&mut self.renewal_is_due)
    }
}

/// Claims.
impl Retirement {
    /// Checks that an operator may retire an incarnation now, or at any time with `force`.
    ///
    /// # Errors
    /// The reason why not.
    pub(crate) fn may_retire(
        ctx: &Context,
        map: &CounterMap,
        membership: &Membership,
        ended: ReplicaId,
        force: bool,
    ) -> Result<(), RetireError> {
        if ended == ctx.own {
            return Err(RetireError::Own);
        }
        // If all that claimed it have ended themselves, it may be claimed again.
        if map.is_folded(ended) || map.successor_of(ended).is_some() {
            return Err(RetireError::Ended);
        }
        if map.seen_of(ended) == 0 && !map.is_ended(ended) {
            return Err(RetireError::Unknown);
        }
        if membership.is_live(ended) {
            return Err(RetireError::Live);
        }
        let ago = membership.last_word(ended).map(|last_word| ctx.now.saturating_sub(last_word));
        match ago.filter(|ago| *ago < QUIET && !force) {
            Some(ago) => Err(RetireError::Recent { ago }),
            None => Ok(()),
        }
    }

    /// True if the incarnations that wait to be claimed have to be looked up again.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Looks up the incarnations that wait to be claimed.
    pub(crate) fn look_up_claims(&mut self, ctx: &mut Context, map: &CounterMap) {
        let later = ctx.rng.f64();
        let mut waiting = map.without_successor();
        waiting.retain(|incarnation| *incarnation != ctx.own);
        self.claims.wait_for(waiting, later, ctx.now);
    }

    /// The incarnations that this node may claim now: all that wait if it is the first of the live
    /// synced members, else those that the first one left for long enough.
    pub(crate) fn claimable(&self, ctx: &Context, membership: &Membership) -> Vec<ReplicaId> {
        if self.claims.is_empty() {
            return Vec::new();
        }
        let is_first = !membership
            .iter()
            .any(|(_, entry)| entry.is_live() && entry.synced && entry.replica < ctx.own);
        self.claims.due(is_first, ctx.now)
    }
}

/// The successor's steps.
impl Retirement {
    /// Looks up the work if records changed. Sets its timer again while there is some. Returns true
    /// if promises of others are needed.
    pub(crate) fn look_up_work(&mut self, ctx: &mut Context, replica: &Replica) -> bool {
        if self.has_begun() || self.is_stale {
            let work = self.work.take();
            self.work = replica.absorb_round(work);
        }
        self.is_stale = false;
        let waits = self.work.is_some() || self.may_forget;
        if waits || !self.claims.is_empty() {
            ctx.timers.set(Timer::Retire, ctx.now + STEP_INTERVAL);
        }
        waits
    }

    fn has_begun(&self) -> bool {
        self.work.as_ref().is_some_and(AbsorbRound::has_begun)
    }

    /// True if there are incarnations to take over, and not only resets to forget.
    pub(crate) fn has_work(&self) -> bool {
        self.work.is_some()
    }

    /// True if the next step is the first one of its work.
    pub(crate) fn is_at_first_step(&self) -> bool {
        self.has_work() && !self.has_begun()
    }

    /// Drops the work, because records changed before it began.
    pub(crate) fn drop_work(&mut self) {
        self.work = None;
    }

    /// True if another replica left this work unfinished, and this node has not run for long enough
    /// yet. The time depends on the work, because short work is hardly ever left half done.
    pub(crate) fn is_too_early(&self, ctx: &Context, map: &CounterMap) -> bool {
        let Some(work) = self.work.as_ref().filter(|work| !work.has_begun()) else { return false };
        let was_at_work =
            |incarnation: &ReplicaId| map.record(*incarnation).is_some_and(Record::is_absorbing);
        if !work.incarnations().iter().any(was_at_work) {
            return false;
        }
        let cells: usize =
            work.incarnations().iter().map(|incarnation| map.cells_of(*incarnation)).sum();
        let steps = cells * ABSORBED_CELL_BYTES / step_bytes(ctx);
        let takes = STEP_INTERVAL.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        ctx.now < ctx.started + takes.saturating_mul(RUN_FIRST_FACTOR).min(RUN_FIRST_MAX)
    }

    /// Takes the next step of the work, if all others have promised what it rests on. O(writers) if
    /// nothing changed and one replica is missing.
    pub(crate) fn take_over(
        &mut self,
        ctx: &mut Context,
        replica: &mut Replica,
        committed: &Committed,
        promises: &mut Promises,
    ) -> TakeOver {
        let Some(mut work) = self.work.take() else { return TakeOver::Idle };
        if let Some(upto) = needed_version(ctx, replica.map(), &work)
            && is_missing(ctx, replica.map(), committed, promises, upto)
        {
            self.work = Some(work);
            return TakeOver::Waits(upto);
        }
        if work.is_folded() {
            let bytes = replica.rebase(step_bytes(ctx));
            ctx.out.count_many(Counted::RetirementByte, bytes);
            match bytes > 0 {
                true => self.work = Some(work),
                // Incarnations that were claimed during this round are the next round's.
                false => self.is_stale = true,
            }
            return TakeOver::Changed;
        }
        if work.absorbed().is_some() {
            replica.fold(&mut work);
            ctx.out.count_many(Counted::IncarnationFolded, work.incarnations().len());
            self.work = Some(work);
            return TakeOver::Folded;
        }
        match replica.absorb(&mut work, step_bytes(ctx)) {
            Ok(bytes) => ctx.out.count_many(Counted::RetirementByte, bytes),
            Err(_) => ctx.out.count(Counted::RetirementStalled),
        }
        self.work = Some(work);
        TakeOver::Changed
    }

    /// Drops from the own cells the resets of incarnations that are folded everywhere.
    pub(crate) fn forget_cleared(
        &mut self,
        ctx: &mut Context,
        replica: &mut Replica,
        committed: &Committed,
        promises: &mut Promises,
    ) -> TakeOver {
        let upto = replica.map().record(ctx.own).map_or(0, |record| record.version);
        if !replica.names_folded() {
            self.may_forget = false;
            TakeOver::Idle
        } else if is_missing(ctx, replica.map(), committed, promises, upto) {
            TakeOver::Waits(upto)
        } else {
            let bytes = replica.forget_cleared(step_bytes(ctx));
            ctx.out.count_many(Counted::RetirementByte, bytes);
            TakeOver::Changed
        }
    }

    /// An enrolled replica that this successor waits for, if there is one.
    pub(crate) fn waits_for(
        &self,
        ctx: &Context,
        map: &CounterMap,
        promises: &Promises,
    ) -> Option<ReplicaId> {
        let upto = needed_version(ctx, map, self.work.as_ref()?)?;
        map.first_disagreeing(ctx.own, upto, |member| promises.of(member))
    }
}

/// A step's share of the rate, at most what one gossip message carries.
fn step_bytes(ctx: &Context) -> usize {
    let share = ctx.config.absorption_bytes_per_s as f64 * STEP_INTERVAL.as_secs_f64();
    (share as usize).min(ctx.config.payload_bytes_max / 2).max(1)
}

/// The own version that all others must hold before the next step. `None` if it needs nobody.
fn needed_version(ctx: &Context, map: &CounterMap, work: &AbsorbRound) -> Option<Version> {
    match work.is_folded() {
        true => None,
        false => Some(work.absorbed().unwrap_or(map.record(ctx.own)?.version)),
    }
}

/// True if an enrolled replica has not promised the own version `upto` and every record about ended
/// incarnations. A crash takes this node back to its disk, so the disk must hold them too.
fn is_missing(
    ctx: &Context,
    map: &CounterMap,
    committed: &Committed,
    promises: &mut Promises,
    upto: Version,
) -> bool {
    committed.promised().is_some_and(|on_disk| !map.agrees(ctx.own, upto, on_disk))
        || promises.first_lacking_own(map, ctx.own, upto).is_some()
}
