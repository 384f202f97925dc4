//! Live updates for clients over WebSockets and server-sent events.
//!
//! Each watched counter is a topic. Its task reads the node once a change, serialises a snapshot
//! frame once, and writes the same bytes to every client sink. A sink holds at most what one slow
//! client has not taken yet; such a client skips to the latest state instead of queueing.

mod client_sink;
pub(crate) mod events;
mod frames;
pub(crate) mod handshake;
mod message;
mod snapshot_frame;
pub(crate) mod socket;
mod topic;
pub(crate) mod topics;
pub(crate) mod viewers;
