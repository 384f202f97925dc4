//! Starts of fresh nodes. A fresh node is not synced or ready before it holds the sums that the
//! synced peers in its list of peers held at its start.

use std::time::Duration;

use counter_net::protocol::ProtocolConfig;
use counter_net::sim::{Sim, SimConfig};

use super::story::{MS, SECOND, Story, Sums, has_all, slower};
use super::{run_stories, seeds};

/// The extra delay, each way, of a slow link.
const SLOW: Duration = Duration::from_millis(300);

/// A node that was started in a running cluster.
struct Fresh {
    host: usize,
    began: Duration,
    /// The sums that it must hold. Each is the least that a synced peer in its list held, since any
    /// of these may answer. Empty if it reaches none.
    must: Sums,
    /// When it must be synced.
    due: Option<Duration>,
    /// It knows nobody who reaches the cluster, so it may call itself alone.
    is_island: bool,
}

/// An act of a story.
enum Act {
    /// A fresh node starts. It knows some peers at once, and learns others when discovery answers.
    Begin,
    /// A fresh node learns of a peer.
    Tell(usize, usize),
    Click,
    /// A node of the cluster dies, unless it is a keeper.
    Kill,
}

/// A running cluster that fresh nodes join.
struct Start {
    story: Story,
    cluster: Vec<usize>,
    /// Nodes that are never killed. Every fresh node that knows one of them reaches it.
    keepers: Vec<usize>,
    /// Dead or silent nodes.
    hopeless: Vec<usize>,
    fresh: Vec<Fresh>,
    acts: Vec<(Duration, Act)>,
    /// True if fresh nodes may know each other's addresses.
    tells_fresh: bool,
}

impl Start {
    fn new(seed: u64, tells_fresh: bool) -> Result<Self, String> {
        let mut story = Story::new(seed, SimConfig::default());
        let cluster: Vec<usize> =
            (0..story.dice.usize(1..=5)).map(|_| story.start_busy()).collect();
        story.sim.connect_all();
        story.run_for(4 * SECOND)?;
        cluster.iter().for_each(|host| story.click(*host));
        // Once the stragglers of gossip have arrived, the whole cluster holds the same.
        story.run_for(SECOND)?;
        let is_at_rest =
            story.sim.is_converged() && cluster.iter().all(|host| story.is_synced(*host));
        if !is_at_rest {
            return Err("the cluster itself did not come to rest".to_owned());
        }
        let mut hopeless: Vec<usize> =
            (0..story.dice.usize(..3)).map(|_| story.start_dead()).collect();
        if story.dice.u8(..4) == 0 {
            let mute = story.start();
            story.sim.mute(mute);
            story.has_mute = true;
            hopeless.push(mute);
        }
        let keepers = vec![story.one_of(&cluster)];
        Ok(Self {
            story,
            cluster,
            keepers,
            hopeless,
            fresh: Vec::new(),
            acts: Vec::new(),
            tells_fresh,
        })
    }

    /// Draws when fresh nodes start, and what happens meanwhile.
    fn draw(&mut self) {
        let now = self.story.sim.now();
        let dice = &mut self.story.dice;
        for at in 0..dice.usize(1..=3) {
            let after = if at == 0 { 0 } else { dice.u32(..1500) };
            self.acts.push((now + after * MS, Act::Begin));
        }
        for _ in 0..dice.usize(..6) {
            self.acts.push((now + dice.u32(..2500) * MS, Act::Click));
        }
        for _ in 0..dice.usize(..3) {
            self.acts.push((now + dice.u32(..2500) * MS, Act::Kill));
        }
    }

    /// Runs all acts, and then as long as the last of the fresh nodes may take.
    fn run(&mut self) -> Result<(), String> {
        while let Some(at) = (0..self.acts.len()).min_by_key(|at| self.acts[*at].0) {
            let (time, act) = self.acts.swap_remove(at);
            self.watch(time)?;
            match act {
                Act::Begin => self.begin(),
                Act::Tell(host, other) => self.story.sim.connect(host, other),
                Act::Click => {
                    let up = self.story.up();
                    let host = self.story.one_of(&up);
                    self.story.click(host);
                }
                Act::Kill => {
                    let host = self.story.one_of(&self.cluster);
                    if !self.keepers.contains(&host) {
                        self.story.kill(host);
                    }
                }
            }
        }
        let end = self.fresh.iter().filter_map(|fresh| fresh.due).max().unwrap_or_default();
        self.watch(end.max(self.story.sim.now()) + MS)
    }

    /// Starts a fresh node. It learns of others at once or when discovery answers.
    fn begin(&mut self) {
        let (now, host) = (self.story.sim.now(), self.story.sim.len());
        let answers =
            if self.story.dice.bool() { Duration::ZERO } else { self.story.dice.u32(1..1500) * MS };
        let mut told: Vec<usize> = self
            .cluster
            .iter()
            .chain(&self.hopeless)
            .copied()
            .filter(|_| self.story.dice.u8(..3) > 0)
            .collect();
        let (mut round_trip, mut reaches) = (self.story.round_trip, false);
        let synced: Vec<usize> = told
            .iter()
            .copied()
            .filter(|other| self.cluster.contains(other) && self.story.sim.is_up(*other))
            .collect();
        for other in synced.iter().copied() {
            let is_keeper = self.keepers.contains(&other);
            reaches |= is_keeper;
            match self.story.dice.u8(..6) {
                0 if !is_keeper => self.story.sim.cut(&[host], &[other]),
                1 => {
                    self.story.sim.set_link(host, other, slower(self.story.round_trip, SLOW));
                    round_trip += if is_keeper { 2 * SLOW } else { Duration::ZERO };
                }
                _ => {}
            }
        }
        let (mut is_island, mut fresh_told) = (!reaches, Vec::new());
        for fresh in self.fresh.iter().filter(|fresh| self.tells_fresh && !fresh.is_island) {
            if self.story.dice.bool() {
                fresh_told.push(fresh.host);
                is_island = false;
            }
        }
        told.extend(&fresh_told);
        self.story.sim.set_discovery(answers);
        self.story.start_busy();
        self.story.sim.set_discovery(Duration::ZERO);
        let mut keeper_told = now;
        for other in told {
            let is_late = !answers.is_zero() && self.story.dice.bool();
            if !is_late {
                self.story.sim.connect(host, other);
                continue;
            }
            // Discovery hands over what it found, and then reports that this is all.
            let at = now + answers - MS / 2;
            self.acts.push((at, Act::Tell(host, other)));
            keeper_told = if self.keepers.contains(&other) { at } else { keeper_told };
        }
        let synced: Vec<Sums> = synced
            .iter()
            .chain(&fresh_told)
            .filter(|other| self.story.is_synced(**other))
            .map(|other| self.story.held(*other))
            .collect();
        let must = if reaches { least_sums(&synced) } else { Sums::new() };
        let due = reaches.then(|| keeper_told + 6 * round_trip + 200 * MS);
        self.fresh.push(Fresh { host, began: now, must, due, is_island });
    }

    /// Lets time run until `until`, and looks at the fresh nodes after every event.
    fn watch(&mut self, until: Duration) -> Result<(), String> {
        while self.story.sim.now() < until {
            let step = (100 * MS).min(until - self.story.sim.now());
            let mut seen = None;
            let hosts: Vec<usize> = self
                .fresh
                .iter()
                .map(|fresh| fresh.host)
                .filter(|host| !self.story.is_ready(*host))
                .collect();
            let opened = self.story.sim.run_watched(step, |sim: &mut Sim| {
                seen = hosts.iter().copied().find(|host| {
                    sim.machine(*host).is_some_and(|m| m.is_synced() || m.readiness().is_ok())
                });
                if seen.is_some() { Err(()) } else { Ok(()) }
            });
            if opened.is_err() {
                self.opened(seen.expect("a node opened"))?;
            }
            self.overdue()?;
            self.story.check_claims()?;
        }
        self.story.sim.verdict().map_err(|failure| failure.to_string())
    }

    /// Checks a fresh node that has just become synced or ready.
    fn opened(&self, host: usize) -> Result<(), String> {
        let fresh = self.fresh.iter().find(|fresh| fresh.host == host).expect("a fresh one");
        let (held, took) = (self.story.held(host), self.story.sim.now() - fresh.began);
        let is_patience_over = took >= ProtocolConfig::default().ready_within;
        if has_all(&held, &fresh.must) || (is_patience_over && !self.story.is_synced(host)) {
            return Ok(());
        }
        Err(format!(
            "node {host} opened after {took:?} with {held:?}, but the nodes that it was told of held {:?}",
            fresh.must
        ))
    }

    fn overdue(&self) -> Result<(), String> {
        let now = self.story.sim.now();
        let is_overdue = |fresh: &&Fresh| {
            fresh.due.is_some_and(|due| due < now) && !self.story.is_synced(fresh.host)
        };
        match self.fresh.iter().find(is_overdue) {
            Some(fresh) => Err(format!(
                "node {} was due at {:?} and is not synced at {now:?}; it started at {:?}",
                fresh.host, fresh.due, fresh.began
            )),
            None => Ok(()),
        }
    }
}

/// The least of each sum over all nodes.
fn least_sums(all: &[Sums]) -> Sums {
    let least = |(key, sum): (_, &i128)| {
        all.iter().map(|sums| sums.get(key).copied().unwrap_or(0)).fold(*sum, i128::min)
    };
    all.first()
        .into_iter()
        .flatten()
        .map(|(key, sum)| (*key, least((key, sum))))
        .filter(|(_, sum)| *sum > 0)
        .collect()
}

fn joins(seed: u64, tells_fresh: bool) -> Result<(), String> {
    let mut start = Start::new(seed, tells_fresh)?;
    start.draw();
    start.run()?;
    let all_joined = start.fresh.iter().all(|fresh| fresh.due.is_some());
    if all_joined && !start.story.has_mute { start.story.settles() } else { Ok(()) }
}

/// Fresh nodes find nodes of the cluster, dead ones and silent ones.
fn finds_the_cluster(seed: u64) -> Result<(), String> {
    joins(seed, false)
}

/// Fresh nodes find each other as well. Some find the cluster only by way of another fresh node.
fn finds_fresh_nodes(seed: u64) -> Result<(), String> {
    joins(seed, true)
}

#[test]
fn fresh_node_opens_with_everything() {
    run_stories("starts::fresh_node_opens_with_everything", 0..200, finds_the_cluster);
}

#[test]
#[ignore = "takes minutes; run it in release"]
fn ten_thousand_fresh_nodes_open_with_everything() {
    run_stories(
        "starts::ten_thousand_fresh_nodes_open_with_everything",
        1_000_000..1_000_000 + seeds(10_000),
        finds_the_cluster,
    );
}

/// A fresh node took an unsynced peer's state for everything, while that peer still waited for the
/// cluster (seeds 103, 199, 323).
#[test]
fn mutually_found_fresh_nodes_open_with_everything() {
    run_stories(
        "starts::mutually_found_fresh_nodes_open_with_everything",
        100..100 + seeds(100),
        finds_fresh_nodes,
    );
}

/// A whole cluster starts at once, empty or from its disks. It is synced and equal within 3 s.
fn all_at_once(seed: u64) -> Result<(), String> {
    let mut story = Story::new(seed, SimConfig::default());
    let count = story.dice.usize(2..=6);
    let from_disk = story.dice.bool();
    let nodes: Vec<usize> = (0..count).map(|_| story.start_busy()).collect();
    if from_disk {
        // Each node holds its own adds, and nothing of the others.
        story.sim.run_for(SECOND);
        nodes.iter().for_each(|node| story.sim.crash(*node));
        story.sim.run_for(SECOND);
        nodes.iter().for_each(|node| story.sim.restart(*node, true));
    }
    for a in 0..count {
        (0..a).for_each(|b| {
            if story.dice.bool() { story.sim.connect(a, b) } else { story.sim.connect_both(a, b) }
        });
    }
    let all = |story: &mut Story| {
        nodes.iter().all(|node| story.is_synced(*node) && story.is_ready(*node))
            && story.sim.is_converged()
    };
    story.run_until("synced and equal", 3 * SECOND, all)?;
    story.settles()
}

#[test]
fn whole_cluster_start_converges_within_three_seconds() {
    run_stories("starts::whole_cluster_start_converges_within_three_seconds", 0..100, all_at_once);
}
