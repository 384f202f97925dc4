//! What every machine of the protocol may use, and how it acts.
//!
//! A machine of the protocol gets a [`Context`] with each call: the settings, this node's replica,
//! the time and the random source. It acts through the [`Outbox`], which takes messages, notices
//! and counts, and through [`Timers`], which bring it back at a later time.

mod machine_context;
mod outbox;
mod timers;

pub(super) use machine_context::Context;
pub(super) use timers::Timer;
