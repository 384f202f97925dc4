//! The versions that replicas promise to keep.
//!
//! A replica's own digest is a promise: the replica keeps the versions that it names. [`Committed`]
//! is this node's own promise, the part of its state that is on disk. [`Promises`] are those of the
//! other enrolled replicas.

mod committed;
mod promised;

pub(super) use committed::{Committed, DeferredRequest, committed_part};
pub(super) use promised::{Promises, WaitingWork};
