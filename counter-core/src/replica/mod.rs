//! A replica: one writer with its map, and the operations of one process on them.
//!
//! [`Replica`] owns a map, the handles through which any thread adds, and the changes that the next
//! flush reports. Its fields are private. The other files here build on its methods: batches,
//! sliding windows, counters that expire, removals. Adds with an id are in `dedup`, and a
//! successor's work on ended incarnations is in `incarnation`.

mod batch;
mod bucket;
mod expiry;
mod garbage;
mod join;
mod removal;
mod state;
mod unflushed;
mod window;

pub use batch::{BATCH_ADDS_MAX, BatchAdd, BatchRefused};
pub use bucket::WindowWidth;
pub use removal::{Cleanup, ProvenVersions};
pub use state::{Flushed, Replica};
pub use window::ExpiredBuckets;
