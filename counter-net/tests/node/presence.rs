//! Viewers and nodes come and go. Every node shows that, and no count drifts.

use std::time::{Duration, Instant};

use crate::cluster::{self, start_all, until, until_all};

#[tokio::test(flavor = "multi_thread")]
async fn viewers_come_and_go_everywhere() {
    let nodes = start_all(&cluster::cluster(), &["ord", "fra", "sin"]).await;
    let viewers: Vec<_> = (0..20).map(|_| nodes[0].viewer()).collect();
    assert_eq!(nodes[0].view("clicks").regions["ord"].connected, 20, "a viewer counts at once");
    for node in &nodes {
        until(node, "20 viewers in ord", |node| {
            node.view("clicks").regions.get("ord").is_some_and(|ord| ord.connected == 20)
        })
        .await;
    }
    drop(viewers);
    assert_eq!(nodes[0].view("clicks").regions["ord"].connected, 0);
    for node in &nodes {
        until(node, "no viewer in ord", |node| node.view("clicks").regions["ord"].connected == 0)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_region_is_shown() {
    let nodes = start_all(&cluster::cluster(), &["ord", "fra", "sin"]).await;
    let _viewer = nodes[1].viewer();
    nodes[0].counter("clicks").expect("a counter").add(1).expect("added");
    for node in &nodes {
        until(node, "clicks in ord, a viewer in fra, a node in sin", |node| {
            let regions = node.view("clicks").regions;
            let is = |region: &str, value, connected| {
                regions.get(region).is_some_and(|row| {
                    (row.value, row.connected, row.nodes) == (value, connected, 1)
                })
            };
            is("ord", 1, 0) && is("fra", 0, 1) && is("sin", 0, 0)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_node_loses_its_viewers_within_six_seconds() {
    let mut nodes = start_all(&cluster::cluster(), &["ord", "fra", "sin"]).await;
    let doomed = nodes.remove(0);
    let viewers: Vec<_> = (0..5).map(|_| doomed.viewer()).collect();
    doomed.counter("clicks").expect("a counter").add(9).expect("added");
    for node in &nodes {
        until(node, "5 viewers and 9 clicks", |node| {
            node.view("clicks")
                .regions
                .get("ord")
                .is_some_and(|ord| (ord.connected, ord.value) == (5, 9))
        })
        .await;
    }
    let died = Instant::now();
    drop(doomed);
    for node in &nodes {
        until(node, "ord has nobody", |node| node.view("clicks").regions["ord"].connected == 0)
            .await;
    }
    assert!(died.elapsed() < Duration::from_secs(6), "it took {:?}", died.elapsed());
    assert!(nodes.iter().all(|node| node.view("clicks").regions["ord"].value == 9));
    drop(viewers);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_removes_a_node_at_once_and_keeps_its_adds() {
    let mut nodes = start_all(&cluster::cluster(), &["ord", "fra", "sin"]).await;
    let leaving = nodes.remove(0);
    let _viewer = leaving.viewer();
    until(&nodes[0], "a viewer in ord", |node| {
        node.view("clicks").regions.get("ord").is_some_and(|ord| ord.connected == 1)
    })
    .await;
    leaving.counter("clicks").expect("a counter").add(4).expect("added");
    let began = Instant::now();
    leaving.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    for node in &nodes {
        until(node, "4 clicks and nobody in ord", |node| {
            node.view("clicks")
                .regions
                .get("ord")
                .is_some_and(|ord| (ord.value, ord.connected, ord.nodes) == (4, 0, 0))
        })
        .await;
    }
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn network_outlives_the_node_that_all_named() {
    let mut nodes = start_all(&cluster::cluster(), &["ord"]).await;
    let name = nodes[0].info().cluster;
    for region in ["fra", "sin"] {
        let node = cluster::start(&name, region, &[&nodes[0]]).await;
        node.synced().await;
        nodes.push(node);
    }
    until_all(&[&nodes[1], &nodes[2]], "fra and sin are connected to each other too", || {
        nodes[1..]
            .iter()
            .all(|node| node.members().iter().filter(|member| member.connected).count() == 2)
    })
    .await;
    drop(nodes.remove(0));
    nodes[0].counter("clicks").expect("a counter").add(1).expect("added");
    cluster::until_all_show(&nodes, "clicks", 1).await;
}
