//! Load, latency and the cost of a restart, measured on real nodes.
//!
//! Two tests check a bound in seconds and run one at a time, so that neither disturbs the other.
//! The rest only print numbers: run them with `--release -- --ignored --nocapture`.

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../node/hostile/payloads.rs"]
mod payloads;
#[path = "../node/hostile/peer.rs"]
mod peer;

mod adds;
mod latency;
mod listing;
mod restart;

/// Held by a test while it measures.
static QUIET: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
