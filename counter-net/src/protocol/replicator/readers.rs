//! Read access for the node around the replicator: members, readiness, counts.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{Replica, ReplicaId};

use super::Replicator;
use crate::protocol::config::ProtocolConfig;
use crate::protocol::input::NodeId;
use crate::protocol::membership::{Member, MemberEntry, NotReady, Presence};
use crate::protocol::stats::Stats;

impl Replicator {
    /// This node.
    pub fn node(&self) -> NodeId {
        NodeId(self.ctx.own.node)
    }

    /// The settings.
    pub fn config(&self) -> &ProtocolConfig {
        &self.ctx.config
    }

    /// Every node known, this one included, in the order of their ids. Nodes that left or whose
    /// presence ended stay listed for one ttl.
    ///
    /// # Complexity
    /// O(members + peers * replicas).
    pub fn members(&self, replica: &Replica, now: Duration) -> Vec<Member> {
        let seen = replica.map().version_vector();
        let member = |(node, entry): (NodeId, &MemberEntry)| Member {
            replica: entry.replica,
            region: entry.region.clone(),
            viewers: entry.viewers,
            release: entry.release.clone(),
            live: entry.is_live(),
            left: entry.has_left(),
            synced: entry.synced,
            last_heard: if entry.replica == self.ctx.own {
                Duration::ZERO
            } else {
                now.saturating_sub(entry.last_word)
            },
            connected: self.peers.contains(node),
            lag: self.lag(replica, node, &seen, now),
        };
        self.members.iter().map(member).collect()
    }

    /// The enrolled replicas that are not there now. Each keeps counting until its node starts
    /// again, under its name or from its directory, or until an operator retires it. Ascending;
    /// O(writers).
    pub fn missing(&self, replica: &Replica) -> Vec<ReplicaId> {
        self.members.missing(replica.map())
    }

    /// Viewers and live nodes, by region.
    pub fn presence(&self) -> BTreeMap<String, Presence> {
        self.members.presence()
    }

    /// True once this node has caught up with the cluster, or knows that it is alone. Stays true.
    pub fn is_synced(&self) -> bool {
        self.bootstrap.is_synced()
    }

    /// `Ok` once the node may serve: it is synced, or `ready_within` is over and no pull is under
    /// way.
    ///
    /// # Errors
    /// Why it may not. A ready node stops being ready while a bound refuses cells of its peers.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.bootstrap.readiness()
    }

    /// False if others should be there and none answers.
    pub fn in_touch(&self) -> bool {
        self.bootstrap.in_touch(&self.peers, &self.members)
    }

    /// After [`Input::Leave`](crate::protocol::Input::Leave), true once every peer that still
    /// answers has all that this replica wrote. If it leaves for good, true once a member that
    /// stays covers its last statement, or none is left that could.
    pub fn is_drained(&self, replica: &Replica) -> bool {
        self.has_left_for_good(replica).unwrap_or_else(|| self.has_handed_over(replica))
    }

    /// After [`Input::Leave`](crate::protocol::Input::Leave) for good, true once a member that
    /// stays has confirmed all that this replica held. Stays false if the leave is over because no
    /// such member is left.
    pub fn is_leave_covered(&self) -> bool {
        self.retirement.is_leave_covered()
    }

    fn has_handed_over(&self, replica: &Replica) -> bool {
        let own = replica.map().seen_of(self.ctx.own);
        !replica.has_pending()
            && self
                .peers
                .iter()
                .all(|(_, source)| source.failures() > 0 || source.holds(self.ctx.own) >= own)
    }

    /// True if the node is known and announced its leave.
    pub fn has_left_node(&self, node: NodeId) -> bool {
        self.members.get(node).is_some_and(|entry| entry.has_left())
    }

    /// How many peers are connected.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// The counts so far.
    pub fn stats(&self) -> &Stats {
        self.ctx.out.stats()
    }
}
