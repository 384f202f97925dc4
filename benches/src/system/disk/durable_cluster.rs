//! Three nodes with directories under load: durable adds with ids, in batches over sockets, at all
//! three at once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::system::harness::process::{NodeProcess, cluster_name};
use crate::system::harness::scratch::ScratchDirectory;
use crate::system::harness::socket::{Socket, counter_name};
use crate::system::{MeasureFailure, Measured, Quantiles};

/// Adds of one batch.
pub const LOAD_BATCH: u64 = 50;
/// Sockets at each node. Each has one batch under way.
pub const LOAD_SOCKETS: usize = 16;
/// The counters that the batches add to.
const COUNTERS: u64 = 1_000;
const REGIONS: [&str; 3] = ["ord", "fra", "sin"];

/// The results.
#[derive(Clone, Debug)]
pub struct DurableLoad {
    /// Acknowledged adds a second at all three nodes, in each fifth of the time.
    pub rates: Vec<f64>,
    /// From sending a batch until the node's disk has all of it.
    pub acks: Quantiles,
    /// From the last acknowledgement until all nodes show all adds.
    pub agreed: Duration,
}

/// Adds at all nodes for `time`. Then checks that each shows every acknowledged add, also after all
/// were killed and started again.
///
/// # Errors
/// A node that does not start or refuses an add, or a total that is not exact.
pub async fn durable_load(time: Duration) -> Measured<DurableLoad> {
    let scratch = ScratchDirectory::new()?;
    let directory = |region: &str| scratch.path().join(region).to_string_lossy().into_owned();
    let arguments = |region: &str| vec!["--data-dir".to_owned(), directory(region)];
    let cluster = cluster_name();
    let regions = REGIONS.map(String::from);
    let nodes = NodeProcess::cluster_with(&cluster, &regions, arguments).await?;
    let (start, until) = (Instant::now(), Instant::now() + time);
    let addresses = nodes.iter().flat_map(|node| std::iter::repeat_n(node.http, LOAD_SOCKETS));
    let clients: Vec<_> = addresses.map(|address| tokio::spawn(client(address, until))).collect();
    let mut batches = Vec::new();
    for client in clients {
        batches.extend(client.await.map_err(|error| MeasureFailure(error.to_string()))??);
    }
    batches.sort_by_key(|(answered, _)| *answered);
    let last = Instant::now();
    let expected = batches.len() as i64 * LOAD_BATCH as i64;
    for node in &nodes {
        until_sum(node, expected).await?;
    }
    let agreed = last.elapsed();
    drop(nodes);
    for node in NodeProcess::cluster_with(&cluster, &regions, arguments).await? {
        until_sum(&node, expected).await?;
    }
    let fifth = time / 5;
    let rate = |at: u32| {
        let part = start + fifth * at..start + fifth * (at + 1);
        let answered = batches.iter().filter(|(answered, _)| part.contains(answered)).count();
        (answered as u64 * LOAD_BATCH) as f64 / fifth.as_secs_f64()
    };
    let acks = Quantiles::new(batches.iter().map(|(_, took)| *took));
    Ok(DurableLoad { rates: (0..5).map(rate).collect(), acks, agreed })
}

/// Sends batches one after the other. Returns when each was acknowledged, and how long that took.
async fn client(address: SocketAddr, until: Instant) -> Measured<Vec<(Instant, Duration)>> {
    let mut socket = Socket::open(address, "load").await?;
    let mut batches = Vec::new();
    let mut ids = 1..1 + LOAD_BATCH;
    while Instant::now() < until {
        let sent = Instant::now();
        socket.add_batch(ids.clone(), COUNTERS).await?;
        socket.until_acks(LOAD_BATCH).await?;
        batches.push((Instant::now(), sent.elapsed()));
        ids = ids.end..ids.end + LOAD_BATCH;
    }
    Ok(batches)
}

/// Waits until the sum of all counters is exactly this.
async fn until_sum(node: &NodeProcess, expected: i64) -> Measured<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match node.sum((0..COUNTERS).map(counter_name)).await? {
            sum if sum == expected => return Ok(()),
            sum if sum > expected || Instant::now() > deadline => {
                return Err(MeasureFailure(format!(
                    "wrong: a node shows {sum} adds, and {expected} were acknowledged"
                )));
            }
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
