//! How soon an add at one node is seen at the others, from client to client. There are three
//! processes, and one click at a time.

use std::time::{Duration, Instant};

use crate::system::harness::process::NodeProcess;
use crate::system::harness::socket::Socket;
use crate::system::{MeasureFailure, Measured, Quantiles};

/// The times of `clicks` clicks on loopback: from sending a click at one node until clients of both
/// others show it.
///
/// # Errors
/// A node that does not start or does not answer, or a total that is wrong.
pub async fn latency(clicks: u64) -> Measured<Quantiles> {
    clicks_seen(
        &NodeProcess::cluster(&["ord", "fra", "sin"].map(String::from)).await?,
        "clicks",
        clicks,
    )
    .await
}

/// The same, for a counter of three running nodes that nobody has added to.
pub(super) async fn clicks_seen(
    nodes: &[NodeProcess],
    counter: &str,
    clicks: u64,
) -> Measured<Quantiles> {
    let mut clicker = Socket::open(nodes[0].http, counter).await?;
    let mut fra = Socket::open(nodes[1].http, counter).await?;
    let mut sin = Socket::open(nodes[2].http, counter).await?;
    let mut random = fastrand::Rng::with_seed(7);
    let mut times = Vec::new();
    for click in 1..=clicks as i64 {
        // Isolated clicks, at moments out of step with the node's timers.
        tokio::time::sleep(Duration::from_micros(random.u64(1_000..15_000))).await;
        let start = Instant::now();
        clicker.add(click as u64).await?;
        let seen =
            async |socket: &mut Socket| socket.until_total(click).await.map(|()| start.elapsed());
        let (at_fra, at_sin) = tokio::try_join!(seen(&mut fra), seen(&mut sin))?;
        clicker.until_acks(1).await?;
        times.extend([at_fra, at_sin]);
    }
    for node in nodes {
        let total = node.total(counter).await?;
        if total != clicks as i64 {
            return Err(MeasureFailure(format!(
                "wrong: a node shows {total} after {clicks} clicks"
            )));
        }
    }
    Ok(Quantiles::new(times))
}
