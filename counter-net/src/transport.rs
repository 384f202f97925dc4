//! How bytes travel: TCP without Nagle, the private network where there is a key, Noise, Yamux.
//!
//! The stages have time-outs of their own, so that the cause of a failed dial is known: a name
//! (`named`), the TCP connection, the handshake. `greeting` finds a far end with another cluster
//! key; `fault` names what no error of the system says.

mod fault;
mod greeting;
mod named;

pub(crate) use fault::Fault;

use std::io;
use std::time::Duration;

use futures::future::Either;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::{TransportTimeout, TransportTimeoutError};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::pnet::{PnetConfig, PnetError, PnetOutput, PreSharedKey};
use libp2p::tcp::tokio::TcpStream;
use libp2p::{PeerId, Transport, noise, yamux};
use tokio::time::{Instant, timeout_at};

use crate::config::{CONNECT_TIMEOUT, GREETING_TIMEOUT, HANDSHAKE_TIMEOUT, NAME_TIMEOUT, UNACKNOWLEDGED_MAX};
use crate::error::StartError;
use crate::resolve::Resolver;
use greeting::Greeted;
use named::{Named, STAGGER, TRIED_MAX};

/// How long each stage of a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) name: Duration,
    pub(crate) connect: Duration,
    /// For the greeting of whoever connected here.
    pub(crate) greeting: Duration,
    pub(crate) handshake: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { name: NAME_TIMEOUT, connect: CONNECT_TIMEOUT, greeting: GREETING_TIMEOUT, handshake: HANDSHAKE_TIMEOUT }
    }
}

/// The transport of one node.
pub(crate) fn build(keypair: &Keypair, key: Option<PreSharedKey>) -> Result<Boxed<(PeerId, StreamMuxerBox)>, StartError> {
    build_with(keypair, key, Resolver::default(), Patience::default())
}

pub(crate) fn build_with(
    keypair: &Keypair,
    key: Option<PreSharedKey>,
    resolver: Resolver,
    patience: Patience,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, StartError> {
    let noise = noise::Config::new(keypair).map_err(|error| StartError::Network(error.to_string()))?;
    let connected = Named::new(resolver, patience)
        .and_then(move |socket, end| greet(socket, end, key, patience))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        // The greeting's, Noise's and Yamux's. Each keeps its own error within.
        .map_err(|error| error.either(|error| error.either(|error| error.into_inner(), io::Error::other), io::Error::other));
    // The greeting has its own deadline. This is for those who stop after it.
    let dial_max = patience.name + patience.connect + STAGGER * TRIED_MAX as u32 + patience.handshake;
    let dialled = TransportTimeout::with_outgoing_timeout(connected, dial_max).map_err(unfinished);
    Ok(TransportTimeout::with_ingoing_timeout(dialled, patience.handshake).map_err(unfinished).boxed())
}

fn unfinished<E: std::error::Error + Send + Sync + 'static>(error: TransportTimeoutError<E>) -> io::Error {
    match error {
        TransportTimeoutError::Timeout => Fault::Unfinished.into(),
        TransportTimeoutError::TimerError(error) => error,
        TransportTimeoutError::Other(error) => io::Error::other(error),
    }
}

/// A connection before Noise: encrypted where there is a key.
type Private = Either<PnetOutput<TcpStream>, TcpStream>;

/// The handshake up to the greeting. A stranger without the key gets no further.
async fn greet(socket: TcpStream, end: ConnectedPoint, key: Option<PreSharedKey>, patience: Patience) -> io::Result<Greeted<Private>> {
    bound_silence(&socket);
    let deadline = Instant::now() + if end.is_listener() { patience.greeting } else { patience.handshake };
    let stream = match key {
        Some(key) => Either::Left(exchange_nonces(socket, key, deadline).await?),
        None => Either::Right(socket),
    };
    if end.is_listener() { greeting::taken(stream, deadline).await } else { Ok(greeting::expected(stream, deadline, key.is_some())) }
}

async fn exchange_nonces(socket: TcpStream, key: PreSharedKey, deadline: Instant) -> io::Result<PnetOutput<TcpStream>> {
    match timeout_at(deadline, PnetConfig::new(key).handshake(socket)).await {
        Ok(outcome) => outcome.map_err(|error| match error {
            PnetError::HandshakeError(error) | PnetError::IoError(error) => error,
        }),
        Err(_) => Err(Fault::Silent.into()),
    }
}

/// Ends the connection when its far end takes nothing for too long. Elsewhere than on Linux, the
/// system's own bound holds.
fn bound_silence(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&socket.0, UNACKNOWLEDGED_MAX.as_millis() as u32) {
        tracing::debug!(%error, "the system takes no bound of silence");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, UNACKNOWLEDGED_MAX);
}
