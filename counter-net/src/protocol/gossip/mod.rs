//! Cells go out to every node, and come in from them.
//!
//! A flush turns pending amounts into cells and publishes them. Gossip that arrives is checked and
//! joined. A delta that comes before its predecessor waits in [`Gaps`].

mod flush;
mod gaps;
mod join;
mod publisher;
mod receive;

pub(super) use gaps::Gaps;
pub(super) use publisher::{Publisher, own_since};
