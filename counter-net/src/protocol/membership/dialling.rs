//! Decides which members this node dials. Between them, the nodes try to reach every live member.
//!
//! A member can die while no node is connected to it. Then no connection breaks, and nobody
//! suspects it. So a node dials live members that it is not connected to, and a failed dial is a
//! suspicion, like a lost connection.
//!
//! In a small cluster each node dials each member. In a large one a node dials only the members
//! between itself and the nearest connected member before it on the ring of ids, the nearest first.
//! At rest that costs each node one more connection, to its predecessor. After many deaths the ring
//! closes over the gap, a few members at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::interface::NodeId;

/// The most members of one gap on the ring that are dialled at a time.
const AT_ONCE_MAX: usize = 8;
/// The first pause after a failed dial, doubled by each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(32);
/// A dial that neither connects nor fails is given up after this, so that a later one is possible.
const DIAL_MAX: Duration = Duration::from_secs(12);

/// A live member as this machine sees it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub node: NodeId,
    /// A connection to it is open and not silent.
    pub connected: bool,
    /// Not dialled before this time. It introduced itself a moment ago and is probably connecting.
    pub not_before: Duration,
}

#[derive(Debug)]
struct Attempt {
    /// The next dial may begin.
    at: Duration,
    failures: u32,
}

/// The dials under way, and the pauses after failed ones. Holds nothing of connected members.
#[derive(Debug)]
pub(crate) struct Dialling {
    dial_all_max: usize,
    attempts: BTreeMap<NodeId, Attempt>,
}

impl Dialling {
    pub(crate) fn new(dial_all_max: usize) -> Self {
        Self { dial_all_max, attempts: BTreeMap::new() }
    }

    /// The members to dial now, and when to look again. `live` are the other live members,
    /// backwards on the ring of ids from this node. O(`dial_all_max`), however many there are.
    pub(crate) fn due<Member>(
        &mut self,
        live: impl Iterator<Item = Member> + Clone,
        candidate: impl Fn(Member) -> Candidate,
        now: Duration,
    ) -> (Vec<NodeId>, Option<Duration>) {
        let wanted = self.wanted(live, candidate);
        self.attempts.retain(|node, _| wanted.iter().any(|candidate| candidate.node == *node));
        let (mut dials, mut again) = (Vec::new(), None);
        for candidate in wanted {
            let at = match self.attempts.get(&candidate.node) {
                Some(attempt) => attempt.at,
                None => candidate.not_before,
            };
            if at > now {
                again = Some(again.map_or(at, |again: Duration| again.min(at)));
                continue;
            }
            let attempt =
                self.attempts.entry(candidate.node).or_insert(Attempt { at, failures: 0 });
            attempt.at = now + DIAL_MAX;
            dials.push(candidate.node);
        }
        (dials, again)
    }

    /// A dial failed. The next one follows after a pause.
    pub(crate) fn failed(&mut self, node: NodeId, now: Duration) {
        let attempt = self.attempts.entry(node).or_insert(Attempt { at: now, failures: 0 });
        let pause = PAUSE_MIN.saturating_mul(1 << attempt.failures.min(5)).min(PAUSE_MAX);
        attempt.failures += 1;
        attempt.at = now + pause;
    }

    fn wanted<Member>(
        &self,
        live: impl Iterator<Item = Member> + Clone,
        candidate: impl Fn(Member) -> Candidate,
    ) -> Vec<Candidate> {
        if live.clone().nth(self.dial_all_max).is_some() {
            let gap = live.map(candidate).take_while(|candidate| !candidate.connected);
            return gap.take(AT_ONCE_MAX).collect();
        }
        let mut all: Vec<Candidate> =
            live.map(candidate).filter(|candidate| !candidate.connected).collect();
        all.sort_unstable_by_key(|candidate| candidate.node);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The other members, backwards from node 5.
    fn live(nodes: &[(u64, bool)]) -> impl Iterator<Item = Candidate> + Clone {
        let candidate = |(node, connected): &(u64, bool)| Candidate {
            node: NodeId(*node),
            connected: *connected,
            not_before: Duration::ZERO,
        };
        let mut all: Vec<Candidate> = nodes.iter().map(candidate).collect();
        all.sort_by_key(|candidate| Reverse((candidate.node < NodeId(5), candidate.node)));
        all.into_iter()
    }

    fn dials(dialling: &mut Dialling, nodes: &[(u64, bool)], now: Duration) -> Vec<u64> {
        dialling
            .due(live(nodes), |candidate| candidate, now)
            .0
            .into_iter()
            .map(|node| node.0)
            .collect()
    }

    #[test]
    fn small_clusters_are_dialled_whole() {
        let mut dialling = Dialling::new(3);
        assert_eq!(dials(&mut dialling, &[(1, false), (4, true), (9, false)], SECOND), [1, 9]);
        assert_eq!(
            dials(&mut dialling, &[(1, false), (4, true), (9, false)], SECOND),
            [] as [u64; 0]
        );
    }

    #[test]
    fn large_clusters_dial_back_to_a_peer() {
        let mut dialling = Dialling::new(3);
        let nodes = [(1, false), (3, false), (7, true), (8, false), (9, false)];
        assert_eq!(dials(&mut dialling, &nodes, SECOND), [3, 1, 9, 8]);
        let mut dialling = Dialling::new(3);
        let nodes = [(1, true), (3, true), (7, false), (8, false), (9, false)];
        assert_eq!(dials(&mut dialling, &nodes, SECOND), [] as [u64; 0]);
    }

    #[test]
    fn failed_dials_back_off() {
        let mut dialling = Dialling::new(3);
        let absent = [(1, false)];
        let mut now = SECOND;
        for pause in [1, 2, 4, 8, 16, 32, 32] {
            assert_eq!(dials(&mut dialling, &absent, now), [1]);
            dialling.failed(NodeId(1), now);
            let again = dialling.due(live(&absent), |candidate| candidate, now).1;
            assert_eq!(again, Some(now + SECOND * pause));
            now += SECOND * pause;
        }
        assert_eq!(dials(&mut dialling, &[(1, true)], now), [] as [u64; 0]);
        assert!(dialling.attempts.is_empty());
    }

    #[test]
    fn connecting_member_gets_a_moment() {
        let mut dialling = Dialling::new(3);
        let late = [Candidate { node: NodeId(1), connected: false, not_before: 3 * SECOND }];
        let mut due = |now| dialling.due(late.into_iter(), |candidate| candidate, now);
        assert_eq!(due(SECOND), (vec![], Some(3 * SECOND)));
        assert_eq!(due(3 * SECOND).0, [NodeId(1)]);
    }
}
