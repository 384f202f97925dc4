//! The cluster's key is changed with two rolling restarts, while every running node takes adds.

#[path = "../support/mod.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::apart::{Apart, place};
use support::distance::{Place, multiaddr};
use support::eventually;
use support::http::{agreed, counter, get, try_add};
use support::inside::apart;
use support::process::{Node, Runtime, cluster, command};

const REGIONS: [&str; 3] = ["ord", "fra", "sin"];
const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "IB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgE=";
const PATIENCE: Duration = Duration::from_secs(60);
/// A node that cannot get in is watched for this long.
const REFUSED_FOR: Duration = Duration::from_secs(4);
/// A restart, with the handshakes of both others 200 ms away, on a busy machine.
const RESTART_MAX: Duration = Duration::from_secs(10);
const ADD_EVERY: Duration = Duration::from_millis(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where the nodes are, and what they share.
struct Site {
    runtime: Runtime,
    cluster: String,
    places: Vec<SocketAddr>,
    with_directories: bool,
}

impl Site {
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

    /// What the nodes have logged about keys, without the lines of their starts.
    fn lines_about_keys(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.runtime.path().join("log")).unwrap();
        assert!(log.contains("node started"), "the log is kept: {log}");
        log.lines()
            .filter(|line| line.contains("key") && !line.contains("node started"))
            .map(str::to_owned)
            .collect()
    }
}

/// What the nodes at one place have shown of themselves.
#[derive(Default)]
struct Seen {
    looks: usize,
    /// The run of the node that was looked at last.
    replica: String,
    /// In that run it has been in touch, and then with all others.
    in_touch: bool,
    complete: bool,
    /// Statuses that no run may show once it was in touch, and anything that speaks of keys.
    wrong: Vec<String>,
}

impl Seen {
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

    /// At the end of a run: nobody was refused in it.
    fn count(&mut self, node: &Node) {
        let metrics = get(&node.http, "/metrics").body;
        let told = |line: &&str| {
            line.contains("\"wrong_key\"")
                || line.contains("cause=\"key\"") && !line.ends_with(" 0")
        };
        self.wrong.extend(metrics.lines().filter(told).map(str::to_owned));
    }
}

fn live_members(status: &Value) -> usize {
    status["members"]
        .as_array()
        .map_or(0, |members| members.iter().filter(|member| member["live"] == true).count())
}

/// One place: the node that runs there, if any, and what was seen of all that did.
#[derive(Default)]
struct Seat {
    node: Mutex<Option<Node>>,
    seen: Mutex<Seen>,
    acknowledged: AtomicU64,
}

impl Seat {
    /// Held while the node is asked, so that it is not stopped meanwhile.
    fn node(&self) -> MutexGuard<'_, Option<Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
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

/// Ends threads also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn until_ready(node: &Node) {
    eventually("the node is ready", PATIENCE, || match get(&node.http, "/readyz") {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.body),
    });
}

/// Every node is connected to all others, and knows them as live.
fn until_complete(seats: &[Seat]) {
    eventually("all nodes see each other", PATIENCE, || {
        for seat in seats {
            let Some(status) =
                seat.node().as_ref().map(|node| get(&node.http, "/api/status").json())
            else {
                return Err("a node is missing".to_owned());
            };
            if status["peers"] != seats.len() as u64 - 1
                || live_members(&status) != seats.len()
                || status["in_touch"] != true
            {
                return Err(status.to_string());
            }
        }
        Ok(())
    });
}

/// Restarts one node after the other as an operator does. Returns how long the slowest one was not
/// there for all others.
fn roll(site: &Site, seats: &[Seat], keys: &str) -> Duration {
    let mut slowest = Duration::ZERO;
    for (at, seat) in seats.iter().enumerate() {
        let node = seat.node().take().unwrap();
        seat.seen().count(&node);
        let began = Instant::now();
        assert!(node.terminate().success());
        *seat.node() = Some(site.start(at, keys));
        until_complete(seats);
        until_ready(seat.node().as_ref().unwrap());
        assert!(
            began.elapsed() < RESTART_MAX,
            "the restart of node {at} took {:?}",
            began.elapsed()
        );
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

fn change_key(site: &Site) {
    let seats: Vec<Seat> = REGIONS.iter().map(|_| Seat::default()).collect();
    for (at, seat) in seats.iter().enumerate() {
        *seat.node() = Some(site.start(at, OLD));
    }
    until_complete(&seats);
    let both = format!("{OLD},{NEW}");
    let over = AtomicBool::new(false);
    let (slowest, took) = std::thread::scope(|scope| {
        let _over = Over(&over);
        for seat in &seats {
            scope.spawn(|| seat.add_until(&over));
            scope.spawn(|| seat.look_until(&over));
        }
        std::thread::sleep(Duration::from_millis(500));
        let began = Instant::now();
        (roll(site, &seats, &both).max(roll(site, &seats, NEW)), began.elapsed())
    });
    let acknowledged: u64 =
        seats.iter().map(|seat| seat.acknowledged.load(Ordering::Relaxed)).sum();
    let nodes: Vec<Node> = seats.iter().map(|seat| seat.node().take().unwrap()).collect();
    let pages: Vec<&str> = nodes.iter().map(|node| node.http.as_str()).collect();
    assert_eq!(agreed(&pages), acknowledged, "every add that was acknowledged counts once");
    for (seat, node) in seats.iter().zip(&nodes) {
        let mut seen = seat.seen();
        seen.count(node);
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        assert!(seen.looks > 20, "the node was looked at {} times", seen.looks);
    }
    assert_eq!(site.lines_about_keys(), Vec::<String>::new());
    let looks: usize = seats.iter().map(|seat| seat.seen().looks).sum();
    println!(
        "two rolls in {took:?}, the slowest restart {slowest:?}; {acknowledged} adds, {looks} looks at the status"
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
    until_ready(&late);
    assert_eq!(counter(&late.http, "clicks")["total"], acknowledged);
}

fn nearby(with_directories: bool) {
    let held: Vec<Place> =
        (0..=REGIONS.len()).map(|_| Place::reserve(Ipv4Addr::LOCALHOST).unwrap()).collect();
    change_key(&Site::new(held.iter().map(|place| place.address).collect(), with_directories));
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
    apart("key_changes_under_load_200_ms_apart", || {
        let distance = Apart::new(Duration::from_millis(100)).unwrap();
        distance.remove_all().unwrap();
        change_key(&Site::new((0..=REGIONS.len()).map(place).collect(), true));
    });
}
