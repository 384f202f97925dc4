//! The members of the cluster, and this node's way to catch up with them.
//!
//! Nodes announce themselves, fall silent, are suspected, answer, and leave. [`Membership`] is the
//! machine. Its table holds the greatest announcement heard of each node, and it knows which
//! members this node has to dial. The module `numbering` settles the number of an incarnation that
//! no disk remembers.
//!
//! [`Bootstrap`] decides when this node is synced and when it may serve.

mod announcer;
mod bootstrap;
mod dialling;
mod machine;
mod member;
mod members;
mod numbering;

pub(super) use bootstrap::Bootstrap;
pub use bootstrap::NotReady;
pub(super) use machine::Membership;
pub(super) use member::{LAG_CELLS_MAX, Shortfall};
pub use member::{Lag, Member, Presence};
pub(super) use members::MemberEntry;
