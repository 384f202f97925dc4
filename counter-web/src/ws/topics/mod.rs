//! All clients of one counter, and what they are sent.
//!
//! A [`topic::Topic`] reads the node once per change and makes one snapshot frame of it. It writes
//! the frame into the [`client_sink::ClientSink`] of every socket. [`Topics`] opens a topic with
//! its first subscriber.

pub(super) mod client_sink;
mod registry;
mod snapshot_frame;
pub(super) mod topic;

pub(crate) use registry::Topics;
