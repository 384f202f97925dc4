//! The settings that a node starts with, and the limits that hold for every node.
//!
//! [`NodeConfig`] holds settings that have passed the checks here. `limits` names every bound and
//! interval of the driver. [`ClusterKey`] is the secret that admits a node to a cluster.

mod cluster_key;
mod limits;
mod settings;

pub use cluster_key::ClusterKey;
pub(crate) use limits::*;
pub(crate) use settings::*;
