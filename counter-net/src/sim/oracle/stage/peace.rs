//! Peace: every fault ends, and everything must come out equal and right.

use std::time::Duration;

use counter_core::{CounterMap, ReplicaId};

use super::super::ids::is_of_ids;
use super::{Actor, SLICE, Stage};
use crate::protocol::{Copies, Waited};
use crate::sim::{Failure, Link};

/// The longest that peace may take until all nodes are equal, and again until the state names
/// nobody who ended.
const PEACE: Duration = Duration::from_secs(240);

impl Stage<'_> {
    /// Ends all faults, starts every node that has a directory or a name, and lets clients send all
    /// ids again. Then compares all nodes.
    pub(super) fn peace(&mut self) -> Result<(), Failure> {
        if self.prints {
            println!("peace");
        }
        self.sim.set_links(Link::loopback());
        self.sim.unmute_all();
        for directory in self.actors.iter_mut().filter_map(|actor| actor.directory.as_mut()) {
            directory.set_lag(false, false);
        }
        for number in self.actors.iter().map(|actor| actor.number).collect::<Vec<_>>() {
            self.restart(number, None);
        }
        self.heal();
        while !self.leaves.is_over() {
            self.run_for(SLICE)?;
        }
        let hosts = self.hosts_up();
        if hosts.is_empty() {
            return Ok(());
        }
        self.wait("equal", |stage| stage.sim.is_converged() && stage.all_ready())?;
        self.sim.ledger().compare()?;
        for id in 0..self.sim.ledger().ids().len() {
            let host = hosts[self.dice.usize(..hosts.len())];
            self.send(host, id)?;
        }
        self.wait("equal after the ids were sent again", |stage| stage.sim.is_converged())?;
        if self.mix.clean {
            self.wait("clean", |stage| {
                // The operator always helps after a leave that nobody covered. Such a node says so,
                // and may have been the only one to know of another leave.
                if stage.mix.operator || stage.leaves.any_uncovered() {
                    stage.sim.retire_absent(hosts[0]);
                }
                stage.is_clean(&hosts)
            })?;
        }
        self.sim.ledger().compare()?;
        if self.leaves_no_traces() && !self.mix.lifetimes.is_empty() {
            self.wait("without a trace of expired counters", |stage| {
                stage.sim.is_converged() && hosts.iter().all(|host| stage.is_without_expired(*host))
            })?;
        }
        if self.leaves_no_traces() && self.mix.visit > 0 {
            self.wait("without a bucket of a window", |stage| {
                hosts.iter().for_each(|host| stage.sim.collect_garbage(*host));
                stage.sim.is_converged() && !hosts.iter().any(|host| stage.sim.has_buckets(*host))
            })?;
        }
        if self.leaves_no_traces() {
            self.remove_all(&hosts)?;
        }
        let ids = self.sim.ledger().ids();
        hosts.iter().filter_map(|host| self.sim.map(*host)).try_for_each(|map| ids.check(map))?;
        if self.mix.names_missing {
            self.check_missing(&hosts)?;
        }
        if self.mix.majority || self.mix.names_missing {
            self.check_majority(hosts[0])?;
        }
        self.sim.verdict()
    }

    /// True if all traces of removals must go. A reset may name a replica that no node knows any
    /// more, because all who knew it are gone. That trace stays.
    fn leaves_no_traces(&self) -> bool {
        let has_reset_of_unknown =
            |actor: &Actor| self.sim.map(actor.host).is_some_and(CounterMap::has_reset_of_unknown);
        (self.mix.remove > 0 || !self.mix.lifetimes.is_empty())
            && self.mix.clean
            && !self.actors.iter().any(has_reset_of_unknown)
    }

    /// Removes every counter. Then nothing of them may be left at any node.
    fn remove_all(&mut self, hosts: &[usize]) -> Result<(), Failure> {
        // Dedup entries outlive the counters of their adds.
        let counters: Vec<String> = self.sim.map(hosts[0]).map_or(Vec::new(), |map| {
            map.counters().filter(|name| !is_of_ids(name)).map(str::to_owned).collect()
        });
        counters.iter().for_each(|counter| self.remove_at(hosts[0], counter));
        self.wait("without a trace of the removed counters", |stage| {
            stage.sim.is_converged() && hosts.iter().all(|host| stage.is_without(*host, &counters))
        })
    }

    /// True if a node holds no cell of these counters, and no trace of removals.
    fn is_without(&self, host: usize, counters: &[String]) -> bool {
        let Some(map) = self.sim.map(host) else { return false };
        let has_cells = |counter: &String| {
            map.regions(counter)
                .any(|(region, _)| map.pn_counter(counter, region).cells().len() > 0)
        };
        map.tombstone_count() == 0 && !self.sim.has_traces(host) && !counters.iter().any(has_cells)
    }

    /// True if a node holds nothing of the counters that expire, and takes adds to them again.
    fn is_without_expired(&self, host: usize) -> bool {
        let Some(map) = self.sim.map(host) else { return false };
        let expires = |counter: &&str| {
            let mut lifetimes = self.mix.lifetimes.iter();
            lifetimes.any(|(prefix, _)| counter.starts_with(prefix))
                || map.expires_at(counter).is_some()
        };
        let expiring: Vec<String> = map.counters().filter(expires).map(str::to_owned).collect();
        self.is_without(host, &expiring) && !self.sim.has_expiries(host)
    }

    fn all_ready(&self) -> bool {
        let mut up = self.actors.iter().filter_map(|actor| self.sim.machine(actor.host));
        up.all(|machine| machine.is_synced() && machine.readiness().is_ok())
    }

    /// True if all states are equal and name the nodes that run, and nobody else.
    fn is_clean(&mut self, hosts: &[usize]) -> bool {
        let names_all = |host: &usize| {
            self.sim.map(*host).is_some_and(|map| map.replicas().count() == hosts.len())
        };
        let has_traces =
            self.leaves_no_traces() && hosts.iter().any(|host| self.sim.has_traces(*host));
        hosts.iter().all(names_all) && self.sim.is_converged() && !has_traces
    }

    /// Lets time run until something is true.
    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), Failure> {
        let end = self.sim.now() + PEACE;
        loop {
            self.run_for(SLICE)?;
            if done(self) {
                return Ok(());
            }
            if self.sim.now() >= end {
                let picture = self.picture();
                return Err(Failure::NotConverged(format!(
                    "not {what} after {PEACE:?} of peace\n{picture}"
                )));
            }
        }
    }

    /// Checks that kills leave a bounded and named rest: at most one enrolled replica for each node
    /// that was killed. Once an operator has retired these, nothing is left.
    fn check_missing(&mut self, hosts: &[usize]) -> Result<(), Failure> {
        let up: Vec<ReplicaId> = hosts.iter().map(|host| self.sim.writer_of(*host)).collect();
        let mut killed: Vec<ReplicaId> = self
            .actors
            .iter()
            .map(|actor| self.sim.writer_of(actor.host))
            .filter(|id| !up.contains(id))
            .collect();
        killed.sort_unstable();
        // A node may hold the cells of another one before it hears that it is live.
        self.wait("with only killed processes missing", |stage| {
            stage.sim.missing(hosts[0]).iter().all(|id| killed.binary_search(id).is_ok())
        })?;
        self.wait("clean once those are retired that are missing", |stage| {
            stage.sim.retire_absent(hosts[0]);
            stage.is_clean(hosts)
        })
    }

    /// Checks that a node reaches a majority of copies and has a stable total.
    fn check_majority(&mut self, host: usize) -> Result<(), Failure> {
        let waiting = self.sim.await_copies(host, Copies::Majority, Duration::from_secs(30));
        let _ = self.sim.stable_total(host, "clicks");
        self.run_for(Duration::from_secs(31))?;
        let (waited, stable) = (self.sim.waited(waiting), self.sim.stable_total(host, "clicks"));
        match (waited, stable) {
            (Some(Waited::Reached), Some(_)) => Ok(()),
            (waited, stable) => Err(Failure::NotConverged(format!(
                "a majority of copies: {waited:?}, a stable total: {stable:?}"
            ))),
        }
    }
}
