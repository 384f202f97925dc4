//! Real nodes on libp2p, all in this process and on loopback.
//!
//! Each module covers one promise of the public `Node`, and `counters` those of its counters.
//! `hostile` adds peers that speak the same protocols and break the rules.

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../exposition/mod.rs"]
mod exposition;

mod admission;
mod convergence;
mod counters;
mod discovery;
mod durability;
mod embedding;
mod hostile;
mod isolation;
mod metrics;
mod presence;
mod stopping;
