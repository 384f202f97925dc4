//! Whether every live member holds what this node held a moment ago.
//!
//! While the state moves, one node proposes *targets*: version vectors that every live member is
//! asked to confirm. A member confirms a target once its own vector covers it. Covering settles
//! while clicks never pause, which equal hashes do not. The proposer is the live synced member with
//! the lowest id. Where it stays silent, any other member steps in a little later.
//!
//! A target travels by gossip, once, as the difference from the last target that everybody
//! confirmed. Confirmations are gathered in a bit for each replica that the target names. Nodes
//! exchange and merge these bits with random peers, so that what all know costs each node a few
//! hundred bytes a target, however large the cluster is. At rest nothing is sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use counter_core::{CounterMap, Replica, ReplicaId, Version, VersionVector};
use serde_bytes::ByteBuf;

use crate::protocol::input::NodeId;
use crate::protocol::output::Refusal;
use crate::protocol::pull::Asked;
use crate::protocol::replicator::Replicator;
use crate::protocol::replicator::Timer;
use crate::protocol::stats::Kind;
use crate::protocol::wire::Gossip;
use crate::protocol::wire::{ConfirmMessage, Request, Response, TargetMessage};
use crate::protocol::wire::{Id, pack_vector, push_varint, take_varint, unpack_vector};

/// Targets remembered, the oldest of which goes first: four seconds of unbroken change.
const TARGETS_MAX: usize = 8;
/// How many replicas a target names: so many fit a message, whatever their versions. Above it no
/// target is proposed, and how far members agree is not known.
const TARGET_REPLICAS_MAX: usize = 65_536;
/// Vectors remembered that a new target may be the difference from.
const RECENT_MAX: usize = 16;
/// What changes together, such as the clicks of one moment, is proposed together.
const PROPOSE_DELAY: Duration = Duration::from_millis(50);
/// A node that is not the first to propose waits this much longer, and up to half of it more.
const STAND_IN_DELAY: Duration = Duration::from_millis(600);
/// Bits that come in within this time are passed on together.
const SPREAD_INTERVAL: Duration = Duration::from_millis(100);
/// Whether an open target is covered by now is looked at this often while the state moves.
const COVER_INTERVAL: Duration = Duration::from_millis(25);
/// The first pause before an incomplete target is asked about again, doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(300);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Peers that bits are exchanged with at a time.
const FANOUT: usize = 2;
/// A live member that has not confirmed a target of this age is late: it does not answer, or lacks
/// something.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// Names a target: who proposed it, and which of that replica's proposals it is.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TargetId {
    proposer: ReplicaId,
    number: u64,
}

/// The bits of one target as they travel, with its tag.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Bits {
    tag: u64,
    bits: Vec<u8>,
}

/// How far the live members have confirmed this node's state.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Agreement {
    /// Live members, this node left out, that confirmed the state that is being confirmed now.
    pub confirmed: usize,
    /// Live members, this node left out.
    pub of: usize,
    /// Every live member holds all that this node held so long ago: zero where they hold all that
    /// is here now, `None` where nothing is known yet.
    pub age: Option<Duration>,
    /// Live members that were asked two seconds ago or more and have not confirmed.
    pub late: Vec<ReplicaId>,
}

/// What the machine around knows: its state, and who is there.
struct View<'a> {
    map: &'a CounterMap,
    /// Another number whenever the state moved.
    moved: u64,
    /// Live members but this node, ascending.
    live: Vec<ReplicaId>,
    is_synced: bool,
    /// No live synced member has a lower id.
    leads: bool,
}

/// What is to be sent.
#[derive(Debug, Default)]
struct Step {
    /// To everybody, by gossip.
    target: Option<TargetMessage>,
    /// `spread` is to be called.
    spreads: bool,
}

/// Members newly known to hold a target.
type Confirmed = Vec<(NodeId, Arc<VersionVector>)>;

#[derive(Debug)]
struct Target {
    id: TargetId,
    /// A hash of `id`, by which bits name it.
    tag: u64,
    digest: Arc<VersionVector>,
    /// The replicas of `digest`, ascending: a bit's position.
    replicas: Arc<[ReplicaId]>,
    /// A bit for each of `replicas` that confirmed it.
    holders: Vec<u8>,
    /// The bits that a peer has too, as of its last message.
    known: BTreeMap<NodeId, Vec<u8>>,
    heard: Duration,
    is_covered: bool,
    /// Bits came in that were not passed on.
    has_news: bool,
    retry_at: Duration,
    retry: Duration,
}

/// The best target that all confirmed who were live then.
#[derive(Debug)]
struct Complete {
    id: TargetId,
    digest: Arc<VersionVector>,
    replicas: Arc<[ReplicaId]>,
    /// As [`Target::holders`]. A replica that is named may come to be live later, and has not
    /// confirmed it by being named.
    holders: Vec<u8>,
    /// When this node's state moved on from it, if it has.
    left_at: Option<Duration>,
}

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
    /// The targets heard of last, also those that are settled: others may still refer to them.
    recent: VecDeque<(TargetId, Arc<VersionVector>)>,
    /// The newest target that each member confirmed, and when that was heard.
    covered: BTreeMap<NodeId, (Arc<VersionVector>, Duration)>,
    /// The targets that a peer was asked about and has not answered for. One request a peer at a
    /// time.
    asked: BTreeMap<NodeId, Vec<u64>>,
    last_number: u64,
    /// What `poll` was last told.
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

    /// This node goes on as another replica.
    pub(crate) fn renew(&mut self, own: ReplicaId) {
        *self =
            Self { covered: std::mem::take(&mut self.covered), ..Self::new(own, self.interval) };
    }

    /// The newest target that a member confirmed, and when that was heard.
    pub(crate) fn covered_by(&self, node: NodeId) -> Option<(&VersionVector, Duration)> {
        self.covered.get(&node).map(|(digest, heard)| (&**digest, *heard))
    }

    /// Keeps what members confirmed only while they are remembered.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.covered.remove(&node);
    }

    /// The connection to a peer closed.
    pub(crate) fn down(&mut self, peer: NodeId) {
        self.asked.remove(&peer);
    }

    /// Members came or went, or this node has caught up: what was confirmed may not be enough any
    /// more.
    pub(crate) fn look_again(&mut self) {
        self.moved = self.moved.wrapping_sub(1);
    }

    /// Whether `poll` has something to do.
    fn is_due(&self, moved: u64, now: Duration) -> bool {
        moved != self.moved || self.deadline().is_some_and(|at| at <= now)
    }

    /// When to call `poll` next.
    fn deadline(&self) -> Option<Duration> {
        [self.propose_at, self.cover_at, self.spread_at].into_iter().flatten().min()
    }

    /// Looks at what changed, and says what is to be sent now. O(1) where nothing is due.
    fn poll(&mut self, view: &View<'_>, now: Duration, rng: &mut fastrand::Rng) -> Step {
        if view.moved != self.moved {
            self.moved = view.moved;
            self.on_moved(view, now, rng);
        }
        if self.cover_at.is_some_and(|at| at <= now) {
            self.cover_at = None;
            self.look_for_covered(view, now);
        }
        let mut step = Step::default();
        if self.propose_at.is_some_and(|at| at <= now) {
            self.propose_at = None;
            step.target = self.propose(view, now, rng);
        }
        if self.spread_at.is_some_and(|at| at <= now) {
            self.spread_at = None;
            step.spreads = true;
        }
        step
    }

    fn on_moved(&mut self, view: &View<'_>, now: Duration, rng: &mut fastrand::Rng) {
        if self.propose_at.is_none() && view.is_synced {
            self.propose_at = Some(self.next_proposal(view, now, rng));
        }
        if self.targets.iter().any(|target| !target.is_covered) {
            self.cover_at.get_or_insert(now + COVER_INTERVAL);
        }
        if self.spread_at.is_none()
            && self.targets.iter().any(|target| target.is_covered && target.is_open(&view.live))
        {
            // A member that came to be live is asked too.
            self.spread_soon(now);
        }
        if let Some(complete) = self.complete.as_mut().filter(|complete| complete.left_at.is_none())
        {
            let holds_more = !complete.digest.contains(&view.map.version_vector());
            complete.left_at = holds_more.then_some(now);
        }
    }

    /// Whoever leads keeps the interval since the last target. Others step in where none came for
    /// longer.
    fn next_proposal(&self, view: &View<'_>, now: Duration, rng: &mut fastrand::Rng) -> Duration {
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
        view: &View<'_>,
        now: Duration,
        rng: &mut fastrand::Rng,
    ) -> Option<TargetMessage> {
        let digest = view.map.version_vector();
        let is_known = self.targets.back().is_some_and(|target| target.digest.contains(&digest));
        let is_complete = self.complete.as_ref().is_some_and(|complete| {
            complete.holds_for(&view.live) && complete.digest.contains(&digest)
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
    fn take_target(
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
            // Who does not know the base is sent the whole target by the first peer that asks it.
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
        let replicas: Arc<[ReplicaId]> = digest.iter().map(|(replica, _)| replica).collect();
        let digest = Arc::new(digest);
        self.recent.push_back((id, Arc::clone(&digest)));
        self.last_target_at = Some(now);
        self.targets.push_back(Target {
            id,
            tag: id.tag(),
            digest,
            holders: vec![0; replicas.len().div_ceil(8)],
            known: BTreeMap::new(),
            replicas,
            heard: now,
            is_covered: false,
            has_news: false,
            retry_at: now + RETRY_MIN,
            retry: RETRY_MIN,
        });
        self.cover_at = Some(now);
    }

    /// Confirms the targets that this node's state covers by now.
    fn look_for_covered(&mut self, view: &View<'_>, now: Duration) {
        let covers = |digest: &VersionVector| {
            digest.iter().all(|(writer, version)| view.map.counted_up_to(writer) >= version)
        };
        let mut has_news = false;
        for target in self.targets.iter_mut().filter(|target| !target.is_covered) {
            if covers(&target.digest) {
                target.is_covered = true;
                if let Some(at) = target.position(self.own) {
                    target.set(at);
                }
                target.has_news = true;
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

    /// The bits for some of `peers`, in their order: what they are not known to have, and what is
    /// asked again.
    fn spread(
        &mut self,
        view: &View<'_>,
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
            let is_open = target.is_open(&view.live);
            if target.has_news || (is_open && target.retry_at <= now) {
                target.retry =
                    if target.has_news { RETRY_MIN } else { (target.retry * 2).min(RETRY_MAX) };
                target.retry_at = now + target.retry;
                target.has_news = false;
            }
            if is_open {
                again = Some(again.map_or(target.retry_at, |at| at.min(target.retry_at)));
            }
        }
        self.spread_at = again;
        self.last_spread = Some(now);
        messages
    }

    /// Answers a peer's bits with this node's.
    ///
    /// # Errors
    /// A target that came whole is malformed.
    fn serve(
        &mut self,
        peer: NodeId,
        message: &ConfirmMessage,
        now: Duration,
    ) -> Result<(ConfirmMessage, Confirmed), Refusal> {
        if let Some(whole) = &message.whole {
            self.take_target(whole, None, now)?;
        }
        let asked = unpack(message)?;
        let news = self.merge(peer, &asked, now);
        let mut answer = Vec::new();
        for bits in &asked {
            if let Some(target) = self.targets.iter_mut().find(|target| target.tag == bits.tag) {
                // The answer tells it everything.
                target.known.insert(peer, target.holders.clone());
                answer.push(target.bits());
            } else {
                answer.extend(self.settled(bits.tag));
            }
        }
        Ok((pack(&answer, None), news))
    }

    /// The bits of a target that was dropped because the complete one covers it: whoever holds that
    /// one holds this one. Of two equal targets nodes may keep different ones, and would wait for
    /// each other's bits.
    fn settled(&self, tag: u64) -> Option<Bits> {
        let complete = self.complete.as_ref()?;
        let (_, digest) = self
            .recent
            .iter()
            .find(|(id, digest)| id.tag() == tag && complete.digest.contains(digest))?;
        let mut bits = vec![0; digest.iter().count().div_ceil(8)];
        for (at, (replica, _)) in digest.iter().enumerate() {
            bits[at / 8] |= u8::from(complete.holds_for(&[replica])) << (at % 8);
        }
        Some(Bits { tag, bits })
    }

    /// Takes a peer's answer. Returns who is newly known to hold what, and the newest target that
    /// the peer does not know, whole.
    ///
    /// # Errors
    /// It is malformed: nothing changed.
    fn take_answer(
        &mut self,
        peer: NodeId,
        answer: &ConfirmMessage,
        now: Duration,
    ) -> Result<(Confirmed, Option<ConfirmMessage>), Refusal> {
        let answer = unpack(answer)?;
        let sent = self.asked.remove(&peer).unwrap_or_default();
        let news = self.merge(peer, &answer, now);
        let is_unknown = |tag: &u64| answer.iter().all(|bits| bits.tag != *tag);
        let unknown = sent.into_iter().rev().find(is_unknown);
        let unknown = unknown.and_then(|tag| self.targets.iter().find(|target| target.tag == tag));
        let whole = |target: &Target| {
            pack(&[target.bits()], Some(TargetMessage::new(target.id, &target.digest, None)))
        };
        Ok((news, unknown.map(whole)))
    }

    /// Sets the bits that are new here.
    fn merge(&mut self, peer: NodeId, all: &[Bits], now: Duration) -> Confirmed {
        let (own, mut news) = (self.own, Vec::new());
        for bits in all {
            let Some(target) = self.targets.iter_mut().find(|target| target.tag == bits.tag) else {
                continue;
            };
            target
                .known
                .insert(peer, bits.bits.iter().copied().take(target.holders.len()).collect());
            for at in 0..target.replicas.len() {
                let replica = target.replicas[at];
                let is_set = bits.bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
                if is_set && replica != own && target.set(at) {
                    target.has_news = true;
                    news.push((NodeId(replica.node), Arc::clone(&target.digest)));
                }
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
            let Some(at) = target.position(incarnation).filter(|at| !target.has(*at)) else {
                continue;
            };
            if digest.contains(&target.digest) {
                target.set(at);
                (target.has_news, has_news) = (true, true);
                self.covered.insert(NodeId(incarnation.node), (Arc::clone(&target.digest), now));
            }
        }
        if has_news {
            self.spread_soon(now);
        }
    }

    /// Finds the best target that all live members confirmed: one that covers this node's state, or
    /// else the one heard of last. Targets that it covers are of no use any more. Two proposers'
    /// targets may arrive in either order, so one that was heard of before may cover more.
    fn settle(&mut self, view: &View<'_>) {
        for target in &self.targets {
            if let Some(complete) =
                self.complete.as_mut().filter(|complete| complete.id == target.id)
            {
                complete.holders.clone_from(&target.holders);
            }
        }
        let is_complete = |target: &Target| target.is_covered && target.is_complete(&view.live);
        let Some(last) = self.targets.iter().rposition(is_complete) else { return };
        let state = view.map.version_vector();
        let whole = self
            .targets
            .iter()
            .rposition(|target| target.digest.contains(&state) && is_complete(target));
        let target = &self.targets[whole.unwrap_or(last)];
        let is_better = |complete: &Complete| {
            !complete.holds_for(&view.live) || !complete.digest.contains(&target.digest)
        };
        if self.complete.as_ref().is_none_or(is_better) {
            let holds_more = whole.is_none();
            self.complete = Some(Complete {
                id: target.id,
                digest: Arc::clone(&target.digest),
                replicas: Arc::clone(&target.replicas),
                holders: target.holders.clone(),
                left_at: holds_more.then_some(target.heard),
            });
        }
        if let Some(complete) = &self.complete {
            self.targets.retain(|target| {
                target.id == complete.id || !complete.digest.contains(&target.digest)
            });
        }
    }

    /// How far the live members have confirmed this node's state. O(targets * writers).
    fn agreement(&mut self, view: &View<'_>, now: Duration) -> Agreement {
        self.settle(view);
        let of = view.live.len();
        if of == 0 {
            return Agreement { confirmed: 0, of, age: Some(Duration::ZERO), late: Vec::new() };
        }
        let state = view.map.version_vector();
        // Who came since may not have confirmed it.
        let complete = self.complete.as_ref().filter(|complete| complete.holds_for(&view.live));
        let covering = self.targets.iter().rev().find(|target| target.digest.contains(&state));
        let asked = covering
            .or_else(|| self.targets.back())
            .filter(|target| !target.is_complete(&view.live));
        let is_whole = complete.is_some_and(|complete| complete.digest.contains(&state));
        let lacks = |target: &Target, incarnation: &ReplicaId| {
            target.position(*incarnation).is_some_and(|at| !target.has(at))
        };
        let is_late = |incarnation: &ReplicaId| {
            // Asked again without an answer: a machine that slept accuses nobody when it wakes.
            let is_old = |target: &&Target| {
                now.saturating_sub(target.heard) >= LATE_AFTER && target.retry > 2 * RETRY_MIN
            };
            self.targets.iter().filter(is_old).any(|target| lacks(target, incarnation))
        };
        Agreement {
            confirmed: match asked {
                _ if is_whole => of,
                Some(target) => view
                    .live
                    .iter()
                    .filter(|incarnation| {
                        target.position(**incarnation).is_some_and(|at| target.has(at))
                    })
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

impl Complete {
    /// Whether all of `live` confirmed it.
    fn holds_for(&self, live: &[ReplicaId]) -> bool {
        let has = |at: usize| self.holders[at / 8] >> (at % 8) & 1 == 1;
        live.iter().all(|incarnation| self.replicas.binary_search(incarnation).is_ok_and(has))
    }
}

impl Target {
    fn position(&self, replica: ReplicaId) -> Option<usize> {
        self.replicas.binary_search(&replica).ok()
    }

    fn has(&self, at: usize) -> bool {
        self.holders[at / 8] >> (at % 8) & 1 == 1
    }

    /// True where that is news.
    fn set(&mut self, at: usize) -> bool {
        let news = !self.has(at);
        self.holders[at / 8] |= 1 << (at % 8);
        news
    }

    /// Whether all of `live` confirmed it.
    fn is_complete(&self, live: &[ReplicaId]) -> bool {
        live.iter().all(|incarnation| self.position(*incarnation).is_some_and(|at| self.has(at)))
    }

    /// Whether some of `live` may still confirm it. Who came later is not named by it, and cannot.
    fn is_open(&self, live: &[ReplicaId]) -> bool {
        live.iter().filter_map(|incarnation| self.position(*incarnation)).any(|at| !self.has(at))
    }

    /// Whether a peer is to be sent the bits: it may lack some, or this node lacks some and asks
    /// again.
    fn is_due(&self, peer: NodeId, live: &[ReplicaId], now: Duration) -> bool {
        let known = self.known.get(&peer).map_or(&[][..], Vec::as_slice);
        let has = |at: usize| known.get(at).copied().unwrap_or(0);
        let lacks = self.holders.iter().enumerate().any(|(at, byte)| byte & !has(at) != 0);
        (self.has_news && lacks) || (self.retry_at <= now && self.is_open(live))
    }

    fn bits(&self) -> Bits {
        let used = self.holders.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Bits { tag: self.tag, bits: self.holders[..used].to_vec() }
    }
}

impl TargetId {
    fn tag(self) -> u64 {
        let mut bytes = self.proposer.to_bytes().to_vec();
        bytes.extend_from_slice(&self.number.to_be_bytes());
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }
}

fn pack(all: &[Bits], whole: Option<TargetMessage>) -> ConfirmMessage {
    let mut bytes = Vec::new();
    for Bits { tag, bits } in all {
        bytes.extend_from_slice(&tag.to_be_bytes());
        push_varint(&mut bytes, bits.len() as u64);
        bytes.extend_from_slice(bits);
    }
    ConfirmMessage { bits: ByteBuf::from(bytes), whole }
}

/// Reads [`pack`], at most [`TARGETS_MAX`] targets.
fn unpack(message: &ConfirmMessage) -> Result<Vec<Bits>, Refusal> {
    let (mut bytes, mut all) = (&message.bits[..], Vec::new());
    while !bytes.is_empty() {
        let (tag, rest) = bytes.split_first_chunk::<8>().ok_or(Refusal::Malformed)?;
        let (length, rest) = take_varint(rest).ok_or(Refusal::Malformed)?;
        let length = usize::try_from(length).map_err(|_| Refusal::Malformed)?;
        let (bits, rest) = rest.split_at_checked(length).ok_or(Refusal::Malformed)?;
        if all.len() == TARGETS_MAX {
            return Err(Refusal::Malformed);
        }
        all.push(Bits { tag: u64::from_be_bytes(*tag), bits: bits.to_vec() });
        bytes = rest;
    }
    Ok(all)
}

impl TargetMessage {
    /// The whole digest, or its difference from the base.
    fn new(id: TargetId, digest: &VersionVector, base: Option<(TargetId, &VersionVector)>) -> Self {
        // A replica that was folded since leaves no trace in a difference.
        let base = base.filter(|(_, base)| base.iter().all(|(replica, _)| digest.get(replica) > 0));
        let (mut changes, mut added) = (Vec::new(), VersionVector::new());
        if let Some((_, base)) = base {
            let mut last = 0;
            for (at, (replica, version)) in base.iter().enumerate() {
                let more = digest.get(replica).saturating_sub(version);
                if more > 0 {
                    push_varint(&mut changes, (at - last) as u64);
                    push_varint(&mut changes, more);
                    last = at;
                }
            }
            added = digest.iter().filter(|(replica, _)| base.get(*replica) == 0).collect();
        }
        Self {
            proposer: Id(id.proposer),
            number: id.number,
            base: base.map(|(id, _)| (Id(id.proposer), id.number)),
            changes: ByteBuf::from(changes),
            digest: pack_vector(if base.is_some() { &added } else { digest }),
        }
    }
}

/// The base with its `changes` and what is new since.
fn add_changes(
    base: &VersionVector,
    mut changes: &[u8],
    added: VersionVector,
) -> Result<VersionVector, Refusal> {
    let mut whole: Vec<(ReplicaId, Version)> = base.iter().collect();
    let mut at = 0_u64;
    while !changes.is_empty() {
        let (step, rest) = take_varint(changes).ok_or(Refusal::Malformed)?;
        let (more, rest) = take_varint(rest).ok_or(Refusal::Malformed)?;
        at = at.saturating_add(step);
        let entry =
            usize::try_from(at).ok().and_then(|at| whole.get_mut(at)).ok_or(Refusal::Malformed)?;
        entry.1 = entry.1.saturating_add(more);
        changes = rest;
    }
    let mut whole: VersionVector = whole.into_iter().collect();
    whole.join(&added);
    Ok(whole)
}

impl Replicator {
    fn view<'a>(&self, replica: &'a Replica) -> View<'a> {
        let (own, mut live, mut leads) = (self.node(), Vec::new(), true);
        for (node, entry) in
            self.members.iter().filter(|(node, entry)| *node != own && entry.is_live())
        {
            live.push(entry.replica);
            leads &= !entry.synced || node > own;
        }
        View {
            map: replica.map(),
            moved: self.moved(replica),
            live,
            is_synced: self.is_synced(),
            leads,
        }
    }

    /// Another number whenever the state moved.
    pub(crate) fn moved(&self, replica: &Replica) -> u64 {
        replica.map().seen_of(self.own).wrapping_add(self.out.stats.cells_joined)
    }

    /// How far the live members have confirmed this node's state; see [`Agreement`].
    ///
    /// # Complexity
    /// O(members + writers).
    pub fn agreement(&mut self, replica: &Replica, now: Duration) -> Agreement {
        self.now = self.now.max(now);
        let view = self.view(replica);
        let mut agreement = self.confirmations.agreement(&view, self.now);
        // An earlier release is not asked, so it is not late.
        let is_asked = |incarnation: &ReplicaId| {
            self.sources.get(NodeId(incarnation.node)).is_none_or(|source| !source.confirms_nothing)
        };
        agreement.late.retain(is_asked);
        agreement
    }

    /// Proposes, confirms and passes on what is due.
    pub(crate) fn confirm(&mut self, replica: &Replica) {
        if self.leaving
            || self.numbering.is_open()
            || !self.confirmations.is_due(self.moved(replica), self.now)
        {
            return;
        }
        let view = self.view(replica);
        let step = self.confirmations.poll(&view, self.now, &mut self.rng);
        if let Some(target) = step.target {
            let gossip = Gossip { target: Some(target), ..Gossip::default() };
            let payload = self.sequence.seal(gossip);
            if payload.len() <= self.config.payload_bytes_max {
                self.out.publish(Kind::Confirm, payload);
            }
        }
        if step.spreads {
            let peers = self.confirming_peers();
            for (peer, bits) in self.confirmations.spread(&view, &peers, self.now) {
                self.send(peer, Asked::Confirm, &Request::confirm(bits));
            }
        }
        match self.confirmations.deadline() {
            Some(at) => self.timers.set(Timer::Confirm, at),
            None => self.timers.cancel(Timer::Confirm),
        }
    }

    /// The peers that answer and have no bits to answer already, in random order.
    fn confirming_peers(&mut self) -> Vec<NodeId> {
        let answers = |(peer, source): (NodeId, &crate::protocol::pull::Source)| {
            let answers = source.heard_at.is_some() && !source.silent && !source.confirms_nothing;
            let is_free = answers && source.rest_until <= self.now;
            (is_free && !self.awaits(peer, |asked| asked == Asked::Confirm)).then_some(peer)
        };
        let mut peers: Vec<NodeId> = self.sources.iter().filter_map(answers).collect();
        self.rng.shuffle(&mut peers);
        peers
    }

    pub(crate) fn take_gossiped_target(
        &mut self,
        signer: NodeId,
        target: &TargetMessage,
    ) -> Result<(), Refusal> {
        self.confirmations.take_target(target, Some(signer), self.now)
    }

    pub(crate) fn serve_confirm(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        message: &ConfirmMessage,
    ) -> Result<Response, Refusal> {
        let (answer, news) = self.confirmations.serve(peer, message, self.now)?;
        self.note_confirmed(replica, news);
        Ok(Response::confirm(answer))
    }

    pub(crate) fn take_confirmed(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        answer: &ConfirmMessage,
    ) -> Result<(), Refusal> {
        let (news, unknown) = self.confirmations.take_answer(peer, answer, self.now)?;
        self.note_confirmed(replica, news);
        if let Some(whole) = unknown {
            self.send(peer, Asked::Confirm, &Request::confirm(whole));
        }
        Ok(())
    }

    /// What members confirmed to hold counts as heard from those that are connected.
    fn note_confirmed(&mut self, replica: &Replica, news: Confirmed) {
        for (node, digest) in news {
            let Some(source) = self.sources.get(node).filter(|source| source.heard_at.is_some())
            else {
                continue;
            };
            // Not the peer's own digest: `heard` may hold what is only on its way to the peer.
            let mut heard = source.heard.clone();
            heard.join(&digest);
            let lacks = self.shortfall(replica, &heard);
            self.sources.hear(node, heard, lacks, self.now);
        }
    }
}
