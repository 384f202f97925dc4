//! Incarnations that wrote the original of a copied directory: claimed once a member has answered,
//! and only if nobody goes on from them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use counter_core::{Replica, ReplicaId};

use crate::protocol::Member;
use crate::shared::Shared;

/// So long after the first member's answer, who wrote the original of a copied directory may still
/// show itself, such as by starting again. What it has and no member has is lost once its
/// incarnation is claimed and folded; less claims the incarnations of nodes that are only
/// restarting.
const ABSENT_FOR: Duration = Duration::from_secs(60);

/// What is not settled yet.
#[derive(Debug)]
pub(super) struct Predecessors {
    /// Of this very process's directory: they ended, unless it is a clone of another's disk.
    earlier: Vec<ReplicaId>,
    /// Incarnations that wrote the original of this copy.
    copied: Vec<ReplicaId>,
    /// When this node had first caught up with a member.
    caught_up: Option<Duration>,
    /// Nothing is left to do.
    is_settled: bool,
}

/// What a look brought.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    /// To be claimed now.
    claim: Vec<ReplicaId>,
    /// Others go on from these: they are theirs.
    go_on: Vec<ReplicaId>,
    /// This node has caught up with a member.
    caught_up: bool,
}

impl Predecessors {
    /// `stored`: whether this node has a directory, and so a past.
    pub(super) fn new(earlier: Vec<ReplicaId>, copied: Vec<ReplicaId>, stored: bool) -> Self {
        Self { earlier, copied, caught_up: None, is_settled: !stored }
    }

    /// Settles what became of the incarnations before this one, if that is known by now. True where
    /// the state changed.
    pub(super) fn settle(&mut self, shared: &Shared, now: Duration) -> bool {
        if self.is_settled {
            return false;
        }
        let mut guard = shared.write();
        let state = &mut *guard;
        if !state.replicator.is_synced() {
            return false;
        }
        // Synced, this node was answered as the only process under its identity, or nobody is there
        // to answer.
        let earlier = std::mem::take(&mut self.earlier);
        earlier.iter().for_each(|&incarnation| {
            state.replicator.claim_earlier(&mut state.replica, incarnation)
        });
        let members = state.replicator.members(&state.replica, now);
        let look = self.look(&state.replica, &members, now);
        for &incarnation in &look.claim {
            // One that is not known here left nothing to take over.
            if state.replicator.force_retire(&mut state.replica, incarnation).is_ok() {
                tracing::warn!(%incarnation, "nobody goes on from this incarnation, as far as the members know: this node takes it over");
            }
        }
        drop(guard);
        if look.caught_up {
            shared.behind.store(false, Ordering::Relaxed);
        }
        for incarnation in &look.go_on {
            tracing::warn!(%incarnation, "another node goes on from the original of this data directory: this one counts beside it");
        }
        if self.is_settled {
            shared.commits.get().into_iter().for_each(crate::store::Commits::settled);
        }
        let is_changed = !look.claim.is_empty() || !earlier.is_empty();
        if is_changed {
            shared.state_changed();
        }
        is_changed
    }

    fn look(&mut self, replica: &Replica, members: &[Member], now: Duration) -> Look {
        let answered = |member: &Member| {
            member.connected
                && member.synced
                && member.lag.is_some_and(|lag| lag.versions_ahead == 0)
        };
        let mut look = Look {
            caught_up: self.caught_up.is_some() || members.iter().any(answered),
            ..Look::default()
        };
        if !look.caught_up {
            return look;
        }
        let since = *self.caught_up.get_or_insert(now);
        (look.go_on, self.copied) = std::mem::take(&mut self.copied)
            .into_iter()
            .partition(|&incarnation| goes_on(incarnation, replica, members));
        if now >= since + ABSENT_FOR {
            look.claim.append(&mut self.copied);
        }
        self.is_settled = self.copied.is_empty();
        look
    }
}

/// Whether it has a successor, or its node is there, or was there in a later incarnation.
fn goes_on(incarnation: ReplicaId, replica: &Replica, members: &[Member]) -> bool {
    let is_later = |other: ReplicaId| {
        other.node == incarnation.node && other.incarnation > incarnation.incarnation
    };
    members.iter().any(|member| {
        is_later(member.replica) || (member.replica.node == incarnation.node && member.live)
    }) || replica.map().is_ended(incarnation)
        || replica.map().replicas().any(is_later)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Lag;

    const SECOND: Duration = Duration::from_secs(1);

    fn incarnation(node: u64, number: u64) -> ReplicaId {
        ReplicaId::new(node, number << 32)
    }

    fn member(replica: ReplicaId, live: bool) -> Member {
        Member {
            replica,
            region: "ord".into(),
            viewers: 0,
            release: String::new(),
            live,
            left: false,
            synced: true,
            last_heard: Duration::ZERO,
            connected: live,
            lag: live.then(Lag::default),
        }
    }

    fn replica_of(incarnations: &[ReplicaId]) -> Replica {
        let mut replica = Replica::new(incarnations[0], "ord").unwrap();
        for &other in &incarnations[1..] {
            let other = Replica::new(other, "ord").unwrap();
            replica
                .join_delta(other.map().delta_since(&counter_core::VersionVector::new()))
                .unwrap();
        }
        replica
    }

    #[test]
    fn nothing_is_claimed_before_a_member_has_answered() {
        let (copied, replica) =
            (incarnation(1, 1), replica_of(&[incarnation(9, 1), incarnation(1, 1)]));
        let mut predecessors = Predecessors::new(Vec::new(), vec![copied], true);
        let mut behind = member(incarnation(2, 1), true);
        behind.lag = Some(Lag { versions_ahead: 1, ..Lag::default() });
        assert_eq!(predecessors.look(&replica, &[behind], 500 * SECOND), Look::default());
        assert!(!predecessors.is_settled);
    }

    #[test]
    fn a_copied_incarnation_of_which_nobody_goes_on_is_claimed_after_a_while() {
        let (copied, replica) =
            (incarnation(1, 1), replica_of(&[incarnation(9, 1), incarnation(1, 1)]));
        let mut predecessors = Predecessors::new(Vec::new(), vec![copied], true);
        let members = [member(incarnation(2, 1), true), member(copied, false)];
        assert!(predecessors.look(&replica, &members, SECOND).caught_up);
        assert!(!predecessors.is_settled);
        let look = predecessors.look(&replica, &members, SECOND + ABSENT_FOR);
        assert_eq!(look.claim, [copied]);
        assert!(predecessors.is_settled);
    }

    #[test]
    fn a_copied_incarnation_that_goes_on_is_left_alone_also_once_it_is_gone_again() {
        let (copied, replica) =
            (incarnation(1, 1), replica_of(&[incarnation(9, 1), incarnation(1, 1)]));
        for there in [
            member(copied, true),
            member(incarnation(1, 2), true),
            member(incarnation(1, 2), false),
        ] {
            let mut predecessors = Predecessors::new(Vec::new(), vec![copied], true);
            let members = [member(incarnation(2, 1), true), there];
            assert_eq!(predecessors.look(&replica, &members, SECOND).go_on, [copied]);
            assert!(
                predecessors.is_settled
                    && predecessors.look(&replica, &members[..1], 500 * SECOND).claim.is_empty()
            );
        }
        let replica = replica_of(&[incarnation(9, 1), incarnation(1, 1), incarnation(1, 2)]);
        let mut predecessors = Predecessors::new(Vec::new(), vec![copied], true);
        assert_eq!(
            predecessors.look(&replica, &[member(incarnation(2, 1), true)], SECOND).go_on,
            [copied],
            "its record says so"
        );
    }
}
