//! Adds a second through each interface of a node: HTTP, WebSocket, and the handle of an embedded
//! node.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use counter_net::{Discovery, Node};

use super::harness::http::Http;
use super::harness::process::{NodeProcess, cluster_name};
use super::harness::socket::Socket;
use super::{MeasureFailure, Measured};

/// Connections that add at once.
pub const CLIENTS: usize = 32;
/// Adds that a socket has in flight.
pub const WINDOW: u64 = 64;

/// Slices of the time of each interface. The interfaces take turns, slice by slice.
const SLICES: u32 = 5;

/// Adds a second by interface, for each slice of time.
#[derive(Clone, Debug, Default)]
pub struct AddRates {
    /// HTTP: one request for each add, over 32 kept connections.
    pub http: Vec<f64>,
    /// WebSocket: 32 sockets with 64 adds in flight each, all acknowledged.
    pub socket: Vec<f64>,
    /// Handle: two threads add to one counter while the node flushes.
    pub handle: Vec<f64>,
}

/// Measures each interface for `time`, and counts what arrived.
///
/// # Errors
/// A node that does not start, refuses an add, or has a total that differs from the adds.
pub async fn add_rates(time: Duration) -> Measured<AddRates> {
    let node = NodeProcess::spawn(&cluster_name(), "ord", &[])?;
    node.until_ready().await?;
    let (slice, mut rates) = (time / SLICES, AddRates::default());
    for _ in 0..SLICES {
        rates.http.push(rate_through(&node, "http", slice, by_http).await?);
        rates.socket.push(rate_through(&node, "socket", slice, by_socket).await?);
        rates.handle.push(by_handle(slice).await?);
    }
    Ok(rates)
}

/// Runs [`CLIENTS`] clients of one interface for `time`. Returns their adds a second.
async fn rate_through<F: Future<Output = Measured<u64>> + Send + 'static>(
    node: &NodeProcess,
    counter: &'static str,
    time: Duration,
    client: fn(SocketAddr, &'static str, Instant) -> F,
) -> Measured<f64> {
    let before = node.total(counter).await?;
    let (start, until) = (Instant::now(), Instant::now() + time);
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(client(node.http, counter, until))).collect();
    let mut adds = 0;
    for client in clients {
        adds += client.await.map_err(|error| MeasureFailure(error.to_string()))??;
    }
    let taken = start.elapsed();
    let total = node.total(counter).await? - before;
    if total != adds as i64 {
        return Err(MeasureFailure(format!(
            "wrong: {adds} adds through {counter} came to {total}"
        )));
    }
    Ok(adds as f64 / taken.as_secs_f64())
}

async fn by_http(address: SocketAddr, counter: &'static str, until: Instant) -> Measured<u64> {
    let mut http = Http::open(address).await?;
    let path = format!("/api/counters/{counter}/add");
    let mut adds = 0;
    while Instant::now() < until {
        let (status, body) = http.post(&path, r#"{"amount":1}"#).await?;
        if status != 200 {
            return Err(MeasureFailure(format!(
                "an add was answered with {status}: {}",
                String::from_utf8_lossy(&body)
            )));
        }
        adds += 1;
    }
    Ok(adds)
}

async fn by_socket(address: SocketAddr, counter: &'static str, until: Instant) -> Measured<u64> {
    let mut socket = Socket::open(address, counter).await?;
    let mut adds = 0;
    while Instant::now() < until {
        socket.add_many(adds..adds + WINDOW).await?;
        socket.until_acks(WINDOW).await?;
        adds += WINDOW;
    }
    Ok(adds)
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
