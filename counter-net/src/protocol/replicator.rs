//! The machine: it routes inputs to the rooms and keeps their outputs in order.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use counter_core::Replica;

use super::config::ProtocolConfig;
use super::input::{Input, NodeId};
use super::member::{Member, Presence};
use super::output::Output;
use super::stats::Stats;

/// One node's part of the protocol. See the [module](crate::protocol) for how to drive it.
pub struct Replicator {
    config: ProtocolConfig,
    node: NodeId,
    now: Duration,
    outputs: VecDeque<Output>,
    stats: Stats,
}

impl Replicator {
    /// A machine for `replica`, at `now` since any fixed point of a monotonic clock; `seed` feeds jitter and the choice of peers.
    pub fn new(config: ProtocolConfig, replica: &Replica, seed: u64, now: Duration) -> Self {
        let _ = seed;
        Self { config, node: NodeId(replica.id().node), now, outputs: VecDeque::new(), stats: Stats::default() }
    }

    /// Takes one input. `replica` must be the one that the machine was made for. A `now` before the last one counts as the last one.
    pub fn handle(&mut self, replica: &mut Replica, input: Input, now: Duration) {
        let _ = (replica, input);
        self.now = self.now.max(now);
    }

    /// What is to be done next; `None` when nothing is. To be drained after every `handle`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with [`Input::Timer`] at the latest, on the clock of `now`; it may lie in the past.
    pub fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The settings.
    pub fn config(&self) -> &ProtocolConfig {
        &self.config
    }

    /// Every node known, this one included, in the order of their ids; those that left or whose presence ended for one ttl more.
    pub fn members(&self, replica: &Replica, now: Duration) -> Vec<Member> {
        let _ = (replica, now);
        Vec::new()
    }

    /// Viewers and live nodes, by region.
    pub fn presence(&self) -> BTreeMap<String, Presence> {
        BTreeMap::new()
    }

    /// True once this node has caught up with the cluster, or knows that it is alone. Stays true.
    pub fn is_synced(&self) -> bool {
        false
    }

    /// True once this node may serve: it is synced, or nobody is reached and the bootstrap window is over; false while a bound refuses deltas.
    pub fn is_ready(&self) -> bool {
        false
    }

    /// False where others should be there and no connection is open.
    pub fn in_touch(&self) -> bool {
        false
    }

    /// After [`Input::Leave`]: every peer that is connected has all that this replica wrote, or there is none.
    pub fn is_drained(&self) -> bool {
        true
    }

    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
