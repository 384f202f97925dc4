//! Finds out which states of this node all others hold.
//!
//! [`Confirmations`] asks every live member whether it holds what this node held a moment ago.
//! [`Snapshots`] remembers this node's latest states, and which of them every enrolled replica has
//! confirmed. [`Promises`] keeps the versions that every enrolled replica has promised to keep,
//! while something waits for them.

mod confirmations;
mod confirming;
mod promises;
mod snapshots;
mod stable;
mod target;
mod target_bytes;

pub use confirmations::Agreement;
pub(super) use confirmations::Confirmations;
pub(super) use promises::{Promises, WaitsFor};
pub(super) use snapshots::Snapshots;
pub use snapshots::Stable;
