//! The lattice: the map of all counters and regions, and everything that joins bring into it.
//!
//! A [`CounterMap`](counter_map::CounterMap) holds each writer's cells exactly as of one version. A
//! [`Delta`](delta::Delta) carries some cells and the spans of versions that they complete, so a
//! map stays exact if deltas arrive in any order, twice or not at all. The version vector lists the
//! version of each writer, and the state hash checks that equal vectors hold equal states.

pub(crate) mod cell;
pub(crate) mod cells;
pub(crate) mod counter_map;
pub(crate) mod delta;
pub(crate) mod keys;
#[cfg(feature = "laws")]
pub mod laws;
pub(crate) mod staging;
pub(crate) mod state_hash;
pub(crate) mod versions;
pub(crate) mod writer;
