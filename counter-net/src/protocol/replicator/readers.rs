//! Read access for the node that hosts the replicator: members, readiness, stable states, counts.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{Replica, ReplicaId};

use super::Replicator;
use crate::protocol::interface::{NodeId, ProtocolConfig, Stats};
use crate::protocol::membership::{Member, MemberEntry, NotReady, Presence};
use crate::protocol::stability::{Agreement, Stable};

impl Replicator {
    /// This node.
    pub fn node(&self) -> NodeId {
        self.ctx.node()
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
        let map = replica.map();
        let seen = map.version_vector();
        let lag = |node| {
            let by_digest = self.peers.lag(node, &seen, now);
            by_digest.or_else(|| self.stability.lag(&self.ctx, map, node, &seen, now))
        };
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
            lag: lag(node),
        };
        self.membership.iter().map(member).collect()
    }

    /// The enrolled replicas that are not live now. Each counts as enrolled until its node starts
    /// again, under its name or from its directory, or until an operator retires it. Ascending;
    /// O(writers).
    pub fn missing(&self, replica: &Replica) -> Vec<ReplicaId> {
        self.membership.missing(replica.map())
    }

    /// Viewers and live nodes, by region.
    pub fn presence(&self) -> BTreeMap<String, Presence> {
        self.membership.presence()
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

    /// False if other nodes are expected and none answers.
    pub fn in_touch(&self) -> bool {
        self.bootstrap.in_touch(&self.peers, &self.membership)
    }

    /// True if the node is known and announced its leave.
    pub fn has_left_node(&self, node: NodeId) -> bool {
        self.membership.get(node).is_some_and(MemberEntry::has_left)
    }

    /// How many peers are connected.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// How far the live members have confirmed this node's state. See [`Agreement`].
    ///
    /// # Complexity
    /// O(members + writers).
    pub fn agreement(&mut self, replica: &Replica, now: Duration) -> Agreement {
        self.ctx.now = self.ctx.now.max(now);
        let is_synced = self.is_synced();
        let Self { ctx, stability, peers, membership, .. } = self;
        stability.agreement(ctx, replica.map(), peers, membership, is_synced)
    }

    /// A counter's total at the latest state of this replica that every enrolled replica is known
    /// to hold, with that state's version vector.
    ///
    /// The first call begins to watch the counter. The watch ends once nobody has asked for 60 s.
    /// At most 1,024 counters are watched. A further one replaces the one asked about least
    /// recently. Returns `None` until a state since the first call is known to be everywhere. That
    /// takes a round trip to the slowest replica, or as long as an enrolled replica is out of
    /// reach. Each answer's state is later than the one before it. Feed
    /// [`Input::Timer`](crate::protocol::Input::Timer) afterwards if
    /// [`poll_timeout`](Self::poll_timeout) has changed.
    ///
    /// # Complexity
    /// O(writers). The first call for a counter takes a snapshot, O(writers + replicas of the
    /// watched counters). While counters are watched and the state moves, a snapshot is taken every
    /// 100 ms at most, and 9 are kept (24 bytes a writer and a watched counter each). Every 250 ms
    /// up to 8 peers are asked for their digests. That costs about 100 bytes each if they hold the
    /// same, else their digest.
    pub fn stable_total(
        &mut self,
        replica: &Replica,
        counter: &str,
        now: Duration,
    ) -> Option<Stable> {
        self.ctx.now = self.ctx.now.max(now);
        self.stability.total(&mut self.ctx, replica.map(), &self.membership, counter)
    }

    /// The counts so far.
    pub fn stats(&self) -> &Stats {
        self.ctx.out.stats()
    }
}
