//! Holds pulled cells back until they can take effect in one step.
//!
//! A node may lack changes whose traces all others have dropped by agreement. Its disk was set
//! back, or it pulled only a part of the state of a peer that crashed. One writer's newer cells
//! beside another writer's older ones could then show a total that never existed. The whole state
//! of one peer never does. So a pull's complete parts wait here until this node has everything that
//! their peer held.
//!
//! A node that starts from a stored state takes in nothing before it has caught up. A node that
//! starts with nothing shows nothing yet, so until then it takes the parts as they come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use counter_core::{CounterMap, Delta, ReplicaId, Version, VersionVector};

use crate::protocol::interface::NodeId;
use crate::protocol::peers::Peers;

/// The longest that parts wait for the next one once the node has caught up. 2 s, several round
/// trips over a long link. A hung peer must not hold up a leaver, which waits for 5 s.
const NEXT_PART_MAX: Duration = Duration::from_secs(2);
/// The longest that parts wait at all once the node has caught up. 10 s, as long as one request may
/// take. A peer may name versions that no pull brings. They must not hold up the rest for longer.
const HOLD_MAX: Duration = Duration::from_secs(10);
/// The most cells that wait once the node has caught up. 100,000, which take up to 50 ms to join: a
/// node that serves must not stall for longer.
const STEP_CELLS_MAX: usize = 100_000;

/// The parts that wait, and the versions that they complete.
///
/// Invariant: `upto` names exactly the versions that the waiting parts complete.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// False if the node started with nothing and has not caught up yet.
    is_holding: bool,
    /// In the order in which they came.
    parts: Vec<Delta>,
    upto: VersionVector,
    cells: usize,
    cells_max: usize,
    /// The incarnations that brought them.
    sources: BTreeSet<ReplicaId>,
    /// By peer: the versions that it held when it brought its first part, without those that are
    /// here by now.
    missing: BTreeMap<NodeId, VersionVector>,
    /// This node has everything that some peer held.
    has_whole: bool,
    /// When the first part and the last one came.
    arrivals: Option<(Duration, Duration)>,
}

impl CatchUp {
    /// Holds parts back if the state has another writer than `own`, up to about `cells_max` cells.
    pub(super) fn new(map: &CounterMap, own: ReplicaId, cells_max: usize) -> Self {
        let is_holding = map.replicas().any(|writer| writer != own);
        Self { is_holding, cells_max, ..Self::default() }
    }

    /// Takes a part that `source` brought, whose node was heard to hold `heard`. Returns the part if
    /// it need not wait.
    pub(super) fn hold(
        &mut self,
        delta: Delta,
        (source, heard): (ReplicaId, &VersionVector),
        now: Duration,
    ) -> Option<Delta> {
        if !self.is_holding || delta.is_empty() {
            return Some(delta);
        }
        delta.spans().for_each(|span| self.upto.raise(span.replica, span.upto));
        self.cells += delta.cell_count();
        self.parts.push(delta);
        self.sources.insert(source);
        self.missing.entry(NodeId(source.node)).or_insert_with(|| heard.clone());
        self.arrivals = Some((self.arrivals.map_or(now, |(first, _)| first), now));
        None
    }

    /// Drops all parts if one came from an incarnation that has ended by now. This node's digests
    /// did not name them, so their cells may be missing from what the successor absorbs. The other
    /// parts may lack what that one held. Returns true if it did. O(sources).
    pub(super) fn drop_ended(&mut self, map: &CounterMap) -> bool {
        let has_ended = !self.sources.iter().all(|source| map.may_write(*source));
        if has_ended {
            let (is_holding, cells_max) = (self.is_holding, self.cells_max);
            *self = Self { is_holding, cells_max, ..Self::default() };
        }
        has_ended
    }

    /// True if the held parts exceed the bound and must be joined.
    pub(super) fn is_over_bound(&self) -> bool {
        self.cells > self.cells_max
    }

    /// The version of a writer that is held, in a waiting part or in the state.
    pub(super) fn seen_of(&self, map: &CounterMap, writer: ReplicaId) -> Version {
        map.seen_of(writer).max(self.upto.get(writer))
    }

    /// The versions that are held, in the waiting parts or in the state.
    pub(super) fn seen(&self, map: &CounterMap) -> VersionVector {
        let mut seen = map.version_vector();
        seen.join(&self.upto);
        seen
    }

    /// True if the parts of a node that has caught up may take effect: this node has everything
    /// that their peers held. A peer that is gone or that failed too often is skipped, if the parts
    /// of another peer are whole. O(1) if nothing waits, else O(peers * writers).
    pub(super) fn is_whole(
        &mut self,
        map: &CounterMap,
        own: ReplicaId,
        peers: &Peers,
        now: Duration,
    ) -> bool {
        let Some((first, last)) = self.arrivals else { return false };
        for (peer, digest) in std::mem::take(&mut self.missing) {
            let Some(source) = peers.get(peer).filter(|source| !source.has_failed()) else {
                continue;
            };
            let is_missing = |&(writer, version): &(ReplicaId, Version)| {
                writer != own
                    && self.seen_of(map, writer) < version
                    && !map.is_folded(writer)
                    && source.may_bring(writer, version)
            };
            let missing: VersionVector = digest.iter().filter(is_missing).collect();
            if missing.is_empty() {
                self.has_whole = true;
            } else {
                self.missing.insert(peer, missing);
            }
        }
        (self.missing.is_empty() && self.has_whole)
            || now >= last + NEXT_PART_MAX
            || now >= first + HOLD_MAX
    }

    /// Takes out all parts, in the order in which they came. From now on parts wait, at most
    /// [`STEP_CELLS_MAX`] cells of them.
    pub(super) fn take(&mut self) -> Vec<Delta> {
        let before = std::mem::take(self);
        (self.is_holding, self.cells_max) = (true, before.cells_max.min(STEP_CELLS_MAX));
        before.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::context::Context;
    use crate::protocol::interface::ProtocolConfig;
    use crate::protocol::membership::Shortfall;
    use counter_core::Replica;

    const OWN: ReplicaId = ReplicaId::new(1, 1);
    const ONE: ReplicaId = ReplicaId::new(2, 1);
    const OTHER: ReplicaId = ReplicaId::new(3, 1);
    const S: Duration = Duration::from_secs(1);

    /// A node that has caught up, and two peers that hold two versions of each writer.
    fn caught_up() -> (CatchUp, CounterMap, Peers, VersionVector) {
        let mut catch_up = CatchUp::new(&CounterMap::new(), OWN, 1000);
        catch_up.take();
        let heard: VersionVector = [(ONE, 2), (OTHER, 2)].into_iter().collect();
        let mut peers = Peers::default();
        for peer in [ONE, OTHER].map(node) {
            peers.up(peer);
            peers.hear(peer, heard.clone(), Shortfall::default(), S);
        }
        (catch_up, CounterMap::new(), peers, heard)
    }

    fn node(replica: ReplicaId) -> NodeId {
        NodeId(replica.node)
    }

    fn context() -> Context {
        let replica = Replica::new(OWN, "ord").expect("a region");
        Context::new(ProtocolConfig::default(), &replica, 1, S)
    }

    /// All that a writer has: its record and a cell.
    fn part(node: u64) -> Delta {
        let mut replica = Replica::new(ReplicaId::new(node, 1), "ord").expect("a region");
        replica.add("clicks", 1).expect("room");
        replica.flush();
        replica.map().delta_since(&VersionVector::new())
    }

    #[test]
    fn parts_wait_until_their_peer_is_whole() {
        let (mut catch_up, map, peers, heard) = caught_up();
        assert!(catch_up.hold(part(2), (ONE, &heard), S).is_none());
        assert!(!catch_up.is_whole(&map, OWN, &peers, S));
        // The rest may come from another peer, which is whole then too.
        assert!(catch_up.hold(part(3), (OTHER, &heard), S).is_none());
        assert!(catch_up.is_whole(&map, OWN, &peers, S));
        assert_eq!(catch_up.take().len(), 2);
        assert!(!catch_up.is_whole(&map, OWN, &peers, 60 * S), "nothing waits");
    }

    #[test]
    fn half_of_a_lost_peer_waits_for_a_while() {
        let (mut catch_up, map, mut peers, heard) = caught_up();
        catch_up.hold(part(2), (ONE, &heard), S);
        peers.down(&mut context(), node(ONE));
        assert!(!catch_up.is_whole(&map, OWN, &peers, S));
        assert!(catch_up.is_whole(&map, OWN, &peers, S + NEXT_PART_MAX));
    }

    #[test]
    fn parts_that_come_one_by_one_wait_no_longer_than_the_bound() {
        let (mut catch_up, map, mut peers, heard) = caught_up();
        catch_up.hold(part(2), (ONE, &heard), S);
        peers.down(&mut context(), node(ONE));
        for seconds in 2..11 {
            catch_up.hold(part(2), (OTHER, &heard), seconds * S);
            assert!(!catch_up.is_whole(&map, OWN, &peers, seconds * S));
        }
        assert!(catch_up.is_whole(&map, OWN, &peers, S + HOLD_MAX));
    }

    #[test]
    fn version_that_nobody_brings_is_not_waited_for() {
        let (mut catch_up, map, mut peers, heard) = caught_up();
        catch_up.hold(part(2), (ONE, &heard), S);
        peers.pull_ended(node(ONE), &heard, |writer| catch_up.seen_of(&map, writer));
        assert!(catch_up.is_whole(&map, OWN, &peers, S));
    }

    #[test]
    fn part_of_an_ended_incarnation_is_dropped_with_all_others() {
        let (mut catch_up, _, _, heard) = caught_up();
        catch_up.hold(part(2), (ONE, &heard), S);
        catch_up.hold(part(3), (OTHER, &heard), S);
        let mut successor = Replica::new(OWN, "ord").expect("a region");
        assert!(!catch_up.drop_ended(successor.map()));
        successor.join_delta(part(2)).expect("room");
        successor.claim(ONE);
        assert!(catch_up.drop_ended(successor.map()));
        assert_eq!(catch_up.seen_of(&CounterMap::new(), OTHER), 0);
        assert!(catch_up.take().is_empty());
    }

    #[test]
    fn node_without_a_state_holds_nothing_back_until_it_has_caught_up() {
        let mut catch_up = CatchUp::new(&CounterMap::new(), OWN, 1000);
        let heard = VersionVector::new();
        assert!(catch_up.hold(part(2), (ONE, &heard), S).is_some());
        catch_up.take();
        assert!(catch_up.hold(part(2), (ONE, &heard), S).is_none());
    }
}
