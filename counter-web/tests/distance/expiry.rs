//! A counter expires at nodes far from each other, and leaves nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::far::{KEY, PATIENCE, Recipe, apart, none_failed, round_trips, run_alone};
use crate::support::eventually;
use crate::support::http::{counter, metric, post_json};
use crate::support::network::apart::{Apart, place};
use crate::support::process::{Node, Runtime, cluster};

/// How long the counter lives.
const LIFETIME: Duration = Duration::from_secs(4);

/// The time limit for an end to leave nothing. Its steps are some of a removal's.
fn gone_max(round_trip: Duration) -> Duration {
    Duration::from_secs(3) + 6 * round_trip
}

fn nodes(runtime: &Runtime, cluster: &str) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (number, region) in ["ord", "fra", "sin"].iter().enumerate() {
        let peers = nodes.iter().map(|node| node.gossip.clone());
        let recipe = Recipe::new(cluster, region).key(KEY).peers(peers).listen(place(number));
        let node = recipe.expire("day:*=4s").start(runtime);
        node.until_ready();
        nodes.push(node);
    }
    let sees_all = |node: &Node| metric(&node.http, "counter_peers") == Some(2.0);
    eventually("all are connected", PATIENCE, || match nodes.iter().all(sees_all) {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    });
    nodes
}

fn add(node: &Node, amount: i64) {
    let answer =
        post_json(&node.http, "/api/counters/day:1/add", &format!("{{\"amount\":{amount}}}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn end_far_away(apart: &Apart, round_trip: Duration) -> Option<String> {
    apart.set(|now| now.way = round_trip / 2).unwrap();
    let (runtime, cluster) = (Runtime::new(), cluster());
    let nodes = nodes(&runtime, &cluster);
    let made = Instant::now();
    add(&nodes[0], 1);
    add(&nodes[1], 20);
    let latest = made.elapsed() + LIFETIME;
    eventually("all show both adds", LIFETIME, || {
        let totals: Vec<Value> =
            nodes.iter().map(|node| counter(&node.http, "day:1")["total"].clone()).collect();
        if totals.iter().all(|total| *total == 21) { Ok(()) } else { Err(format!("{totals:?}")) }
    });
    let is_gone = |node: &Node| {
        ["counter_cells", "counter_tombstones", "counter_counters"]
            .iter()
            .all(|name| metric(&node.http, name) == Some(0.0))
    };
    while !nodes.iter().all(is_gone) {
        if made.elapsed() > latest + gone_max(round_trip) {
            return Some(format!("{round_trip:?}: never gone"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let gone = made.elapsed();
    assert!(gone >= LIFETIME, "it lives for four seconds");
    println!("an end, {round_trip:?}: gone {:?} after it", gone.saturating_sub(latest));
    let is_zero = |node: &Node| counter(&node.http, "day:1")["total"] == 0;
    (!nodes.iter().all(is_zero)).then(|| format!("{round_trip:?}: the counter is back"))
}

#[test]
fn expired_counter_leaves_nothing_far_away() {
    let _alone = run_alone();
    apart("expiry::expired_counter_leaves_nothing_far_away", || {
        let far = Apart::new(Duration::ZERO).unwrap();
        far.remove_all().unwrap();
        let failures: Vec<String> = round_trips(&[0, 200])
            .into_iter()
            .filter_map(|round_trip| end_far_away(&far, round_trip))
            .collect();
        none_failed(&failures);
    });
}
