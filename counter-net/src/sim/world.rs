//! The cluster: nodes are started, act, and are watched while time runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use counter_core::{CounterMap, Once, StateHash, WriteError};

use super::config::{Link, SimConfig};
use super::cost::Cost;
use super::host::{Alive, Host};
use super::links::Links;
use super::mesh::Mesh;
use super::oracle::Ledger;
use super::queue::{Event, Queue};
use super::truth::{Failure, Truth};
use crate::protocol::{Agreement, Input, Member, NodeId, Replicator, Waited};

/// How often convergence is looked at while waiting for it: also the grain of the times that come
/// back.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A simulated cluster. Nodes are named by the order in which they were started, from 0. Naming one
/// that was never started panics.
#[derive(Debug)]
pub struct Sim {
    pub(super) config: SimConfig,
    pub(super) rng: fastrand::Rng,
    pub(super) now: Duration,
    pub(super) queue: Queue,
    pub(super) hosts: Vec<Host>,
    pub(super) by_node: BTreeMap<NodeId, usize>,
    pub(super) links: Links,
    pub(super) own_links: BTreeMap<(usize, usize), Link>,
    pub(super) mesh: Mesh,
    pub(super) truth: Truth,
    /// Who looks at every node after each of its inputs, in a story.
    pub(super) ledger: Option<Box<Ledger>>,
    /// Hashes of all payloads ever published: no two may be equal.
    pub(super) payloads: BTreeSet<u128>,
    /// The first thing that went wrong.
    pub(super) failure: Option<Failure>,
    pub(super) steps: u64,
    /// Waits begun, and how those ended that nobody has looked at.
    pub(super) waits: u64,
    pub(super) waited: BTreeMap<u64, Waited>,
    /// Times to converge after a story's heal: state, then presence.
    pub(super) healed_in: (Duration, Duration),
}

impl Sim {
    /// An empty world at time zero.
    pub fn new(config: SimConfig) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(config.seed),
            now: Duration::ZERO,
            queue: Queue::default(),
            hosts: Vec::new(),
            by_node: BTreeMap::new(),
            links: Links::default(),
            own_links: BTreeMap::new(),
            mesh: Mesh::new(config.mesh_degree),
            truth: Truth::default(),
            ledger: None,
            payloads: BTreeSet::new(),
            failure: None,
            steps: 0,
            waits: 0,
            waited: BTreeMap::new(),
            healed_in: (Duration::ZERO, Duration::ZERO),
            config,
        }
    }

    /// Starts a new node in `region`, connected to nobody, and returns its name.
    pub fn start(&mut self, region: &str) -> usize {
        let host = self.hosts.len();
        self.hosts.push(Host::new(host, region, &mut self.rng));
        self.hosts[host].set_retires(self.config.retirement);
        self.by_node.insert(self.hosts[host].node, host);
        self.boot(host, false);
        host
    }

    pub(super) fn boot(&mut self, host: usize, with_disk: bool) {
        let seed = self.rng.u64(..);
        self.hosts[host].boot(&self.config, with_disk, seed, self.now);
        self.hand(host, Input::Listening(vec![(host as u64).to_be_bytes().to_vec()]), None);
        let incarnation = self.hosts[host].incarnation;
        self.queue.push(self.now + self.config.discovery, Event::Discovered { host, incarnation });
        self.rewake(host);
    }

    /// Connects every node to every other, or, where there are more than twice `dials`, each to
    /// `dials` others drawn at random. The later one of a pair dials. Nodes that are started later
    /// are connected by calling it again.
    pub fn connect_all(&mut self) {
        let count = self.hosts.len();
        for a in 0..count {
            if count <= 2 * self.config.dials + 1 {
                (0..a).for_each(|b| self.connect(a, b));
                continue;
            }
            while self.links.wanted_by(a).len() < self.config.dials {
                let b = self.rng.usize(..count);
                self.connect(a, b);
            }
        }
    }

    /// Connects two nodes, now and whenever both are there and reach each other: `a` dials.
    pub fn connect(&mut self, a: usize, b: usize) {
        if self.links.want(a, b) {
            self.dial(a, b);
        }
    }

    /// Connects two nodes that found each other at the same time: both dial.
    pub fn connect_both(&mut self, a: usize, b: usize) {
        self.links.want(a, b);
        self.dial(a, b);
        self.dial(b, a);
    }

    /// Adds to a counter at a node; subtracts below zero. Does nothing where the node is down, the
    /// amount is zero, or the node refuses.
    pub fn add(&mut self, host: usize, counter: &str, amount: i64) {
        let _refused = self.try_add(host, counter, amount);
    }

    /// As [`add`](Self::add), and says what the node answered.
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

    /// Adds with an id at a node, to a counter to which nothing is added without one. Nothing where
    /// the node is down.
    pub fn add_once(&mut self, host: usize, id: &str, counter: &str, amount: i64) -> Option<Once> {
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

    /// Sets how many viewers a node has.
    pub fn set_viewers(&mut self, host: usize, viewers: u64) {
        self.hosts[host].viewers = viewers;
        self.hand(host, Input::Viewers(viewers), None);
    }

    /// Lets time run.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Lets time run, and looks at the world after every event.
    ///
    /// # Errors
    /// The first error of `look`; time stands still then.
    pub fn run_watched<E>(
        &mut self,
        time: Duration,
        mut look: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = self.now + time;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.step();
            look(self)?;
        }
        self.now = end;
        Ok(())
    }

    /// Lets time run until `done`, and returns how long it took, to 5 ms.
    ///
    /// # Errors
    /// What went wrong, or `NotConverged` after `limit`.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<Duration, Failure> {
        let start = self.now;
        loop {
            self.verdict()?;
            if done(self) {
                return Ok(self.now - start);
            }
            if self.now - start >= limit {
                return Err(Failure::NotConverged(format!(
                    "not within {limit:?}; {}",
                    self.summary()
                )));
            }
            self.run_for(LOOK_EVERY);
        }
    }

    /// Lets time run until all nodes that are up hold equal states, then compares each with the
    /// truth. Returns how long it took.
    ///
    /// # Errors
    /// What went wrong, or `NotConverged` after `limit`.
    pub fn run_until_converged(&mut self, limit: Duration) -> Result<Duration, Failure> {
        let took = self.run_until(limit, |sim| sim.is_converged())?;
        self.check()?;
        Ok(took)
    }

    /// The first thing that went wrong so far: at every step, each changed key is held against the
    /// truth.
    ///
    /// # Errors
    /// That thing.
    pub fn verdict(&self) -> Result<(), Failure> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Compares every node that is up with the truth: cells, values, and that it is a snapshot of
    /// every writer.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self) -> Result<(), Failure> {
        self.verdict()?;
        match self.config.retirement {
            true => {
                self.up().try_for_each(|(_, alive)| self.truth.check_totals(alive.replica.map()))
            }
            false => self.up().try_for_each(|(_, alive)| self.truth.check(alive.replica.map())),
        }
    }

    /// Whether all nodes that are up have seen the same, all that any of them wrote, and have the
    /// same state hash.
    pub fn is_converged(&mut self) -> bool {
        let pending = self.up().any(|(_, alive)| alive.replica.has_pending());
        let mut alive = self.hosts.iter_mut().filter_map(|host| host.alive.as_mut());
        let Some(first) = alive.next() else { return true };
        let (seen, hash) = (first.replica.map().version_vector(), first.replica.state_hash());
        !pending
            && alive.all(|node| {
                node.replica.map().version_vector() == seen && node.replica.state_hash() == hash
            })
    }

    /// Whether every node that is up shows, as live, exactly the nodes that are up, with their
    /// viewers.
    pub fn presence_is_right(&self) -> bool {
        let mut truth = BTreeMap::<&str, (u64, u64)>::new();
        for host in self.hosts.iter().filter(|host| host.alive.is_some()) {
            let (connected, nodes) = truth.entry(&host.region).or_default();
            (*connected, *nodes) = (*connected + host.viewers, *nodes + 1);
        }
        self.up().all(|(_, alive)| {
            let shown = alive.machine.presence();
            shown.len() == truth.len()
                && shown.iter().all(|(region, is)| {
                    truth.get(region.as_str()) == Some(&(is.connected, is.nodes))
                })
        })
    }

    /// A counter's total at a node, with what is pending there; 0 where it is down.
    pub fn total(&self, host: usize, counter: &str) -> i128 {
        self.hosts[host].alive.as_ref().map_or(0, |alive| alive.replica.total(counter))
    }

    /// A region's value at a node; 0 where it is down.
    pub fn value(&self, host: usize, counter: &str, region: &str) -> i128 {
        self.hosts[host].alive.as_ref().map_or(0, |alive| alive.replica.value(counter, region))
    }

    /// A node's map; `None` where it is down.
    pub fn map(&self, host: usize) -> Option<&CounterMap> {
        self.hosts[host].alive.as_ref().map(|alive| alive.replica.map())
    }

    /// A node's machine, for its readers; `None` where it is down.
    pub fn machine(&self, host: usize) -> Option<&Replicator> {
        self.hosts[host].alive.as_ref().map(|alive| &alive.machine)
    }

    /// Of the enrolled replicas, one that a node's work on ended incarnations waits for.
    pub fn waits_for(&self, host: usize) -> Option<counter_core::ReplicaId> {
        self.hosts[host].alive.as_ref().and_then(|alive| alive.machine.waits_for(&alive.replica))
    }

    /// How far the live members have confirmed a node's state; `None` where it is down.
    pub fn agreement(&mut self, host: usize) -> Option<Agreement> {
        let local = self.hosts[host].local(self.now);
        self.hosts[host].alive.as_mut().map(|alive| alive.machine.agreement(&alive.replica, local))
    }

    /// Who a node says is there; nobody where it is down.
    pub fn members(&self, host: usize) -> Vec<Member> {
        let local = self.hosts[host].local(self.now);
        self.hosts[host]
            .alive
            .as_ref()
            .map(|alive| alive.machine.members(&alive.replica, local))
            .unwrap_or_default()
    }

    /// A node's state hash; `None` where it is down.
    pub fn state_hash(&mut self, host: usize) -> Option<StateHash> {
        self.hosts[host].alive.as_mut().map(|alive| alive.replica.state_hash())
    }

    /// How many nodes were ever started.
    #[expect(clippy::len_without_is_empty, reason = "a world that was never empty says nothing")]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// World time since the start.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Inputs that nodes have taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The oracle.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// What all nodes sent since the start.
    pub fn cost(&self) -> Cost {
        let mut sum = Cost::default();
        self.hosts.iter().for_each(|host| sum += host.cost);
        sum
    }

    /// What one node sent since it was first started.
    pub fn cost_of(&self, host: usize) -> Cost {
        self.hosts[host].cost
    }

    pub(super) fn up(&self) -> impl Iterator<Item = (usize, &Alive)> {
        self.hosts
            .iter()
            .enumerate()
            .filter_map(|(at, host)| host.alive.as_ref().map(|alive| (at, alive)))
    }

    /// Each node's view in a line, for a failure's message.
    fn summary(&self) -> String {
        let line = |(at, alive): (usize, &Alive)| {
            let seen = alive.replica.map().version_vector();
            let sum: u64 = seen.iter().map(|(_, version)| version).sum();
            format!(
                "node {at}: {} writers, {sum} versions, {} peers",
                seen.len(),
                alive.machine.peers()
            )
        };
        self.up().take(8).map(line).collect::<Vec<_>>().join("; ")
    }
}
