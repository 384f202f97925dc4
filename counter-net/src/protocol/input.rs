//! What a replicator is told.

use std::fmt;
use std::time::Duration;

use counter_core::VersionVector;

use super::acks::Copies;

/// A node: the hash of its transport identity. A node's replica has `ReplicaId.node == NodeId.0`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What the driver knows of peers that are not connected.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Search {
    /// Peers found or named that have not failed: queued, being dialled, or connected without
    /// having spoken this cluster's protocol. Those deferred because enough others are tried do not
    /// count.
    pub candidates: usize,
    /// Some way of discovery has not answered yet. An answer is a list of addresses, also an empty
    /// one.
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
    /// A search that has found nobody: there is nobody to look for, or discovery said so.
    pub const NOBODY: Self = Self { candidates: 0, unsure: false, key_refused: false };

    /// Whether a peer may still turn up.
    pub(super) fn expects_somebody(self) -> bool {
        self.candidates > 0 || self.unsure || self.key_refused
    }
}

/// What [`Replicator::handle`](crate::protocol::Replicator::handle) takes. Bytes are what came from
/// the far end: any bytes are safe.
#[derive(Clone, Debug)]
pub enum Input {
    /// The own replica has pending amounts, or a reset was written.
    LocalChange,
    /// A gossip message arrived; exactly one [`Output::Verdict`](crate::protocol::Output::Verdict)
    /// with this token follows.
    Gossip {
        /// Names the message towards the driver.
        token: u64,
        /// Who signed it, as checked by the transport: the author, not the peer that passed it on.
        signer: NodeId,
        /// The message.
        payload: Vec<u8>,
    },
    /// A peer asks; exactly one [`Output::Respond`](crate::protocol::Output::Respond) with this id
    /// follows: at once, or after a commit where
    /// [`Replicator::awaits_commit`](crate::protocol::Replicator::awaits_commit) says so.
    Request {
        /// Who asks.
        peer: NodeId,
        /// Names the request towards the driver.
        id: u64,
        /// The request.
        payload: Vec<u8>,
    },
    /// A peer answered the [`Output::Request`](crate::protocol::Output::Request) of this id.
    Response {
        /// Who answers.
        peer: NodeId,
        /// The id that the replicator gave.
        id: u64,
        /// The answer.
        payload: Vec<u8>,
    },
    /// The [`Output::Request`](crate::protocol::Output::Request) of this id will not be answered.
    RequestFailed {
        /// Who was asked.
        peer: NodeId,
        /// The id that the replicator gave.
        id: u64,
    },
    /// The first connection to this node is open.
    PeerUp {
        /// The node at the far end.
        peer: NodeId,
    },
    /// The last connection to this node closed.
    PeerDown {
        /// The node at the far end.
        peer: NodeId,
    },
    /// The connection to this node is open, and it has said nothing for so long that it may be
    /// gone. A driver that never says so finds out when the connection breaks.
    PeerSilent {
        /// The node at the far end.
        peer: NodeId,
    },
    /// A peer has said something that is no other input, such as the answer to a ping; a silent one
    /// is silent no more.
    PeerHeard {
        /// The node at the far end.
        peer: NodeId,
    },
    /// How many viewers this node has now.
    Viewers(u64),
    /// What looking for peers has come to. Until the first one, discovery counts as unsure.
    Search(Search),
    /// Where this node listens, as bytes that only the driver reads. Others get them with its
    /// announcements.
    Listening(Vec<Vec<u8>>),
    /// A dial that [`Output::Dial`](crate::protocol::Output::Dial) asked for, or any other to this
    /// node, failed or took too long.
    DialFailed {
        /// The node that was not reached.
        peer: NodeId,
    },
    /// Somebody waits until so many enrolled replicas hold everything that was added here before.
    /// One [`Notice::Waited`](crate::protocol::Notice::Waited) with this id follows.
    AwaitCopies {
        /// Names the wait; unique among those that are open.
        id: u64,
        /// How many.
        copies: Copies,
        /// For how long at most.
        within: Duration,
    },
    /// Somebody waits until everything in `versions` is held here. One
    /// [`Notice::Waited`](crate::protocol::Notice::Waited) with this id follows.
    AwaitVersions {
        /// Names the wait; unique among those that are open.
        id: u64,
        /// What is to be held.
        versions: VersionVector,
        /// For how long at most.
        within: Duration,
    },
    /// Nobody waits any more under this id; no notice of it follows.
    Forget {
        /// The id of the wait.
        id: u64,
    },
    /// The node is about to stop: publish what is pending, hand it to the peers, announce the
    /// leave. Keep driving the machine until
    /// [`Replicator::is_drained`](crate::protocol::Replicator::is_drained) or for as long as the
    /// shutdown may take.
    Leave {
        /// No later incarnation of this node will go on from its cells, so another replica is to
        /// take them over: so it is where there is no data directory, and where an operator says
        /// so.
        for_good: bool,
    },
    /// The time of [`Replicator::poll_timeout`](crate::protocol::Replicator::poll_timeout) has
    /// come.
    Timer,
}

impl Input {
    /// Whose own words this input is, or the sign of incarnation of whom.
    pub(super) fn speaker(&self) -> Option<NodeId> {
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
