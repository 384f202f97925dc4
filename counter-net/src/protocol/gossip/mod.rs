//! Publishes this node's cells to every node, and keeps deltas that come too early.
//!
//! [`Gossip`] is the machine. It paces flushes, which turn pending amounts into cells, and
//! publishes each own cell once. A delta that comes before its predecessor waits in its gaps.

mod gaps;
mod machine;
mod publisher;

pub(super) use machine::Gossip;
pub(super) use publisher::own_since;
