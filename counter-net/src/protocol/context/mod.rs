//! The parts that all machines of the protocol share.
//!
//! A machine gets a [`Context`] with each call: the settings, this node's replica id, the time and
//! the random source. It acts through the `Outbox`, which takes messages, notices and counts, and
//! through `Timers`, which call it again later.

mod machine_context;
mod outbox;
mod timers;

pub(super) use machine_context::Context;
pub(super) use timers::Timer;
