//! Binds a node's listeners, and orders the addresses that it reports.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, TransportError};

use crate::config::is_loopback;
use crate::error::StartError;
use crate::network::{Behaviour, BehaviourEvent};

/// How long a listener may take to report its address.
const LISTEN_MAX: Duration = Duration::from_secs(2);
/// When no further interface is reported for this long, all have been.
const INTERFACE_QUIET: Duration = Duration::from_millis(50);

/// The addresses of all listeners, and the other network events that came meanwhile.
pub(super) struct Listening {
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) early: Vec<SwarmEvent<BehaviourEvent>>,
}

/// Binds every address and waits until each listener has reported its own.
///
/// # Errors
///
/// If an address cannot be bound, or is in use, or its listener reports nothing within 2 s.
pub(super) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Listening, StartError> {
    let mut waiting: Vec<(ListenerId, &Multiaddr)> = Vec::new();
    for address in addresses {
        let failed = |source| StartError::Listen { address: address.to_string(), source };
        check_free(address).map_err(failed)?;
        let listener = swarm.listen_on(address.clone()).map_err(|error| failed(io_error(error)))?;
        waiting.push((listener, address));
    }
    let (mut bound, mut early) = (Vec::new(), Vec::new());
    let all_bound = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    waiting.retain(|(id, _)| *id != listener_id);
                    bound.push(address);
                }
                SwarmEvent::ListenerClosed { listener_id, reason: Err(source), .. } => {
                    let address = waiting
                        .iter()
                        .find(|(id, _)| *id == listener_id)
                        .map(|(_, address)| address.to_string());
                    return Err(StartError::Listen {
                        address: address.unwrap_or_default(),
                        source,
                    });
                }
                other => early.push(other),
            }
        }
        Ok(())
    };
    match tokio::time::timeout(LISTEN_MAX, all_bound).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            let address =
                waiting.first().map(|(_, address)| address.to_string()).unwrap_or_default();
            return Err(StartError::Listen {
                address,
                source: io::Error::from(io::ErrorKind::AddrNotAvailable),
            });
        }
    }
    if addresses.iter().any(is_wildcard) {
        wait_for_interfaces(swarm, &mut bound, &mut early).await;
    }
    Ok(Listening { addresses: in_order(bound), early })
}

/// Waits for the addresses of all interfaces. A wildcard listener reports them in quick succession.
async fn wait_for_interfaces(
    swarm: &mut Swarm<Behaviour>,
    bound: &mut Vec<Multiaddr>,
    early: &mut Vec<SwarmEvent<BehaviourEvent>>,
) {
    let mut quiet = tokio::time::Instant::now() + INTERFACE_QUIET;
    while let Ok(event) = tokio::time::timeout_at(quiet, swarm.select_next_some()).await {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                bound.push(address);
                quiet = tokio::time::Instant::now() + INTERFACE_QUIET;
            }
            // A peer may have connected already.
            other => early.push(other),
        }
    }
}

/// Checks that a fixed port is free, by binding it unshared. libp2p shares ports, so two nodes on
/// one port would each get some of the other's connections.
fn check_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

fn io_error(error: TransportError<io::Error>) -> io::Error {
    match error {
        TransportError::Other(error) => error,
        TransportError::MultiaddrNotSupported(_) => io::Error::from(io::ErrorKind::Unsupported),
    }
}

/// The addresses to report: first those that other machines can dial, loopback last.
///
/// Link-local addresses work on one cable only, so they are left out unless there are no others.
pub(super) fn in_order(listened: impl IntoIterator<Item = Multiaddr>) -> Vec<Multiaddr> {
    let mut addresses: Vec<Multiaddr> = Vec::new();
    for address in listened {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if !addresses.iter().all(is_link_local) {
        addresses.retain(|address| !is_link_local(address));
    }
    addresses.sort_by_key(is_loopback);
    addresses
}

/// Returns true if a listener there has every address of the machine.
fn is_wildcard(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_unspecified(),
        _ => false,
    }
}

fn is_link_local(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_link_local(),
        Some(Protocol::Ip6(ip)) => ip.is_unicast_link_local(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(ips: &[&str]) -> Vec<String> {
        let address =
            |ip: &&str| format!("/{ip}/tcp/7117").parse::<Multiaddr>().expect("an address");
        let strip = |address: Multiaddr| {
            address.to_string().trim_end_matches("/tcp/7117").trim_start_matches('/').to_owned()
        };
        in_order(ips.iter().map(address)).into_iter().map(strip).collect()
    }

    #[test]
    fn addresses_for_other_machines_come_first() {
        let listened = [
            "ip4/127.0.0.1",
            "ip4/192.0.2.7",
            "ip4/169.254.1.1",
            "ip6/::1",
            "ip6/fe80::1",
            "ip6/2001:db8::7",
            "ip4/192.0.2.7",
        ];
        assert_eq!(
            ordered(&listened),
            ["ip4/192.0.2.7", "ip6/2001:db8::7", "ip4/127.0.0.1", "ip6/::1"]
        );
    }

    #[test]
    fn lone_link_local_addresses_stay() {
        assert_eq!(ordered(&["ip6/fe80::1"]), ["ip6/fe80::1"]);
        assert!(ordered(&[]).is_empty());
    }
}
