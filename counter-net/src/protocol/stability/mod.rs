//! Finds out which states of this node all others hold.
//!
//! [`Stability`] is the machine. It asks every live member to confirm what this node held a moment
//! ago ([`Agreement`]), with *targets* whose confirmations travel as bits. It also remembers
//! snapshots of this node's latest states. They tell how far another replica lags, and which state
//! is [`Stable`]: every enrolled replica holds it.

mod cluster_view;
mod confirmations;
mod machine;
mod snapshots;
mod target;
mod target_bytes;
mod targets;

pub(super) use machine::Stability;
pub use snapshots::Stable;
pub use targets::Agreement;
