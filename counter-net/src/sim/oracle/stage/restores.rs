//! Nodes that start from earlier copies of their directories.
//!
//! A copy names the replicas that its node knew then. Whatever these hold is waited for, even if
//! they are down. But nodes whose copies name only each other cannot know that a further node holds
//! more of them. If nobody else is in reach, or only new nodes are, they may absorb what the copies
//! have and fold the rest. That is a documented limit.

use counter_core::{CounterMap, ReplicaId};

use super::{Actor, Stage};

impl Stage<'_> {
    /// Tells the ledger if no node that some restored node can reach knows of some node that stays,
    /// not even through nodes that it knows.
    pub(super) fn note_restored(&mut self) {
        if self.restored.is_empty() {
            return;
        }
        let stays = |actor: &&Actor| {
            self.sim.is_up(actor.host) || (actor.directory.is_some() && !actor.is_gone)
        };
        let hosts: Vec<usize> = self.actors.iter().filter(stays).map(|actor| actor.host).collect();
        let knows_all = |host: &usize| hosts.iter().all(|other| self.names(*host, *other));
        self.restored = self.restored.iter().copied().filter(|host| !knows_all(host)).collect();
        let in_reach: Vec<Vec<usize>> =
            self.restored.iter().map(|host| self.in_reach_of(*host)).collect();
        for group in in_reach {
            let known = closure(group, &hosts, |host, other| self.names(host, other));
            let unknown: Vec<usize> =
                hosts.iter().copied().filter(|host| !known.contains(host)).collect();
            if !known.is_empty() && !unknown.is_empty() {
                self.excuse_apart(&hosts, &known, &unknown);
            }
        }
    }

    /// The nodes that run and to which no way from this one is cut. Nobody if it does not run, or
    /// if it is cut off from all others that run: it then waits for one of them.
    fn in_reach_of(&self, host: usize) -> Vec<usize> {
        let up = self.hosts_up();
        if !up.contains(&host) {
            return Vec::new();
        }
        let reached = closure(vec![host], &up, |a, b| self.sim.is_whole(a, b));
        if reached.len() == 1 && up.len() > 1 { Vec::new() } else { reached }
    }

    /// The `known` nodes may fold what only the `unknown` ones hold.
    fn excuse_apart(&mut self, hosts: &[usize], known: &[usize], unknown: &[usize]) {
        let staying: Vec<ReplicaId> = hosts.iter().map(|host| self.sim.writer_of(*host)).collect();
        self.sim.tell_ledger(|ledger, sim| {
            let map = |host: &usize| sim.map(*host).or_else(|| sim.disk(*host));
            let maps =
                |hosts: &[usize]| -> Vec<&CounterMap> { hosts.iter().filter_map(map).collect() };
            let is_gone = |writer| !staying.contains(&writer);
            ledger.restored_apart(&maps(known), &maps(unknown), is_gone);
        });
    }

    /// True if a node's state, or its disk while it is down, names another node.
    fn names(&self, host: usize, other: usize) -> bool {
        let node = self.sim.writer_of(other).node;
        self.map_or_disk(host).is_some_and(|map| map.replicas().any(|id| id.node == node))
    }

    fn map_or_disk(&self, host: usize) -> Option<&CounterMap> {
        self.sim.map(host).or_else(|| self.sim.disk(host))
    }
}

/// These hosts and all of `hosts` that follow from them, step by step.
fn closure(
    mut from: Vec<usize>,
    hosts: &[usize],
    follows: impl Fn(usize, usize) -> bool,
) -> Vec<usize> {
    let mut at = 0;
    while at < from.len() {
        let further = hosts.iter().filter(|other| follows(from[at], **other));
        let further: Vec<usize> = further.copied().filter(|it| !from.contains(it)).collect();
        from.extend(further);
        at += 1;
    }
    from
}
