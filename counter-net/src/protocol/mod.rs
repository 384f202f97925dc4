//! The replicator without I/O: gossip, anti-entropy, members and presence as one machine that is handed bytes and time.
//!
//! [`Replicator::handle`] takes an [`Input`] and the time, [`Replicator::poll_output`] yields what is to be done about it, and
//! [`Replicator::poll_timeout`] says when to call again with [`Input::Timer`]. There is no socket, clock, thread or system randomness in
//! here: the same machine runs under libp2p, in the seeded simulator (feature `sim`) and as a Maelstrom node.
//!
//! Rooms: `config`, `input`, `output`, `member` and `stats` are the door; `message`, `gossip`, `announcement` and `wire` the bytes; `flush`,
//! `receive` and `intake` take cells out and in; `rounds`, `requests`, `answers`, `serve`, `pull`, `gaps` and `sources` move what gossip missed;
//! `held` and `waits` know who holds what, for those who wait for copies or versions; `members` and `presence` know who is there; `enrolment` and `retirement` hand lives that ended over to their heirs; `bootstrap` decides when this node has caught up; `outbox` and `timer` serve them all.
//! The message ladder is drawn in `docs/protocol.md`.

mod announcement;
mod answers;
mod bootstrap;
mod config;
mod enrolment;
mod flush;
mod gaps;
#[cfg(test)]
mod golden;
mod gossip;
mod held;
mod input;
mod intake;
mod member;
mod members;
mod message;
mod outbox;
mod output;
mod presence;
mod pull;
mod receive;
mod replicator;
mod requests;
mod retirement;
mod rounds;
mod serve;
mod sources;
mod stats;
mod timer;
mod waits;
mod wire;

pub use config::{MESSAGE_BYTES_MAX, ProtocolConfig};
pub use input::{Input, NodeId};
pub use member::{Lag, Member, Presence};
pub use output::{Alarm, Notice, Output, Refusal, RetireError, Verdict};
pub use replicator::Replicator;
pub use stats::{Kind, Stats};
pub use waits::{Copies, Waited};
#[cfg(feature = "node")]
pub(crate) use wire::{pack_vector, unpack_vector};
