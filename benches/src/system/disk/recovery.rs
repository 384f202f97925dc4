//! A node is killed while it holds many counters, and started again from its directory: how soon it
//! is synced and exact.

use std::time::Duration;

use crate::system::fresh::source;
use crate::system::harness::http::Http;
use crate::system::harness::metrics::Metrics;
use crate::system::harness::process::{NodeProcess, cluster_name};
use crate::system::harness::scratch::ScratchDirectory;
use crate::system::harness::socket::Socket;
use crate::system::{MeasureFailure, Measured};

/// The adds that are acknowledged before each kill. As many are made at the other node while it is
/// down.
const ADDS: u64 = 100;

/// The times from a start after SIGKILL until the node is synced and shows every acknowledged add
/// and those that it missed. There are `runs` kills, of a node that also holds `counters` counters.
///
/// # Errors
/// A node that does not start, or a total that is not exact.
pub async fn recovery(counters: usize, runs: usize) -> Measured<Vec<Duration>> {
    let (scratch, cluster) = (ScratchDirectory::new()?, cluster_name());
    let directory = scratch.path().to_string_lossy().into_owned();
    let source = source(&cluster, counters).await?;
    let address = source
        .info()
        .addresses
        .first()
        .cloned()
        .ok_or_else(|| MeasureFailure("the source listens nowhere".into()))?;
    let clicks = source.counter("clicks").map_err(|error| MeasureFailure(error.to_string()))?;
    let spawn =
        || NodeProcess::spawn_with(&cluster, "fra", &[&address], &["--data-dir", &directory]);
    let mut node = spawn()?;
    node.until_ready().await?;
    let (mut times, mut total) = (Vec::new(), 0);
    for run in 0..runs as u64 {
        let mut socket = Socket::open(node.http, "clicks").await?;
        socket.add_many(run * ADDS..(run + 1) * ADDS).await?;
        socket.until_acks(ADDS).await?;
        // Dropping kills it, with a signal that it cannot handle.
        drop(node);
        (0..ADDS)
            .try_for_each(|_| clicks.add(1))
            .map_err(|error| MeasureFailure(error.to_string()))?;
        total += 2 * ADDS as i64;
        node = spawn()?;
        node.until_ready().await?;
        node.until_total("clicks", total).await?;
        times.push(node.started.elapsed());
        let held =
            Metrics::read(&mut Http::open(node.http).await?).await?.sum("counter_counters", &[]);
        let last = node.total(&format!("r{:06}", counters - 1)).await?;
        if held as usize != counters + 1 || last != counters as i64 {
            return Err(MeasureFailure(format!(
                "wrong: after a kill it holds {held} counters of {counters} and one, the last of them {last}"
            )));
        }
    }
    drop(node);
    source.shutdown().await;
    Ok(times)
}
