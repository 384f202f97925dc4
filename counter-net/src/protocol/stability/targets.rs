//! The targets of the last seconds, who confirmed each, and the best one that all confirmed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use counter_core::{ReplicaId, VersionVector};

use super::cluster_view::ClusterView;
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
    /// The other live members, ascending.
    live: Vec<ReplicaId>,
    /// In the order in which they were heard of.
    open: VecDeque<Target>,
    complete: Option<Complete>,
    /// The targets heard of last, also settled ones, because others may still refer to them.
    recent: VecDeque<KnownTarget>,
}

/// A target that was heard of.
#[derive(Debug)]
struct KnownTarget {
    id: TargetId,
    tag: u64,
    digest: Arc<VersionVector>,
}

impl Targets {
    pub(super) fn new(own: ReplicaId) -> Self {
        let (open, recent) = (VecDeque::new(), VecDeque::new());
        Self { own, live: Vec::new(), open, complete: None, recent }
    }

    /// The other live members, ascending.
    pub(super) fn live(&self) -> &[ReplicaId] {
        &self.live
    }

    /// These are the other live members from now on, ascending. O(targets * members).
    pub(super) fn set_live(&mut self, live: Vec<ReplicaId>) {
        self.live = live;
        self.open.iter_mut().for_each(|target| target.set_live(&self.live));
        self.complete.iter_mut().for_each(|complete| complete.confirmers.set_live(&self.live));
    }

    /// The vector of a target that was heard of a short time ago.
    pub(super) fn digest_of(&self, id: TargetId) -> Option<&VersionVector> {
        self.recent.iter().find(|known| known.id == id).map(|known| &*known.digest)
    }

    /// True if a target that was heard of covers this vector, so it need not be proposed.
    pub(super) fn cover_digest(&self, digest: &VersionVector) -> bool {
        self.open.back().is_some_and(|target| target.digest().contains(digest))
            || self.complete.as_ref().is_some_and(|complete| {
                complete.confirmers.contains_all_live() && complete.digest.contains(digest)
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
        let before = self.open.back().map(Target::confirmers);
        let like = before.or(self.complete.as_ref().map(|complete| &complete.confirmers));
        let confirmers = Confirmers::new(&digest, &self.live, like);
        let target = Target::new(id, Arc::clone(&digest), confirmers, now);
        self.recent.push_back(KnownTarget { id, tag: target.tag(), digest });
        self.open.push_back(target);
        true
    }

    /// True if this node has not confirmed some target yet.
    pub(super) fn has_uncovered(&self) -> bool {
        self.open.iter().any(|target| !target.is_covered())
    }

    /// True if this node has confirmed some target that is open.
    pub(super) fn has_covered(&self) -> bool {
        self.open.iter().any(Target::is_covered)
    }

    /// True if some live members have not confirmed a target that this node has confirmed.
    pub(super) fn has_unconfirmed(&self) -> bool {
        self.open.iter().any(|target| target.is_covered() && target.confirmers().lacks_any_live())
    }

    /// The state moved on from the complete target, if it holds more now.
    pub(super) fn note_moved(&mut self, view: &ClusterView<'_>, now: Duration) {
        if let Some(complete) = self.complete.as_mut().filter(|complete| complete.left_at.is_none())
        {
            let holds_more = !complete.digest.contains(view.state());
            complete.left_at = holds_more.then_some(now);
        }
    }

    /// Confirms the targets that this node's state covers by now. True if there are any.
    pub(super) fn cover(&mut self, view: &ClusterView<'_>) -> bool {
        // A folded writer is counted to its end, and the state no longer names it.
        let covers = |digest: &VersionVector| {
            let mut all = digest.beside(view.state());
            all.all(|(writer, version, held)| held >= version || view.map.is_folded(writer))
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
    pub(super) fn due_for(&self, peer: NodeId, now: Duration) -> Vec<Bits> {
        let due = self.open.iter().filter(|target| target.is_due(peer, now));
        due.map(Target::bits).collect()
    }

    /// The bits went out. Returns when to ask again, if some live members may still confirm.
    pub(super) fn spread(&mut self, now: Duration) -> Option<Duration> {
        let mut again: Option<Duration> = None;
        for target in &mut self.open {
            let retry_at = target.spread(now);
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
        let is_settled =
            |known: &&KnownTarget| known.tag == tag && complete.digest.contains(&known.digest);
        let known = self.recent.iter().find(is_settled)?;
        let mut confirmers = Confirmers::new(&known.digest, &[], Some(&complete.confirmers));
        confirmers.insert_all(&complete.confirmers);
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
    pub(super) fn settle(&mut self, view: &ClusterView<'_>) {
        for target in &self.open {
            if let Some(complete) =
                self.complete.as_mut().filter(|complete| complete.id == target.id())
            {
                complete.confirmers = target.confirmers().clone();
            }
        }
        let is_complete =
            |target: &Target| target.is_covered() && target.confirmers().contains_all_live();
        let Some(last) = self.open.iter().rposition(is_complete) else { return };
        let whole = self
            .open
            .iter()
            .rposition(|target| is_complete(target) && target.digest().contains(view.state()));
        let target = &self.open[whole.unwrap_or(last)];
        let is_better = |complete: &Complete| {
            !complete.confirmers.contains_all_live() || !complete.digest.contains(target.digest())
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
    pub(super) fn agreement(&mut self, view: &ClusterView<'_>, now: Duration) -> Agreement {
        self.settle(view);
        let (live, state) = (&self.live, view.state());
        if live.is_empty() {
            let age = Some(Duration::ZERO);
            return Agreement { confirmed: 0, live: 0, age, late: Vec::new() };
        }
        // A member that joined since may not have confirmed it.
        let complete =
            self.complete.as_ref().filter(|complete| complete.confirmers.contains_all_live());
        let covering = self.open.iter().rev().find(|target| target.digest().contains(state));
        let asked = covering
            .or_else(|| self.open.back())
            .filter(|target| !target.confirmers().contains_all_live());
        let is_whole = complete.is_some_and(|complete| complete.digest.contains(state));
        let is_late = |incarnation: &ReplicaId| {
            self.open.iter().any(|target| {
                target.is_overdue(LATE_AFTER, now) && target.confirmers().lacks(*incarnation)
            })
        };
        Agreement {
            confirmed: match asked {
                _ if is_whole => live.len(),
                Some(target) => target.confirmers().confirmed_live(),
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
