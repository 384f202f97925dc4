//! Starts a node from a checked configuration: identity, state, listeners, discovery, loop.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use counter_core::{REPLICAS_MAX, Replica};
use libp2p::swarm::Config as SwarmConfig;
use libp2p::{Multiaddr, Swarm};
use tokio::task::JoinHandle;

use super::engine::{Driver, DriverGuard};
use super::incarnations::{self, Incarnations, NewIncarnation};
use super::listening::{Listening, listen};
use crate::config::{IDLE_TIMEOUT, NodeConfig};
use crate::discovery::DiscoveryTasks;
use crate::error::StartError;
use crate::metrics::EventCounts;
use crate::network::transport;
use crate::network::{Behaviour, ProtocolNames};
use crate::protocol::Replicator;
use crate::shared::{Identity, NodeState, Shared, Wakes};

/// Starts a node's loop as a task. The node listens when this returns.
pub(crate) async fn start(config: NodeConfig) -> Result<(Arc<Shared>, JoinHandle<()>), StartError> {
    let names = ProtocolNames::of(&config.cluster)?;
    let incarnation = incarnations::begin(
        config.data_dir.clone(),
        config.restored,
        config.cluster.clone(),
        config.node_name.as_deref(),
    )
    .await?;
    let mut swarm = swarm(&incarnation, &config, &names)?;
    let Listening { addresses, early } = listen(&mut swarm, &config.listen).await?;
    let incarnations = Incarnations::new(&incarnation);
    let shared = shared(incarnation, &config)?;
    let reachable: Vec<Multiaddr> = addresses
        .into_iter()
        .map(|address| address.with_p2p(*swarm.local_peer_id()).unwrap_or_else(|own| own))
        .collect();
    *shared.listen.write().unwrap_or_else(PoisonError::into_inner) =
        reachable.iter().map(Multiaddr::to_string).collect();
    let discovery_tasks = DiscoveryTasks::start(&config, &reachable, &shared)?;
    announce(&shared, &config);
    let mut driver =
        Driver::new(Arc::clone(&shared), (swarm, names), &config, discovery_tasks, incarnations);
    early.into_iter().for_each(|event| driver.on_event(event));
    let task = tokio::spawn(driver.run(DriverGuard::new(Arc::clone(&shared))));
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
    tracing::info!(
        replica = %shared.replica(),
        region = identity.region,
        cluster = identity.cluster,
        key_fingerprints = keys,
        listen = ?*listen,
        "node started"
    );
}

fn swarm(
    incarnation: &NewIncarnation,
    config: &NodeConfig,
    names: &ProtocolNames,
) -> Result<Swarm<Behaviour>, StartError> {
    let keypair = &incarnation.keypair;
    let transport = transport::build(keypair, &config.keys)?;
    let behaviour = Behaviour::new((keypair, incarnation.replica.incarnation), config, names)?;
    let swarm = SwarmConfig::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), swarm))
}

fn shared(incarnation: NewIncarnation, config: &NodeConfig) -> Result<Arc<Shared>, StartError> {
    let is_whole = incarnation.copied.is_empty();
    let peer_id = incarnation.keypair.public().to_peer_id();
    let stored = incarnation.map.version_vector();
    let mut replica = Replica::with_map(
        incarnation.replica,
        &config.region,
        incarnation.map.bounded(config.counters_max, REPLICAS_MAX),
    )
    .map_err(|_| StartError::Region(config.region.clone()))?;
    replica.set_expiry_rules(config.expiry.iter().cloned());
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
    let state = NodeState { replica, replicator, viewers_told: 0 };
    let shared = Shared::new(identity, origin, state, wakes, EventCounts::default());
    shared.behind.store(!is_whole, Ordering::Relaxed);
    if let Some(store) = incarnation.store {
        shared
            .commit_to(store, stored, config.commit_interval)
            .map_err(StartError::CommitThread)?;
    }
    Ok(shared)
}
