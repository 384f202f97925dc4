//! An application's waits at a node: for copies of its adds, for versions that it has seen
//! elsewhere, for stable totals.

use std::time::Duration;

use counter_core::VersionVector;

use super::Sim;
use crate::protocol::{Copies, Input, Stable, Waited};

impl Sim {
    /// Waits at a node until enough replicas hold what was added there. Returns the id of the wait,
    /// to ask [`Sim::waited`] with. If the node is down, the wait never ends.
    pub fn await_copies(&mut self, host: usize, copies: Copies, within: Duration) -> u64 {
        let id = self.next_wait();
        self.hand(host, Input::AwaitCopies { id, copies, within }, None);
        id
    }

    /// Waits at a node until it holds `versions`. Otherwise as [`Sim::await_copies`].
    pub fn await_versions(
        &mut self,
        host: usize,
        versions: VersionVector,
        within: Duration,
    ) -> u64 {
        let id = self.next_wait();
        self.hand(host, Input::AwaitVersions { id, versions, within }, None);
        id
    }

    /// How a wait ended. Each answer is given once: a second call returns `None`.
    pub fn waited(&mut self, id: u64) -> Option<Waited> {
        self.waited.remove(&id)
    }

    /// A counter's stable total at a node: its total in the latest state that all enrolled replicas
    /// are known to hold. The first call starts the watch.
    pub fn stable_total(&mut self, host: usize, counter: &str) -> Option<Stable> {
        let local = self.hosts[host].local(self.now);
        let stable = self.hosts[host]
            .alive
            .as_mut()
            .and_then(|alive| alive.machine.stable_total(&alive.replica, counter, local));
        self.rewake(host);
        stable
    }

    /// All versions that a node holds, its own pending adds included. Empty if the node is down.
    pub fn versions(&mut self, host: usize) -> VersionVector {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return VersionVector::new() };
        if alive.replica.has_pending() {
            alive.replica.flush();
            self.truth.flushed(&alive.replica);
            self.hand(host, Input::LocalChange, None);
        }
        self.map(host).map(|map| map.version_vector()).unwrap_or_default()
    }

    fn next_wait(&mut self) -> u64 {
        self.waits += 1;
        self.waits
    }
}
