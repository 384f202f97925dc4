//! A node's identity and the members that it knows.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use counter_core::ReplicaId;

pub use crate::protocol::{Lag, Member};
use crate::shared::{Shared, Trouble};

/// A node's identity, addresses and connections; see [`Node::info`](crate::Node::info).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The region it runs in.
    pub region: String,
    /// Its present incarnation. A running node gets another one if members retire this one.
    pub replica: ReplicaId,
    /// Its public identity on the network.
    pub peer_id: String,
    /// The cluster it belongs to.
    pub cluster: String,
    /// The release it runs.
    pub release: String,
    /// The multiaddresses it listens on, each with its `/p2p/…` part, as another node's
    /// [`NodeBuilder::peer`](crate::NodeBuilder::peer) takes them.
    pub addresses: Vec<String>,
    /// Connected peers that speak this cluster's protocol.
    pub peers: usize,
    /// Time since its start.
    pub uptime: Duration,
    /// False while other nodes are expected and none has answered. Expected are named peers,
    /// candidates of discovery, and members that did not leave.
    pub in_touch: bool,
    /// Causes that keep this node from others, in sentences that say what to do. While peers are
    /// connected it names only faults that an operator has to mend, such as another cluster key.
    pub trouble: Option<String>,
}

fn sentences(troubles: &[Trouble]) -> Option<String> {
    let sentences: Vec<&str> = troubles.iter().map(|trouble| trouble.sentence.as_str()).collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

impl Shared {
    pub(super) fn members(&self) -> Vec<Member> {
        let state = self.read();
        state.replicator.members(&state.replica, self.now())
    }

    pub(super) fn info(&self) -> NodeInfo {
        let identity = &self.identity;
        NodeInfo {
            region: identity.region.clone(),
            replica: self.replica(),
            peer_id: identity.peer_id.clone(),
            cluster: identity.cluster.clone(),
            release: identity.release.clone(),
            addresses: self.listen.read().unwrap_or_else(PoisonError::into_inner).clone(),
            peers: self.peers.load(Ordering::Relaxed),
            uptime: self.now(),
            in_touch: self.read().replicator.in_touch(),
            trouble: sentences(&self.troubles()),
        }
    }
}
