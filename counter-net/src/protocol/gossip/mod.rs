//! Own cells go out to every node, and cells that come too early wait.
//!
//! [`Gossip`] is the machine. It paces flushes, which turn pending amounts into cells, and
//! publishes each own cell once. A delta that comes before its predecessor waits in its gaps.

mod gaps;
mod machine;
mod publisher;

pub(super) use machine::Gossip;
pub(super) use publisher::own_since;
