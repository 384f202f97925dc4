//! How soon a fresh process is synced, by the size of the state.

use std::time::Duration;

use counter_net::{Discovery, Node};

use super::harness::http::Http;
use super::harness::metrics::Metrics;
use super::harness::process::{NodeProcess, cluster_name};
use super::{MeasureFailure, Measured};

/// The times from the start of a process until it is synced with a node that holds `counters`
/// counters, over `runs` runs.
///
/// # Errors
/// A node that does not start, or that reports itself synced and holds something else.
pub async fn fresh(counters: usize, runs: usize) -> Measured<Vec<Duration>> {
    let cluster = cluster_name();
    let source = source(&cluster, counters).await?;
    let address = source
        .info()
        .addresses
        .first()
        .cloned()
        .ok_or_else(|| MeasureFailure("the source listens nowhere".into()))?;
    let mut times = Vec::new();
    for _ in 0..runs {
        let node = NodeProcess::spawn(&cluster, "fra", &[&address])?;
        times.push(node.until_ready().await?);
        let held =
            Metrics::read(&mut Http::open(node.http).await?).await?.sum("counter_counters", &[]);
        let last = node.total(&format!("r{:06}", counters - 1)).await?;
        if held as usize != counters || last != counters as i64 {
            return Err(MeasureFailure(format!(
                "wrong: synced with {held} counters of {counters}, the last of them {last}"
            )));
        }
    }
    source.shutdown().await;
    Ok(times)
}

/// A node in this process. Its counter i has the value i + 1.
pub(super) async fn source(cluster: &str, counters: usize) -> Measured<Node> {
    let start = Node::builder()
        .region("ord")
        .cluster(cluster)
        .listen("/ip4/127.0.0.1/tcp/0")
        .discover(Discovery::None)
        .start();
    let node = start.await.map_err(|error| MeasureFailure(error.to_string()))?;
    for number in 0..counters {
        let counter = node
            .counter(&format!("r{number:06}"))
            .map_err(|error| MeasureFailure(error.to_string()))?;
        counter.add(number as u64 + 1).map_err(|error| MeasureFailure(error.to_string()))?;
    }
    node.synced().await;
    Ok(node)
}
