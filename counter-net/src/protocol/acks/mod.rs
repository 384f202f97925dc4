//! Waiting until enough replicas hold a change.
//!
//! A caller waits for copies of what this node wrote, or for versions to arrive here. [`Waits`] is
//! the bounded table of the callers, and [`Held`] what is known of the holders.

mod held;
mod holders;
mod pending;

pub(super) use holders::Held;
pub(super) use pending::Waits;
pub use pending::{Copies, Waited};
