//! Two rolling restarts change the cluster's key while every running node takes adds.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::http::{agreed, counter, get, try_add};
use crate::support::network::apart::{Apart, place};
use crate::support::network::distance::{ReservedPort, multiaddr};
use crate::support::network::inside::apart;
use crate::support::process::{Node, Runtime, cluster, command};
use serde_json::Value;

const REGIONS: [&str; 3] = ["ord", "fra", "sin"];
const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "IB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgE=";
const PATIENCE: Duration = Duration::from_secs(60);
/// A node that cannot get in is watched for this long.
const REFUSED_FOR: Duration = Duration::from_secs(4);
/// The most time of a restart on a busy machine, with both other nodes 200 ms away.
const RESTART_MAX: Duration = Duration::from_secs(10);
const ADD_EVERY: Duration = Duration::from_millis(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The places of the nodes, and their shared settings.
struct RotatedCluster {
    runtime: Runtime,
    cluster: String,
    places: Vec<SocketAddr>,
    with_directories: bool,
}

impl RotatedCluster {
    fn new(places: Vec<SocketAddr>, with_directories: bool) -> Self {
        Self { runtime: Runtime::new(), cluster: cluster(), places, with_directories }
    }

    /// Starts the node at this place, which dials those at all others.
    fn start(&self, at: usize, keys: &str) -> Node {
        let mut command = command(&self.runtime);
        let region = REGIONS.get(at).unwrap_or(&"late");
        command.args([
            "--cluster",
            &self.cluster,
            "--region",
            region,
            "--http",
            "127.0.0.1:0",
            "--discover",
            "none",
        ]);
        command.args(["--listen", &multiaddr(self.places[at])]);
        for other in (0..REGIONS.len()).filter(|other| *other != at) {
            command.args(["--peer", &multiaddr(self.places[other])]);
        }
        if self.with_directories {
            command.arg("--data-dir").arg(self.runtime.path().join(region));
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.runtime.path().join("log"))
            .unwrap();
        command.env("COUNTER_CLUSTER_KEY", keys).env_remove("RUST_LOG").stderr(log);
        Node::spawn(command)
    }

    /// The log lines about keys, except those of starts.
    fn lines_about_keys(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.runtime.path().join("log")).unwrap();
        assert!(log.contains("node started"), "the log is kept: {log}");
        log.lines()
            .filter(|line| line.contains("key") && !line.contains("node started"))
            .map(str::to_owned)
            .collect()
    }
}

/// The observations of the nodes at one place.
#[derive(Default)]
struct Observations {
    looks: usize,
    /// The run of the node that was looked at last.
    replica: String,
    /// True once the node was in touch in that run. `complete` is true once it had all others as
    /// live members.
    in_touch: bool,
    complete: bool,
    /// Statuses that show a lost connection or trouble with a key, and refusals because of a key.
    wrong: Vec<String>,
}

impl Observations {
    fn look(&mut self, node: &Node) {
        let status = get(&node.http, "/api/status").json();
        if self.replica != node.replica {
            *self = Self {
                replica: node.replica.clone(),
                in_touch: false,
                complete: false,
                ..std::mem::take(self)
            };
        }
        self.looks += 1;
        let (in_touch, live) = (status["in_touch"] == true, live_members(&status));
        // One node at a time restarts.
        let has_lost = self.in_touch && !in_touch || self.complete && live < REGIONS.len() - 1;
        if has_lost || status["trouble"].as_str().unwrap().contains("key") {
            self.wrong.push(status.to_string());
        }
        self.in_touch |= in_touch;
        self.complete |= live == REGIONS.len();
    }

    /// Reads the metrics at the end of a run. Each refusal because of a key is wrong.
    fn add_refusals(&mut self, node: &Node) {
        let metrics = get(&node.http, "/metrics").body;
        let is_refusal = |line: &&str| {
            line.contains("\"wrong_key\"")
                || line.contains("cause=\"key\"") && !line.ends_with(" 0")
        };
        self.wrong.extend(metrics.lines().filter(is_refusal).map(str::to_owned));
    }
}

fn live_members(status: &Value) -> usize {
    status["members"]
        .as_array()
        .map_or(0, |members| members.iter().filter(|member| member["live"] == true).count())
}

/// One place: the node running there, if any, and the observations of all its nodes.
#[derive(Default)]
struct NodePlace {
    node: Mutex<Option<Node>>,
    seen: Mutex<Observations>,
    acknowledged: AtomicU64,
}

impl NodePlace {
    /// Locked during a request, so that the node is not stopped meanwhile.
    fn node(&self) -> MutexGuard<'_, Option<Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Observations> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_until(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            if let Some(node) = &*self.node() {
                assert!(try_add(&node.http).unwrap(), "a running node takes every add");
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(ADD_EVERY);
        }
    }

    fn look_until(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            if let Some(node) = &*self.node() {
                self.seen().look(node);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Ends threads, also if the test fails.
struct StopThreads<'a>(&'a AtomicBool);

impl Drop for StopThreads<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every node is connected to all others, and knows them as live.
fn until_complete(places: &[NodePlace]) {
    eventually("all nodes see each other", PATIENCE, || {
        for place in places {
            let Some(status) =
                place.node().as_ref().map(|node| get(&node.http, "/api/status").json())
            else {
                return Err("a node is missing".to_owned());
            };
            if status["peers"] != places.len() as u64 - 1
                || live_members(&status) != places.len()
                || status["in_touch"] != true
            {
                return Err(status.to_string());
            }
        }
        Ok(())
    });
}

/// Restarts one node after the other, like an operator. Returns the longest time that one was
/// missing for the others.
fn roll(site: &RotatedCluster, places: &[NodePlace], keys: &str) -> Duration {
    let mut slowest = Duration::ZERO;
    for (at, place) in places.iter().enumerate() {
        let node = place.node().take().unwrap();
        place.seen().add_refusals(&node);
        let began = Instant::now();
        assert!(node.terminate().success());
        *place.node() = Some(site.start(at, keys));
        until_complete(places);
        place.node().as_ref().unwrap().until_ready();
        assert!(
            began.elapsed() < RESTART_MAX,
            "the restart of node {at} took {:?}",
            began.elapsed()
        );
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

fn change_key(site: &RotatedCluster) {
    let places: Vec<NodePlace> = REGIONS.iter().map(|_| NodePlace::default()).collect();
    for (at, place) in places.iter().enumerate() {
        *place.node() = Some(site.start(at, OLD));
    }
    until_complete(&places);
    let both = format!("{OLD},{NEW}");
    let over = AtomicBool::new(false);
    let (slowest, took) = std::thread::scope(|scope| {
        let _over = StopThreads(&over);
        for place in &places {
            scope.spawn(|| place.add_until(&over));
            scope.spawn(|| place.look_until(&over));
        }
        std::thread::sleep(Duration::from_millis(500));
        let began = Instant::now();
        (roll(site, &places, &both).max(roll(site, &places, NEW)), began.elapsed())
    });
    let acknowledged: u64 =
        places.iter().map(|place| place.acknowledged.load(Ordering::Relaxed)).sum();
    let nodes: Vec<Node> = places.iter().map(|place| place.node().take().unwrap()).collect();
    let pages: Vec<&str> = nodes.iter().map(|node| node.http.as_str()).collect();
    assert_eq!(agreed(&pages), acknowledged, "every add that was acknowledged counts once");
    for (place, node) in places.iter().zip(&nodes) {
        let mut seen = place.seen();
        seen.add_refusals(node);
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        assert!(seen.looks > 20, "the node was looked at {} times", seen.looks);
    }
    assert_eq!(site.lines_about_keys(), Vec::<String>::new());
    let looks: usize = places.iter().map(|place| place.seen().looks).sum();
    println!(
        "two rolls in {took:?}, the slowest restart {slowest:?}; {acknowledged} adds, {looks} \
            looks at the status"
    );
    let late = site.start(REGIONS.len(), OLD);
    let end = Instant::now() + REFUSED_FOR;
    eventually("the old key is refused", PATIENCE, || {
        assert_eq!(
            get(&late.http, "/readyz").status,
            503,
            "a node with the old key alone must not serve"
        );
        let status: Value = get(&late.http, "/api/status").json();
        let is_told =
            status["trouble"].as_str().unwrap().contains("cluster key") && status["peers"] == 0;
        if is_told && Instant::now() > end { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(late.terminate().success());
    let late = site.start(REGIONS.len(), &both);
    late.until_ready();
    assert_eq!(counter(&late.http, "clicks")["total"], acknowledged);
}

fn nearby(with_directories: bool) {
    let held: Vec<ReservedPort> =
        (0..=REGIONS.len()).map(|_| ReservedPort::reserve(Ipv4Addr::LOCALHOST).unwrap()).collect();
    change_key(&RotatedCluster::new(
        held.iter().map(|place| place.address).collect(),
        with_directories,
    ));
}

#[test]
fn key_changes_under_load_in_memory() {
    nearby(false);
}

#[test]
fn key_changes_under_load_with_directories() {
    nearby(true);
}

#[test]
fn key_changes_under_load_200_ms_apart() {
    apart("key_rotation::key_changes_under_load_200_ms_apart", || {
        let distance = Apart::new(Duration::from_millis(100)).unwrap();
        distance.remove_all().unwrap();
        change_key(&RotatedCluster::new((0..=REGIONS.len()).map(place).collect(), true));
    });
}
