//! The cluster: nodes are started, act, and are watched while time runs.
//!
//! [`Sim`] holds the whole world, and its fields are private to this folder. `traffic` is the loop:
//! it takes the next event, hands it to a node and turns the node's outputs into events again.
//! `dials` opens connections and `faults` breaks things. `acts` holds an application's acts at a
//! node, `waits` its waits, and `stories` the acts that only the oracle's stories use. `run` lets
//! time pass, `expiry` and `windows` drop the cells of counters that end, and `looks` reads nodes
//! and compares them.

mod acts;
mod dials;
mod expiry;
mod faults;
mod host;
mod looks;
mod run;
mod stories;
mod traffic;
mod waits;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::config::{Link, SimConfig};
use super::network::{Event, Links, Mesh, Queue};
use super::oracle::Ledger;
use super::truth::{Failure, Truth};
use crate::protocol::{Input, NodeId, Waited};
use host::{Alive, Host};

/// A simulated cluster. Nodes are named by the order in which they were started, from 0. Naming a
/// node that was never started panics.
#[derive(Debug)]
pub struct Sim {
    config: SimConfig,
    rng: fastrand::Rng,
    now: Duration,
    queue: Queue,
    hosts: Vec<Host>,
    by_node: BTreeMap<NodeId, usize>,
    links: Links,
    /// Links that differ from the usual one.
    own_links: BTreeMap<(usize, usize), Link>,
    mesh: Mesh,
    truth: Truth,
    /// In a story, it looks at every node after each of the node's inputs.
    ledger: Option<Box<Ledger>>,
    /// Hashes of all payloads that were ever published. No two may be equal.
    payloads: BTreeSet<u128>,
    /// The host whose state differed, at the last look whether the cluster has converged.
    last_other: usize,
    /// The host that showed wrong members, at the last look at all.
    last_wrong: usize,
    /// The first thing that went wrong.
    failure: Option<Failure>,
    steps: u64,
    /// How many waits were begun.
    waits: u64,
    /// Waits that ended and were not asked about yet.
    waited: BTreeMap<u64, Waited>,
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
            last_other: 0,
            last_wrong: 0,
            failure: None,
            steps: 0,
            waits: 0,
            waited: BTreeMap::new(),
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

    fn boot(&mut self, host: usize, with_disk: bool) {
        let seed = self.rng.u64(..);
        self.hosts[host].boot(&self.config, with_disk, seed, self.now);
        self.hand(host, Input::Listening(vec![(host as u64).to_be_bytes().to_vec()]), None);
        let incarnation = self.hosts[host].incarnation;
        self.queue.push(self.now + self.config.discovery, Event::Discovered { host, incarnation });
        self.rewake(host);
    }

    /// Connects every node to every other, or, with more than twice `dials` nodes, each to `dials`
    /// others drawn at random. The later one of a pair dials. Call it again to connect nodes that
    /// were started since.
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

    /// Keeps two nodes connected from now on, whenever both are up and reach each other. `a` dials.
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

    /// The nodes that are up, with their indices.
    fn up(&self) -> impl Iterator<Item = (usize, &Alive)> {
        self.hosts
            .iter()
            .enumerate()
            .filter_map(|(at, host)| host.alive.as_ref().map(|alive| (at, alive)))
    }

    /// Records a failure, unless there was one before.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }
}
