//! The replicator without I/O: gossip, anti-entropy, members and presence as one machine that is
//! handed bytes and time.
//!
//! [`Replicator::handle`] takes an [`Input`] and the time, [`Replicator::poll_output`] yields what
//! is to be done about it, and [`Replicator::poll_timeout`] says when to call again with
//! [`Input::Timer`]. There is no socket, clock, thread or system randomness in here: the same
//! machine runs under libp2p, in the seeded simulator (feature `sim`) and as a Maelstrom node.
//!
//! | rooms | what happens there |
//! | --- | --- |
//! | `config`, `input`, `output`, `member`, `stats` | the door |
//! | `replicator` | routes what comes in to the rooms |
//! | `message`, `gossip`, `announcement`, `wire` | the bytes |
//! | `flush`, `receive`, `intake` | cells go out and come in |
//! | `rounds`, `requests`, `answers`, `serve`, `digests` | what gossip missed |
//! | `held` | who holds what, for those who wait for copies or versions |
//! | `committed`, `deferred` | which part of a digest is a promise; who is served only after a commit |
//! | `stable` | what everybody has, and how far behind a peer is |
//! | `presence`, `dialling` | who is there, and who has to be reached to know |
//! | `confirm` | whether everybody there holds what this node held a moment ago |
//! | `retirement` | ended incarnations pass to their successors: a machine of its own |
//! | `asked`, `digest`, `gaps`, `holders`, `members`, `pull`, `snapshots`, `sources`, `waits` | what these rooms keep: no room of these knows the machine |
//! | `bootstrap` | when this node has caught up |
//! | `outbox`, `own_delta`, `timer` | serve them all |
//!
//! The message ladder is drawn in `docs/protocol.md`.

mod announcement;
mod answers;
mod asked;
mod bootstrap;
mod committed;
mod config;
mod confirm;
mod deferred;
mod dialling;
mod digest;
mod digests;
mod flush;
mod gaps;
#[cfg(test)]
mod golden;
mod gossip;
mod held;
mod holders;
mod input;
mod intake;
mod member;
mod members;
mod message;
mod numbering;
mod outbox;
mod output;
mod own_delta;
mod presence;
mod pull;
mod receive;
mod replicator;
mod requests;
mod retirement;
mod rounds;
mod serve;
mod snapshots;
mod sources;
mod stable;
mod stats;
mod timer;
mod waits;
mod wire;

pub use bootstrap::NotReady;
pub use config::{MESSAGE_BYTES_MAX, ProtocolConfig};
pub use confirm::Agreement;
pub use input::{Input, NodeId, Search};
pub use member::{Lag, Member, Presence};
#[cfg(feature = "node")]
pub(crate) use message::refusal;
pub use output::{Alarm, Notice, Output, Refusal, RetireError, Verdict};
pub use replicator::Replicator;
pub use snapshots::Stable;
pub use stats::{Kind, Stats};
pub use waits::{Copies, Waited};
#[cfg(feature = "node")]
pub(crate) use wire::{pack_vector, unpack_vector};
