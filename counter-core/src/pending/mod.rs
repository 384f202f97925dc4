//! Adds that are not flushed yet: from any thread, without a lock, and by name.
//!
//! A [`CounterHandle`](handle::CounterHandle) adds to a slot. Slots lie in blocks, and a block has
//! a few lanes, so that threads that add to one counter at once do not share a cache line. A bitmap
//! over the slots shows the flush which of them have anything pending.

pub(crate) mod bitmap;
pub(crate) mod block;
pub(crate) mod by_name;
pub(crate) mod handle;
pub(crate) mod handle_table;
pub(crate) mod lane;
#[cfg(all(loom, test))]
mod loom;
pub(crate) mod slot;
pub(crate) mod sync;
