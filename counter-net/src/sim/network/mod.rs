//! What lies between the nodes: connections, the gossip mesh, and events that are under way.
//!
//! Each type keeps its own books and knows nothing of nodes but their indices. [`Links`] says which
//! connections are wanted, open or cut. [`Mesh`] says who passes a gossip message on to whom, and
//! who has had it. [`Queue`] holds all that will happen, in order of time.

mod links;
mod mesh;
mod queue;

pub(super) use links::{Links, pair};
pub(super) use mesh::Mesh;
pub(super) use queue::{Event, Queue};
