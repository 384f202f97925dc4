//! Reports from discovery tasks to the driver.

use libp2p::Multiaddr;
use tokio::sync::mpsc;

use crate::protocol::NodeId;

/// One report by one way of discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiscoveryReport {
    /// The way's index in the node's configuration.
    pub(crate) way: usize,
    pub(crate) outcome: DiscoveryOutcome,
}

/// The result of one look for other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DiscoveryOutcome {
    /// Addresses of nodes, each with or without `/p2p/…`.
    Found(Vec<Multiaddr>),
    /// This way works and found no other node.
    Nobody,
    /// The processes of these nodes have ended, and the nodes will not come back.
    Gone(Vec<NodeId>),
    /// The way gave no answer, so there may be other nodes. The reason, in a few words.
    Unsure(String),
}

impl DiscoveryOutcome {
    pub(super) fn found(addresses: Vec<Multiaddr>) -> Self {
        if addresses.is_empty() { Self::Nobody } else { Self::Found(addresses) }
    }
}

/// Sends the reports of one way of discovery.
#[derive(Debug)]
pub(super) struct AddressSender {
    way: usize,
    queue: mpsc::Sender<DiscoveryReport>,
}

impl AddressSender {
    pub(super) fn new(way: usize, queue: mpsc::Sender<DiscoveryReport>) -> Self {
        Self { way, queue }
    }

    /// Sends a report. Waits while the queue is full. Returns false once the driver has ended.
    pub(super) async fn report(&self, outcome: DiscoveryOutcome) -> bool {
        self.queue.send(DiscoveryReport { way: self.way, outcome }).await.is_ok()
    }
}
