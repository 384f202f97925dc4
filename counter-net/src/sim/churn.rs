//! Acts that the plain oracle cannot follow, for stories that state what must be shown themselves.

use std::time::Duration;

use counter_core::ReplicaId;

use super::world::Sim;
use crate::protocol::Input;

impl Sim {
    /// Adds at a node without telling the oracle. False where the node is down or refuses.
    pub fn add_raw(&mut self, host: usize, counter: &str, amount: u64) -> bool {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return false };
        let done = alive.replica.counter(counter).is_ok_and(|handle| handle.add(amount).is_ok());
        self.hand(host, Input::LocalChange, None);
        done
    }

    /// Resets at a node without telling the oracle. Returns what the node held of the key.
    pub fn reset_raw(&mut self, host: usize, counter: &str, region: &str) -> i128 {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return 0 };
        alive.replica.flush();
        let seen = alive.replica.value(counter, region);
        if alive.replica.reset(counter, region).is_err() {
            return 0;
        }
        self.hand(host, Input::LocalChange, None);
        seen
    }

    /// What the node holds now is on its disk. From now on nothing else is, until the next commit:
    /// also not across restarts.
    pub fn commit(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(alive) = host.alive.as_mut() else { return };
        let versions = alive.replica.map().version_vector();
        match host.committed {
            Some(_) => alive.machine.note_committed(versions.iter()),
            None => alive.machine.follow_store(versions),
        }
        host.committed = Some(alive.replica.map().clone());
        if alive.machine.awaits_commit() {
            self.hand(at, Input::LocalChange, None);
        }
    }

    /// Leaves for good as a process does that is told to stop: it ends when it has handed over, or
    /// at the limit. Returns how long it took.
    pub fn leave_within(&mut self, host: usize, limit: Duration) -> Duration {
        let began = self.now;
        self.begin_leave(host);
        while self.now - began < limit && !self.is_drained(host) {
            self.run_for(Duration::from_millis(5));
        }
        self.crash(host);
        self.now - began
    }

    /// Asks a node to leave for good, and lets it run on.
    pub fn begin_leave(&mut self, host: usize) {
        self.hand(host, Input::Leave { for_good: true }, None);
    }

    /// Whether a node that leaves has handed over all that it has to, or is down.
    pub fn is_drained(&self, host: usize) -> bool {
        self.hosts[host].alive.as_ref().is_none_or(|alive| alive.machine.is_drained(&alive.replica))
    }

    /// The replicas that count at a node and are not there.
    pub fn missing(&self, host: usize) -> Vec<ReplicaId> {
        self.hosts[host]
            .alive
            .as_ref()
            .map(|alive| alive.machine.missing(&alive.replica))
            .unwrap_or_default()
    }

    /// The incarnation that a node runs as, or ran as last.
    pub fn writer_of(&self, host: usize) -> ReplicaId {
        self.hosts[host].replica_id()
    }
}
