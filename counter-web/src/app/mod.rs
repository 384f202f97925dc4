//! The state of one running web front, shared by every request and socket.
//!
//! [`App`] holds the node, the topics, the limits and the settings. [`stop::Stop`] ends it in
//! order.

pub(crate) mod counts;
mod front;
mod stop;

pub(crate) use front::{App, FrontSettings};
