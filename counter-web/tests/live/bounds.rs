//! `--counters-max` refuses new counters only, on real processes in two partitions.

use std::time::Duration;

use crate::support::eventually;
use crate::support::http::{HttpAnswer, add, counter, get, post_json, request};
use crate::support::process::{Node, cluster};

const SOON: Duration = Duration::from_secs(20);
const COUNTERS_MAX: usize = 20;

fn start(cluster: &str, region: &str, peers: &[&Node]) -> Node {
    let flags =
        ["--http", "127.0.0.1:0", "--allow-partition", "--counters-max", &COUNTERS_MAX.to_string()];
    Node::start_with(cluster, region, peers, &flags)
}

fn make(node: &Node, name: &str) -> HttpAnswer {
    post_json(&node.http, &format!("/api/counters/{name}/add"), "{\"amount\":1}")
}

/// The refusal names the bound.
fn is_refused(answer: &HttpAnswer) -> bool {
    let refused = answer.status == 503;
    if refused {
        assert_eq!(answer.error(), (503, "counter_full".to_owned()));
        assert!(answer.body.contains("--counters-max"), "{}", answer.body);
    }
    refused
}

/// Creates counters until the node refuses. Returns their number.
fn fill(node: &Node, letter: char) -> usize {
    (0..=COUNTERS_MAX)
        .find(|at| is_refused(&make(node, &format!("{letter}{at}"))))
        .expect("the node refuses one")
}

fn switch(node: &Node, form: &str) {
    let answer = request(
        &node.http,
        "POST",
        "/partition",
        &[("Origin", &format!("http://{}", node.http))],
        form,
    );
    assert_eq!(answer.status, 303, "{}", answer.body);
}

fn figure(node: &Node, name: &str) -> usize {
    let metrics = get(&node.http, "/metrics").body;
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.parse().ok())
        .unwrap_or_else(|| panic!("no {name}in {metrics}"))
}

fn all_show(nodes: &[&Node], total: i64) {
    eventually("all nodes show it", SOON, || {
        let seen: Vec<_> = nodes.iter().map(|node| counter(&node.http, "clicks")).collect();
        let same = seen
            .iter()
            .all(|one| one["total"] == total && one["state_hash"] == seen[0]["state_hash"]);
        if same { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn old_counters_count_on_when_both_sides_are_full() {
    let cluster = cluster();
    let ord = start(&cluster, "ord", &[]);
    let fra = start(&cluster, "fra", &[&ord]);
    let sin = start(&cluster, "sin", &[&ord, &fra]);
    add(&ord.http, 1);
    all_show(&[&ord, &fra, &sin], 1);
    switch(&ord, "cut=1");
    assert_eq!([fill(&ord, 'a'), fill(&fra, 'b')], [COUNTERS_MAX - 1; 2]);
    eventually("the other node of that side has heard", SOON, || {
        match figure(&sin, "counter_counters ") {
            COUNTERS_MAX => Ok(()),
            held => Err(held.to_string()),
        }
    });
    assert!(is_refused(&make(&sin, "c")));
    // Adds to an old counter in regions that are new to it, on full sides.
    for node in [&ord, &fra, &sin] {
        add(&node.http, 1);
    }
    switch(&ord, "cut=0");
    all_show(&[&ord, &fra, &sin], 4);
    let syd = start(&cluster, "syd", &[&fra]);
    let nodes = [&ord, &fra, &sin, &syd];
    all_show(&nodes, 4);
    for node in nodes {
        assert_eq!(get(&node.http, "/readyz").status, 200);
        // Both sides had `clicks`, so it counts once.
        assert_eq!(figure(node, "counter_counters "), 2 * COUNTERS_MAX - 1);
        assert_eq!(figure(node, "counter_counters_max "), COUNTERS_MAX);
        assert!(is_refused(&make(node, "new")));
        assert_eq!(make(node, "a0").status, 200);
        add(&node.http, 1);
    }
    all_show(&nodes, 8);
}
