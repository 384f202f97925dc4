//! Earlier incarnations of a data directory and of its original. This node claims those that no
//! other node continues.

use std::sync::atomic::Ordering;
use std::time::Duration;

use counter_core::{Replica, ReplicaId};

use crate::protocol::Member;
use crate::shared::Shared;

/// How long after the first member's answer a copied incarnation may still show itself, such as by
/// restarting. Once it is claimed and folded, adds that only it holds are lost. A shorter time
/// would claim incarnations of nodes that are just restarting.
const ABSENT_FOR: Duration = Duration::from_secs(60);

/// Incarnations whose successor is not settled yet.
#[derive(Debug)]
pub(super) struct Predecessors {
    /// Incarnations of this directory. They ended, unless the disk is a clone.
    earlier: Vec<ReplicaId>,
    /// Incarnations that wrote the original of this copy.
    copied: Vec<ReplicaId>,
    /// When this node first caught up with a member.
    caught_up: Option<Duration>,
    /// Nothing is left to do.
    is_settled: bool,
}

/// The incarnations whose case is decided.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settlement {
    /// This node claims these.
    claim: Vec<ReplicaId>,
    /// Other nodes continue these.
    continued: Vec<ReplicaId>,
    /// This node has caught up with a member.
    caught_up: bool,
}

impl Predecessors {
    /// `stored` is true if this node has a data directory, and so a past.
    pub(super) fn new(earlier: Vec<ReplicaId>, copied: Vec<ReplicaId>, stored: bool) -> Self {
        Self { earlier, copied, caught_up: None, is_settled: !stored }
    }

    /// Settles the earlier incarnations if their case is decided. Returns true if the state
    /// changed.
    pub(super) fn settle(&mut self, shared: &Shared, now: Duration) -> bool {
        if self.is_settled {
            return false;
        }
        let mut guard = shared.write();
        let state = &mut *guard;
        if !state.replicator.is_synced() {
            return false;
        }
        // This node is synced. So members answered it as the only process under its identity, or it
        // is alone.
        let earlier = std::mem::take(&mut self.earlier);
        earlier.iter().for_each(|&incarnation| {
            state.replicator.claim_earlier(&mut state.replica, incarnation)
        });
        let members = state.replicator.members(&state.replica, now);
        let settlement = self.decide(&state.replica, &members, now);
        for &incarnation in &settlement.claim {
            // An unknown incarnation left nothing to take over.
            if state.replicator.force_retire(&mut state.replica, incarnation).is_ok() {
                tracing::warn!(
                    %incarnation,
                    "no member continues this incarnation: taking over its counts"
                );
            }
        }
        drop(guard);
        if settlement.caught_up {
            shared.behind.store(false, Ordering::Relaxed);
        }
        for incarnation in &settlement.continued {
            tracing::warn!(
                %incarnation,
                "another node continues the original of this data directory: this node counts \
                 beside it"
            );
        }
        if self.is_settled {
            shared.commits.get().into_iter().for_each(crate::store::Commits::settled);
        }
        let is_changed = !settlement.claim.is_empty() || !earlier.is_empty();
        if is_changed {
            shared.state_changed();
        }
        is_changed
    }

    fn decide(&mut self, replica: &Replica, members: &[Member], now: Duration) -> Settlement {
        let answered = |member: &Member| {
            member.connected
                && member.synced
                && member.lag.is_some_and(|lag| lag.versions_ahead == 0)
        };
        let mut settlement = Settlement {
            caught_up: self.caught_up.is_some() || members.iter().any(answered),
            ..Settlement::default()
        };
        if !settlement.caught_up {
            return settlement;
        }
        let since = *self.caught_up.get_or_insert(now);
        (settlement.continued, self.copied) = std::mem::take(&mut self.copied)
            .into_iter()
            .partition(|&incarnation| is_continued(incarnation, replica, members));
        if now >= since + ABSENT_FOR {
            settlement.claim.append(&mut self.copied);
        }
        self.is_settled = self.copied.is_empty();
        settlement
    }
}

/// Returns true if the incarnation has a successor, or its node is live or has started again.
fn is_continued(incarnation: ReplicaId, replica: &Replica, members: &[Member]) -> bool {
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
    fn nothing_is_claimed_before_a_member_answers() {
        let (copied, replica) =
            (incarnation(1, 1), replica_of(&[incarnation(9, 1), incarnation(1, 1)]));
        let mut predecessors = Predecessors::new(Vec::new(), vec![copied], true);
        let mut behind = member(incarnation(2, 1), true);
        behind.lag = Some(Lag { versions_ahead: 1, ..Lag::default() });
        assert_eq!(predecessors.decide(&replica, &[behind], 500 * SECOND), Settlement::default());
        assert!(!predecessors.is_settled);
    }

    #[test]
    fn abandoned_copy_is_claimed_after_a_while() {
        let (copied, replica) =
            (incarnation(1, 1), replica_of(&[incarnation(9, 1), incarnation(1, 1)]));
        let mut predecessors = Predecessors::new(Vec::new(), vec![copied], true);
        let members = [member(incarnation(2, 1), true), member(copied, false)];
        assert!(predecessors.decide(&replica, &members, SECOND).caught_up);
        assert!(!predecessors.is_settled);
        let settlement = predecessors.decide(&replica, &members, SECOND + ABSENT_FOR);
        assert_eq!(settlement.claim, [copied]);
        assert!(predecessors.is_settled);
    }

    #[test]
    fn continued_copy_is_never_claimed() {
        let (copied, replica) =
            (incarnation(1, 1), replica_of(&[incarnation(9, 1), incarnation(1, 1)]));
        for there in [
            member(copied, true),
            member(incarnation(1, 2), true),
            member(incarnation(1, 2), false),
        ] {
            let mut predecessors = Predecessors::new(Vec::new(), vec![copied], true);
            let members = [member(incarnation(2, 1), true), there];
            assert_eq!(predecessors.decide(&replica, &members, SECOND).continued, [copied]);
            assert!(
                predecessors.is_settled
                    && predecessors.decide(&replica, &members[..1], 500 * SECOND).claim.is_empty()
            );
        }
        let replica = replica_of(&[incarnation(9, 1), incarnation(1, 1), incarnation(1, 2)]);
        let mut predecessors = Predecessors::new(Vec::new(), vec![copied], true);
        assert_eq!(
            predecessors.decide(&replica, &[member(incarnation(2, 1), true)], SECOND).continued,
            [copied],
            "its record says so"
        );
    }
}
