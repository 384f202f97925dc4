//! How bytes travel: TCP without Nagle, the private network where there is a key, Noise, Yamux.

use futures::future::Either;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::{PeerId, Transport, dns, noise, tcp, yamux};

use crate::config::{HANDSHAKE_TIMEOUT, UNACKNOWLEDGED_MAX};
use crate::error::StartError;

/// The transport of one node. With a key, a stranger without it cannot even begin a handshake; the handshake then ends by its timeout.
pub(crate) fn build(keypair: &Keypair, key: Option<PreSharedKey>) -> Result<Boxed<(PeerId, StreamMuxerBox)>, StartError> {
    let noise = noise::Config::new(keypair).map_err(|error| StartError::Network(error.to_string()))?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    Ok(named(tcp)
        .and_then(move |socket, _| async move {
            bound_silence(&socket);
            match key {
                Some(key) => PnetConfig::new(key).handshake(socket).await.map(Either::Left),
                None => Ok(Either::Right(socket)),
            }
        })
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed())
}

/// Ends the connection by itself when its far end takes nothing for too long. Elsewhere than on Linux, the system's own bound holds.
fn bound_silence(socket: &tcp::tokio::TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&socket.0, UNACKNOWLEDGED_MAX.as_millis() as u32) {
        tracing::debug!(%error, "the system takes no bound of silence");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, UNACKNOWLEDGED_MAX);
}

/// With names resolved by the system's servers; a machine without any still reaches literal addresses.
fn named(tcp: tcp::tokio::Transport) -> dns::tokio::Transport<tcp::tokio::Transport> {
    // `system` takes the transport even when it fails, and making one anew costs nothing.
    dns::tokio::Transport::system(tcp).unwrap_or_else(|error| {
        tracing::warn!(%error, "the system's name servers are unknown: peers can be reached by their IP addresses only");
        let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
        dns::tokio::Transport::custom(tcp, dns::ResolverConfig::default(), dns::ResolverOpts::default())
    })
}
