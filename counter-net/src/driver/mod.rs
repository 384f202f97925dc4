//! The driver runs the protocol on a real network: one task owns libp2p and feeds the replicator.
//!
//! [`start()`] turns a checked configuration into a running node. `engine` is its loop: it turns
//! network events into the replicator's inputs, and the replicator's outputs into network calls.
//! The parts that the loop routes between keep their own state: `address_book` knows whom to dial,
//! `search` whether peers may still turn up, `sessions` which are connected, `incarnations` which
//! runs came before.

mod address_book;
mod engine;
mod incarnations;
mod listening;
mod search;
mod sessions;
mod start;

pub(crate) use start::start;
