//! An application's acts at a node: adds, resets, viewers, leaving for good.
//!
//! Most acts are recorded in the [`Truth`](crate::sim::Truth), so that every later comparison
//! expects them. The `raw` ones are not: a test that uses them states itself what nodes must show.

use std::time::Duration;

use counter_core::{AddOutcome, WriteError};

use super::Sim;
use crate::protocol::Input;

impl Sim {
    /// Adds to a counter at a node, or subtracts if the amount is negative. Does nothing if the
    /// node is down, the amount is zero, or the node refuses.
    pub fn add(&mut self, host: usize, counter: &str, amount: i64) {
        let _refused = self.try_add(host, counter, amount);
    }

    /// As [`add`](Self::add), and returns the node's answer.
    ///
    /// # Errors
    /// Why the node refused: nothing was added.
    pub fn try_add(&mut self, host: usize, counter: &str, amount: i64) -> Result<(), WriteError> {
        let Some(alive) = self.hosts[host].alive.as_mut().filter(|_| amount != 0) else {
            return Ok(());
        };
        let handle = alive.replica.counter(counter)?;
        let size = amount.unsigned_abs();
        if amount > 0 { handle.add(size) } else { handle.subtract(size) }?;
        let key = (counter.to_owned(), self.hosts[host].region.clone());
        self.truth.add(self.hosts[host].replica_id(), key, amount);
        self.hand(host, Input::LocalChange, None);
        Ok(())
    }

    /// Adds with an id at a node. The counter must take adds with ids only. Returns nothing if the
    /// node is down.
    pub fn add_once(
        &mut self,
        host: usize,
        id: &str,
        counter: &str,
        amount: i64,
    ) -> Option<AddOutcome> {
        let once = self.hosts[host].alive.as_mut()?.replica.add_once(id, counter, amount).ok()?;
        self.truth.leave_to_ids(counter);
        self.hand(host, Input::LocalChange, None);
        Some(once)
    }

    /// Adds 1 to each of many counters at a node, within one flush interval.
    pub fn add_many(&mut self, host: usize, counters: impl IntoIterator<Item = String>) {
        let region = self.hosts[host].region.clone();
        let id = self.hosts[host].replica_id();
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        for counter in counters {
            if alive.replica.counter(&counter).is_ok_and(|handle| handle.add(1).is_ok()) {
                self.truth.add(id, (counter, region.clone()), 1);
            }
        }
        self.hand(host, Input::LocalChange, None);
    }

    /// Adds at a node without a record in the truth. False if the node is down or refuses.
    pub fn add_raw(&mut self, host: usize, counter: &str, amount: u64) -> bool {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return false };
        let done = alive.replica.counter(counter).is_ok_and(|handle| handle.add(amount).is_ok());
        self.hand(host, Input::LocalChange, None);
        done
    }

    /// Resets one region of a counter, as seen by a node.
    pub fn reset(&mut self, host: usize, counter: &str, region: &str) {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        alive.replica.flush();
        self.truth.flushed(&alive.replica);
        if let Ok(Some(version)) = alive.replica.reset(counter, region) {
            self.truth.reset(&alive.replica, (counter.to_owned(), region.to_owned()), version);
        }
        self.hand(host, Input::LocalChange, None);
    }

    /// Resets at a node without a record in the truth. Returns the value that the node showed
    /// before.
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

    /// Asks for the removal of a counter at a node. False if the node is down or holds nothing of it.
    pub fn remove_raw(&mut self, host: usize, counter: &str) -> bool {
        let removed = self.remove_unwatched(host, counter).is_some();
        self.hand(host, Input::LocalChange, None);
        removed
    }

    /// Sets how many viewers a node has.
    pub fn set_viewers(&mut self, host: usize, viewers: u64) {
        self.hosts[host].viewers = viewers;
        self.hand(host, Input::Viewers(viewers), None);
    }

    /// Asks a node to leave for good, and lets it run on.
    pub fn begin_leave(&mut self, host: usize) {
        self.hand(host, Input::Leave { for_good: true }, None);
    }

    /// Leaves for good as a process does on a request to stop: it ends once it has handed over
    /// everything, or at the limit. Returns how long that took.
    pub fn leave_within(&mut self, host: usize, limit: Duration) -> Duration {
        let began = self.now;
        self.begin_leave(host);
        while self.now - began < limit && !self.is_drained(host) {
            self.run_for(Duration::from_millis(5));
        }
        self.crash(host);
        self.now - began
    }
}
