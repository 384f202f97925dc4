//! A node that is cut off on purpose. Both sides count apart and show only the nodes they reach,
//! and after the heal the sums meet.

use std::time::{Duration, Instant};

use crate::cluster::{self, metric, start_all, until, until_all_show};
use counter_net::Node;

fn add(node: &Node, amount: u64) {
    node.counter("clicks").expect("a counter").add(amount).expect("added");
}

fn region(node: &Node, region: &str) -> (i128, u64, u64) {
    node.view("clicks")
        .regions
        .get(region)
        .map_or((0, 0, 0), |row| (row.value, row.connected, row.nodes))
}

#[tokio::test(flavor = "multi_thread")]
async fn isolated_sides_count_apart_and_meet_again() {
    let nodes = start_all(&cluster::cluster(), &["ord", "fra", "sin"]).await;
    let _viewers: Vec<_> = nodes.iter().map(Node::viewer).collect();
    add(&nodes[0], 10);
    until_all_show(&nodes, "clicks", 10).await;
    for (cut, other) in [(0, 1), (2, 1)] {
        let before = nodes[other].view("clicks").total;
        nodes[cut].set_isolated(true);
        until(&nodes[cut], "it reaches nobody", |node| {
            node.info().peers == 0 && !node.info().in_touch
        })
        .await;
        add(&nodes[cut], 3);
        add(&nodes[other], 4);
        // If dialling could still cross the cut, it would do so within this wait.
        let code = ["ord", "fra", "sin"][cut];
        until(&nodes[other], "nobody is live there", |node| {
            region(node, code).1 == 0 && region(node, code).2 == 0
        })
        .await;
        until(&nodes[cut], "nobody else is live", |node| region(node, "fra").2 == 0).await;
        assert_eq!(region(&nodes[cut], code).1, 1, "its own viewer stays");
        assert_eq!(
            (nodes[cut].view("clicks").total, nodes[other].view("clicks").total),
            (before + 3, before + 4)
        );
        assert_ne!(nodes[cut].view("clicks").state_hash, nodes[other].view("clicks").state_hash);
        let healed = Instant::now();
        nodes[cut].set_isolated(false);
        until_all_show(&nodes, "clicks", before + 7).await;
        assert!(
            healed.elapsed() < Duration::from_secs(5),
            "the sums met after {:?}",
            healed.elapsed()
        );
        for node in &nodes {
            until(node, "every node is back, once", |node| {
                ["ord", "fra", "sin"].iter().all(|code| {
                    let (_, connected, nodes) = region(node, code);
                    (connected, nodes) == (1, 1)
                })
            })
            .await;
        }
    }
    assert!(
        nodes.iter().all(|node| metric(node, "counter_peers_cut_total", "") == 0.0),
        "nobody is blamed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_isolation_changes_nothing() {
    let nodes = start_all(&cluster::cluster(), &["ord", "fra"]).await;
    nodes[0].set_isolated(false);
    (0..10).for_each(|turn| nodes[1].set_isolated(turn % 2 == 0));
    assert!(!nodes[1].is_isolated());
    add(&nodes[0], 1);
    until_all_show(&nodes, "clicks", 1).await;
    nodes[1].set_isolated(true);
    nodes[1].shutdown().await;
}
