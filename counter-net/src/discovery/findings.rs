//! What a task that looks for nodes reports to the driver.

use libp2p::Multiaddr;
use tokio::sync::mpsc;

use crate::protocol::NodeId;

/// One report of one way of discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The way's place among those that the node was started with.
    pub(crate) way: usize,
    pub(crate) outcome: Outcome,
}

/// What a look for other nodes came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Addresses of nodes, each with or without `/p2p/…`.
    Found(Vec<Multiaddr>),
    /// The way works and knows of nobody.
    Nobody,
    /// The processes of these nodes are gone, and nothing of theirs comes back.
    Gone(Vec<NodeId>),
    /// The way gave no answer, so there may be nodes. The reason, in a few words.
    Unsure(String),
}

impl Outcome {
    pub(super) fn found(addresses: Vec<Multiaddr>) -> Self {
        if addresses.is_empty() { Self::Nobody } else { Self::Found(addresses) }
    }
}

/// Where one way reports.
#[derive(Debug)]
pub(super) struct Findings {
    way: usize,
    queue: mpsc::Sender<Finding>,
}

impl Findings {
    pub(super) fn new(way: usize, queue: mpsc::Sender<Finding>) -> Self {
        Self { way, queue }
    }

    /// Waits where the queue is full. Returns false when the driver is gone.
    pub(super) async fn report(&self, outcome: Outcome) -> bool {
        self.queue.send(Finding { way: self.way, outcome }).await.is_ok()
    }
}
