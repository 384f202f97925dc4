//! One server with many WebSocket clients on the same machine: how soon all show a click, how many
//! clicks a second all keep up with, and the cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::harness::process::{NodeProcess, cluster_name};
use super::harness::socket::Socket;
use super::{MeasureFailure, Measured, Quantiles};

/// The server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Our node.
    Ours,
    /// Node.js with ws, where each coalesced frame is built once: `benches/peers/node`.
    NodeWs,
    /// A bare loop of writes.
    RawLoop,
}

impl Server {
    async fn spawn(self) -> Measured<NodeProcess> {
        match self {
            Self::Ours => {
                let node = NodeProcess::spawn(&cluster_name(), "ord", &[])?;
                node.until_ready().await?;
                Ok(node)
            }
            Self::NodeWs => NodeProcess::spawn_node_script("fan_out.mjs"),
            Self::RawLoop => NodeProcess::spawn_own(&["raw-write-loop"]),
        }
    }
}

/// The results, as the clients saw them.
#[derive(Clone, Debug)]
pub struct FanOut {
    /// The time of each isolated click, from sending it until the last client shows it.
    pub times: Vec<Duration>,
    /// Clicks a second that all saw, for each number of clicks in flight: made, and not yet seen by
    /// all.
    pub rates: Vec<f64>,
    /// The server's processor time for each frame that a client received while clicks were in
    /// flight, in nanoseconds.
    pub cpu_per_frame: f64,
}

/// The totals that the clients show. Wakes the test once all show the awaited one.
#[derive(Debug)]
struct ClickWatch {
    wanted: AtomicI64,
    shown: Vec<AtomicI64>,
    /// The total that each client was last counted for, so that it counts once.
    counted: Vec<AtomicI64>,
    seen: AtomicUsize,
    all: Notify,
    frames: AtomicU64,
}

impl ClickWatch {
    fn new(clients: usize) -> Arc<Self> {
        let zeros = || (0..clients).map(|_| AtomicI64::new(0)).collect();
        let (shown, counted) = (zeros(), zeros());
        let (wanted, frames) = (AtomicI64::new(0), AtomicU64::new(0));
        Arc::new(Self {
            wanted,
            shown,
            counted,
            seen: AtomicUsize::new(0),
            all: Notify::new(),
            frames,
        })
    }

    fn record(&self, client: usize, total: i64) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.shown[client].store(total, Ordering::SeqCst);
        self.check(client);
    }

    fn check(&self, client: usize) {
        let wanted = self.wanted.load(Ordering::SeqCst);
        let news = self.shown[client].load(Ordering::SeqCst) >= wanted
            && self.counted[client].fetch_max(wanted, Ordering::SeqCst) < wanted;
        if news && self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.shown.len() {
            self.all.notify_one();
        }
    }

    /// Waits at most 10 s until no client gets frames any more. Each client that arrives is
    /// announced to all others.
    async fn until_quiet(&self) {
        const CHECK_EVERY: Duration = Duration::from_millis(100);
        let mut seen = 0;
        for _ in 0..100 {
            tokio::time::sleep(CHECK_EVERY).await;
            match self.frames.load(Ordering::Relaxed) {
                frames if frames == seen => return,
                frames => seen = frames,
            }
        }
    }

    /// Waits until every client shows `total`, which must be greater than at the last call.
    async fn until_all_show(&self, total: i64) -> Measured<()> {
        self.seen.store(0, Ordering::SeqCst);
        self.wanted.store(total, Ordering::SeqCst);
        (0..self.shown.len()).for_each(|client| self.check(client));
        let waited = tokio::time::timeout(Duration::from_secs(20), self.all.notified()).await;
        waited.map_err(|_| {
            MeasureFailure(format!(
                "wrong: after 20 s only {} clients show {total} clicks",
                self.seen.load(Ordering::SeqCst)
            ))
        })
    }
}

/// Makes `clicks` isolated clicks for `clients` clients of `server`. Then, for `time` each, keeps
/// as many in flight as `in_flight` says.
///
/// # Errors
/// A server that does not start or closes a socket, or too few open files for this process.
pub async fn fan_out(
    server: Server,
    clients: usize,
    clicks: u64,
    in_flight: &[u64],
    time: Duration,
) -> Measured<FanOut> {
    let server = server.spawn().await?;
    let watch = ClickWatch::new(clients);
    let mut followers = JoinSet::new();
    for client in 0..clients {
        // Each address of the loopback network has its own ports.
        let from = [127, 0, 0, 2 + (client / 5_000) as u8];
        let socket = Socket::open_from(from, server.http, "clicks", None).await?;
        followers.spawn(follow(socket, Arc::clone(&watch), client));
    }
    let mut clicker = Socket::open(server.http, "clicks").await?;
    watch.until_quiet().await;
    let (mut times, mut total) = (Vec::new(), 0);
    for _ in 0..clicks {
        tokio::time::sleep(Duration::from_millis(20)).await;
        times.push(click(&mut clicker, &watch, &mut total, 1).await?);
    }
    let (mut rates, before) = (Vec::new(), (server.cpu()?, watch.frames.load(Ordering::Relaxed)));
    for &many in in_flight {
        let (start, from) = (Instant::now(), total);
        while start.elapsed() < time {
            click(&mut clicker, &watch, &mut total, many).await?;
        }
        rates.push((total - from) as f64 / start.elapsed().as_secs_f64());
    }
    let frames = watch.frames.load(Ordering::Relaxed) - before.1;
    let cpu_per_frame = (server.cpu()? - before.0).as_nanos() as f64 / frames.max(1) as f64;
    Ok(FanOut { times, rates, cpu_per_frame })
}

/// Makes `many` clicks at once, and waits until all clients show them. Returns the time from
/// sending to the last client.
async fn click(
    clicker: &mut Socket,
    watch: &ClickWatch,
    total: &mut u64,
    many: u64,
) -> Measured<Duration> {
    let ids = *total + 1..*total + 1 + many;
    *total += many;
    let start = Instant::now();
    clicker.add_many(ids).await?;
    watch.until_all_show(*total as i64).await?;
    let took = start.elapsed();
    clicker.until_acks(many).await?;
    Ok(took)
}

/// Passes each total that a client receives to the watch.
async fn follow(mut socket: Socket, watch: Arc<ClickWatch>, client: usize) {
    while let Ok(text) = socket.text().await {
        watch.record(client, total_in(text));
    }
}

/// The number after the first `"total":`. It is read without a parser, since a thousand clients
/// share the server's processors.
fn total_in(text: &[u8]) -> i64 {
    const NAME: &[u8] = br#""total":"#;
    let at = text
        .windows(NAME.len())
        .position(|window| window == NAME)
        .map_or(text.len(), |at| at + NAME.len());
    text[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |total, byte| total * 10 + i64::from(byte - b'0'))
}

/// The cost of clients that do nothing.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// Resident memory for each idle client with a socket, in bytes.
    pub idle_bytes: f64,
    /// The same for each of a thousand clients that never read, after a storm of changes. The
    /// node's output buffer for each of them is bounded.
    pub never_read_bytes: f64,
    /// The times of clicks on a client that reads, while a thousand do not.
    pub beside: Quantiles,
}

/// Opens `idle` sockets. Then opens a thousand that never read, at another node, for a storm of
/// changes that lasts `time`.
///
/// # Errors
/// As [`fan_out`].
pub async fn crowd(idle: usize, time: Duration) -> Measured<Crowd> {
    const NEVER_READ: usize = 1_000;
    let node = Server::Ours.spawn().await?;
    let before = node.resident_bytes()?;
    let mut idle_sockets = Vec::with_capacity(idle);
    for at in 0..idle {
        // Each address of the loopback network has its own ports.
        idle_sockets.push(
            Socket::open_from([127, 0, 0, 2 + (at / 5_000) as u8], node.http, "clicks", None)
                .await?,
        );
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle_bytes = node.resident_bytes()?.saturating_sub(before) as f64 / idle as f64;
    drop((idle_sockets, node));

    let node = Server::Ours.spawn().await?;
    let (mut non_readers, mut reader) = (Vec::new(), Socket::open(node.http, "clicks").await?);
    for _ in 0..NEVER_READ {
        non_readers
            .push(Socket::open_from([127, 0, 0, 2], node.http, "clicks", Some(4_096)).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, start, mut total, mut times) =
        (node.resident_bytes()?, Instant::now(), 0, Vec::new());
    while start.elapsed() < time {
        let sent = Instant::now();
        total += 1;
        reader.add(total).await?;
        reader.until_total(total as i64).await?;
        times.push(sent.elapsed());
    }
    let never_read_bytes = node.resident_bytes()?.saturating_sub(before) as f64 / NEVER_READ as f64;
    Ok(Crowd { idle_bytes, never_read_bytes, beside: Quantiles::new(times) })
}
