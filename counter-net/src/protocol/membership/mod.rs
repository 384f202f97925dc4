//! The members of the cluster, and how this node catches up with it.
//!
//! Nodes announce themselves, fall silent, are suspected, answer, and leave. [`Members`] holds the
//! greatest statement heard of each, and [`Dialling`] the members that this node has to reach.
//!
//! [`Bootstrap`] decides when a node is synced and when it may serve. [`Numbering`] settles the
//! number of an incarnation that no disk remembers.

mod announcer;
mod bootstrap;
mod dialling;
mod member;
mod members;
mod number_exchange;
mod numbering;
mod presence;

pub(super) use announcer::Announcer;
pub(super) use bootstrap::Bootstrap;
pub use bootstrap::NotReady;
pub(super) use dialling::Dialling;
pub(super) use member::{LAG_CELLS_MAX, Shortfall};
pub use member::{Lag, Member, Presence};
pub(super) use members::{MemberEntry, Members};
pub(super) use numbering::Numbering;
