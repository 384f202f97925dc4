//! The lattice: the map of all counters and regions, and everything that is joined into it.
//!
//! A [`CounterMap`](counter_map::CounterMap) holds, for each writer, exactly the cells that the
//! writer had at one version. A [`Delta`](delta::Delta) carries some cells and the span of versions
//! that they complete, so a map takes it in any order, twice or never, and stays exact. A version
//! vector says which version of each writer a map holds; the digest adds a hash of the whole state.

pub(crate) mod amounts;
pub(crate) mod cell;
pub(crate) mod counter_map;
pub(crate) mod delta;
pub(crate) mod keys;
#[cfg(feature = "laws")]
pub mod laws;
pub(crate) mod pn_counter;
pub(crate) mod staging;
#[cfg(test)]
mod staging_model;
pub(crate) mod state_hash;
pub(crate) mod versions;
pub(crate) mod writer;
