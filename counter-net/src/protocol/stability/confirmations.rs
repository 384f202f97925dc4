//! The machine that asks every live member whether it holds what this node held a moment ago.
//!
//! While the state moves, one node proposes *targets*: version vectors that every live member is
//! asked to confirm. A member confirms a target once its own vector covers it. A member's vector
//! covers a target sooner or later, even if clicks never pause. Equal hashes would never appear.
//! The proposer is the live synced member with the lowest id. If it stays silent, any other member
//! steps in a little later.
//!
//! A target travels once, by gossip, as the difference from the last target that all confirmed.
//! Confirmations are one bit for each replica that the target names. Nodes exchange these bits with
//! random peers and merge them. So a target costs each node a few hundred bytes, however large the
//! cluster is. At rest nothing is sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use counter_core::{CounterMap, ReplicaId, VersionVector};

use super::target::{Bits, Complete, Confirmers, Target, TargetId};
use super::target_bytes::{add_changes, pack, unpack};
use crate::protocol::input::NodeId;
use crate::protocol::output::Refusal;
use crate::protocol::wire::{ConfirmMessage, TargetMessage, unpack_vector};

/// The most targets remembered, which is four seconds of unbroken change. The oldest goes first.
const TARGETS_MAX: usize = 8;
/// The most replicas that a target names, so that it fits a message whatever their versions. With
/// more no target is proposed, and how far members agree is not known.
const TARGET_REPLICAS_MAX: usize = 65_536;
/// The most vectors remembered that a new target may be the difference from.
const RECENT_MAX: usize = 16;
/// Changes within this time, such as the clicks of one moment, are proposed together.
const PROPOSE_DELAY: Duration = Duration::from_millis(50);
/// A node that does not lead waits this much longer before it proposes, and up to half of it more.
const STAND_IN_DELAY: Duration = Duration::from_millis(600);
/// Bits that come in within this time are passed on together.
const SPREAD_INTERVAL: Duration = Duration::from_millis(100);
/// While the state moves, the time between two looks whether it covers an open target.
const COVER_INTERVAL: Duration = Duration::from_millis(25);
/// The number of peers that bits are exchanged with at a time.
const FANOUT: usize = 2;
/// A live member is late if it has not confirmed a target of this age. It does not answer, or lacks
/// something.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// How far the live members have confirmed this node's state.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Agreement {
    /// Live members, without this node, that confirmed the state that is being confirmed now.
    pub confirmed: usize,
    /// Live members, without this node.
    pub of: usize,
    /// Every live member holds all that this node held this long ago. Zero if they hold all that it
    /// holds now, and `None` while nothing is known.
    pub age: Option<Duration>,
    /// Live members that were asked two seconds ago or more and have not confirmed.
    pub late: Vec<ReplicaId>,
}

/// The node as the machine sees it: its state, and the live members.
pub(super) struct ClusterView<'a> {
    pub map: &'a CounterMap,
    /// Differs whenever the state moved.
    pub moved: u64,
    /// The other live members, ascending.
    pub live: Vec<ReplicaId>,
    pub is_synced: bool,
    /// True if no live synced member has a lower id.
    pub leads: bool,
}

/// The messages to send now.
#[derive(Debug, Default)]
pub(super) struct DueMessages {
    /// By gossip, to all.
    pub target: Option<TargetMessage>,
    /// Whether to call `spread`.
    pub spreads: bool,
}

/// Members newly known to hold a target.
pub(super) type Confirmed = Vec<(NodeId, Arc<VersionVector>)>;

/// The targets of the last seconds, and who confirmed them.
///
/// Invariant: a bit is set only if its replica said that its vector covers the target, directly or
/// through others that heard it say so. The own bit is set by this machine alone.
#[derive(Debug)]
pub(crate) struct Confirmations {
    own: ReplicaId,
    interval: Duration,
    /// In the order in which they were heard of.
    targets: VecDeque<Target>,
    complete: Option<Complete>,
    /// The targets heard of last, also settled ones, because others may still refer to them.
    recent: VecDeque<(TargetId, Arc<VersionVector>)>,
    /// The newest target that each member confirmed, and when that was heard.
    covered: BTreeMap<NodeId, (Arc<VersionVector>, Duration)>,
    /// The targets that each peer was asked about and has not answered. A peer has one open request
    /// at a time.
    asked: BTreeMap<NodeId, Vec<u64>>,
    last_number: u64,
    /// The last `moved` that `poll` was given.
    moved: u64,
    propose_at: Option<Duration>,
    last_target_at: Option<Duration>,
    cover_at: Option<Duration>,
    spread_at: Option<Duration>,
    last_spread: Option<Duration>,
}

impl Confirmations {
    pub(crate) fn new(own: ReplicaId, interval: Duration) -> Self {
        Self {
            own,
            interval,
            targets: VecDeque::new(),
            complete: None,
            recent: VecDeque::new(),
            covered: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_number: 0,
            moved: 0,
            propose_at: None,
            last_target_at: None,
            cover_at: None,
            spread_at: None,
            last_spread: None,
        }
    }

    /// This node continues as another replica.
    pub(crate) fn renew(&mut self, own: ReplicaId) {
        *self =
            Self { covered: std::mem::take(&mut self.covered), ..Self::new(own, self.interval) };
    }

    /// The newest target that a member confirmed, and when that was heard.
    pub(crate) fn covered_by(&self, node: NodeId) -> Option<(&VersionVector, Duration)> {
        self.covered.get(&node).map(|(digest, heard)| (&**digest, *heard))
    }

    /// Forgets what a member confirmed, because the member itself is forgotten.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.covered.remove(&node);
    }

    /// The connection to a peer closed.
    pub(crate) fn down(&mut self, peer: NodeId) {
        self.asked.remove(&peer);
    }

    /// Members came or went, or this node has caught up. Earlier confirmations may no longer be
    /// enough.
    pub(crate) fn look_again(&mut self) {
        self.moved = self.moved.wrapping_sub(1);
    }

    /// True if `poll` has something to do.
    pub(super) fn is_due(&self, moved: u64, now: Duration) -> bool {
        moved != self.moved || self.deadline().is_some_and(|at| at <= now)
    }

    /// When to call `poll` next.
    pub(super) fn deadline(&self) -> Option<Duration> {
        [self.propose_at, self.cover_at, self.spread_at].into_iter().flatten().min()
    }

    /// Looks at what changed, and returns what to send now. O(1) if nothing is due.
    pub(super) fn poll(
        &mut self,
        view: &ClusterView<'_>,
        now: Duration,
        rng: &mut fastrand::Rng,
    ) -> DueMessages {
        if view.moved != self.moved {
            self.moved = view.moved;
            self.on_moved(view, now, rng);
        }
        if self.cover_at.is_some_and(|at| at <= now) {
            self.cover_at = None;
            self.look_for_covered(view, now);
        }
        let mut due = DueMessages::default();
        if self.propose_at.is_some_and(|at| at <= now) {
            self.propose_at = None;
            due.target = self.propose(view, now, rng);
        }
        if self.spread_at.is_some_and(|at| at <= now) {
            self.spread_at = None;
            due.spreads = true;
        }
        due
    }

    fn on_moved(&mut self, view: &ClusterView<'_>, now: Duration, rng: &mut fastrand::Rng) {
        if self.propose_at.is_none() && view.is_synced {
            self.propose_at = Some(self.next_proposal(view, now, rng));
        }
        if self.targets.iter().any(|target| !target.is_covered()) {
            self.cover_at.get_or_insert(now + COVER_INTERVAL);
        }
        if self.spread_at.is_none()
            && self
                .targets
                .iter()
                .any(|target| target.is_covered() && target.confirmers().lacks_any(&view.live))
        {
            // A member that became live is asked too.
            self.spread_soon(now);
        }
        if let Some(complete) = self.complete.as_mut().filter(|complete| complete.left_at.is_none())
        {
            let holds_more = !complete.digest.contains(&view.map.version_vector());
            complete.left_at = holds_more.then_some(now);
        }
    }

    /// The leader keeps the interval since the last target. Others step in if none came for longer.
    fn next_proposal(
        &self,
        view: &ClusterView<'_>,
        now: Duration,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        let first = now + PROPOSE_DELAY;
        let paced = self.last_target_at.map_or(first, |last| first.max(last + self.interval));
        match view.leads {
            true => paced,
            false => paced + STAND_IN_DELAY + STAND_IN_DELAY.mul_f64(rng.f64() / 2.0),
        }
    }

    /// Proposes this node's state, unless a target that was heard of covers it.
    fn propose(
        &mut self,
        view: &ClusterView<'_>,
        now: Duration,
        rng: &mut fastrand::Rng,
    ) -> Option<TargetMessage> {
        let digest = view.map.version_vector();
        let is_known = self.targets.back().is_some_and(|target| target.digest().contains(&digest));
        let is_complete = self.complete.as_ref().is_some_and(|complete| {
            complete.confirmers.contains_all(&view.live) && complete.digest.contains(&digest)
        });
        if view.live.is_empty() || is_known || is_complete || digest.len() > TARGET_REPLICAS_MAX {
            return None;
        }
        let pause = if view.leads { self.interval } else { self.interval + STAND_IN_DELAY };
        if self.last_target_at.is_some_and(|last| last + pause > now) {
            // A target came meanwhile, and so may the next.
            self.propose_at = Some(self.next_proposal(view, now, rng));
            return None;
        }
        self.last_number += 1;
        let id = TargetId { proposer: self.own, number: self.last_number };
        let base =
            self.complete.as_ref().map(|complete| (complete.id, Arc::clone(&complete.digest)));
        let message =
            TargetMessage::new(id, &digest, base.as_ref().map(|(id, digest)| (*id, &**digest)));
        self.learn(id, digest, now);
        self.look_for_covered(view, now);
        Some(message)
    }

    /// Takes a proposal of `signer`.
    ///
    /// # Errors
    /// It is malformed, or not of that node: nothing changed.
    pub(super) fn take_target(
        &mut self,
        message: &TargetMessage,
        signer: Option<NodeId>,
        now: Duration,
    ) -> Result<(), Refusal> {
        if signer.is_some_and(|signer| signer.0 != message.proposer.0.node) {
            return Err(Refusal::ForgedWriter);
        }
        let mut digest = unpack_vector(&message.digest, TARGET_REPLICAS_MAX)?;
        if let Some((proposer, number)) = message.base {
            let base = TargetId { proposer: proposer.0, number };
            // A node that does not know the base gets the whole target from the first peer that
            // asks it.
            let Some(base) = self.digest_of(base) else { return Ok(()) };
            digest = add_changes(base, &message.changes, digest)?;
        }
        let id = TargetId { proposer: message.proposer.0, number: message.number };
        self.learn(id, digest, now);
        Ok(())
    }

    fn digest_of(&self, id: TargetId) -> Option<&VersionVector> {
        self.recent.iter().find(|(known, _)| *known == id).map(|(_, digest)| &**digest)
    }

    fn learn(&mut self, id: TargetId, digest: VersionVector, now: Duration) {
        if id.proposer == self.own && id.number > self.last_number || self.digest_of(id).is_some() {
            return;
        }
        if self.targets.len() == TARGETS_MAX {
            self.targets.pop_front();
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        let digest = Arc::new(digest);
        self.recent.push_back((id, Arc::clone(&digest)));
        self.last_target_at = Some(now);
        self.targets.push_back(Target::new(id, digest, now));
        self.cover_at = Some(now);
    }

    /// Confirms the targets that this node's state covers by now.
    fn look_for_covered(&mut self, view: &ClusterView<'_>, now: Duration) {
        let covers = |digest: &VersionVector| {
            digest.iter().all(|(writer, version)| view.map.counted_up_to(writer) >= version)
        };
        let mut has_news = false;
        for target in self.targets.iter_mut().filter(|target| !target.is_covered()) {
            if covers(target.digest()) {
                target.cover(self.own);
                has_news = true;
            }
        }
        if has_news {
            self.spread_soon(now);
        }
    }

    fn spread_soon(&mut self, now: Duration) {
        let at = self.last_spread.map_or(now, |last| (last + SPREAD_INTERVAL).max(now));
        self.spread_at = Some(self.spread_at.map_or(at, |due| due.min(at)));
    }

    /// The bits for some of `peers`, in their order: those that they are not known to have, and
    /// those to ask about again.
    pub(super) fn spread(
        &mut self,
        view: &ClusterView<'_>,
        peers: &[NodeId],
        now: Duration,
    ) -> Vec<(NodeId, ConfirmMessage)> {
        self.look_for_covered(view, now);
        self.settle(view);
        let mut messages = Vec::new();
        for peer in peers {
            let due = self.targets.iter().filter(|target| target.is_due(*peer, &view.live, now));
            let bits: Vec<Bits> = due.map(Target::bits).collect();
            if !bits.is_empty() && messages.len() < FANOUT {
                self.asked.insert(*peer, bits.iter().map(|bits| bits.tag).collect());
                messages.push((*peer, pack(&bits, None)));
            }
        }
        let mut again: Option<Duration> = None;
        for target in &mut self.targets {
            let retry_at = target.spread(&view.live, now);
            again = [again, retry_at].into_iter().flatten().min();
        }
        self.spread_at = again;
        self.last_spread = Some(now);
        messages
    }

    /// Answers a peer's bits with this node's.
    ///
    /// # Errors
    /// A target that came whole is malformed.
    pub(super) fn serve(
        &mut self,
        peer: NodeId,
        message: &ConfirmMessage,
        now: Duration,
    ) -> Result<(ConfirmMessage, Confirmed), Refusal> {
        if let Some(whole) = &message.whole {
            self.take_target(whole, None, now)?;
        }
        let asked = unpack(message, TARGETS_MAX)?;
        let news = self.merge(peer, &asked, now);
        let mut answer = Vec::new();
        for bits in &asked {
            if let Some(target) = self.targets.iter_mut().find(|target| target.tag() == bits.tag) {
                answer.push(target.answer(peer));
            } else {
                answer.extend(self.settled(bits.tag));
            }
        }
        Ok((pack(&answer, None), news))
    }

    /// The bits of a target that was dropped because the complete one covers it. A member that
    /// holds the complete one holds this one. Of two equal targets nodes may keep different ones,
    /// and would wait for each other's bits.
    fn settled(&self, tag: u64) -> Option<Bits> {
        let complete = self.complete.as_ref()?;
        let (_, digest) = self
            .recent
            .iter()
            .find(|(id, digest)| id.tag() == tag && complete.digest.contains(digest))?;
        let mut confirmers = Confirmers::new(digest);
        for (replica, _) in digest.iter() {
            if complete.confirmers.contains(replica) {
                confirmers.insert(replica);
            }
        }
        Some(Bits { tag, bits: confirmers.bytes().to_vec() })
    }

    /// Takes a peer's answer. Returns new confirmations, and the newest target the peer lacks,
    /// whole.
    ///
    /// # Errors
    /// It is malformed: nothing changed.
    pub(super) fn take_answer(
        &mut self,
        peer: NodeId,
        answer: &ConfirmMessage,
        now: Duration,
    ) -> Result<(Confirmed, Option<ConfirmMessage>), Refusal> {
        let answer = unpack(answer, TARGETS_MAX)?;
        let sent = self.asked.remove(&peer).unwrap_or_default();
        let news = self.merge(peer, &answer, now);
        let is_unknown = |tag: &u64| answer.iter().all(|bits| bits.tag != *tag);
        let unknown = sent.into_iter().rev().find(is_unknown);
        let unknown =
            unknown.and_then(|tag| self.targets.iter().find(|target| target.tag() == tag));
        let whole = |target: &Target| {
            pack(&[target.bits()], Some(TargetMessage::new(target.id(), target.digest(), None)))
        };
        Ok((news, unknown.map(whole)))
    }

    /// Sets the bits that are new here.
    fn merge(&mut self, peer: NodeId, all: &[Bits], now: Duration) -> Confirmed {
        let (own, mut news) = (self.own, Vec::new());
        for bits in all {
            let Some(target) = self.targets.iter_mut().find(|target| target.tag() == bits.tag)
            else {
                continue;
            };
            for replica in target.merge(peer, &bits.bits, own) {
                news.push((NodeId(replica.node), Arc::clone(target.digest())));
            }
        }
        for (node, digest) in &news {
            let known = self.covered.get(node);
            if known.is_none_or(|(known, _)| !known.contains(digest)) {
                self.covered.insert(*node, (Arc::clone(digest), now));
            }
        }
        if !news.is_empty() {
            self.spread_soon(now);
        }
        news
    }

    /// A member's own digest confirms what it covers.
    pub(crate) fn note_digest(
        &mut self,
        incarnation: ReplicaId,
        digest: &VersionVector,
        now: Duration,
    ) {
        let mut has_news = false;
        for target in self.targets.iter_mut().filter(|_| incarnation != self.own) {
            if target.confirmers().lacks(incarnation) && digest.contains(target.digest()) {
                has_news |= target.confirm(incarnation);
                self.covered.insert(NodeId(incarnation.node), (Arc::clone(target.digest()), now));
            }
        }
        if has_news {
            self.spread_soon(now);
        }
    }

    /// Finds the best target that all live members confirmed: one that covers this node's state, or
    /// else the one heard of last. Targets that it covers are dropped. Targets of two proposers may
    /// arrive in either order, so one that was heard of earlier may cover more.
    fn settle(&mut self, view: &ClusterView<'_>) {
        for target in &self.targets {
            if let Some(complete) =
                self.complete.as_mut().filter(|complete| complete.id == target.id())
            {
                complete.confirmers = target.confirmers().clone();
            }
        }
        let is_complete =
            |target: &Target| target.is_covered() && target.confirmers().contains_all(&view.live);
        let Some(last) = self.targets.iter().rposition(is_complete) else { return };
        let state = view.map.version_vector();
        let whole = self
            .targets
            .iter()
            .rposition(|target| target.digest().contains(&state) && is_complete(target));
        let target = &self.targets[whole.unwrap_or(last)];
        let is_better = |complete: &Complete| {
            !complete.confirmers.contains_all(&view.live)
                || !complete.digest.contains(target.digest())
        };
        if self.complete.as_ref().is_none_or(is_better) {
            let holds_more = whole.is_none();
            self.complete = Some(Complete {
                id: target.id(),
                digest: Arc::clone(target.digest()),
                confirmers: target.confirmers().clone(),
                left_at: holds_more.then_some(target.heard()),
            });
        }
        if let Some(complete) = &self.complete {
            self.targets.retain(|target| {
                target.id() == complete.id || !complete.digest.contains(target.digest())
            });
        }
    }

    /// How far the live members have confirmed this node's state. O(targets * writers).
    pub(super) fn agreement(&mut self, view: &ClusterView<'_>, now: Duration) -> Agreement {
        self.settle(view);
        let of = view.live.len();
        if of == 0 {
            return Agreement { confirmed: 0, of, age: Some(Duration::ZERO), late: Vec::new() };
        }
        let state = view.map.version_vector();
        // A member that came since may not have confirmed it.
        let complete =
            self.complete.as_ref().filter(|complete| complete.confirmers.contains_all(&view.live));
        let covering = self.targets.iter().rev().find(|target| target.digest().contains(&state));
        let asked = covering
            .or_else(|| self.targets.back())
            .filter(|target| !target.confirmers().contains_all(&view.live));
        let is_whole = complete.is_some_and(|complete| complete.digest.contains(&state));
        let is_late = |incarnation: &ReplicaId| {
            self.targets.iter().any(|target| {
                target.is_overdue(LATE_AFTER, now) && target.confirmers().lacks(*incarnation)
            })
        };
        Agreement {
            confirmed: match asked {
                _ if is_whole => of,
                Some(target) => view
                    .live
                    .iter()
                    .filter(|incarnation| target.confirmers().contains(**incarnation))
                    .count(),
                None => 0,
            },
            of,
            age: match complete {
                _ if is_whole => Some(Duration::ZERO),
                Some(complete) => Some(now.saturating_sub(complete.left_at.unwrap_or(now))),
                None => None,
            },
            late: view.live.iter().copied().filter(is_late).collect(),
        }
    }
}
