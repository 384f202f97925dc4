//! A rolling restart of real processes: its cost, and its end when the last node is back.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::http::{add, agreed, get, metric};
use crate::support::process::{Node, Runtime, cluster};

/// The number of nodes, unless `COUNTER_NODES` is set.
const NODES: usize = 4;

/// The payload bytes that a node sent since its start, by metric. Gossip to any number of nodes
/// counts once.
fn sent(node: &Node) -> f64 {
    let text = get(&node.http, "/metrics").body;
    let samples = text
        .lines()
        .filter_map(|line| line.strip_prefix("counter_payload_bytes_total{direction=\"out\""));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// All nodes hold each other's incarnations and no others, and their states are equal.
fn settled(nodes: &[Node], total: u64) {
    eventually("only the living are left", Duration::from_secs(60), || {
        let held: Vec<Option<f64>> =
            nodes.iter().map(|node| metric(&node.http, "counter_replicas")).collect();
        let seen = agreed(&nodes.iter().map(|node| node.http.as_str()).collect::<Vec<_>>());
        let holds = seen == total && held.iter().all(|held| *held == Some(nodes.len() as f64));
        if holds { Ok(()) } else { Err(format!("{seen} of {total}, {held:?}")) }
    });
}

/// Phoenix's tracker took 20 minutes to settle after a rolling restart (phoenix_pubsub #135).
#[test]
fn rolling_restart_is_cheap_and_soon_over() {
    let count =
        std::env::var("COUNTER_NODES").ok().and_then(|count| count.parse().ok()).unwrap_or(NODES);
    let (runtime, cluster) = (Runtime::new(), cluster());
    let directories: Vec<_> = (0..count).map(|at| runtime.path().join(format!("r{at}"))).collect();
    let start = |at: usize| Node::start_in(&runtime, &cluster, &directories[at], &[]);
    let mut nodes: Vec<Node> = (0..count).map(start).collect();
    nodes.iter().for_each(|node| add(&node.http, 1));
    settled(&nodes, count as u64);
    let (began, mut bytes) = (Instant::now(), -nodes.iter().map(sent).sum::<f64>());
    for at in 0..count {
        let node = nodes.remove(at);
        bytes += sent(&node);
        assert!(node.terminate().success());
        nodes.insert(at, start(at));
        add(&nodes[at].http, 1);
    }
    let last = Instant::now();
    settled(&nodes, 2 * count as u64);
    bytes += nodes.iter().map(sent).sum::<f64>();
    let each = bytes / (count * count) as f64;
    println!(
        "a roll of {count} nodes in {:?}, settled {:?} after the last start: a node sends \
            {each:.0} bytes for each restart",
        began.elapsed(),
        last.elapsed()
    );
    assert!(each < 20_000.0, "{each} bytes");
}
