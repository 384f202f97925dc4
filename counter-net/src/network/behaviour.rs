//! The libp2p behaviours of a node: gossip, pulls, introductions, identify and ping, with limits.

use std::time::Duration;

use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    self, IdentTopic, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds,
    TopicScoreParams,
};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, StreamProtocol, identify, mdns, ping};
use sha2::{Digest, Sha256};

use super::agent::agent_version;
use super::codec::BoundedCodec;
use crate::config::{self, NodeConfig};
use crate::error::StartError;
use crate::protocol::{MESSAGE_BYTES_MAX, NodeId};

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) cut: allow_block_list::Behaviour<BlockedPeers>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) gossip: gossipsub::Behaviour,
    pub(crate) pull: request_response::Behaviour<BoundedCodec>,
    pub(crate) peers: request_response::Behaviour<BoundedCodec>,
    pub(crate) ping: ping::Behaviour,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Protocol names. They keep two clusters apart, and two versions of the protocol.
pub(crate) struct ProtocolNames {
    pub(crate) topic: IdentTopic,
    pub(crate) gossip: String,
    pub(crate) pull: StreamProtocol,
    pub(crate) peers: StreamProtocol,
    pub(crate) family: String,
}

impl ProtocolNames {
    /// Builds the names for a checked cluster name.
    pub(crate) fn of(cluster: &str) -> Result<Self, StartError> {
        Ok(Self {
            topic: IdentTopic::new(format!("counter/{cluster}")),
            gossip: format!("/counter/{cluster}/gossip"),
            pull: StreamProtocol::try_from_owned(format!("/counter/{cluster}/pull/1"))
                .map_err(network)?,
            peers: StreamProtocol::try_from_owned(format!("/counter/{cluster}/peers/1"))
                .map_err(network)?,
            family: format!("counter/{cluster}/1"),
        })
    }
}

/// A node's number: the first 8 bytes of the SHA-256 of its peer id. So no peer can choose the
/// number of another.
pub(crate) fn node_id(peer: &PeerId) -> NodeId {
    let digest = Sha256::digest(peer.to_bytes());
    NodeId(digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)))
}

impl Behaviour {
    pub(crate) fn new(
        (keypair, incarnation): (&Keypair, u64),
        config: &NodeConfig,
        names: &ProtocolNames,
    ) -> Result<Self, StartError> {
        let identify = identify::Config::new(names.family.clone(), keypair.public())
            .with_agent_version(agent_version(incarnation))
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits(false)),
            cut: allow_block_list::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            gossip: gossip(keypair, names)?,
            pull: requests(&names.pull, MESSAGE_BYTES_MAX, config::PULL_STREAMS_MAX),
            peers: requests(
                &names.peers,
                config::INTRODUCTION_BYTES_MAX,
                config::INTRODUCTION_STREAMS_MAX,
            ),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(config::PING_INTERVAL)
                    .with_timeout(config::PING_TIMEOUT),
            ),
            mdns: mdns(keypair, config)?.into(),
        })
    }
}

fn requests(
    name: &StreamProtocol,
    bytes_max: usize,
    streams_max: usize,
) -> request_response::Behaviour<BoundedCodec> {
    let config = request_response::Config::default()
        .with_request_timeout(config::PULL_TIMEOUT)
        .with_max_concurrent_streams(streams_max);
    request_response::Behaviour::with_codec(
        BoundedCodec { bytes_max },
        [(name.clone(), ProtocolSupport::Full)],
        config,
    )
}

/// Limits of connections. An isolated node may establish none.
///
/// Its pending connections may still finish their handshake. The far end then sees a connection
/// that closes, and not a broken handshake, which would look like a wrong cluster key.
pub(crate) fn limits(isolated: bool) -> ConnectionLimits {
    let established_max = if isolated { 0 } else { config::CONNECTIONS_MAX };
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(config::CONNECTIONS_PENDING_MAX))
        .with_max_pending_outgoing(Some(config::CONNECTIONS_PENDING_MAX))
        .with_max_established_incoming(Some(config::CONNECTIONS_INCOMING_MAX))
        .with_max_established(Some(established_max))
        .with_max_established_per_peer(Some(config::CONNECTIONS_PER_PEER_MAX))
}

fn mdns(
    keypair: &Keypair,
    config: &NodeConfig,
) -> Result<Option<mdns::tokio::Behaviour>, StartError> {
    if !config.discovery.contains(&crate::discovery::Discovery::Mdns) {
        return Ok(None);
    }
    mdns::tokio::Behaviour::new(mdns::Config::default(), keypair.public().to_peer_id())
        .map(Some)
        .map_err(network)
}

fn gossip(keypair: &Keypair, names: &ProtocolNames) -> Result<gossipsub::Behaviour, StartError> {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(names.gossip.clone())
        // Gossipsub builds its mesh at heartbeats only. Until then, and beyond the mesh, a
        // publisher sends to every subscribed peer itself.
        .heartbeat_initial_delay(Duration::from_millis(100))
        .flood_publish(true)
        .validate_messages()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .message_id_fn(message_id)
        .max_transmit_size(config::GOSSIP_TRANSMIT_BYTES_MAX)
        .connection_handler_queue_len(config::GOSSIP_QUEUE_MAX)
        .build()
        .map_err(network)?;
    let mut gossip =
        gossipsub::Behaviour::new(MessageAuthenticity::Signed(keypair.clone()), config)
            .map_err(network)?;
    let (params, thresholds) = score(&names.topic);
    gossip.with_peer_score(params, thresholds).map_err(network)?;
    gossip.subscribe(&names.topic).map_err(network)?;
    Ok(gossip)
}

/// A message's author and sequence number. Two equal payloads are two messages, and one message is
/// the same over every path.
fn message_id(message: &gossipsub::Message) -> MessageId {
    let author = message.source.as_ref().map_or(0, |peer| node_id(peer).0);
    let sequence = message.sequence_number.unwrap_or_default();
    MessageId::from([author.to_be_bytes(), sequence.to_be_bytes()].concat())
}

/// Scores only offences: invalid messages, broken promises, and the driver's own penalties. A quiet
/// peer scores as high as a busy one, and one machine may run many nodes.
fn score(topic: &IdentTopic) -> (PeerScoreParams, PeerScoreThresholds) {
    let topic_params = TopicScoreParams {
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    };
    let params = PeerScoreParams {
        topics: [(topic.hash(), topic_params)].into(),
        app_specific_weight: 1.0,
        ip_colocation_factor_weight: 0.0,
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    };
    (params, PeerScoreThresholds::default())
}

fn network(error: impl std::fmt::Display) -> StartError {
    StartError::Network(error.to_string())
}
