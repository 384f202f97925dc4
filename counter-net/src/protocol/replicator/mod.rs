//! The router: it hands inputs and timers to the machines of the protocol.
//!
//! Each machine owns the state of one thing, with private fields. It takes what it needs as
//! arguments: the replica, the shared [`Context`], and other machines by reference. The files here
//! hold only what connects several machines: an answer that brings a digest, an announcement and
//! cells concerns the peers, the members and the pulls.
//!
//! | file | routes |
//! | --- | --- |
//! | `route` | every input, every timer, and what follows any input |
//! | `readers` | read access for the node that hosts the replicator |
//! | `connections` | peers that come and go, rounds, retries, gaps |
//! | `gossip` | flushes and what they publish, and gossip that comes in |
//! | `join` | cells that take effect, and what follows from them |
//! | `serve` | requests of peers |
//! | `answers` | answers of peers |
//! | `digests` | peers' digests: the versions that they hold and keep |
//! | `identity` | renewals and renumberings of this incarnation |
//! | `successor` | claims and steps for ended incarnations, and clean-ups |
//! | `leave` | this node's own leave |

mod answers;
mod connections;
mod digests;
mod gossip;
mod identity;
mod join;
mod leave;
mod readers;
mod route;
mod serve;
mod successor;

use crate::protocol::acks::Acks;
use crate::protocol::context::Context;
use crate::protocol::gossip::Gossip;
use crate::protocol::membership::{Bootstrap, Membership};
use crate::protocol::peers::Peers;
use crate::protocol::promises::{Committed, Promises};
use crate::protocol::pull::AntiEntropy;
use crate::protocol::removal::Removal;
use crate::protocol::retirement::{Leave, Retirement};
use crate::protocol::stability::Stability;

/// The protocol of one node. See the [module](crate::protocol) for how to drive it.
#[derive(Debug)]
pub struct Replicator {
    /// Settings, identity, time and randomness; the outputs and the timers.
    ctx: Context,
    /// The connected peers, and the requests to them.
    peers: Peers,
    /// Every node known, and this node's announcements.
    membership: Membership,
    /// How far this node is from being synced and ready.
    bootstrap: Bootstrap,
    /// Own cells that go out, and deltas that came too early.
    gossip: Gossip,
    /// Pulls in flight, and the pulled cells that wait.
    anti_entropy: AntiEntropy,
    /// The part of the state that is on disk, and the work that waits for it.
    committed: Committed,
    /// The versions that the other enrolled replicas have promised to keep.
    promises: Promises,
    /// Callers that wait for copies or versions.
    acks: Acks,
    /// Which of this node's states the others hold.
    stability: Stability,
    /// This node's work as a successor of ended incarnations.
    retirement: Retirement,
    /// This node's own leave for good.
    leave: Leave,
    /// This node's traces of removals and resets.
    removal: Removal,
    /// The state that readers were last notified of.
    status: route::Status,
}
