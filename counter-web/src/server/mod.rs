//! The HTTP server: accepts and bounds connections, judges each request's caller, routes it, and
//! finishes every response in one place.
//!
//! [`serve`] is the command that starts a node with its front, and ends them in order.

pub(crate) mod accept;
mod body;
mod reply;
mod routes;
pub(crate) mod serve;
