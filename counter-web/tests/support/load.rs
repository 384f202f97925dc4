//! Clients that give every add an id, and repeat it at other nodes until one with a directory
//! acknowledges it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::eventually;
use super::http::{counter, try_request};

/// The counters that clients add to.
pub const COUNTERS: [&str; 2] = ["clicks", "rounds"];

/// Adds to this one go to any nodes, so two that have not met may both apply an add.
pub const ROAMING: usize = 0;

/// Adds to this one go to one node with a directory, before and after its restarts.
pub const SETTLED: usize = 1;

/// The longest time until an add is acknowledged.
const ADD_WITHIN: Duration = Duration::from_secs(120);

/// The longest time until all nodes show the adds.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// One node as clients see it.
struct LoadTarget {
    /// Empty while no process runs.
    http: Mutex<String>,
    /// True if it has a directory, so that its acknowledgements are certain.
    has_directory: bool,
}

/// All clients of one cluster, and the sums of the certain adds.
pub struct Load {
    targets: Vec<LoadTarget>,
    /// Held for reading during an add, for writing during a pause.
    gate: RwLock<()>,
    over: AtomicBool,
    sums: [AtomicI64; COUNTERS.len()],
    adds: AtomicU64,
    /// Requests beyond the first of an add.
    repeats: AtomicU64,
}

/// Ends the clients when it is dropped, also if the test fails.
pub struct EndLoad<'a>(&'a Load);

impl Drop for EndLoad<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// One entry for each node: true if it has a directory.
    pub fn new(has_directory: &[bool]) -> Self {
        Self {
            targets: has_directory
                .iter()
                .map(|&has_directory| LoadTarget { http: Mutex::default(), has_directory })
                .collect(),
            gate: RwLock::default(),
            over: AtomicBool::default(),
            sums: Default::default(),
            adds: AtomicU64::default(),
            repeats: AtomicU64::default(),
        }
    }

    /// Sets the address of node `at`. Empty while it is stopped.
    pub fn set(&self, at: usize, http: &str) {
        http.clone_into(&mut self.targets[at].http.lock().unwrap());
    }

    /// Adds that are certain.
    pub fn adds(&self) -> u64 {
        self.adds.load(Ordering::Relaxed)
    }

    pub fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// Ends [`run`](Self::run) when it is dropped.
    pub fn ending(&self) -> EndLoad<'_> {
        EndLoad(self)
    }

    /// Does `work` while no client has an add under way.
    pub fn pause<T>(&self, work: impl FnOnce() -> T) -> T {
        let _closed = self.gate.write().unwrap();
        work()
    }

    /// A counter was reset while the clients paused.
    pub fn was_reset(&self, counter: usize) {
        self.sums[counter].store(0, Ordering::Relaxed);
    }

    /// Runs one client until the end. Every fourth client sends ids without a sequence number.
    pub fn run(&self, client: usize, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed ^ client as u64);
        for number in 1.. {
            let _open = self.gate.read().unwrap();
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let at = random.usize(..COUNTERS.len());
            let amount = if random.u8(..5) == 0 { -random.i64(1..=5) } else { random.i64(1..=9) };
            let id = if client % 4 == 3 {
                format!("order {client} {number}")
            } else {
                format!("c{client}:{number}")
            };
            let home = (at == SETTLED).then(|| self.node_with_directory(&mut random));
            let began = Instant::now();
            while !self.send(&mut random, home, at, &id, amount) {
                self.repeats.fetch_add(1, Ordering::Relaxed);
                assert!(
                    began.elapsed() < ADD_WITHIN,
                    "{id} is not acknowledged within {ADD_WITHIN:?}"
                );
            }
            // The add is certain now. A client that lost the response repeats it anywhere.
            if random.u8(..4) == 0 {
                self.repeats.fetch_add(1, Ordering::Relaxed);
                self.send(&mut random, home, at, &id, amount);
            }
            self.sums[at].fetch_add(amount, Ordering::Relaxed);
            self.adds.fetch_add(1, Ordering::Relaxed);
            drop(_open);
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// A random node with a directory.
    fn node_with_directory(&self, random: &mut fastrand::Rng) -> usize {
        let with_directory: Vec<usize> =
            (0..self.targets.len()).filter(|&target| self.targets[target].has_directory).collect();
        with_directory[random.usize(..with_directory.len())]
    }

    /// Sends an add to a random node, or to `home`. Returns true once a node with a directory has
    /// acknowledged it.
    fn send(
        &self,
        random: &mut fastrand::Rng,
        home: Option<usize>,
        at: usize,
        id: &str,
        amount: i64,
    ) -> bool {
        let target = &self.targets[home.unwrap_or_else(|| random.usize(..self.targets.len()))];
        let http = target.http.lock().unwrap().clone();
        let (path, body) =
            (format!("/api/counters/{}/add", COUNTERS[at]), format!("{{\"amount\":{amount}}}"));
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", id)];
        let answer = if http.is_empty() {
            None
        } else {
            try_request(&http, "POST", &path, &headers, &body).ok()
        };
        match answer.as_ref().map(|answer| answer.status) {
            Some(200) => target.has_directory,
            // No response, an incomplete one, or a stopping node.
            None | Some(0 | 503) => {
                std::thread::sleep(Duration::from_millis(2));
                false
            }
            Some(status) => panic!("{id} at {http}: {status} {}", answer.unwrap().body),
        }
    }

    /// Waits until these nodes show exactly the certain adds, in equal states. `why` explains a
    /// failure. Only while the clients pause or have ended.
    pub fn exact(&self, nodes: &[&str], why: impl Fn() -> String) -> [i64; COUNTERS.len()] {
        self.settled(nodes, why, |counter, total| total == self.sum(counter));
        [ROAMING, SETTLED].map(|counter| self.sum(counter))
    }

    /// The same, except for adds that two nodes applied before they met. Both copies count until
    /// the ended incarnation is absorbed.
    pub fn agreed(&self, nodes: &[&str], why: impl Fn() -> String) {
        self.settled(nodes, why, |counter, total| counter == ROAMING || total == self.sum(counter));
    }

    fn sum(&self, counter: usize) -> i64 {
        self.sums[counter].load(Ordering::Relaxed)
    }

    fn settled(
        &self,
        nodes: &[&str],
        why: impl Fn() -> String,
        is_right: impl Fn(usize, i64) -> bool,
    ) {
        eventually("all nodes show what was acknowledged", SETTLED_WITHIN, || {
            let seen = COUNTERS
                .map(|name| nodes.iter().map(|http| counter(http, name)).collect::<Vec<Value>>());
            let is_settled = |(counter, seen): (usize, &Vec<Value>)| {
                let same = seen.iter().all(|one| one["state_hash"] == seen[0]["state_hash"]);
                same && seen[0]["total"].as_i64().is_some_and(|total| is_right(counter, total))
            };
            if seen.iter().enumerate().all(is_settled) {
                return Ok(());
            }
            let totals = seen
                .each_ref()
                .map(|seen| seen.iter().map(|one| one["total"].to_string()).collect::<Vec<_>>());
            let sums = [ROAMING, SETTLED].map(|counter| self.sum(counter));
            Err(format!("{totals:?} of {sums:?}\n{}", why()))
        });
    }
}
