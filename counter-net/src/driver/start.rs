//! From a checked configuration to a running node: identity, state, listeners, finders, loop.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use counter_core::{REPLICAS_MAX, Replica};
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{Config as SwarmConfig, SwarmEvent};
use libp2p::{Multiaddr, Swarm, TransportError};
use tokio::task::JoinHandle;

use super::addresses::{in_order, is_wildcard};
use super::engine::{Driver, Ending};
use super::incarnation::{self, Incarnation};
use super::predecessors::Predecessors;
use crate::behaviour::{Behaviour, BehaviourEvent, Names};
use crate::config::{IDLE_TIMEOUT, NodeConfig};
use crate::discovery::Finders;
use crate::error::StartError;
use crate::metrics::Metrics;
use crate::protocol::Replicator;
use crate::shared::{Identity, Shared, State, Wakes};
use crate::transport;

/// A listener that has not said within this time where it listens has no address to say.
const LISTEN_MAX: Duration = Duration::from_secs(2);

/// Every interface has been reported when no other one follows for this long.
const INTERFACE_QUIET: Duration = Duration::from_millis(50);

/// Starts a node's loop as a task; the node's addresses are known when this returns.
pub(crate) async fn start(config: NodeConfig) -> Result<(Arc<Shared>, JoinHandle<()>), StartError> {
    let names = Names::of(&config.cluster)?;
    let incarnation = incarnation::begin(
        config.data_dir.clone(),
        config.restored,
        config.cluster.clone(),
        config.node_name.as_deref(),
    )
    .await?;
    let mut swarm = swarm(&incarnation, &config, &names)?;
    let Listening { addresses, early } = listen(&mut swarm, &config.listen).await?;
    let predecessors = Predecessors::new(
        incarnation.earlier.clone(),
        incarnation.copied.clone(),
        incarnation.store.is_some(),
    );
    let shared = shared(incarnation, &config)?;
    let reachable: Vec<Multiaddr> = addresses
        .into_iter()
        .map(|address| address.with_p2p(*swarm.local_peer_id()).unwrap_or_else(|own| own))
        .collect();
    *shared.listen.write().unwrap_or_else(PoisonError::into_inner) =
        reachable.iter().map(Multiaddr::to_string).collect();
    let finders = Finders::start(&config, &reachable, &shared)?;
    announce(&shared, &config);
    let mut driver =
        Driver::new(Arc::clone(&shared), (swarm, names), &config, finders, predecessors);
    early.into_iter().for_each(|event| driver.on_event(event));
    let task = tokio::spawn(driver.run(Ending(Arc::clone(&shared))));
    Ok((shared, task))
}

fn announce(shared: &Shared, config: &NodeConfig) {
    let (identity, listen) =
        (&shared.identity, shared.listen.read().unwrap_or_else(PoisonError::into_inner));
    let keys = if config.keys.is_empty() {
        "none".to_owned()
    } else {
        config.key_fingerprints().join(", ")
    };
    tracing::info!(replica = %shared.replica(), region = identity.region, cluster = identity.cluster, key_fingerprints = keys, listen = ?*listen, "node started");
}

fn swarm(
    incarnation: &Incarnation,
    config: &NodeConfig,
    names: &Names,
) -> Result<Swarm<Behaviour>, StartError> {
    let keypair = &incarnation.keypair;
    let transport = transport::build(keypair, &config.keys)?;
    let behaviour = Behaviour::new((keypair, incarnation.replica.incarnation), config, names)?;
    let swarm = SwarmConfig::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), swarm))
}

fn shared(incarnation: Incarnation, config: &NodeConfig) -> Result<Arc<Shared>, StartError> {
    let is_whole = incarnation.copied.is_empty();
    let peer_id = incarnation.keypair.public().to_peer_id();
    let stored = incarnation.map.version_vector();
    let mut replica = Replica::with_map(
        incarnation.replica,
        &config.region,
        incarnation.map.bounded(config.counters_max, REPLICAS_MAX),
    )
    .map_err(|error| StartError::Network(error.to_string()))?;
    let origin = Instant::now();
    let mut replicator =
        Replicator::new(config.protocol.clone(), &replica, fastrand::u64(..), Duration::ZERO);
    if incarnation.is_named {
        replicator.ask_for_number();
    }
    let wakes = Wakes::default();
    let local = Arc::clone(&wakes.local);
    replica.set_wake(Arc::new(move || local.notify_one()));
    let identity = Identity {
        region: config.region.clone(),
        cluster: config.cluster.clone(),
        release: config.release.clone(),
        peer_id: peer_id.to_string(),
        node_name: config.node_name.clone(),
    };
    let state = State { replica, replicator, viewers_told: 0 };
    let shared = Shared::new(identity, origin, state, wakes, Metrics::default());
    shared.behind.store(!is_whole, Ordering::Relaxed);
    if let Some(store) = incarnation.store {
        shared
            .commit_to(store, stored, config.commit_interval)
            .map_err(|error| StartError::Network(error.to_string()))?;
    }
    Ok(shared)
}

/// Where the node listens now, and what else happened on the network meanwhile.
struct Listening {
    addresses: Vec<Multiaddr>,
    early: Vec<SwarmEvent<BehaviourEvent>>,
}

/// Binds every address and waits until each listener has said where it is.
async fn listen(
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

/// A listener on every address reports those of the interfaces one right behind the other.
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

/// libp2p shares ports: two nodes on one would each get some of the connections meant for either.
/// So a named port is first bound unshared.
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
