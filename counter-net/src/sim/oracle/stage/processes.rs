//! Processes start, commit, crash and start again.

use counter_core::{CounterMap, ReplicaId};

use super::super::ledger::Seen;
use super::super::plot::{Knows, REGIONS};
use super::directory::Directory;
use super::{Actor, Stage};

impl Stage<'_> {
    /// Starts a new node.
    pub(super) fn start(
        &mut self,
        number: usize,
        region: usize,
        has_directory: bool,
        knows: &Knows,
    ) {
        let host = self.sim.start(REGIONS[region]);
        self.tell_started(host, None);
        match knows {
            Knows::Everybody => self.connect(host, self.is_stale),
            Knows::Only(other) => {
                self.up(*other).into_iter().for_each(|other| self.sim.connect(host, other))
            }
        }
        let directory = has_directory.then(Directory::default);
        if has_directory && self.mix.lag > 0 {
            self.sim.commit(host);
        } else if has_directory && !self.has_copies() {
            self.sim.commit_always(host);
        }
        self.actors.push(Actor { number, host, directory, is_gone: false });
    }

    /// Connects a host to all others that are up, as discovery does. A stale discovery names those
    /// that are gone as well.
    pub(super) fn connect(&mut self, host: usize, is_stale: bool) {
        let others = self
            .actors
            .iter()
            .map(|actor| actor.host)
            .filter(|other| *other != host && (is_stale || self.sim.is_up(*other)));
        others.collect::<Vec<_>>().into_iter().for_each(|other| self.sim.connect(host, other));
    }

    /// True if a node may come back in an earlier state than its last one.
    fn has_copies(&self) -> bool {
        self.mix.lag > 0 || self.mix.restore > 0
    }

    /// Commits a node's state, unless its directory lags.
    pub(super) fn commit(&mut self, at: usize) {
        let host = self.actors[at].host;
        let Some(map) = self.sim.map(host).filter(|_| self.has_copies()).cloned() else { return };
        let seen = self.sim.ledger().owed(host);
        let Some(directory) = self.actors[at].directory.as_mut().filter(|it| !it.lags()) else {
            return;
        };
        directory.commit(map, seen);
        self.sim.commit(host);
    }

    /// Kills a node. Its directory holds all that it held, or what it had committed last.
    pub(super) fn crash(&mut self, number: usize, keeps_all: bool) {
        let (Some(host), Some(at)) = (self.up(number), self.actor(number)) else { return };
        self.leaves.forget(host);
        if keeps_all && self.has_copies() {
            self.sim.commit(host);
        }
        self.sim.crash(host);
        let seen = self.sim.ledger_mut().ended(host);
        let actor = &mut self.actors[at];
        match actor.directory.as_mut() {
            Some(directory) => directory.end(keeps_all.then_some(seen)),
            None => {
                actor.is_gone = !self.mix.named;
                self.leaves.lose(self.sim.now(), seen);
                self.note_parts();
            }
        }
    }

    /// Tells the ledger if the nodes that stay do not all know each other, directly or through
    /// others. A node that is down stays if it has a directory.
    fn note_parts(&mut self) {
        let stays = |actor: &&Actor| {
            self.sim.is_up(actor.host) || (actor.directory.is_some() && !actor.is_gone)
        };
        let hosts: Vec<usize> = self.actors.iter().filter(stays).map(|actor| actor.host).collect();
        let map = |host: usize| self.sim.map(host).or_else(|| self.sim.disk(host));
        let knows = |a: usize, b: usize| {
            map(a).is_some_and(|map| map.record(self.sim.writer_of(b)).is_some())
        };
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for host in &hosts {
            let (known, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| {
                part.iter().any(|other| knows(*host, *other) || knows(*other, *host))
            });
            parts = others;
            parts.push(known.concat().into_iter().chain([*host]).collect());
        }
        if parts.len() < 2 {
            return;
        }
        let staying: Vec<ReplicaId> = hosts.iter().map(|host| self.sim.writer_of(*host)).collect();
        self.sim.tell_ledger(|ledger, sim| {
            let map = |host: &usize| sim.map(*host).or_else(|| sim.disk(*host));
            let maps: Vec<Vec<&CounterMap>> =
                parts.iter().map(|part| part.iter().filter_map(map).collect()).collect();
            ledger.killed_apart(&maps, |writer| !staying.contains(&writer));
        });
    }

    /// Starts a node that is down: from all that it held, from its last commit, or from the copy
    /// made `back` commits before that.
    pub(super) fn restart(&mut self, number: usize, back: Option<usize>) {
        let Some(at) = self
            .actor(number)
            .filter(|at| !self.sim.is_up(self.actors[*at].host) && !self.actors[*at].is_gone)
        else {
            return;
        };
        let host = self.actors[at].host;
        let Some(directory) = self.actors[at].directory.as_mut() else {
            // It comes back under its name, with nothing.
            self.sim.restart(host, false);
            return self.tell_started(host, None);
        };
        let (seen, earlier) = directory.start(back);
        if let Some(map) = earlier {
            self.sim.put_disk(host, map);
        }
        self.sim.restart(host, true);
        if back.is_some() {
            self.restored.insert(host);
        }
        // The record that introduces a node with a name may bring adds, and takes effect at once.
        let has_state =
            !self.mix.named && self.sim.map(host).is_some_and(|map| map.replicas().count() > 1);
        self.tell_started(host, Some(seen).filter(|_| has_state));
    }

    fn tell_started(&mut self, host: usize, seen: Option<Seen>) {
        let writer = self.sim.writer_of(host);
        self.sim.ledger_mut().started(host, writer, seen);
    }
}
