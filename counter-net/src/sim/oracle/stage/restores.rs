//! Nodes that start from earlier copies of their directories.
//!
//! A copy names the replicas that its node knew then. Whatever these hold is waited for, even if
//! they are down. But nodes whose copies name only each other cannot know that a further node holds
//! more of them. If nobody else is up, or only new nodes are, they may absorb what the copies have
//! and fold the rest. That is a documented limit.

use std::collections::BTreeSet;

use counter_core::{CounterMap, ReplicaId};

use super::{Actor, Stage};

impl Stage<'_> {
    /// Tells the ledger if no node that runs knows of some node that stays, not even through nodes
    /// that it knows, and one of those that run is a restored one.
    pub(super) fn note_restored(&mut self) {
        if self.restored.is_empty() {
            return;
        }
        let stays = |actor: &&Actor| {
            self.sim.is_up(actor.host) || (actor.directory.is_some() && !actor.is_gone)
        };
        let hosts: Vec<usize> = self.actors.iter().filter(stays).map(|actor| actor.host).collect();
        let names = |host: usize, other: usize| {
            let node = self.sim.writer_of(other).node;
            self.map_or_disk(host).is_some_and(|map| map.replicas().any(|id| id.node == node))
        };
        let knows_all = |host: &usize| hosts.iter().all(|other| names(*host, *other));
        let restored: BTreeSet<usize> =
            self.restored.iter().copied().filter(|host| !knows_all(host)).collect();
        let mut known = self.hosts_up();
        if !known.iter().any(|host| restored.contains(host)) {
            known = hosts.clone();
        }
        let mut at = 0;
        while at < known.len() {
            let further = hosts.iter().filter(|other| names(known[at], **other));
            let further: Vec<usize> = further.copied().filter(|it| !known.contains(it)).collect();
            known.extend(further);
            at += 1;
        }
        let unknown: Vec<usize> =
            hosts.iter().copied().filter(|host| !known.contains(host)).collect();
        self.restored = restored;
        if known.is_empty() || unknown.is_empty() {
            return;
        }
        let staying: Vec<ReplicaId> = hosts.iter().map(|host| self.sim.writer_of(*host)).collect();
        self.sim.tell_ledger(|ledger, sim| {
            let map = |host: &usize| sim.map(*host).or_else(|| sim.disk(*host));
            let maps =
                |hosts: &[usize]| -> Vec<&CounterMap> { hosts.iter().filter_map(map).collect() };
            let is_gone = |writer| !staying.contains(&writer);
            ledger.restored_apart(&maps(&known), &maps(&unknown), is_gone);
        });
    }

    fn map_or_disk(&self, host: usize) -> Option<&CounterMap> {
        self.sim.map(host).or_else(|| self.sim.disk(host))
    }
}
