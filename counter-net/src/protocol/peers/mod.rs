//! The peers: nodes to which a connection is open, and the requests to them.
//!
//! [`Peers`] is the machine. It sends requests, closes them, and remembers what each
//! [`ConnectedPeer`] was last heard to hold and how far this node has pulled from it.

mod connected_peer;
mod machine;
mod open_requests;

pub(super) use connected_peer::ConnectedPeer;
pub(super) use machine::Peers;
pub(super) use open_requests::{Asked, OpenRequest};
