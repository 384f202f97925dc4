//! The inputs of a replicator.

use std::fmt;
use std::time::Duration;

use counter_core::VersionVector;

use super::wait::Copies;

/// A node, named by the hash of its transport identity. Its replica has `ReplicaId.node ==
/// NodeId.0`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The state of the driver's search for peers that are not connected yet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Search {
    /// Peers that were found or named and have not failed: queued, being dialled, or connected
    /// without having spoken this cluster's protocol. Peers that wait because enough others are
    /// tried do not count.
    pub candidates: usize,
    /// A discovery has not answered yet. An empty list of addresses is an answer too.
    pub unsure: bool,
    /// Every peer that was found refuses this node's cluster key.
    pub key_refused: bool,
}

impl Default for Search {
    /// Nothing is known yet.
    fn default() -> Self {
        Self { candidates: 0, unsure: true, key_refused: false }
    }
}

impl Search {
    /// A search that found nobody: nobody was named, or discovery answered with an empty list.
    pub const NOBODY: Self = Self { candidates: 0, unsure: false, key_refused: false };

    /// True if a peer may still turn up.
    pub(in crate::protocol) fn expects_peers(self) -> bool {
        self.candidates > 0 || self.unsure || self.key_refused
    }
}

/// An event for [`Replicator::handle`](crate::protocol::Replicator::handle). Payloads come from the
/// far end, and any bytes are safe.
#[derive(Clone, Debug)]
pub enum Input {
    /// This node's replica has pending amounts, or a reset was written.
    LocalChange,
    /// A gossip message arrived. Exactly one
    /// [`Output::Validated`](crate::protocol::Output::Validated) with this token follows.
    Gossip {
        /// Identifies the message to the driver.
        token: u64,
        /// The author, whose signature the transport checked. Not the peer that passed it on.
        signer: NodeId,
        /// The message.
        payload: Vec<u8>,
    },
    /// A peer asks. Exactly one [`Output::Respond`](crate::protocol::Output::Respond) with this id
    /// follows, at once or after a commit.
    /// [`Replicator::awaits_commit`](crate::protocol::Replicator::awaits_commit) returns true while
    /// one waits for a commit.
    Request {
        /// The peer that asks.
        peer: NodeId,
        /// Identifies the request to the driver.
        id: u64,
        /// The request.
        payload: Vec<u8>,
    },
    /// A peer answered the [`Output::Request`](crate::protocol::Output::Request) of this id.
    Response {
        /// The peer that answers.
        peer: NodeId,
        /// The id that the replicator gave.
        id: u64,
        /// The answer.
        payload: Vec<u8>,
    },
    /// The [`Output::Request`](crate::protocol::Output::Request) of this id will not be answered.
    RequestFailed {
        /// The peer that was asked.
        peer: NodeId,
        /// The id that the replicator gave.
        id: u64,
    },
    /// The first connection to the peer is open.
    PeerUp {
        /// The node at the far end.
        peer: NodeId,
    },
    /// The last connection to the peer closed.
    PeerDown {
        /// The node at the far end.
        peer: NodeId,
    },
    /// The connection to the peer is open, but the peer has said nothing for so long that it may be
    /// gone. A driver that never reports this finds out when the connection breaks.
    PeerSilent {
        /// The node at the far end.
        peer: NodeId,
    },
    /// The peer said something that no other input reports, such as the answer to a ping. This ends
    /// the peer's silence.
    PeerHeard {
        /// The node at the far end.
        peer: NodeId,
    },
    /// How many viewers this node has now.
    Viewers(u64),
    /// The state of the search for peers. Before the first such input, discovery counts as unsure.
    Search(Search),
    /// Where this node listens, as bytes that only drivers read. Others get them with its
    /// announcements.
    Listening(Vec<Vec<u8>>),
    /// A dial to this peer failed or took too long, whether
    /// [`Output::Dial`](crate::protocol::Output::Dial) asked for it or not.
    DialFailed {
        /// The node that was not reached.
        peer: NodeId,
    },
    /// A caller waits until this many enrolled replicas hold everything that was added here before.
    /// One [`Notice::Waited`](crate::protocol::Notice::Waited) with this id follows.
    AwaitCopies {
        /// Identifies the wait. Unique among open waits.
        id: u64,
        /// How many replicas must hold it.
        copies: Copies,
        /// The longest time to wait.
        within: Duration,
    },
    /// A caller waits until everything in `versions` is held here. One
    /// [`Notice::Waited`](crate::protocol::Notice::Waited) with this id follows.
    AwaitVersions {
        /// Identifies the wait. Unique among open waits.
        id: u64,
        /// The versions to wait for.
        versions: VersionVector,
        /// The longest time to wait.
        within: Duration,
    },
    /// The caller with this id has stopped waiting. No notice follows.
    Forget {
        /// The id of the wait.
        id: u64,
    },
    /// The node is about to stop. Publishes pending amounts, hands them to the peers and announces
    /// the leave. Keep driving the machine until
    /// [`Replicator::is_drained`](crate::protocol::Replicator::is_drained), or for as long as the
    /// shutdown may take.
    Leave {
        /// True if no later incarnation of this node will continue its cells, so another replica
        /// has to take them over. A node without a data directory leaves this way, and so does one
        /// that an operator asked to.
        for_good: bool,
    },
    /// The time of [`Replicator::poll_timeout`](crate::protocol::Replicator::poll_timeout) has
    /// come.
    Timer,
}

impl Input {
    /// The node that this input comes from, if it shows that the node is alive.
    pub(in crate::protocol) fn speaker(&self) -> Option<NodeId> {
        match self {
            Self::Gossip { signer, .. } => Some(*signer),
            Self::Request { peer, .. }
            | Self::Response { peer, .. }
            | Self::PeerUp { peer }
            | Self::PeerHeard { peer } => Some(*peer),
            _ => None,
        }
    }
}
