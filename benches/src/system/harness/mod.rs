//! The equipment of the system work: processes of the built binary, clients of their addresses,
//! network namespaces, and the figures of many times.

pub(in crate::system) mod http;
pub(in crate::system) mod lab;
pub(in crate::system) mod metrics;
pub(in crate::system) mod process;
pub(in crate::system) mod quantiles;
pub(in crate::system) mod raw_server;
pub(in crate::system) mod scratch;
pub(in crate::system) mod socket;
pub(in crate::system) mod wire;
