//! The traffic of replication: bytes of a click with 32 regions, and of ten idle nodes.

use std::time::Duration;

use counter_net::{Discovery, Node};

use crate::system::harness::http::Http;
use crate::system::harness::metrics::Metrics;
use crate::system::harness::process::{NodeProcess, cluster_name};
use crate::system::harness::socket::Socket;
use crate::system::harness::wire::bytes_sent;
use crate::system::{MeasureFailure, Measured};

/// Bytes that a node sends: payload by its own count, and all TCP by the kernel's count, if there
/// is one.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Payload of gossip and answers.
    pub payload: f64,
    /// All bytes over its gossip connections.
    pub wire: Option<f64>,
}

/// A node is at rest if it published nothing for this long. While it absorbs incarnations, each
/// step waits for everyone's digest, which takes a second.
const REST: Duration = Duration::from_secs(5);
/// The most readings until a node must be at rest: one minute.
const REST_READINGS_MAX: usize = 12;

const OUT: &[&str] = &[r#"direction="out""#];
const OUT_DELTAS: &[&str] = &[r#"direction="out""#, r#"kind="gossip_delta""#];

/// Bytes of a click that its node publishes once, in a counter that 32 regions share.
///
/// # Errors
/// A node that does not start, or that never has all regions.
pub async fn click_bytes(clicks: u64) -> Measured<Traffic> {
    let cluster = cluster_name();
    let node = NodeProcess::spawn(&cluster, "ord", &[])?;
    let other = NodeProcess::spawn(&cluster, "fra", &[&node.gossip])?;
    other.until_ready().await?;
    let mut clicker = Socket::open(node.http, "clicks").await?;
    for region in 2..32 {
        passing_region(&cluster, &format!("r{region:02}"), &node.gossip).await?;
        clicker.until_total(region - 1).await?;
    }
    let mut watcher = Socket::open(other.http, "clicks").await?;
    watcher.until_total(30).await?;
    let mut http = Http::open(node.http).await?;
    let before = deltas_at_rest(&mut http).await?;
    for click in 1..=clicks {
        clicker.add(click).await?;
        watcher.until_total(30 + click as i64).await?;
    }
    let after = Metrics::read(&mut http).await?.sum("counter_payload_bytes", OUT_DELTAS);
    Ok(Traffic { payload: (after - before) / clicks as f64, wire: None })
}

/// Bytes of deltas that a node has published, once it publishes no more. Until then it absorbs the
/// incarnations of the regions that left.
async fn deltas_at_rest(http: &mut Http) -> Measured<f64> {
    let mut before = f64::NAN;
    for _ in 0..REST_READINGS_MAX {
        let now = Metrics::read(http).await?.sum("counter_payload_bytes", OUT_DELTAS);
        if now == before {
            return Ok(now);
        }
        before = now;
        tokio::time::sleep(REST).await;
    }
    Err(MeasureFailure("a node without clicks goes on publishing".into()))
}

/// Starts a node of a region that adds 1 to the counter, tells `peer` and leaves.
async fn passing_region(cluster: &str, region: &str, peer: &str) -> Measured<()> {
    let builder = Node::builder()
        .region(region)
        .cluster(cluster)
        .listen("/ip4/127.0.0.1/tcp/0")
        .peer(peer)
        .discover(Discovery::None);
    let node = builder.start().await.map_err(|error| MeasureFailure(error.to_string()))?;
    node.synced().await;
    let counter = node.counter("clicks").map_err(|error| MeasureFailure(error.to_string()))?;
    counter.add(1).map_err(|error| MeasureFailure(error.to_string()))?;
    node.shutdown().await;
    Ok(())
}

/// Bytes a second that each of `nodes` idle nodes sends, over `time`.
///
/// # Errors
/// A node that does not start, or does not find the others.
pub async fn idle(nodes: usize, time: Duration) -> Measured<Traffic> {
    let regions: Vec<String> = (0..nodes).map(|node| format!("r{node:02}")).collect();
    let cluster = NodeProcess::cluster(&regions).await?;
    let ids: Vec<u32> = cluster.iter().map(NodeProcess::id).collect();
    // First the traffic of their meeting must end.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (payload, wire) = (payload(&cluster).await?, bytes_sent(&ids));
    tokio::time::sleep(time).await;
    let (wire_then, payload_then) = (bytes_sent(&ids), self::payload(&cluster).await?);
    let rate = |bytes: f64| bytes / nodes as f64 / time.as_secs_f64();
    let wire = wire.zip(wire_then).map(|(before, after)| rate(after.saturating_sub(before) as f64));
    Ok(Traffic { payload: rate(payload_then - payload), wire })
}

async fn payload(cluster: &[NodeProcess]) -> Measured<f64> {
    let mut sum = 0.0;
    for node in cluster {
        sum += Metrics::read(&mut Http::open(node.http).await?)
            .await?
            .sum("counter_payload_bytes", OUT);
    }
    Ok(sum)
}
