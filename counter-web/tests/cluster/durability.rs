//! Real processes with data directories, killed at random moments. No acknowledged click is lost,
//! and none counts twice.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::{agreed, metric, try_add};
use crate::support::process::{Node, Runtime, cluster};

/// The number of kills of one node or all three, unless `COUNTER_KILLS` is set.
const KILLS: u64 = 18;

/// The adds that all adding threads have tried, and those that were acknowledged.
#[derive(Default)]
struct AdderTotals {
    tried: AtomicU64,
    acknowledged: AtomicU64,
    over: AtomicBool,
}

impl AdderTotals {
    /// Adds to the node at the address in `http` until the test is over. A killed node refuses.
    fn keep_adding(&self, http: &Mutex<String>) {
        while !self.over.load(Ordering::Relaxed) {
            let http = http.lock().unwrap().clone();
            match try_add(&http) {
                Ok(acknowledged) => {
                    self.acknowledged.fetch_add(u64::from(acknowledged), Ordering::Relaxed);
                    self.tried.fetch_add(1, Ordering::Relaxed);
                }
                // No node was there, so nothing was tried.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    std::thread::sleep(Duration::from_millis(1))
                }
                Err(_) => drop(self.tried.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }
}

#[test]
fn kills_lose_and_double_no_acknowledged_click() {
    let kills =
        std::env::var("COUNTER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let (runtime, cluster, handle) = (Runtime::new(), cluster(), AdderTotals::default());
    let directories = ["ord", "fra", "sin"].map(|region| runtime.path().join(region));
    let start = |at: usize| Node::start_in(&runtime, &cluster, &directories[at], &[]);
    let mut nodes: Vec<Option<Node>> = (0..3).map(|at| Some(start(at))).collect();
    let addresses: Vec<Mutex<String>> =
        nodes.iter().map(|node| Mutex::new(node.as_ref().unwrap().http.clone())).collect();
    let (mut killed, mut together) = (0, 0);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            addresses.iter().for_each(|http| drop(threads.spawn(|| handle.keep_adding(http))));
        }
        while killed < kills {
            // The random moment is the point. Nothing is waited for.
            std::thread::sleep(Duration::from_millis(rand(200)));
            let all = rand(10) == 0;
            together += u64::from(all);
            let one = rand(3) as usize;
            let victims = if all { 0..3 } else { one..one + 1 };
            // Dropping a node kills it as `kill -9` does.
            victims.clone().for_each(|at| nodes[at] = None);
            for at in victims {
                let node = start(at);
                *addresses[at].lock().unwrap() = node.http.clone();
                nodes[at] = Some(node);
                killed += 1;
            }
        }
        handle.over.store(true, Ordering::Relaxed);
    });
    let (acknowledged, tried) = (handle.acknowledged.into_inner(), handle.tried.into_inner());
    let running: Vec<&str> = nodes.iter().flatten().map(|node| node.http.as_str()).collect();
    only_the_living_are_left(&running);
    let total = agreed(&running);
    println!(
        "{kills} kills, {together} times of all three; {acknowledged} acknowledged, {total} \
            counted, {tried} tried; 3 replicas left"
    );
    assert!(
        (acknowledged..=tried).contains(&total),
        "{acknowledged} acknowledged, {total} counted, {tried} tried"
    );
    assert!(acknowledged > 0);
}

/// Every earlier incarnation was absorbed and forgotten. Only these nodes are left as writers.
fn only_the_living_are_left(nodes: &[&str]) {
    eventually("only the living are left", Duration::from_secs(120), || {
        let held: Vec<Option<f64>> =
            nodes.iter().map(|http| metric(http, "counter_replicas")).collect();
        if held.iter().all(|held| *held == Some(nodes.len() as f64)) {
            Ok(())
        } else {
            Err(format!("{held:?}"))
        }
    });
}

fn rand(below: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % below
}
