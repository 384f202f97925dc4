//! Reads nodes, and compares them with the truth and with each other.

use std::collections::BTreeMap;

use counter_core::{CounterMap, ReplicaId, StateHash};

use super::{Alive, Host, Sim};
use crate::protocol::{Agreement, Member, Replicator};
use crate::sim::{Cost, Failure, Truth};

/// True if all hosts pass. The one that did not at the last look is asked first, because it most
/// likely still does not. A look that ends there is cheap, however many hosts there are.
fn all_since(
    last: &mut usize,
    hosts: &mut [Host],
    mut test: impl FnMut(&mut Host) -> bool,
) -> bool {
    if hosts.get_mut(*last).is_some_and(|host| !test(host)) {
        return false;
    }
    let failing = hosts.iter_mut().position(|host| !test(host));
    *last = failing.unwrap_or(*last);
    failing.is_none()
}

impl Sim {
    /// Returns the first failure so far. At every step each changed key is compared with the truth.
    ///
    /// # Errors
    /// The first failure.
    pub fn verdict(&self) -> Result<(), Failure> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Compares every node that is up with the truth: its values, and that its cells are a snapshot
    /// of every writer.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self) -> Result<(), Failure> {
        self.verdict()?;
        match self.config.retirement {
            true => {
                self.up().try_for_each(|(_, alive)| self.truth.check_totals(alive.replica.map()))
            }
            false => self.up().try_for_each(|(_, alive)| self.truth.check(alive.replica.map())),
        }
    }

    /// True if all nodes that are up hold the same versions and the same state hash, and none has
    /// adds that are still pending.
    pub fn is_converged(&mut self) -> bool {
        let Some(first) = self.hosts.iter_mut().find_map(|host| host.alive.as_mut()) else {
            return true;
        };
        let (seen, hash) = (first.replica.map().version_vector(), first.replica.state_hash());
        let is_same = |host: &mut Host| {
            host.alive.as_mut().is_none_or(|node| {
                let replica = &mut node.replica;
                !replica.has_pending()
                    && replica.state_hash() == hash
                    && replica.map().version_vector() == seen
            })
        };
        all_since(&mut self.last_other, &mut self.hosts, is_same)
    }

    /// True if every node that is up has caught up with the cluster.
    pub fn is_all_synced(&self) -> bool {
        self.up().all(|(_, alive)| alive.machine.is_synced())
    }

    /// True if every node that is up shows exactly the nodes that are up as live, with their
    /// viewers.
    pub fn presence_is_right(&mut self) -> bool {
        let mut truth = BTreeMap::<&str, (u64, u64)>::new();
        for host in self.hosts.iter().filter(|host| host.alive.is_some()) {
            let (connected, nodes) = truth.entry(&host.region).or_default();
            (*connected, *nodes) = (*connected + host.viewers, *nodes + 1);
        }
        let truth: BTreeMap<String, (u64, u64)> =
            truth.into_iter().map(|(region, is)| (region.to_owned(), is)).collect();
        let is_right = |host: &mut Host| {
            host.alive.as_ref().is_none_or(|alive| {
                let shown = alive.machine.presence();
                shown.len() == truth.len()
                    && shown
                        .iter()
                        .all(|(region, is)| truth.get(region) == Some(&(is.connected, is.nodes)))
            })
        };
        all_since(&mut self.last_wrong, &mut self.hosts, is_right)
    }

    /// A counter's total at a node, pending adds included. 0 if the node is down.
    pub fn total(&self, host: usize, counter: &str) -> i128 {
        self.hosts[host].alive.as_ref().map_or(0, |alive| alive.replica.total(counter))
    }

    /// A region's value at a node. 0 if the node is down.
    pub fn value(&self, host: usize, counter: &str, region: &str) -> i128 {
        self.hosts[host].alive.as_ref().map_or(0, |alive| alive.replica.value(counter, region))
    }

    /// A node's map. `None` if the node is down.
    pub fn map(&self, host: usize) -> Option<&CounterMap> {
        self.hosts[host].alive.as_ref().map(|alive| alive.replica.map())
    }

    /// A node's protocol machine, to read from. `None` if the node is down.
    pub fn machine(&self, host: usize) -> Option<&Replicator> {
        self.hosts[host].alive.as_ref().map(|alive| &alive.machine)
    }

    /// A node's state hash. `None` if the node is down.
    pub fn state_hash(&mut self, host: usize) -> Option<StateHash> {
        self.hosts[host].alive.as_mut().map(|alive| alive.replica.state_hash())
    }

    /// True if a node is up.
    pub fn is_up(&self, host: usize) -> bool {
        self.hosts[host].alive.is_some()
    }

    /// The incarnation that a node runs as, or ran as last.
    pub fn writer_of(&self, host: usize) -> ReplicaId {
        self.hosts[host].replica_id()
    }

    /// True if a node that leaves has handed over everything, or is down.
    pub fn is_drained(&self, host: usize) -> bool {
        self.hosts[host].alive.as_ref().is_none_or(|alive| alive.machine.is_drained(&alive.replica))
    }

    /// The enrolled replicas that a node knows of and that are not there.
    pub fn missing(&self, host: usize) -> Vec<ReplicaId> {
        self.hosts[host]
            .alive
            .as_ref()
            .map(|alive| alive.machine.missing(&alive.replica))
            .unwrap_or_default()
    }

    /// An enrolled replica that the node waits for in its work on ended incarnations, if there is
    /// one.
    pub fn waits_for(&self, host: usize) -> Option<ReplicaId> {
        self.hosts[host].alive.as_ref().and_then(|alive| alive.machine.waits_for(&alive.replica))
    }

    /// How far the live members have confirmed a node's state. `None` if the node is down.
    pub fn agreement(&mut self, host: usize) -> Option<Agreement> {
        let local = self.hosts[host].local(self.now);
        self.hosts[host].alive.as_mut().map(|alive| alive.machine.agreement(&alive.replica, local))
    }

    /// The members that a node lists. Empty if the node is down.
    pub fn members(&self, host: usize) -> Vec<Member> {
        let local = self.hosts[host].local(self.now);
        self.hosts[host]
            .alive
            .as_ref()
            .map(|alive| alive.machine.members(&alive.replica, local))
            .unwrap_or_default()
    }

    /// How many nodes were ever started.
    #[expect(clippy::len_without_is_empty, reason = "a world that was never empty says nothing")]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// The plain account of what every writer did.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The traffic of all nodes since the start.
    pub fn cost(&self) -> Cost {
        let mut sum = Cost::default();
        self.hosts.iter().for_each(|host| sum += host.cost);
        sum
    }

    /// The traffic of one node since it was first started.
    pub fn cost_of(&self, host: usize) -> Cost {
        self.hosts[host].cost
    }

    /// One line about each of the first eight nodes, for the message of a failure.
    pub(super) fn summary(&self) -> String {
        let line = |(at, alive): (usize, &Alive)| {
            let seen = alive.replica.map().version_vector();
            let sum: u64 = seen.iter().map(|(_, version)| version).sum();
            format!(
                "node {at}: {} writers, {sum} versions, {} peers",
                seen.len(),
                alive.machine.peers()
            )
        };
        self.up().take(8).map(line).collect::<Vec<_>>().join("; ")
    }
}
