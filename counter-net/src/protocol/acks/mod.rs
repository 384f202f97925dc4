//! Waiting until enough replicas hold a change.
//!
//! A caller waits for a number of copies of what this node wrote, or for versions of others to
//! arrive here. While callers wait for copies, every connected peer is asked how much it holds, and
//! its answer is an ack.
//!
//! [`Acks`] is the machine. It asks the peers, remembers their acks, and answers the callers.

mod machine;
mod pending;

pub(super) use machine::Acks;
