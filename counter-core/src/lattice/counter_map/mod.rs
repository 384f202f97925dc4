//! The map CRDT: (counter, region) -> PN-counter, held as one snapshot for each writer.
//!
//! [`CounterMap`] has two parts, each behind verbs of its own: the cells of all writers with
//! everything kept beside them ([`Cells`](crate::lattice::cells::Cells)), and the dedup entries
//! ([`DedupTables`](crate::dedup::tables::DedupTables)). It keeps both as of the same versions. The
//! files here implement the operations on the whole: join, read, list, page, agree on ended
//! incarnations.

mod dedup;
mod delta_keys;
mod incarnations;
mod join;
mod listing;
mod map;
mod pages;
mod read;

pub use crate::lattice::cells::Joined;
pub use listing::{CounterPage, Largest};
pub use map::{COUNTERS_MAX, CounterMap, REPLICAS_MAX};
pub use pages::{Cursor, DeltaPage};
