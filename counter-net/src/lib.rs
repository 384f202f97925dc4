#![cfg_attr(feature = "node", doc = include_str!("guide.md"))]
#![cfg_attr(not(feature = "node"), doc = "The replication protocol without I/O.")]

#[cfg(feature = "node")]
mod config;
#[cfg(feature = "node")]
mod discovery;
#[cfg(feature = "node")]
mod driver;
#[cfg(feature = "node")]
mod error;
#[cfg(feature = "node")]
mod metrics;
#[cfg(feature = "node")]
mod network;
#[cfg(feature = "node")]
mod node;
#[doc(hidden)]
pub mod protocol;
#[cfg(feature = "node")]
mod shared;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
#[cfg(feature = "node")]
mod store;

#[doc(inline)]
pub use counter_core::{
    AddOutcome, BATCH_ADDS_MAX, BatchAdd, CLIENTS_MAX, DEDUP_ENTRIES_MAX, ID_BYTES_MAX, ID_CHUNK,
    ReplicaId, StateHash, WriteError,
};

#[cfg(feature = "node")]
pub use config::ClusterKey;
#[cfg(feature = "node")]
pub use discovery::Discovery;
#[cfg(feature = "node")]
pub use error::{AddError, ClusterKeyError, DiscoveryError, NodeFailure, StartError};
#[cfg(feature = "node")]
pub use metrics::MetricsFormat;
#[cfg(feature = "node")]
pub use node::{
    AddedBatch, BatchError, BatchResult, Counter, CounterTotal, CounterView, Counters, Durable,
    Incarnation, Lag, LimitCheck, Member, Node, NodeBuilder, NodeInfo, NotReached, NotReplicated,
    RegionView, Replicated, StableTotal, Standing, Token, TokenError, Viewer, Window,
};
/// The crate whose registry [`Node::register`] takes.
#[cfg(feature = "node")]
#[doc(no_inline)]
pub use prometheus_client;
#[cfg(feature = "node")]
pub use protocol::{Agreement, Copies, NotReady, RetireError};
#[cfg(feature = "node")]
pub use shared::{Change, Changes, Interest};
#[cfg(feature = "node")]
pub use store::{NotDurable, StoreError};

/// Runs the README's examples.
#[cfg(all(doctest, feature = "node"))]
#[doc = include_str!("../README.md")]
struct Readme;
