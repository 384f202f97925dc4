//! The settings that a node starts with, and the bounds that hold for every node.
//!
//! [`NodeConfig`] holds settings that have passed the checks here. `bounds` names every bound and
//! interval of the driver. [`ClusterKey`] is the secret that admits a node to a cluster.

mod bounds;
mod cluster_key;
mod settings;

pub(crate) use bounds::*;
pub use cluster_key::ClusterKey;
pub(crate) use settings::*;
