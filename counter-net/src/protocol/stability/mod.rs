//! Which states all others hold.
//!
//! [`Confirmations`] asks every live member whether it holds what this node held a moment ago.
//! [`Snapshots`] remembers this node's latest states, and which of them every enrolled replica was
//! shown to hold.

mod confirm;
mod snapshots;
mod stable;

pub use confirm::Agreement;
pub(super) use confirm::Confirmations;
pub(super) use snapshots::Snapshots;
pub use snapshots::Stable;
