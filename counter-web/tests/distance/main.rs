//! Nodes far from each other: real processes behind proxies that delay, stall and refuse.
//!
//! DISTANCE_MS names other round trips than the usual ones. Without namespaces on this machine, the
//! tests that need them print SKIPPED and why.

mod bad_peers;
mod crowd;
mod expiry;
mod far;
mod fresh;
mod hosts;
mod log;
#[allow(dead_code)]
#[path = "../../../counter-net/tests/cluster/name_server.rs"]
mod name_server;
mod proxy;
mod removal;
mod stories;
#[path = "../support/mod.rs"]
mod support;
mod together;
