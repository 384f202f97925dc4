//! One node, many WebSocket clients on the same machine: how soon a click is on all of them, and how many clicks a second all keep up with.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::process::{Process, cluster_name};
use super::socket::Socket;
use super::{Failure, Measured, Quantiles};

/// What the clients saw.
#[derive(Clone, Debug)]
pub struct FanOut {
    /// From a click's leaving its client to its showing on the last of all.
    pub to_all: Quantiles,
    /// Clicks a second, one after the other as each is acknowledged, until all clients show all of them.
    pub clicks_per_second: f64,
}

/// Counts the clients that show a total.
#[derive(Debug, Default)]
struct Watch {
    total: AtomicI64,
    seen: AtomicUsize,
    all: Notify,
}

/// `clicks` isolated clicks for `clients` clients, then a stream of them for `time`.
///
/// # Errors
/// A node that does not start or closes a socket; more open files than this process may have.
pub async fn fan_out(clients: usize, clicks: u64, time: Duration) -> Measured<FanOut> {
    let node = Process::spawn(&cluster_name(), "ord", &[])?;
    node.until_ready().await?;
    let watch = Arc::new(Watch { total: AtomicI64::new(1), ..Watch::default() });
    for _ in 0..clients {
        let socket = Socket::open(node.http, "clicks").await?;
        tokio::spawn(follow(socket, Arc::clone(&watch), clients));
    }
    let mut clicker = Socket::open(node.http, "clicks").await?;
    // Everybody's arrival is told to everybody: that passes by first.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut times = Vec::new();
    for click in 1..=clicks {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let start = Instant::now();
        clicker.add(click).await?;
        all_seen(&watch).await?;
        times.push(start.elapsed());
        clicker.until_acks(1).await?;
        watch.seen.store(0, Ordering::Relaxed);
        watch.total.store(click as i64 + 1, Ordering::Release);
    }
    watch.total.store(i64::MAX, Ordering::Release);
    let (start, mut total) = (Instant::now(), clicks);
    while start.elapsed() < time {
        total += 1;
        clicker.add(total).await?;
        clicker.until_acks(1).await?;
    }
    watch.total.store(total as i64, Ordering::Release);
    // Who has shown it already looks again at the next message: one more click.
    clicker.add(total + 1).await?;
    all_seen(&watch).await?;
    Ok(FanOut { to_all: Quantiles::new(times), clicks_per_second: (total - clicks) as f64 / start.elapsed().as_secs_f64() })
}

async fn all_seen(watch: &Watch) -> Measured<()> {
    let waited = tokio::time::timeout(Duration::from_secs(20), watch.all.notified()).await;
    waited.map_err(|_| Failure(format!("wrong: after 20 s only {} clients show the click", watch.seen.load(Ordering::Relaxed))))
}

/// Shows each total to the watch, once.
async fn follow(mut socket: Socket, watch: Arc<Watch>, clients: usize) {
    let mut shown = 0;
    while let Ok(text) = socket.text().await {
        let total = total_in(text);
        let wanted = watch.total.load(Ordering::Acquire);
        if total >= wanted && shown < wanted {
            shown = wanted;
            if watch.seen.fetch_add(1, Ordering::AcqRel) + 1 == clients {
                watch.all.notify_one();
            }
        }
    }
}

/// The number after the first `"total":`, read without a parser: a thousand clients share the node's processors.
fn total_in(text: &[u8]) -> i64 {
    const NAME: &[u8] = br#""total":"#;
    let at = text.windows(NAME.len()).position(|window| window == NAME).map_or(text.len(), |at| at + NAME.len());
    text[at..].iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |total, byte| total * 10 + i64::from(byte - b'0'))
}
