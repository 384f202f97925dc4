//! Who a node is and whom it knows.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use counter_core::ReplicaId;

pub use crate::protocol::{Lag, Member};
use crate::shared::{Shared, Trouble};

/// A node about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Where it runs.
    pub region: String,
    /// The writer it is now: this incarnation of this node. A node whose incarnation is ended by
    /// others goes on as another one.
    pub replica: ReplicaId,
    /// Its public identity on the network.
    pub peer_id: String,
    /// The cluster it belongs to.
    pub cluster: String,
    /// The release it runs.
    pub release: String,
    /// The multiaddresses it listens on, each with its `/p2p/…` part, ready to hand to another
    /// node's [`crate::NodeBuilder::peer`].
    pub addresses: Vec<String>,
    /// Peers connected now that speak this cluster's protocol.
    pub peers: usize,
    /// Time since its start.
    pub uptime: Duration,
    /// False only while other nodes are expected (named peers, candidates, or members that did not
    /// leave) and none has answered.
    pub in_touch: bool,
    /// What keeps this node from others, in sentences that say what to do; `None` where nothing
    /// does. With peers at hand only what an operator has to mend is named, such as another cluster
    /// key.
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
