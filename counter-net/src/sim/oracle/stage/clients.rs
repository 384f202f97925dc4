//! The acts of clients: adds, resets, removals, expiries, and adds with ids.

use std::time::Duration;

use super::super::plot::{REGIONS, Which};
use super::Stage;
use crate::protocol::Input;
use crate::sim::Failure;

impl Stage<'_> {
    /// The host of a node that takes adds.
    fn taking(&self, number: usize) -> Option<usize> {
        let actor = &self.actors[self.actor(number)?];
        let is_full = actor.directory.as_ref().is_some_and(|directory| directory.is_full());
        (self.sim.is_up(actor.host) && !self.leaves.has(actor.host) && !is_full)
            .then_some(actor.host)
    }

    pub(super) fn add(&mut self, number: usize, base: &str, is_negative: bool) {
        let Some(host) = self.taking(number) else { return };
        let (region, writer) = (self.sim.region(host).to_owned(), self.sim.writer_of(host));
        let (counter, amount) = self.sim.ledger_mut().next_add(base, &region);
        if self.sim.add_unwatched(host, &counter, if is_negative { -amount } else { amount }) {
            self.sim.ledger_mut().added(base, &region, writer, is_negative);
            self.sim.hand(host, Input::LocalChange, None);
        }
    }

    /// Adds to the current bucket of a window.
    pub(super) fn visit(&mut self, number: usize) {
        let Some(host) = self.taking(number) else { return };
        let (region, writer) = (self.sim.region(host).to_owned(), self.sim.writer_of(host));
        let bucket = self.sim.bucket_of(host, "visits");
        let (name, amount) = self.sim.ledger_mut().next_add(&bucket, &region);
        // A bucket that is full of adds has a number behind the name of its window.
        let window = name.rsplit(':').next().unwrap_or_default();
        if self.sim.add_to_window_unwatched(host, window, amount.unsigned_abs()) {
            self.sim.ledger_mut().added(&bucket, &region, writer, false);
            self.sim.hand(host, Input::LocalChange, None);
        }
    }

    /// Adds to counters with names that are new.
    pub(super) fn add_names(&mut self, number: usize, count: usize) {
        for _ in 0..count {
            self.names += 1;
            let name = format!("name {}", self.names);
            self.add(number, &name, false);
        }
    }

    pub(super) fn reset(&mut self, number: usize, pick: usize) {
        let Some(host) = self.taking(number) else { return };
        // A node that has not caught up does not know all that a reset would clear, and refuses.
        if self.sim.machine(host).is_none_or(|machine| !machine.is_synced()) {
            return;
        }
        if self.mix.resets_ids && pick % 2 == 1 {
            return self.reset_ids(host, pick);
        }
        let Some((key, counter, region)) = self.sim.ledger().key(pick) else { return };
        // The ledger must look at pending adds before they are reset.
        self.sim.flush(host);
        if let Some(version) = self.sim.reset_unwatched(host, &counter, &region) {
            self.sim.ledger_mut().reset(host, key, version);
        }
        self.sim.hand(host, Input::LocalChange, None);
    }

    pub(super) fn remove(&mut self, number: usize, pick: usize) {
        let Some(host) = self.taking(number) else { return };
        if self.sim.machine(host).is_none_or(|machine| !machine.is_synced()) {
            return;
        }
        if self.mix.resets_ids && pick % 2 == 1 {
            let Some(counter) = self.sim.ledger().ids().counter(pick) else { return };
            self.remove_at(host, &counter);
            return self.sim.ledger_mut().ids_mut().cleared(&counter);
        }
        let Some((_, counter, _)) = self.sim.ledger().key(pick) else { return };
        self.remove_at(host, &counter);
    }

    /// Has a counter end after this time.
    pub(super) fn expire(&mut self, number: usize, pick: usize, after: Duration) {
        let Some(host) = self.taking(number) else { return };
        if self.mix.resets_ids && pick % 2 == 1 {
            let Some(counter) = self.sim.ledger().ids().counter(pick) else { return };
            self.sim.ledger_mut().ids_mut().expires(&counter);
            return self.sim.expire_after(host, &counter, after);
        }
        let Some((_, counter, _)) = self.sim.ledger().key(pick) else { return };
        self.sim.expire_after(host, &counter, after);
    }

    /// Removes a counter at a node that has caught up.
    pub(super) fn remove_at(&mut self, host: usize, counter: &str) {
        // The ledger must look at pending adds before they are removed.
        self.sim.flush(host);
        if let Some(version) = self.sim.remove_unwatched(host, counter) {
            for key in self.sim.ledger().keys_of(counter) {
                self.sim.ledger_mut().reset(host, key, version);
            }
        }
        self.sim.hand(host, Input::LocalChange, None);
    }

    fn reset_ids(&mut self, host: usize, pick: usize) {
        let Some(counter) = self.sim.ledger().ids().counter(pick) else { return };
        self.sim.flush(host);
        if self.sim.reset_unwatched(host, &counter, REGIONS[pick / 2 % REGIONS.len()]).is_some() {
            self.sim.ledger_mut().ids_mut().cleared(&counter);
        }
        self.sim.hand(host, Input::LocalChange, None);
    }

    /// Sends an id to some nodes.
    pub(super) fn once(&mut self, numbers: &[usize], which: &Which) -> Result<(), Failure> {
        let id = match which {
            Which::New(text) => self.sim.ledger_mut().ids_mut().make(text.clone()),
            Which::Back(back) => {
                let count = self.sim.ledger().ids().len();
                if count == 0 {
                    return Ok(());
                }
                count - 1 - back % count
            }
        };
        for number in numbers {
            if let Some(host) = self.taking(*number) {
                self.send(host, id)?;
            }
        }
        Ok(())
    }

    /// Sends an id to a node, and tells the ledger the answer.
    pub(super) fn send(&mut self, host: usize, id: usize) -> Result<(), Failure> {
        let (text, counter, amount) = self.sim.ledger().ids().add(id);
        let shows = self.sim.map(host).map_or(0, |map| self.sim.ledger().ids().shows(map, id));
        if let Some(how) = self.sim.add_once_unwatched(host, &text, &counter, amount) {
            let writer = self.sim.writer_of(host);
            self.sim.ledger_mut().ids_mut().answered(id, writer, how, shows)?;
        }
        self.sim.hand(host, Input::LocalChange, None);
        Ok(())
    }
}
