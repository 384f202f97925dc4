//! Helpers for tests at a distance: nodes, delays, and a client that misses nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::eventually;
use crate::support::http::{add, connect, counter, get};
use crate::support::network::distance::multiaddr;
pub(crate) use crate::support::network::inside::apart;
use crate::support::process::{Node, Runtime, command};

pub(crate) const KEY: &str = "a key of these tests alone";
/// The amount of each source. Not all are positive.
pub(crate) const AMOUNTS: [(&str, i64); 3] = [("ord", 11), ("fra", 222), ("sin", -3)];
/// A timeout that is longer than any step takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The round trips to test: `usual`, or those of DISTANCE_MS, such as `200` or `0,320`.
pub(crate) fn round_trips(usual: &[u64]) -> Vec<Duration> {
    let said = std::env::var("DISTANCE_MS").ok();
    let parse = |text: String| {
        text.split(',').map(|one| one.trim().parse().expect("DISTANCE_MS")).collect()
    };
    said.map_or(usual.to_vec(), parse).into_iter().map(Duration::from_millis).collect()
}

/// The time limit for a node to be ready: six round trips, and 200 ms of work.
pub(crate) fn ready_max(round_trip: Duration) -> Duration {
    6 * round_trip + Duration::from_millis(200)
}

static TURN: RwLock<()> = RwLock::new(());

/// Held by a test that measures milliseconds, so that it runs alone.
pub(crate) fn run_alone() -> RwLockWriteGuard<'static, ()> {
    // A failed test must not fail the next one.
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held by the other tests, which may run side by side.
pub(crate) fn run_among_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Fails with all errors of a test with many cases.
#[track_caller]
pub(crate) fn none_failed(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The settings of a node.
#[derive(Clone)]
pub(crate) struct Recipe {
    flags: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Recipe {
    pub(crate) fn new(cluster: &str, region: &str) -> Self {
        let flags = ["--cluster", cluster, "--region", region, "--http", "127.0.0.1:0"];
        Self { flags: flags.map(str::to_owned).to_vec(), variables: Vec::new() }
    }

    fn flag(mut self, name: &str, value: String) -> Self {
        self.flags.extend([name.to_owned(), value]);
        self
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.set("COUNTER_CLUSTER_KEY", key)
    }

    pub(crate) fn discover(self, how: &str) -> Self {
        self.flag("--discover", how.to_owned())
    }

    pub(crate) fn peer(self, address: &str) -> Self {
        self.flag("--peer", address.to_owned())
    }

    pub(crate) fn peers(self, addresses: impl IntoIterator<Item = String>) -> Self {
        addresses.into_iter().fold(self.discover("none"), |recipe, address| recipe.peer(&address))
    }

    pub(crate) fn listen(self, address: SocketAddr) -> Self {
        self.flag("--listen", multiaddr(address))
    }

    pub(crate) fn directory(self, path: &Path) -> Self {
        self.flag("--data-dir", path.display().to_string())
    }

    pub(crate) fn expire(self, rules: &str) -> Self {
        self.set("COUNTER_EXPIRE", rules)
    }

    pub(crate) fn ready_within(self, time: &str) -> Self {
        self.set("COUNTER_READY_WITHIN", time)
    }

    /// The ping interval. A viewer that answers no pings is cut after three of them.
    pub(crate) fn ping_interval(self, seconds: u32) -> Self {
        self.flag("--ping-interval", seconds.to_string())
    }

    pub(crate) fn command(&self, runtime: &Runtime) -> Command {
        let mut command = command(runtime);
        command.args(&self.flags).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the node and waits for its JSON line, not until it is ready.
    pub(crate) fn start(&self, runtime: &Runtime) -> Node {
        Node::spawn(self.command(runtime))
    }
}

/// Starts nodes that know each other and agree, each with its amount. `at` gives their gossip
/// addresses.
pub(crate) fn sources(
    runtime: &Runtime,
    cluster: &str,
    count: usize,
    at: impl Fn(usize) -> Option<SocketAddr>,
) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (number, (region, amount)) in AMOUNTS[..count].iter().enumerate() {
        let recipe = Recipe::new(cluster, region)
            .key(KEY)
            .peers(nodes.iter().map(|node| node.gossip.clone()));
        let recipe = at(number).into_iter().fold(recipe, Recipe::listen);
        let node = recipe.start(runtime);
        node.until_ready();
        add(&node.http, *amount);
        nodes.push(node);
    }
    let total: i64 = AMOUNTS[..count].iter().map(|(_, amount)| amount).sum();
    eventually("the sources agree", PATIENCE, || {
        let seen: Vec<Value> = nodes.iter().map(|node| counter(&node.http, "clicks")).collect();
        let same = seen
            .iter()
            .all(|one| one["total"] == total && one["state_hash"] == seen[0]["state_hash"]);
        if same { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    nodes
}

pub(crate) fn status(node: &Node) -> Value {
    get(&node.http, "/api/status").json()
}

/// A node's answers at one moment.
pub(crate) struct Moment {
    /// Since the node's start.
    pub(crate) at: Duration,
    pub(crate) ready: bool,
    /// The answer of `/readyz`.
    pub(crate) reason: String,
    pub(crate) counter: Value,
}

/// Requests readiness and the page's counter in one write, on one connection.
pub(crate) struct Probe {
    http: String,
    started: Instant,
    reader: BufReader<std::net::TcpStream>,
}

impl Probe {
    pub(crate) fn open(node: &Node) -> Self {
        let stream = connect(&node.http);
        stream.set_nodelay(true).unwrap();
        Self { http: node.http.clone(), started: node.started, reader: BufReader::new(stream) }
    }

    pub(crate) fn ask(&mut self) -> Moment {
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.http);
        let both = request("/readyz") + &request("/api/counters/clicks");
        self.reader.get_mut().write_all(both.as_bytes()).unwrap();
        let (status, reason) = self.answer();
        let at = self.started.elapsed();
        let (_, counter) = self.answer();
        Moment {
            at,
            ready: status == 200,
            reason,
            counter: serde_json::from_str(&counter).unwrap(),
        }
    }

    fn answer(&mut self) -> (u16, String) {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            assert!(
                self.reader.read_line(&mut head).unwrap() > 0,
                "the node closed the connection: {head}"
            );
            if let Some(value) = head[from..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("{head}")), String::from_utf8(body).unwrap())
    }
}
