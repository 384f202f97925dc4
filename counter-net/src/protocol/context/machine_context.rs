//! The part of the replicator's state that all of its machines share.

use std::time::Duration;

use counter_core::{Replica, ReplicaId};

use super::outbox::Outbox;
use super::timers::Timers;
use crate::protocol::interface::{MessageKind, NodeId, ProtocolConfig};
use crate::protocol::wire::GossipMessage;

/// Settings, identity, time and randomness, and the outputs and timers through which machines act.
///
/// A plain bundle. Only the replicator's router changes `own` and `now`.
#[derive(Debug)]
pub(crate) struct Context {
    pub config: ProtocolConfig,
    /// The replica that this node writes as.
    pub own: ReplicaId,
    /// When the machine was made.
    pub started: Duration,
    /// The present time: the greatest that an input has brought.
    pub now: Duration,
    /// The source of jitter and of random peers.
    pub rng: fastrand::Rng,
    /// The outputs to carry out, and the counts.
    pub out: Outbox,
    pub timers: Timers,
}

impl Context {
    pub(crate) fn new(config: ProtocolConfig, replica: &Replica, seed: u64, now: Duration) -> Self {
        Self {
            config,
            own: replica.id(),
            started: now,
            now,
            rng: fastrand::Rng::with_seed(seed),
            out: Outbox::default(),
            timers: Timers::default(),
        }
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.own.node)
    }

    /// Varies `time` at random by up to 20 %.
    pub(crate) fn jittered(&mut self, time: Duration) -> Duration {
        time.mul_f64(0.8 + 0.4 * self.rng.f64())
    }

    /// Publishes an envelope, unless it is longer than a payload may be.
    pub(crate) fn publish_envelope(&mut self, kind: MessageKind, gossip: GossipMessage) {
        self.out.publish_envelope(kind, gossip, self.config.payload_bytes_max);
    }
}
