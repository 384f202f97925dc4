//! Finds out which states of this node all others hold.
//!
//! [`Confirmations`] asks every live member whether it holds what this node held a moment ago.
//! [`Snapshots`] remembers this node's latest states, and which of them every enrolled replica was
//! shown to hold.

mod confirmations;
mod confirming;
mod snapshots;
mod stable;
mod target;
mod target_bytes;

pub use confirmations::Agreement;
pub(super) use confirmations::Confirmations;
pub(super) use snapshots::Snapshots;
pub use snapshots::Stable;
