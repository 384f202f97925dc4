//! The time until an add is seen at another node, on loopback, as p50, p90 and p99. Run with
//! `--release -- --ignored --nocapture latency`.

use std::time::{Duration, Instant};

use crate::cluster::{self, cluster, start, start_all};
use counter_net::{Counter, Interest, Node};
use futures::StreamExt;

const ADDS: usize = 500;

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("p50 {:?}, p90 {:?}, p99 {:?}, greatest {:?}", at(50), at(90), at(99), at(100))
}

/// The time from an add until a subscriber at the other node reads it.
async fn seen_after(adding: &Counter, other: &Node) -> Duration {
    let goal = adding.total() + 1;
    let reading = other.counter(adding.name()).expect("a counter");
    let mut changes = other.subscribe(Interest::Counter(adding.name().to_owned()));
    let began = Instant::now();
    adding.add(1).expect("added");
    while reading.total() < goal {
        changes.next().await.expect("the node runs");
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a fact"]
async fn add_to_visible() {
    let nodes = start_all(&cluster(), &["ord", "fra", "sin"]).await;
    let clicks = nodes[0].counter("clicks").expect("a counter");
    let mut times = Vec::new();
    for turn in 0..ADDS {
        times.push(seen_after(&clicks, &nodes[1 + turn % 2]).await);
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    println!("add to visible, 3 nodes, {ADDS} adds: {}", percentiles(times));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a fact"]
async fn start_to_synced_and_first_click() {
    let (mut synced, mut clicked) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let name = cluster();
        let first = start(&name, "ord", &[]).await;
        first.counter("clicks").expect("a counter").add(1).expect("added");
        let began = Instant::now();
        let second = start(&name, "fra", &[&first]).await;
        second.synced().await;
        synced.push(began.elapsed());
        clicked.push(seen_after(&second.counter("clicks").expect("a counter"), &first).await);
    }
    println!("start to synced: {}", percentiles(synced));
    println!("first click right after: {}", percentiles(clicked));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a fact"]
async fn hundred_thousand_keys_to_a_fresh_node() {
    let name = cluster();
    let full = start(&name, "ord", &[]).await;
    for n in 0..100_000 {
        full.counter(&format!("counter-{n}")).expect("a counter").add(n + 1).expect("added");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let fresh = start(&name, "fra", &[&full]).await;
    fresh.synced().await;
    println!("100,000 keys, start to synced: {:?}", began.elapsed());
    assert_eq!(fresh.view("counter-99999").total, 100_000);
}

/// The bytes that all programs have sent over loopback so far.
fn loopback_bytes() -> u64 {
    let table = std::fs::read_to_string("/proc/net/dev").expect("Linux");
    let line =
        table.lines().find_map(|line| line.trim().strip_prefix("lo:")).expect("a loopback device");
    line.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a fact"]
async fn idle_cluster_of_ten() {
    let regions: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
    let nodes =
        start_all(&cluster(), &regions.iter().map(String::as_str).collect::<Vec<_>>()).await;
    nodes[0].counter("clicks").expect("a counter").add(1).expect("added");
    cluster::until_all_show(&nodes, "clicks", 1).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (before, began) = (loopback_bytes(), Instant::now());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let rate = (loopback_bytes() - before) as f64 / began.elapsed().as_secs_f64() / 10.0;
    let lost: f64 =
        nodes.iter().map(|node| cluster::metric(node, "counter_peers_lost_total", "")).sum();
    println!(
        "each of 10 idle nodes sends {rate:.0} bytes/s on the wire, headers included; {lost} peers were given up as lost"
    );
}
