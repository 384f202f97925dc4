//! The targets of the last seconds, who confirmed each, and the best one that all confirmed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use counter_core::{CounterMap, ReplicaId, VersionVector};

use super::target::{Bits, Complete, Confirmers, Target, TargetId};
use crate::protocol::interface::NodeId;
use crate::protocol::wire::TargetMessage;

/// The most targets remembered, which is four seconds of unbroken change. The oldest goes first.
pub(super) const TARGETS_MAX: usize = 8;
/// The most vectors remembered that a new target may be the difference from.
const RECENT_MAX: usize = 16;
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
    pub live: usize,
    /// Every live member holds all that this node held this long ago. Zero if they hold all that it
    /// holds now, and `None` while nothing is known.
    pub age: Option<Duration>,
    /// Live members that were asked two seconds ago or more and have not confirmed.
    pub late: Vec<ReplicaId>,
}

/// Members newly known to hold a target.
pub(super) type Confirmed = Vec<(NodeId, Arc<VersionVector>)>;

/// The open targets, and the best complete one.
///
/// Invariant: a bit is set only if its replica said that its vector covers the target, directly or
/// through others that heard it say so. The own bit is set by [`cover`](Self::cover) alone.
#[derive(Debug)]
pub(super) struct Targets {
    own: ReplicaId,
    /// In the order in which they were heard of.
    open: VecDeque<Target>,
    complete: Option<Complete>,
    /// The targets heard of last, also settled ones, because others may still refer to them.
    recent: VecDeque<(TargetId, Arc<VersionVector>)>,
}

impl Targets {
    pub(super) fn new(own: ReplicaId) -> Self {
        Self { own, open: VecDeque::new(), complete: None, recent: VecDeque::new() }
    }

    /// The vector of a target that was heard of a short time ago.
    pub(super) fn digest_of(&self, id: TargetId) -> Option<&VersionVector> {
        self.recent.iter().find(|(known, _)| *known == id).map(|(_, digest)| &**digest)
    }

    /// True if a target that was heard of covers this vector, so it need not be proposed.
    pub(super) fn cover_digest(&self, digest: &VersionVector, live: &[ReplicaId]) -> bool {
        self.open.back().is_some_and(|target| target.digest().contains(digest))
            || self.complete.as_ref().is_some_and(|complete| {
                complete.confirmers.contains_all(live) && complete.digest.contains(digest)
            })
    }

    /// A new target as it travels: the difference from the complete one, or the whole vector.
    pub(super) fn message(&self, id: TargetId, digest: &VersionVector) -> TargetMessage {
        let base = self.complete.as_ref().map(|complete| (complete.id, &*complete.digest));
        TargetMessage::new(id, digest, base)
    }

    /// Remembers a target. False if it was known.
    pub(super) fn learn(&mut self, id: TargetId, digest: VersionVector, now: Duration) -> bool {
        if self.digest_of(id).is_some() {
            return false;
        }
        if self.open.len() == TARGETS_MAX {
            self.open.pop_front();
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        let digest = Arc::new(digest);
        self.recent.push_back((id, Arc::clone(&digest)));
        self.open.push_back(Target::new(id, digest, now));
        true
    }

    /// True if this node has not confirmed some target yet.
    pub(super) fn has_uncovered(&self) -> bool {
        self.open.iter().any(|target| !target.is_covered())
    }

    /// True if some of `live` have not confirmed a target that this node has confirmed.
    pub(super) fn has_unconfirmed(&self, live: &[ReplicaId]) -> bool {
        self.open.iter().any(|target| target.is_covered() && target.confirmers().lacks_any(live))
    }

    /// The state moved on from the complete target, if it holds more now.
    pub(super) fn note_moved(&mut self, map: &CounterMap, now: Duration) {
        if let Some(complete) = self.complete.as_mut().filter(|complete| complete.left_at.is_none())
        {
            let holds_more = !complete.digest.contains(&map.version_vector());
            complete.left_at = holds_more.then_some(now);
        }
    }

    /// Confirms the targets that this node's state covers by now. True if there are any.
    pub(super) fn cover(&mut self, map: &CounterMap) -> bool {
        let covers = |digest: &VersionVector| {
            digest.iter().all(|(writer, version)| map.counted_up_to(writer) >= version)
        };
        let mut has_news = false;
        for target in self.open.iter_mut().filter(|target| !target.is_covered()) {
            if covers(target.digest()) {
                target.cover(self.own);
                has_news = true;
            }
        }
        has_news
    }

    /// The bits that are due for a peer: those that it may lack, and those to ask about again.
    pub(super) fn due_for(&self, peer: NodeId, live: &[ReplicaId], now: Duration) -> Vec<Bits> {
        let due = self.open.iter().filter(|target| target.is_due(peer, live, now));
        due.map(Target::bits).collect()
    }

    /// The bits went out. Returns when to ask again, if some of `live` may still confirm.
    pub(super) fn spread(&mut self, live: &[ReplicaId], now: Duration) -> Option<Duration> {
        let mut again: Option<Duration> = None;
        for target in &mut self.open {
            let retry_at = target.spread(live, now);
            again = [again, retry_at].into_iter().flatten().min();
        }
        again
    }

    /// The bits of a target for a peer that asked. `None` if the target is not known here.
    pub(super) fn answer(&mut self, peer: NodeId, tag: u64) -> Option<Bits> {
        match self.open.iter_mut().find(|target| target.tag() == tag) {
            Some(target) => Some(target.answer(peer)),
            None => self.settled(tag),
        }
    }

    /// The bits of a target that was dropped because the complete one covers it. A member that
    /// holds the complete one holds this one. Without this, two nodes that keep different ones of
    /// two equal targets would wait for each other's bits.
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

    /// An open target with its bits, whole.
    pub(super) fn whole(&self, tag: u64) -> Option<(Bits, TargetMessage)> {
        let target = self.open.iter().find(|target| target.tag() == tag)?;
        Some((target.bits(), TargetMessage::new(target.id(), target.digest(), None)))
    }

    /// Sets the bits that are new here.
    pub(super) fn merge(&mut self, peer: NodeId, all: &[Bits]) -> Confirmed {
        let mut news = Vec::new();
        for bits in all {
            let Some(target) = self.open.iter_mut().find(|target| target.tag() == bits.tag) else {
                continue;
            };
            for replica in target.merge(peer, &bits.bits, self.own) {
                news.push((NodeId(replica.node), Arc::clone(target.digest())));
            }
        }
        news
    }

    /// A member's own digest confirms what it covers. Returns the targets that are news, in their
    /// order.
    pub(super) fn confirm(&mut self, member: ReplicaId, digest: &VersionVector) -> Confirmed {
        let mut news = Vec::new();
        for target in self.open.iter_mut().filter(|_| member != self.own) {
            if target.confirmers().lacks(member) && digest.contains(target.digest()) {
                target.confirm(member);
                news.push((NodeId(member.node), Arc::clone(target.digest())));
            }
        }
        news
    }

    /// Finds the best target that all live members confirmed: one that covers this node's state, or
    /// else the one heard of last. Targets that it covers are dropped. Targets of two proposers may
    /// arrive in either order, so one that was heard of earlier may cover more.
    pub(super) fn settle(&mut self, map: &CounterMap, live: &[ReplicaId]) {
        for target in &self.open {
            if let Some(complete) =
                self.complete.as_mut().filter(|complete| complete.id == target.id())
            {
                complete.confirmers = target.confirmers().clone();
            }
        }
        let is_complete =
            |target: &Target| target.is_covered() && target.confirmers().contains_all(live);
        let Some(last) = self.open.iter().rposition(is_complete) else { return };
        let state = map.version_vector();
        let whole = self
            .open
            .iter()
            .rposition(|target| target.digest().contains(&state) && is_complete(target));
        let target = &self.open[whole.unwrap_or(last)];
        let is_better = |complete: &Complete| {
            !complete.confirmers.contains_all(live) || !complete.digest.contains(target.digest())
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
            self.open.retain(|target| {
                target.id() == complete.id || !complete.digest.contains(target.digest())
            });
        }
    }

    /// How far the live members have confirmed this node's state. O(targets * writers).
    pub(super) fn agreement(
        &mut self,
        map: &CounterMap,
        live: &[ReplicaId],
        now: Duration,
    ) -> Agreement {
        self.settle(map, live);
        if live.is_empty() {
            let age = Some(Duration::ZERO);
            return Agreement { confirmed: 0, live: 0, age, late: Vec::new() };
        }
        let state = map.version_vector();
        // A member that joined since may not have confirmed it.
        let complete =
            self.complete.as_ref().filter(|complete| complete.confirmers.contains_all(live));
        let covering = self.open.iter().rev().find(|target| target.digest().contains(&state));
        let asked = covering
            .or_else(|| self.open.back())
            .filter(|target| !target.confirmers().contains_all(live));
        let is_whole = complete.is_some_and(|complete| complete.digest.contains(&state));
        let is_late = |incarnation: &ReplicaId| {
            self.open.iter().any(|target| {
                target.is_overdue(LATE_AFTER, now) && target.confirmers().lacks(*incarnation)
            })
        };
        Agreement {
            confirmed: match asked {
                _ if is_whole => live.len(),
                Some(target) => {
                    let confirmers = target.confirmers();
                    live.iter().filter(|member| confirmers.contains(**member)).count()
                }
                None => 0,
            },
            live: live.len(),
            age: match complete {
                _ if is_whole => Some(Duration::ZERO),
                Some(complete) => Some(now.saturating_sub(complete.left_at.unwrap_or(now))),
                None => None,
            },
            late: live.iter().copied().filter(is_late).collect(),
        }
    }
}
