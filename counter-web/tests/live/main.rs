//! Sockets and events of real nodes: what clients see live, and what a node bounds.

#[path = "../support/mod.rs"]
mod support;

mod applied;
mod bounds;
mod frames;
mod repeats;
mod silence;
mod stopping;
mod streams;
mod watch;
