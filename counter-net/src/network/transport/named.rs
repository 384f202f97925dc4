//! TCP to addresses and names, with a timeout for each step.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::tcp::tokio::{TcpStream, Transport as Tcp};
use libp2p::{Multiaddr, Transport, tcp};
use tokio::time::timeout;

use super::Patience;
use super::fault::Fault;
use crate::network::resolve::{Lookup, RecordFamily, Resolver};

/// The delay before the next address of a name is tried, unless one fails first.
pub(super) const STAGGER: Duration = Duration::from_millis(250);
/// The most addresses of one name that one dial tries.
pub(super) const TRIED_MAX: usize = 8;

/// TCP without Nagle. Resolves a name at each dial.
pub(super) struct Named {
    tcp: Tcp,
    resolver: Resolver,
    patience: Patience,
}

impl Named {
    pub(super) fn new(resolver: Resolver, patience: Patience) -> Self {
        Self { tcp: tcp(), resolver, patience }
    }
}

fn tcp() -> Tcp {
    Tcp::new(tcp::Config::default().nodelay(true))
}

impl Transport for Named {
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <Tcp as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<TcpStream>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.tcp.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.tcp.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some((name, family)) = name_of(&address) else {
            return Ok(Box::pin(within(self.patience.connect, self.tcp.dial(address, options)?)));
        };
        let (resolver, patience) = (self.resolver.clone(), self.patience);
        Ok(Box::pin(async move {
            let addresses = match resolver.ask(&name, family, patience.name).await {
                Lookup::Addresses(addresses) => addresses,
                Lookup::Nobody => return Err(Fault::Name("no such name".to_owned()).into()),
                Lookup::Unsure(reason) => return Err(Fault::Name(reason).into()),
            };
            dial_first(&address, addresses, options, patience.connect).await
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.tcp).poll(context)
    }
}

fn name_of(address: &Multiaddr) -> Option<(String, RecordFamily)> {
    match address.iter().next()? {
        Protocol::Dns(name) => Some((name.into_owned(), RecordFamily::Both)),
        Protocol::Dns4(name) => Some((name.into_owned(), RecordFamily::V4)),
        Protocol::Dns6(name) => Some((name.into_owned(), RecordFamily::V6)),
        _ => None,
    }
}

/// Dials the addresses of a name, each with a short delay after the one before. Returns the first
/// connection.
async fn dial_first(
    named: &Multiaddr,
    ips: Vec<IpAddr>,
    options: DialOpts,
    time: Duration,
) -> io::Result<TcpStream> {
    let mut waiting = ips.into_iter().take(TRIED_MAX);
    let (mut dials, mut failed) = (FuturesUnordered::new(), Vec::new());
    loop {
        if let Some(ip) = waiting.next() {
            dials.push(dial_one(named, ip, options, time));
        }
        match timeout(STAGGER, dials.next()).await {
            Ok(Some(Ok(socket))) => return Ok(socket),
            Ok(Some(Err(error))) => failed.push(error),
            Ok(None) => return Err(Fault::Each(failed).into()),
            Err(_) => {}
        }
    }
}

async fn dial_one(
    named: &Multiaddr,
    ip: IpAddr,
    options: DialOpts,
    time: Duration,
) -> io::Result<TcpStream> {
    let address = named.replace(0, |_| Some(ip.into())).unwrap_or_else(|| named.clone());
    // A fresh transport has no listener whose port could be reused, and needs none.
    match tcp().dial(address, options) {
        Ok(dial) => within(time, dial).await,
        Err(TransportError::Other(error)) => Err(error),
        Err(TransportError::MultiaddrNotSupported(_)) => {
            Err(io::ErrorKind::AddrNotAvailable.into())
        }
    }
}

async fn within<T>(
    time: Duration,
    connecting: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(time, connecting).await.unwrap_or_else(|_| Err(Fault::NoAnswer.into()))
}
