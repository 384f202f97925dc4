//! The cost of one restart for the others, in bytes between real nodes with data directories.
//! `COUNTER_KEYS` sets the number of counters.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cluster::{address, alone, cluster, eventually};
use counter_net::Node;

/// The counters of the node that restarts, and the most bytes that each counter may cost each of
/// the others.
const KEYS: u64 = 3_000;
const BYTES_A_KEY_MAX: u64 = 60;

/// A directory that is removed with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!(
            "counter-restart-{}-{:016x}",
            std::process::id(),
            fastrand::u64(..)
        ));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    async fn start(&self, cluster: &str, region: &str, peers: &[&Node]) -> Node {
        let builder = alone(cluster, region).data_dir(self.0.join(region));
        peers
            .iter()
            .fold(builder, |builder, peer| builder.peer(address(peer)))
            .start()
            .await
            .unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// The sum of all metrics whose line begins like this. Labels come after the name.
fn metric(node: &Node, begins: &str) -> u64 {
    let text = node.metrics_text();
    text.lines()
        .filter_map(|line| line.strip_prefix(begins)?.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

fn received(node: &Node) -> u64 {
    metric(node, "counter_payload_bytes_total{direction=\"in\"")
}

fn are_equal(nodes: &[&Node]) -> bool {
    let first = nodes[0].view("clicks").state_hash;
    nodes.iter().all(|node| node.view("clicks").state_hash == first)
}

/// True if all nodes hold exactly three writers, in equal states.
fn is_over(nodes: &[&Node]) -> bool {
    nodes.iter().all(|node| {
        metric(node, "counter_replicas ") == 3 && metric(node, "counter_incarnations_ended ") == 0
    }) && are_equal(nodes)
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_costs_two_copies_of_its_cells() {
    let _quiet = crate::QUIET.lock().await;
    let keys =
        std::env::var("COUNTER_KEYS").ok().and_then(|keys| keys.parse().ok()).unwrap_or(KEYS);
    let (scratch, cluster) = (Scratch::new(), cluster());
    let ord = scratch.start(&cluster, "ord", &[]).await;
    let fra = scratch.start(&cluster, "fra", &[&ord]).await;
    let sin = scratch.start(&cluster, "sin", &[&ord, &fra]).await;
    for key in 0..keys {
        ord.counter(&format!("counter-{key:07}")).unwrap().add(key % 1000 + 1).unwrap();
    }
    eventually("all are equal", || {
        metric(&sin, "counter_cells ") == keys && are_equal(&[&ord, &fra, &sin])
    })
    .await;
    let before = [&fra, &sin].map(received);
    ord.shutdown().await;
    let (began, ord) = (Instant::now(), scratch.start(&cluster, "ord", &[&fra, &sin]).await);
    // The restart is over only when traffic is quiet too. After the ended incarnation is forgotten,
    // rebasing takes some more steps, one every 250 ms.
    let (mut most, mut seconds) = (0, 0);
    let mut last = [&fra, &sin].map(received);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = [&fra, &sin].map(received);
        most = most.max(now[0] - last[0]).max(now[1] - last[1]);
        let is_quiet = now[0] - last[0] < 20_000 && now[1] - last[1] < 20_000;
        if is_quiet && is_over(&[&ord, &fra, &sin]) {
            break;
        }
        (last, seconds) = (now, seconds + 1);
        assert!(
            seconds < 300,
            "{seconds} s: {:?}",
            [&ord, &fra, &sin].map(|node| metric(node, "counter_replicas "))
        );
    }
    let cost = [received(&fra) - before[0], received(&sin) - before[1]];
    println!(
        "{keys} counters: a restart costs the others {} and {} bytes, {} for each counter, at most {most} in a second; it is over after {:?}",
        cost[0],
        cost[1],
        cost[0].max(cost[1]) / keys,
        began.elapsed()
    );
    assert!(cost.iter().all(|&bytes| bytes < keys * BYTES_A_KEY_MAX + 100_000), "{cost:?}");
    assert!(most < 3 * 256_000, "{most} bytes in a second");
    assert_eq!([&ord, &fra, &sin].map(|node| node.view("counter-0000007").total), [8; 3]);
}
