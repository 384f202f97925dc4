//! Everything between the nodes: connections, the gossip mesh, and events that are under way.
//!
//! Each type keeps its own state and knows only the indices of nodes. [`Links`] knows which
//! connections the nodes want, and which are open or cut. [`Mesh`] knows who passes a gossip
//! message on to whom, and who has had it. [`Queue`] holds all that will happen, in order of time.

mod links;
mod mesh;
mod queue;

pub(super) use links::{Links, pair};
pub(super) use mesh::Mesh;
pub(super) use queue::{Event, Queue};
