//! Real nodes on libp2p, all in this process and on loopback.
//!
//! Each module covers one promise of the public `Node`. `hostile` adds peers that speak the same
//! protocols and break the rules.

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../exposition/mod.rs"]
mod exposition;

mod admission;
mod batches;
mod certainty;
mod convergence;
mod discovery;
mod durability;
mod embedding;
mod expiry;
mod hostile;
mod isolation;
mod listing;
mod metrics;
mod presence;
mod stopping;
