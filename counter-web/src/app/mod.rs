//! The state of one running web front, shared by every request and socket.
//!
//! [`App`] holds the node, the topics, the limits and the settings. [`Stop`] ends it in order.

pub(crate) mod counts;
mod front;
mod stop;

pub(crate) use front::App;
pub(crate) use stop::Stop;
