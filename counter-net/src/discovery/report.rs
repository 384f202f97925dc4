//! Reports from discovery tasks to the driver.

use libp2p::Multiaddr;
use tokio::sync::mpsc;

use crate::protocol::NodeId;

/// One report by one discovery method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiscoveryReport {
    /// The method's index in the node's configuration.
    pub(crate) method: usize,
    pub(crate) outcome: DiscoveryOutcome,
}

/// The result of one look for other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DiscoveryOutcome {
    /// Addresses of nodes, each with or without `/p2p/…`.
    Found(Vec<Multiaddr>),
    /// The method works and found no other node.
    Nobody,
    /// The processes of these nodes have ended, and the nodes will not come back.
    Gone(Vec<NodeId>),
    /// The method gave no answer, so there may be other nodes. The reason, in a few words.
    Unsure(String),
}

impl DiscoveryOutcome {
    pub(super) fn found(addresses: Vec<Multiaddr>) -> Self {
        if addresses.is_empty() { Self::Nobody } else { Self::Found(addresses) }
    }
}

/// Sends the reports of one discovery method.
#[derive(Debug)]
pub(super) struct AddressSender {
    method: usize,
    queue: mpsc::Sender<DiscoveryReport>,
}

impl AddressSender {
    pub(super) fn new(method: usize, queue: mpsc::Sender<DiscoveryReport>) -> Self {
        Self { method, queue }
    }

    /// Sends a report. Waits while the queue is full. Returns false once the driver has ended.
    pub(super) async fn report(&self, outcome: DiscoveryOutcome) -> bool {
        self.queue.send(DiscoveryReport { method: self.method, outcome }).await.is_ok()
    }
}
