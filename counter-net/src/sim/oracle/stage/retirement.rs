//! An operator retires nodes, within the documented limits of doing so.

use super::Stage;

impl Stage<'_> {
    /// An operator at one node retires another one, which may be running.
    pub(super) fn retire(&mut self, at: usize, node: usize) {
        let (Some(host), Some(lost)) = (self.up(at), self.actor(node)) else { return };
        let lost = self.actors[lost].host;
        let writer = self.sim.writer_of(lost);
        let may = host != lost
            && self.knows_all(host)
            && !self.was_retired_running(host)
            && !self.takes_over(lost);
        if may && self.sim.retire(host, lost) && self.sim.is_up(lost) {
            self.sim.ledger_mut().retired_running(writer);
        }
    }

    /// True if a node has heard of everybody who stays. An operator retires nobody at a node that
    /// has not.
    fn knows_all(&self, host: usize) -> bool {
        let Some(map) = self.sim.map(host) else { return false };
        self.actors
            .iter()
            .filter(|actor| !actor.is_gone)
            .all(|actor| map.record(self.sim.writer_of(actor.host)).is_some())
    }

    /// True if a running node is absorbing the counts of ended incarnations. Retiring it now would
    /// let another node absorb the same: a documented limit.
    fn takes_over(&self, host: usize) -> bool {
        let writer = self.sim.writer_of(host);
        self.sim.is_up(host)
            && self.sim.map(host).is_some_and(|map| !map.absorbable_by(writer).is_empty())
    }

    /// True if some node knows that this one was retired while it ran. Two nodes that retire each
    /// other never agree again: a documented limit.
    fn was_retired_running(&self, host: usize) -> bool {
        let writer = self.sim.writer_of(host);
        self.actors
            .iter()
            .filter_map(|actor| self.sim.map(actor.host))
            .any(|map| map.is_ended(writer))
    }
}
