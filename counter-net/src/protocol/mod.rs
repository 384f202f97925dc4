//! The replication protocol of one node, without I/O.
//!
//! [`Replicator`] is a state machine. [`Replicator::handle`] takes an [`Input`] and the time,
//! [`Replicator::poll_output`] returns the next thing to do, and [`Replicator::poll_timeout`]
//! returns when to call `handle` again with [`Input::Timer`]. It opens no socket, reads no clock,
//! starts no thread and asks the system for no randomness. The same machine therefore runs under
//! libp2p, in the seeded simulator (feature `sim`) and as a Maelstrom node.
//!
//! Gossip carries each change to every node at once and may lose it. Pulls find and repair whatever
//! gossip lost. Everything else rests on these two. `docs/protocol.md` draws the messages.
//!
//! | to change… | go to |
//! | --- | --- |
//! | the public surface: settings, inputs, outputs, counts | `interface` |
//! | which machine gets an input, and what follows from it | `replicator` |
//! | what machines share: identity, time, outputs, timers | `context` |
//! | the connected peers, and the requests to them | `peers` |
//! | how this node's cells go out, and where deltas wait that arrive early | `gossip` |
//! | how lost changes are found and fetched | `pull` |
//! | who is in the cluster, and when this node has caught up | `membership` |
//! | waiting until enough replicas hold a change | `acks` |
//! | what replicas promise to keep, and what is on disk | `promises` |
//! | which states every replica is known to hold | `stability` |
//! | how ended incarnations pass to their successors | `retirement` |
//! | when the traces of removals and resets are dropped | `removal` |
//! | the messages and their bytes | `wire` |

mod acks;
mod context;
mod gossip;
mod interface;
mod membership;
mod peers;
mod promises;
mod pull;
mod removal;
mod replicator;
mod retirement;
mod stability;
mod wire;

pub use interface::{
    Acceptance, Alarm, Copies, Input, MESSAGE_BYTES_MAX, MessageKind, NodeId, Notice, Output,
    ProtocolConfig, Refusal, RenewalCause, RetireError, Search, Stats, Waited,
};
pub use membership::{Lag, Member, NotReady, Presence};
pub use replicator::Replicator;
pub use stability::{Agreement, Stable};
#[cfg(feature = "node")]
pub(crate) use wire::{pack_vector, refusal, unpack_vector};
