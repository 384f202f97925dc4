//! Distance on one machine: a TCP proxy that delays every byte.
//!
//! A real connection costs a round trip before its first byte. The proxy accepts at once instead,
//! and delays the first bytes that much longer. They arrive one and a half round trips after the
//! connect. Bytes keep their order, and delay does not limit throughput.
//!
//! [`DelayProxy`] serves one address, or all addresses that a firewall redirects to it.
//! Its [`Conditions`] may change while it runs. A dead host needs [`Door::Refuses`]: a proxy that
//! accepts cannot refuse any more, so a refusal behind it reaches the client as a reset.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The most bytes of one read, and the most reads under way in one direction: 4 MB. Then the sender
/// waits.
const CHUNK_BYTES: usize = 16 * 1024;
const CHUNKS_MAX: usize = 256;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// Writes a second of a trickle.
const TRICKLE_HZ: usize = 20;

/// The fate of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Open,
    /// Refused, as by a host without a listener.
    Refuses,
    /// The first packet is always lost, so the connect never ends.
    Swallows,
    /// Accepted, and nothing follows.
    Silent,
}

#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Half of the round trip.
    pub way: Duration,
    pub door: Door,
    /// If false, connections stay open, and no byte leaves the proxy.
    pub flows: bool,
    /// The most bytes per second of one connection in one direction.
    pub bytes_per_second: Option<usize>,
}

/// Where connections lead.
#[derive(Clone, Copy)]
pub enum ProxyTarget {
    To(SocketAddr),
    /// The original target, from the firewall.
    Asked(fn(&TcpStream) -> io::Result<SocketAddr>),
}

/// A reserved port of loopback. A node may listen there. While none does, connections are refused.
pub struct ReservedPort {
    _socket: TcpSocket,
    pub address: SocketAddr,
}

impl ReservedPort {
    pub fn reserve(ip: Ipv4Addr) -> io::Result<Self> {
        let socket = bound((ip, 0).into())?;
        let address = socket.local_addr()?;
        Ok(Self { _socket: socket, address })
    }
}

enum Order {
    Apply,
    Cut,
}

/// A proxy. It and its connections end with this handle.
pub struct DelayProxy {
    place: ReservedPort,
    conditions: watch::Sender<Conditions>,
    orders: mpsc::UnboundedSender<(Order, std::sync::mpsc::Sender<io::Result<()>>)>,
}

impl DelayProxy {
    /// A proxy for one address, at a distance of `way`.
    pub fn to(target: SocketAddr, way: Duration) -> io::Result<Self> {
        Self::start(ProxyTarget::To(target), Ipv4Addr::LOCALHOST.into(), way)
    }

    /// Connects from the address `from`, so that a firewall can recognise its connections.
    pub fn start(target: ProxyTarget, from: IpAddr, way: Duration) -> io::Result<Self> {
        let place = ReservedPort::reserve(Ipv4Addr::LOCALHOST)?;
        let (conditions, seen) = watch::channel(Conditions {
            way,
            door: Door::Open,
            flows: true,
            bytes_per_second: None,
        });
        let (orders, received) = mpsc::unbounded_channel();
        runtime()?.spawn(keep(place.address, target, from, seen, received));
        let proxy = Self { place, conditions, orders };
        proxy.order(Order::Apply)?;
        Ok(proxy)
    }

    pub fn address(&self) -> SocketAddr {
        self.place.address
    }

    pub fn multiaddr(&self) -> String {
        multiaddr(self.address())
    }

    /// Changes the conditions, and returns once they hold.
    pub fn set(&self, change: impl FnOnce(&mut Conditions)) -> io::Result<()> {
        self.conditions.send_modify(change);
        self.order(Order::Apply)
    }

    /// Ends every connection at once, as a firewall on a broken link does.
    pub fn cut(&self) -> io::Result<()> {
        self.order(Order::Cut)
    }

    fn order(&self, order: Order) -> io::Result<()> {
        let (done, answer) = std::sync::mpsc::channel();
        self.orders.send((order, done)).map_err(|_| io::Error::other("the proxy has ended"))?;
        answer.recv().map_err(io::Error::other)?
    }
}

pub fn multiaddr(address: SocketAddr) -> String {
    format!("/ip4/{}/tcp/{}", address.ip(), address.port())
}

/// One thread for all proxies, so a test that blocks its own thread delays nothing here.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let build = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("distance")
            .enable_all()
            .build()
    };
    RUNTIME
        .get_or_init(build)
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

/// Several sockets may be bound to one address, and one of them may listen.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// How the proxy meets new connections.
enum DoorSocket {
    Listens(TcpListener),
    Shut,
    /// A listener whose queue is full, so the system drops the first packet of every other client.
    Full(TcpListener, Vec<TcpStream>),
}

impl DoorSocket {
    async fn open(door: Door, address: SocketAddr) -> io::Result<Self> {
        match door {
            Door::Refuses => Ok(Self::Shut),
            Door::Open | Door::Silent => Ok(Self::Listens(bound(address)?.listen(BACKLOG)?)),
            Door::Swallows => {
                let (listener, mut waiting) = (bound(address)?.listen(0)?, Vec::new());
                while let Ok(connected) =
                    timeout(Duration::from_millis(50), TcpStream::connect(address)).await
                {
                    waiting.push(connected?);
                }
                Ok(Self::Full(listener, waiting))
            }
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Self::Listens(listener) => Ok(listener.accept().await?.0),
            Self::Shut | Self::Full(..) => std::future::pending().await,
        }
    }
}

type Orders = mpsc::UnboundedReceiver<(Order, std::sync::mpsc::Sender<io::Result<()>>)>;

async fn keep(
    address: SocketAddr,
    target: ProxyTarget,
    from: IpAddr,
    conditions: watch::Receiver<Conditions>,
    mut orders: Orders,
) {
    let (mut connections, mut entry, mut door) = (JoinSet::new(), DoorSocket::Shut, Door::Refuses);
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((order, done)) = order else { return };
                let outcome = match order {
                    Order::Cut => {
                        connections.shutdown().await;
                        Ok(())
                    }
                    Order::Apply => {
                        let wanted = conditions.borrow().door;
                        let same = matches!((wanted, door), (Door::Open | Door::Silent, Door::Open | Door::Silent)) || wanted == door;
                        door = wanted;
                        if same {
                            Ok(())
                        } else {
                            // The port is free for the next listener once this one is closed.
                            drop(std::mem::replace(&mut entry, DoorSocket::Shut));
                            DoorSocket::open(wanted, address).await.map(|opened| entry = opened)
                        }
                    }
                };
                // The sender of the order waits for this, or has ended.
                let _heard = done.send(outcome);
            }
            accepted = entry.accept() => if let Ok(client) = accepted {
                connections.spawn(carry(client, target, from, conditions.clone()));
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection, from its client's connect to its end.
async fn carry(
    client: TcpStream,
    target: ProxyTarget,
    from: IpAddr,
    mut conditions: watch::Receiver<Conditions>,
) -> io::Result<()> {
    if conditions.wait_for(|now| now.door != Door::Silent).await.is_err() {
        return Ok(());
    }
    let (began, way) = (Instant::now(), conditions.borrow().way);
    client.set_nodelay(true)?;
    let target = match target {
        ProxyTarget::To(target) => target,
        ProxyTarget::Asked(ask) => ask(&client)?,
    };
    let (client_read, client_write) = client.into_split();
    let (out, outward) = mpsc::channel(CHUNKS_MAX);
    let collected = collect(client_read, began + 2 * way, conditions.clone(), out);
    let rest = async {
        // The far end knows the connection once the last packet of the handshake arrives.
        sleep_until(began + 3 * way).await;
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let server = socket.connect(target).await?;
        server.set_nodelay(true)?;
        let (server_read, server_write) = server.into_split();
        let (back, homeward) = mpsc::channel(CHUNKS_MAX);
        let returned = collect(server_read, began, conditions.clone(), back);
        let delivered = async {
            tokio::try_join!(
                deliver(outward, server_write, conditions.clone()),
                deliver(homeward, client_write, conditions.clone())
            )
        };
        let (_, delivered) = tokio::join!(returned, delivered);
        // An end that accepts no more bytes sends a reset, which is delayed too.
        sleep(if delivered.is_err() { way } else { Duration::ZERO }).await;
        delivered.map(drop)
    };
    // A client that has closed its side still gets the response.
    let (mut collected, mut rest) = (std::pin::pin!(collected), std::pin::pin!(rest));
    tokio::select! {
        ended = &mut rest => ended,
        () = &mut collected => rest.await,
    }
}

/// Reads until the end, which is an empty piece.
async fn collect(
    mut from: OwnedReadHalf,
    not_before: Instant,
    conditions: watch::Receiver<Conditions>,
    queue: mpsc::Sender<(Instant, Vec<u8>)>,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let bytes = from.read(&mut buffer).await.unwrap_or(0);
        let due = Instant::now().max(not_before) + conditions.borrow().way;
        if queue.send((due, buffer[..bytes].to_vec())).await.is_err() || bytes == 0 {
            return;
        }
    }
}

/// Writes each piece when it is due.
async fn deliver(
    mut queue: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    mut conditions: watch::Receiver<Conditions>,
) -> io::Result<()> {
    while let Some((due, bytes)) = queue.recv().await {
        sleep_until(due).await;
        let rate =
            conditions.wait_for(|now| now.flows).await.map_err(io::Error::other)?.bytes_per_second;
        let piece_bytes = rate.map_or(CHUNK_BYTES, |rate| (rate / TRICKLE_HZ).max(1));
        for piece in bytes.chunks(piece_bytes) {
            to.write_all(piece).await?;
            if let Some(rate) = rate {
                sleep(Duration::from_secs_f64(piece.len() as f64 / rate as f64)).await;
            }
        }
        if bytes.is_empty() {
            return to.shutdown().await;
        }
    }
    Ok(())
}
