//! Adds a second through each interface of a node: HTTP and WebSocket, one by one and in batches,
//! and the handle of an embedded node.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use counter_net::{Discovery, Node};

use super::harness::http::Http;
use super::harness::process::{NodeProcess, cluster_name};
use super::harness::socket::{Socket, counter_name};
use super::{MeasureFailure, Measured, Quantiles};

/// Connections that add one by one at once.
pub const CLIENTS: usize = 32;
/// Adds that a socket has in flight.
pub const WINDOW: u64 = 64;
/// Connections that add in batches at once.
pub const BATCH_CLIENTS: usize = 4;
/// Adds of one batch.
pub const BATCH: u64 = 1_000;
/// The counters that batches add to.
pub const BATCH_COUNTERS: u64 = 1_000;

/// Slices of the time of each interface. The interfaces take turns, slice by slice.
const SLICES: u32 = 5;

/// Adds a second for each slice of time, and the time of each answer.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// Adds a second.
    pub rates: Vec<f64>,
    /// From sending a request, or a window or batch of adds, until all of it is answered.
    pub answers: Vec<Duration>,
}

impl Rates {
    /// The times of the answers.
    pub fn answers(&self) -> Quantiles {
        Quantiles::new(self.answers.iter().copied())
    }
}

/// Adds a second by interface.
#[derive(Clone, Debug, Default)]
pub struct AddRates {
    /// HTTP: one request for each add, over 32 kept connections.
    pub http: Rates,
    /// WebSocket: 32 sockets with 64 adds in flight each, all acknowledged.
    pub socket: Rates,
    /// HTTP: batches of 1,000 adds to as many counters, over 4 kept connections.
    pub http_batches: Rates,
    /// The same with an id for each add.
    pub http_batches_with_ids: Rates,
    /// WebSocket: the same, all acknowledged.
    pub socket_batches: Rates,
    /// Handle: two threads add to one counter while the node flushes.
    pub handle: Vec<f64>,
}

/// One client of an interface: it adds until the given moment.
type AddingClient =
    fn(SocketAddr, Instant, usize) -> Pin<Box<dyn Future<Output = Measured<Done>> + Send>>;

/// The adds of one client, and the time of each answer.
#[derive(Default)]
struct Done {
    adds: u64,
    answers: Vec<Duration>,
}

impl Done {
    fn answered(&mut self, adds: u64, sent: Instant) {
        self.adds += adds;
        self.answers.push(sent.elapsed());
    }
}

/// Measures each interface for `time`, and counts what arrived.
///
/// # Errors
/// A node that does not start, refuses an add, or has a total that differs from the adds.
pub async fn add_rates(time: Duration) -> Measured<AddRates> {
    let node = NodeProcess::spawn(&cluster_name(), "ord", &[])?;
    node.until_ready().await?;
    let (slice, mut rates) = (time / SLICES, AddRates::default());
    for slice_number in 0..SLICES as usize {
        let run = async |clients: usize, client: AddingClient, rates: &mut Rates| {
            rate_through(&node, (clients, client), slice, slice_number, rates).await
        };
        run(CLIENTS, |at, until, _| Box::pin(by_http(at, until)), &mut rates.http).await?;
        run(CLIENTS, |at, until, _| Box::pin(by_socket(at, until)), &mut rates.socket).await?;
        run(
            BATCH_CLIENTS,
            |at, until, _| Box::pin(by_http_batches(at, until, None)),
            &mut rates.http_batches,
        )
        .await?;
        run(
            BATCH_CLIENTS,
            |at, until, own| Box::pin(by_http_batches(at, until, Some(own))),
            &mut rates.http_batches_with_ids,
        )
        .await?;
        run(
            BATCH_CLIENTS,
            |at, until, _| Box::pin(by_socket_batches(at, until)),
            &mut rates.socket_batches,
        )
        .await?;
        rates.handle.push(by_handle(slice).await?);
    }
    Ok(rates)
}

/// Runs clients of one interface for `time`, and notes their adds a second.
async fn rate_through(
    node: &NodeProcess,
    (clients, client): (usize, AddingClient),
    time: Duration,
    slice: usize,
    rates: &mut Rates,
) -> Measured<()> {
    let before = sum_of_all(node).await?;
    let (start, until) = (Instant::now(), Instant::now() + time);
    let clients: Vec<_> = (0..clients)
        .map(|own| tokio::spawn(client(node.http, until, slice * clients + own)))
        .collect();
    let mut adds = 0;
    for client in clients {
        let done = client.await.map_err(|error| MeasureFailure(error.to_string()))??;
        adds += done.adds;
        rates.answers.extend(done.answers);
    }
    let taken = start.elapsed();
    let counted = sum_of_all(node).await? - before;
    if counted != adds as i64 {
        return Err(MeasureFailure(format!("wrong: {adds} adds came to {counted}")));
    }
    rates.rates.push(adds as f64 / taken.as_secs_f64());
    Ok(())
}

/// The sum of all counters that the clients add to.
async fn sum_of_all(node: &NodeProcess) -> Measured<i64> {
    node.sum((0..BATCH_COUNTERS).map(counter_name).chain([SINGLE.to_owned()])).await
}

/// The counter of adds one by one.
const SINGLE: &str = "single";

fn refused(status: u16, body: &[u8]) -> MeasureFailure {
    let body: String = String::from_utf8_lossy(body).chars().take(300).collect();
    MeasureFailure(format!("an add was answered with {status}: {body}"))
}

async fn by_http(address: SocketAddr, until: Instant) -> Measured<Done> {
    let mut http = Http::open(address).await?;
    let path = format!("/api/counters/{SINGLE}/add");
    let mut done = Done::default();
    while Instant::now() < until {
        let sent = Instant::now();
        let (status, body) = http.post(&path, r#"{"amount":1}"#).await?;
        if status != 200 {
            return Err(refused(status, &body));
        }
        done.answered(1, sent);
    }
    Ok(done)
}

async fn by_socket(address: SocketAddr, until: Instant) -> Measured<Done> {
    let mut socket = Socket::open(address, SINGLE).await?;
    let mut done = Done::default();
    while Instant::now() < until {
        let sent = Instant::now();
        socket.add_many(done.adds..done.adds + WINDOW).await?;
        socket.until_acks(WINDOW).await?;
        done.answered(WINDOW, sent);
    }
    Ok(done)
}

/// Adds with ids of the client `own`, or without ids. Without, every body is the same, and is
/// written once.
async fn by_http_batches(
    address: SocketAddr,
    until: Instant,
    own: Option<usize>,
) -> Measured<Done> {
    let mut http = Http::open(address).await?;
    let mut done = Done::default();
    let body = |first: u64| {
        let id = |id: u64| own.map_or(String::new(), |own| format!(r#","id":"client-{own}:{id}""#));
        let add = |at: u64| {
            let counter = counter_name(at % BATCH_COUNTERS);
            format!(r#"{{"counter":"{counter}","amount":1{}}}"#, id(at + 1))
        };
        let adds: Vec<String> = (first..first + BATCH).map(add).collect();
        format!(r#"{{"adds":[{}]}}"#, adds.join(","))
    };
    let mut written = body(0);
    while Instant::now() < until {
        if own.is_some() {
            written = body(done.adds);
        }
        let sent = Instant::now();
        let (status, answer) = http.post_as_service("/api/adds", &written).await?;
        if status != 200 {
            return Err(refused(status, &answer));
        }
        done.answered(BATCH, sent);
    }
    Ok(done)
}

async fn by_socket_batches(address: SocketAddr, until: Instant) -> Measured<Done> {
    let mut socket = Socket::open(address, SINGLE).await?;
    let mut done = Done::default();
    while Instant::now() < until {
        let sent = Instant::now();
        socket.add_batch(done.adds..done.adds + BATCH, BATCH_COUNTERS).await?;
        socket.until_acks(BATCH).await?;
        done.answered(BATCH, sent);
    }
    Ok(done)
}

async fn by_handle(time: Duration) -> Measured<f64> {
    let start = Node::builder()
        .region("ord")
        .cluster(cluster_name())
        .listen("/ip4/127.0.0.1/tcp/0")
        .discover(Discovery::None)
        .start();
    let node = start.await.map_err(|error| MeasureFailure(error.to_string()))?;
    let counter = node.counter("handle").map_err(|error| MeasureFailure(error.to_string()))?;
    let start = Instant::now();
    let add = {
        let counter = counter.clone();
        move || {
            let mut adds = 0_u64;
            while start.elapsed() < time {
                adds += (0..1000).filter(|_| counter.add(1).is_ok()).count() as u64;
            }
            adds
        }
    };
    let threads = [std::thread::spawn(add.clone()), std::thread::spawn(add)];
    let adds: u64 = threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum();
    let taken = start.elapsed();
    let total = counter.total();
    node.shutdown().await;
    match total == i128::from(adds) {
        true => Ok(adds as f64 / taken.as_secs_f64()),
        false => Err(MeasureFailure(format!("wrong: {adds} adds through handles came to {total}"))),
    }
}
