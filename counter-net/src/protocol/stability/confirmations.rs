//! The machine that asks every live member whether it holds what this node held a moment ago.
//!
//! While the state moves, one node proposes *targets*: version vectors that every live member is
//! asked to confirm. A member confirms a target once its own vector covers it. A member's vector
//! covers a target sooner or later, even if adds never pause. Equal hashes might then never occur.
//! The proposer is the live synced member with the lowest id. If it stays silent, any other member
//! steps in a little later.
//!
//! A target travels once, by gossip, as the difference from the last target that all confirmed.
//! Confirmations are one bit for each replica that the target names. Nodes exchange these bits with
//! random peers and merge them. So a target costs each node a few hundred bytes, however large the
//! cluster is. At rest nothing is sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use counter_core::{ReplicaId, VersionVector};

use super::cluster_view::ClusterView;
use super::target::{Bits, TargetId};
use super::target_bytes::{add_changes, pack, unpack};
use super::targets::{Agreement, Confirmed, TARGETS_MAX, Targets};
use crate::protocol::interface::{NodeId, Refusal};
use crate::protocol::wire::{ConfirmMessage, TargetMessage, unpack_vector};

/// The most replicas that a target names, so that it fits a message whatever their versions. If a
/// state has more, no target is proposed, and the agreement of the members is unknown.
const TARGET_REPLICAS_MAX: usize = 65_536;
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

/// The messages to send now.
#[derive(Debug, Default)]
pub(super) struct DueMessages {
    /// By gossip, to all.
    pub target: Option<TargetMessage>,
    /// True if `spread` has to be called.
    pub spreads: bool,
}

/// When this node proposes targets, and with whom it exchanges their bits.
///
/// Invariant: each peer has at most one open request about bits, whose targets are in `asked`.
#[derive(Debug)]
pub(crate) struct Confirmations {
    own: ReplicaId,
    interval: Duration,
    targets: Targets,
    /// Members came or went since the targets were told the live ones.
    is_live_stale: bool,
    /// The newest target that each member confirmed, and when that was heard.
    covered: BTreeMap<NodeId, (Arc<VersionVector>, Duration)>,
    /// The targets that each peer was asked about and has not answered.
    asked: BTreeMap<NodeId, Vec<u64>>,
    last_number: u64,
    /// The last stamp that `poll` was given.
    stamp: u64,
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
            targets: Targets::new(own),
            is_live_stale: true,
            covered: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_number: 0,
            stamp: 0,
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

    /// A writer's version moved without a cell, so a target may be covered now.
    pub(crate) fn look_again(&mut self) {
        self.stamp = self.stamp.wrapping_sub(1);
    }

    /// Members came or went. Earlier confirmations may no longer be enough.
    pub(crate) fn members_changed(&mut self) {
        self.is_live_stale = true;
        self.look_again();
    }

    /// Looks at the members again if they changed. Called wherever the live ones matter, so that
    /// the announcements of one moment cost one look. O(1) if nothing changed.
    fn refresh(&mut self, view: &ClusterView<'_>) {
        if std::mem::take(&mut self.is_live_stale) {
            self.targets.set_live(view.live().collect());
        }
        debug_assert!(self.targets.live().iter().copied().eq(view.live()));
    }

    /// True if `poll` has something to do.
    pub(super) fn is_due(&self, stamp: u64, now: Duration) -> bool {
        stamp != self.stamp || self.deadline().is_some_and(|at| at <= now)
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
        if view.stamp != self.stamp {
            self.stamp = view.stamp;
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
        if self.targets.has_uncovered() {
            self.cover_at.get_or_insert(now + COVER_INTERVAL);
        }
        if self.spread_at.is_none() && self.targets.has_covered() {
            self.refresh(view);
            if self.targets.has_unconfirmed() {
                // A member that became live is asked too.
                self.spread_soon(now);
            }
        }
        self.targets.note_moved(view, now);
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
        match view.leads() {
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
        self.refresh(view);
        let digest = view.state();
        if self.targets.live().is_empty()
            || self.targets.cover_digest(digest)
            || digest.len() > TARGET_REPLICAS_MAX
        {
            return None;
        }
        let pause = if view.leads() { self.interval } else { self.interval + STAND_IN_DELAY };
        if self.last_target_at.is_some_and(|last| last + pause > now) {
            // A target came meanwhile, and so may the next.
            self.propose_at = Some(self.next_proposal(view, now, rng));
            return None;
        }
        self.last_number += 1;
        let id = TargetId { proposer: self.own, number: self.last_number };
        let message = self.targets.message(id, digest);
        self.learn(id, digest.clone(), now);
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
            let Some(base) = self.targets.digest_of(base) else { return Ok(()) };
            digest = add_changes(base, &message.changes, digest)?;
        }
        let id = TargetId { proposer: message.proposer.0, number: message.number };
        self.learn(id, digest, now);
        Ok(())
    }

    fn learn(&mut self, id: TargetId, digest: VersionVector, now: Duration) {
        // A number that this node has not given yet is a forged one.
        let is_forged = id.proposer == self.own && id.number > self.last_number;
        if !is_forged && self.targets.learn(id, digest, now) {
            self.last_target_at = Some(now);
            self.cover_at = Some(now);
        }
    }

    /// Confirms the targets that this node's state covers by now.
    fn look_for_covered(&mut self, view: &ClusterView<'_>, now: Duration) {
        if self.targets.cover(view) {
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
        self.refresh(view);
        self.look_for_covered(view, now);
        self.targets.settle(view);
        let mut messages = Vec::new();
        for peer in peers {
            if messages.len() == FANOUT {
                break;
            }
            let bits = self.targets.due_for(*peer, now);
            if !bits.is_empty() {
                self.asked.insert(*peer, bits.iter().map(|bits| bits.tag).collect());
                messages.push((*peer, pack(&bits, None)));
            }
        }
        self.spread_at = self.targets.spread(now);
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
        let answer: Vec<Bits> =
            asked.iter().filter_map(|bits| self.targets.answer(peer, bits.tag)).collect();
        Ok((pack(&answer, None), news))
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
        let whole = unknown.and_then(|tag| self.targets.whole(tag));
        Ok((news, whole.map(|(bits, target)| pack(&[bits], Some(target)))))
    }

    /// Sets the bits that are new here.
    fn merge(&mut self, peer: NodeId, all: &[Bits], now: Duration) -> Confirmed {
        let news = self.targets.merge(peer, all);
        // Most members confirmed the same target before, so few pairs are compared.
        let mut compared: Vec<(Arc<VersionVector>, Arc<VersionVector>, bool)> = Vec::new();
        let mut contains = |known: &Arc<VersionVector>, digest: &Arc<VersionVector>| {
            let is_pair = |(of, with, _): &&(Arc<_>, Arc<_>, bool)| {
                Arc::ptr_eq(of, known) && Arc::ptr_eq(with, digest)
            };
            if let Some((_, _, contains)) = compared.iter().find(is_pair) {
                return *contains;
            }
            let contains = known.contains(digest);
            compared.push((Arc::clone(known), Arc::clone(digest), contains));
            contains
        };
        for (node, digest) in &news {
            let known = self.covered.get(node);
            if known.is_none_or(|(known, _)| !contains(known, digest)) {
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
        let news = self.targets.confirm(incarnation, digest);
        if !news.is_empty() {
            self.spread_soon(now);
        }
        self.covered.extend(news.into_iter().map(|(node, digest)| (node, (digest, now))));
    }

    /// How far the live members have confirmed this node's state. O(targets * writers).
    pub(super) fn agreement(&mut self, view: &ClusterView<'_>, now: Duration) -> Agreement {
        self.refresh(view);
        self.targets.agreement(view, now)
    }
}
