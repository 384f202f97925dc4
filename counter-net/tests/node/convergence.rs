//! Nodes agree on totals, regions and state hash, whatever the order of their starts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{
    PATIENCE, alone, cluster, start, start_all, until, until_all, until_all_show,
};
use counter_net::Discovery;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_agree_on_totals_regions_and_state_hash() {
    let nodes = start_all(&cluster(), &["ord", "fra", "sin"]).await;
    for node in &nodes {
        let clicks = node.counter("clicks").expect("a counter");
        for _ in 0..100 {
            clicks.add(1).expect("added");
        }
        assert_eq!(
            node.view("clicks").regions[&node.info().region].value,
            100,
            "own adds are read at once"
        );
    }
    until_all_show(&nodes, "clicks", 300).await;
    for node in &nodes {
        let values: BTreeMap<_, _> = node
            .view("clicks")
            .regions
            .into_iter()
            .map(|(region, row)| (region, row.value))
            .collect();
        assert_eq!(
            values,
            BTreeMap::from([("fra".into(), 100), ("ord".into(), 100), ("sin".into(), 100)])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_one_region_add_up() {
    let nodes = start_all(&cluster(), &["ord", "ord"]).await;
    for node in &nodes {
        let clicks = node.counter("clicks").expect("a counter");
        clicks.add(100).expect("added");
        clicks.subtract(1).expect("subtracted");
    }
    until_all_show(&nodes, "clicks", 198).await;
    assert_eq!(nodes[0].view("clicks").regions["ord"].value, 198);
    until(&nodes[0], "two nodes in the region", |node| {
        node.view("clicks").regions["ord"].nodes == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn synced_fresh_node_has_everything() {
    let name = cluster();
    let nodes = start_all(&name, &["ord", "fra"]).await;
    nodes[0].counter("clicks").expect("a counter").add(7).expect("added");
    nodes[1].counter("clicks").expect("a counter").subtract(9).expect("subtracted");
    until_all_show(&nodes, "clicks", -2).await;
    let fresh = start(&name, "syd", &[&nodes[0]]).await;
    tokio::time::timeout(PATIENCE, fresh.synced()).await.expect("synced");
    let view = fresh.view("clicks");
    assert_eq!(
        (view.total, view.regions["ord"].value, view.regions["fra"].value, view.synced),
        (-2, 7, -9, true)
    );
    assert_eq!(view.regions["syd"].nodes, 1, "its own region is shown without a click");
}

#[tokio::test(flavor = "multi_thread")]
async fn adds_before_the_first_peer_arrive() {
    let name = cluster();
    let first = start(&name, "ord", &[]).await;
    let clicks = first.counter("clicks").expect("a counter");
    for _ in 0..50 {
        clicks.add(1).expect("added");
        tokio::task::yield_now().await;
    }
    let second = start(&name, "fra", &[&first]).await;
    clicks.add(1).expect("added");
    until_all_show(&[first, second], "clicks", 51).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_node_joins_ten_thousand_counters() {
    let name = cluster();
    let full = start(&name, "ord", &[]).await;
    for n in 0..10_000_u64 {
        full.counter(&format!("counter-{n}")).expect("a counter").add(n + 1).expect("added");
    }
    until(&full, "the flush", |node| node.metrics_text().contains("counter_cells 10000\n")).await;
    let empty = start(&name, "fra", &[&full]).await;
    tokio::time::timeout(PATIENCE, empty.synced()).await.expect("synced");
    until_all(&[&empty, &full], "equal state hashes", || {
        empty.view("").state_hash == full.view("").state_hash
    })
    .await;
    for n in [0, 1, 4_999, 9_999] {
        assert_eq!(empty.view(&format!("counter-{n}")).total, n + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flush_of_three_thousand_counters_arrives() {
    let name = cluster();
    let first = alone(&name, "ord")
        .flush_interval(Duration::from_millis(500))
        .start()
        .await
        .expect("starts");
    let second = start(&name, "fra", &[&first]).await;
    let third = start(&name, "sin", &[&first]).await;
    let nodes = [first, second, third];
    for node in &nodes {
        node.synced().await;
    }
    let counters: Vec<_> =
        (0..3_000).map(|n| nodes[0].counter(&format!("c{n}")).expect("a counter")).collect();
    for counter in &counters {
        counter.add(1).expect("added");
    }
    until(&nodes[0], "the flush", |node| node.metrics_text().contains("counter_cells 3000\n"))
        .await;
    until_all_show(&nodes, "c2999", 1).await;
    for node in &nodes {
        assert!((0..3_000).all(|n| node.view(&format!("c{n}")).total == 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_clears_what_it_saw_everywhere() {
    let nodes = start_all(&cluster(), &["ord", "fra"]).await;
    nodes[0].counter("clicks").expect("a counter").add(5).expect("added");
    nodes[1].counter("clicks").expect("a counter").add(6).expect("added");
    until_all_show(&nodes, "clicks", 11).await;
    nodes[1].counter("clicks").expect("a counter").reset().expect("reset");
    assert_eq!(nodes[1].view("clicks").total, 0);
    until_all_show(&nodes, "clicks", 0).await;
    nodes[0].counter("clicks").expect("a counter").add(2).expect("added");
    until_all_show(&nodes, "clicks", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_linked_through_a_third_agree() {
    let name = cluster();
    let middle = start(&name, "ord", &[]).await;
    let left = start(&name, "fra", &[&middle]).await;
    let right = start(&name, "sin", &[&middle]).await;
    left.counter("clicks").expect("a counter").add(3).expect("added");
    right.counter("clicks").expect("a counter").add(4).expect("added");
    until_all_show(&[left, middle, right], "clicks", 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_discovery_is_synced_at_once() {
    let node = alone(&cluster(), "ord").discover(Discovery::None).start().await.expect("starts");
    tokio::time::timeout(Duration::from_millis(200), node.synced()).await.expect("synced");
    assert!(node.info().in_touch && node.is_ready());
}
