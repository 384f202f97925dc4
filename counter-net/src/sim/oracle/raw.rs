//! Adds, resets and leaves that the simulator's own check does not count, because the ledger does.

use counter_core::{CounterMap, Once, ReplicaId, Version};

use crate::protocol::Input;
use crate::sim::Sim;

impl Sim {
    /// Who writes at a node, or wrote last.
    pub(super) fn writer(&self, host: usize) -> ReplicaId {
        self.hosts[host].replica_id()
    }

    /// Where a node runs.
    pub(super) fn region(&self, host: usize) -> &str {
        &self.hosts[host].region
    }

    /// Whether a leaving node has handed over what it has to.
    pub(super) fn has_drained(&self, host: usize) -> bool {
        self.hosts[host].alive.as_ref().is_none_or(|alive| alive.machine.is_drained(&alive.replica))
    }

    /// Whether a node takes in everything and says nothing.
    pub(super) fn is_mute(&self, host: usize) -> bool {
        self.hosts[host].is_mute
    }

    /// Nodes that hung go on.
    pub(super) fn unmute_all(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.is_mute = false);
    }

    /// What a start from a node's directory would find.
    pub(super) fn disk(&self, host: usize) -> Option<&CounterMap> {
        self.hosts[host].disk.as_ref()
    }

    /// What the next start of a node that is down finds in its directory.
    pub(super) fn put_disk(&mut self, host: usize, map: CounterMap) {
        self.hosts[host].disk = Some(map);
    }

    /// Adds, or subtracts below zero; true where it was taken. The node is told separately.
    pub(super) fn add_unwatched(&mut self, host: usize, counter: &str, amount: i64) -> bool {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return false };
        let Ok(handle) = alive.replica.counter(counter) else { return false };
        let size = amount.unsigned_abs();
        if amount > 0 { handle.add(size) } else { handle.subtract(size) }.is_ok()
    }

    /// Adds with an id; None where it was refused. The node is told separately.
    pub(super) fn add_once_unwatched(
        &mut self,
        host: usize,
        id: &str,
        counter: &str,
        amount: i64,
    ) -> Option<Once> {
        self.hosts[host].alive.as_mut()?.replica.add_once(id, counter, amount).ok()
    }

    /// Makes cells of what is pending, tells of it, and has it looked at.
    pub(super) fn flush(&mut self, host: usize) {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        alive.replica.flush();
        self.hand(host, Input::LocalChange, None);
    }

    /// Resets a region of a counter. Returns the version of the change, if there was anything to
    /// reset.
    pub(super) fn reset_unwatched(
        &mut self,
        host: usize,
        counter: &str,
        region: &str,
    ) -> Option<Version> {
        self.hosts[host].alive.as_mut()?.replica.reset(counter, region).ok()?
    }
}
