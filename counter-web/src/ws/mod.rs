//! Live updates for clients over WebSockets and server-sent events.
//!
//! Each watched counter is a topic. Its task reads the node once per change, serialises one
//! snapshot frame, and writes the same bytes to every client sink. A socket has one sink for all
//! counters that it watches. A slow client's sink keeps the unsent rest of one frame. The client
//! later gets the latest state, not a queue of old ones.

mod events;
pub(crate) mod open;
mod socket;
mod subscriptions;
pub(crate) mod topics;
pub(crate) mod viewers;
mod wire;
