//! The public API of a running node.
//!
//! [`Node`] is one replica of every counter, and its network. [`NodeBuilder`] starts it. The folder
//! `counters` holds the counting part of the API: [`Counter`] adds to and reads one counter. The
//! folder `cluster` holds members, incarnations, and the waits for disk, copies and versions.

mod builder;
mod cluster;
mod counters;
mod info;
mod running;

pub use builder::NodeBuilder;
pub use cluster::{
    Durable, Incarnation, NotReached, NotReplicated, Replicated, StableTotal, Standing, Token,
    TokenError,
};
pub use counters::{
    AddedBatch, BatchError, BatchResult, Counter, CounterTotal, CounterView, Counters, LimitCheck,
    RegionView, Viewer, Window,
};
pub use info::{Lag, Member, NodeInfo};
pub use running::Node;
