//! Acts that only the oracle's stories use.
//!
//! A story has a ledger, which knows every add and reset. So its acts are not recorded in the plain
//! truth. Most of them are not handed to the node's machine either: the story tells the ledger
//! first, and hands the node its input afterwards.

use counter_core::{AddOutcome, CounterMap, Version};

use super::Sim;
use crate::protocol::Input;
use crate::sim::oracle::Ledger;

impl Sim {
    /// From now on the ledger looks at every node after each of its inputs.
    pub(in crate::sim) fn keep_ledger(&mut self, ledger: Ledger) {
        self.ledger = Some(Box::new(ledger));
    }

    /// The story's ledger.
    ///
    /// # Panics
    ///
    /// Outside of a story.
    pub(in crate::sim) fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("a story keeps a ledger")
    }

    /// The story's ledger, to record an act in.
    ///
    /// # Panics
    ///
    /// Outside of a story.
    pub(in crate::sim) fn ledger_mut(&mut self) -> &mut Ledger {
        self.ledger.as_mut().expect("a story keeps a ledger")
    }

    /// Tells the ledger something that it must read from the nodes.
    pub(in crate::sim) fn tell_ledger(&mut self, tell: impl FnOnce(&mut Ledger, &Self)) {
        let Some(mut ledger) = self.ledger.take() else { return };
        tell(&mut ledger, self);
        self.ledger = Some(ledger);
    }

    /// Adds, or subtracts if the amount is negative. True if the node took it.
    pub(in crate::sim) fn add_unwatched(
        &mut self,
        host: usize,
        counter: &str,
        amount: i64,
    ) -> bool {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return false };
        let Ok(handle) = alive.replica.counter(counter) else { return false };
        let size = amount.unsigned_abs();
        if amount > 0 { handle.add(size) } else { handle.subtract(size) }.is_ok()
    }

    /// Adds with an id. `None` if the node refused.
    pub(in crate::sim) fn add_once_unwatched(
        &mut self,
        host: usize,
        id: &str,
        counter: &str,
        amount: i64,
    ) -> Option<AddOutcome> {
        self.hosts[host].alive.as_mut()?.replica.add_once(id, counter, amount).ok()
    }

    /// Turns pending adds into cells, and lets the ledger look at them.
    pub(in crate::sim) fn flush(&mut self, host: usize) {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        alive.replica.flush();
        self.hand(host, Input::LocalChange, None);
    }

    /// Resets a region of a counter. Returns the version of the reset, or `None` if there was
    /// nothing to reset.
    pub(in crate::sim) fn reset_unwatched(
        &mut self,
        host: usize,
        counter: &str,
        region: &str,
    ) -> Option<Version> {
        self.hosts[host].alive.as_mut()?.replica.reset(counter, region).ok()?
    }

    /// Asks for the removal of a counter at a node. Returns the node's version after it; `None` if
    /// it holds nothing of the counter. The ledger is not told.
    pub(in crate::sim) fn remove_unwatched(
        &mut self,
        host: usize,
        counter: &str,
    ) -> Option<Version> {
        let replica = &mut self.hosts[host].alive.as_mut()?.replica;
        replica.remove(counter).ok()?.then(|| replica.version())
    }

    /// Reclaims the memory of removed counters at a node. A node does so on its own once there are
    /// many.
    pub(in crate::sim) fn collect_garbage(&mut self, host: usize) {
        if let Some(alive) = self.hosts[host].alive.as_mut() {
            alive.replica.collect_garbage();
        }
    }

    /// True if a node holds traces of removals or resets that it may drop some day.
    pub(in crate::sim) fn has_traces(&self, host: usize) -> bool {
        self.hosts[host].alive.as_ref().is_some_and(|alive| alive.replica.has_traces())
    }

    /// True if nothing is cut between two nodes.
    pub(in crate::sim) fn is_whole(&self, a: usize, b: usize) -> bool {
        self.links.is_whole(a, b)
    }

    /// The region that a node runs in.
    pub(in crate::sim) fn region(&self, host: usize) -> &str {
        &self.hosts[host].region
    }

    /// True if a node takes in everything and says nothing.
    pub(in crate::sim) fn is_mute(&self, host: usize) -> bool {
        self.hosts[host].is_mute
    }

    /// Lets mute nodes speak again.
    pub(in crate::sim) fn unmute_all(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.is_mute = false);
    }

    /// The state that a start from a node's directory would find.
    pub(in crate::sim) fn disk(&self, host: usize) -> Option<&CounterMap> {
        self.hosts[host].disk.as_ref()
    }

    /// Puts a state into the directory of a node that is down, for its next start.
    pub(in crate::sim) fn put_disk(&mut self, host: usize, map: CounterMap) {
        self.hosts[host].disk = Some(map);
    }
}
