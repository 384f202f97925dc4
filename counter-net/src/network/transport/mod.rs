//! Connections: TCP without Nagle, the private network if there is a key, Noise, Yamux.
//!
//! Each stage has its own timeout, so that the cause of a failed dial is known: resolving the name
//! (`named`), the TCP connection, the handshake. `private` encrypts with a common key, `greeting`
//! detects a far end without one, and `fault` names causes that no system error covers.

mod fault;
mod greeting;
mod named;
mod private;
#[cfg(test)]
mod tests;

pub(crate) use fault::Fault;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use futures::io::AsyncReadExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::{TransportTimeout, TransportTimeoutError};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::tcp::tokio::TcpStream;
use libp2p::{PeerId, Transport, noise, yamux};
use tokio::time::{Instant, timeout_at};

use crate::config::ClusterKey;
use crate::config::{
    CONNECT_TIMEOUT, GREETING_TIMEOUT, HANDSHAKE_TIMEOUT, NAME_TIMEOUT, UNACKNOWLEDGED_MAX,
};
use crate::error::StartError;
use crate::network::resolve::Resolver;
use greeting::{GREETING, Greeted};
use named::{Named, STAGGER, TRIED_MAX};
use private::{Encrypted, Nonces};

/// How long each stage of a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) name: Duration,
    pub(crate) connect: Duration,
    /// For the greeting of an incoming connection.
    pub(crate) greeting: Duration,
    pub(crate) handshake: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            name: NAME_TIMEOUT,
            connect: CONNECT_TIMEOUT,
            greeting: GREETING_TIMEOUT,
            handshake: HANDSHAKE_TIMEOUT,
        }
    }
}

/// Encrypted and authenticated connections, each with its peer.
pub(crate) type PeerTransport = Boxed<(PeerId, StreamMuxerBox)>;

/// Builds a node's transport, which accepts any of `keys`. Without keys only Noise encrypts.
pub(crate) fn build(keypair: &Keypair, keys: &[ClusterKey]) -> Result<PeerTransport, StartError> {
    build_with(keypair, keys, Resolver::default(), Patience::default())
}

pub(crate) fn build_with(
    keypair: &Keypair,
    keys: &[ClusterKey],
    resolver: Resolver,
    patience: Patience,
) -> Result<PeerTransport, StartError> {
    let noise =
        noise::Config::new(keypair).map_err(|error| StartError::Network(error.to_string()))?;
    let keys: Arc<[ClusterKey]> = keys.into();
    let connected = Named::new(resolver, patience)
        .and_then(move |socket, end| greet(socket, end, keys, patience))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        // Errors of the greeting, Noise and Yamux. Each keeps its own error inside.
        .map_err(|error| {
            error.either(
                |error| error.either(|error| error.into_inner(), io::Error::other),
                io::Error::other,
            )
        });
    // The greeting has its own deadline. This one covers the rest of the handshake.
    let dial_max =
        patience.name + patience.connect + STAGGER * TRIED_MAX as u32 + patience.handshake;
    let dialled = TransportTimeout::with_outgoing_timeout(connected, dial_max).map_err(unfinished);
    Ok(TransportTimeout::with_ingoing_timeout(dialled, patience.handshake)
        .map_err(unfinished)
        .boxed())
}

fn unfinished<E: std::error::Error + Send + Sync + 'static>(
    error: TransportTimeoutError<E>,
) -> io::Error {
    match error {
        TransportTimeoutError::Timeout => Fault::Unfinished.into(),
        TransportTimeoutError::TimerError(error) => error,
        TransportTimeoutError::Other(error) => io::Error::other(error),
    }
}

/// A connection before Noise, which is encrypted if there is a key.
type Private = Either<Encrypted<TcpStream>, TcpStream>;

/// The handshake up to the greeting. A stranger without a key gets no further.
async fn greet(
    socket: TcpStream,
    end: ConnectedPoint,
    keys: Arc<[ClusterKey]>,
    patience: Patience,
) -> io::Result<Greeted<Private>> {
    bound_silence(&socket);
    let now = Instant::now();
    if end.is_listener() {
        accept(socket, &keys, now + patience.greeting).await
    } else {
        dial(socket, &keys, now + patience.handshake).await
    }
}

async fn dial(
    mut socket: TcpStream,
    keys: &[ClusterKey],
    deadline: Instant,
) -> io::Result<Greeted<Private>> {
    let Some(first) = keys.first() else {
        return Ok(greeting::expected(Either::Right(socket), deadline, false));
    };
    let nonces = not_silent(deadline, Nonces::exchange(&mut socket, first)).await?;
    let key = nonces.tagged(keys).unwrap_or(first);
    Ok(greeting::expected(Either::Left(nonces.encrypt(key, socket, 0)), deadline, true))
}

async fn accept(
    mut socket: TcpStream,
    keys: &[ClusterKey],
    deadline: Instant,
) -> io::Result<Greeted<Private>> {
    let nonces = match keys.first() {
        Some(key) => Some((not_silent(deadline, Nonces::exchange(&mut socket, key)).await?, key)),
        None => None,
    };
    let mut bytes = [0; GREETING.len()];
    not_silent(deadline, socket.read_exact(&mut bytes)).await?;
    let (stream, is_greeted) = match nonces {
        Some((nonces, first)) => {
            let key = nonces.key_that_reads(&bytes, GREETING, keys);
            (Either::Left(nonces.encrypt(key.unwrap_or(first), socket, bytes.len())), key.is_some())
        }
        None => (Either::Right(socket), bytes == *GREETING),
    };
    if is_greeted { Ok(greeting::taken(stream)) } else { Err(greeting::turn_away(stream).await) }
}

async fn not_silent<T>(
    deadline: Instant,
    heard: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout_at(deadline, heard).await.unwrap_or_else(|_| Err(Fault::Silent.into()))
}

/// Makes the system close the connection if sent bytes stay unacknowledged for too long. Other
/// systems than Linux use their own bound.
fn bound_silence(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::net::sockopt::set_tcp_user_timeout(&socket.0, UNACKNOWLEDGED_MAX.as_millis() as u32)
    {
        tracing::debug!(%error, "the system accepts no bound for unacknowledged bytes");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, UNACKNOWLEDGED_MAX);
}
