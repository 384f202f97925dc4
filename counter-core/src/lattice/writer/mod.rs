//! One writer's snapshot, exactly as of one version: cells, record, tombstones.
//!
//! [`Writer`] is the snapshot. It finds a cell's slot by its key with `slots`, and walks its cells
//! in the order of their versions with `ring`. `tombstones` are the cells that it dropped.

mod ring;
mod slots;
mod snapshot;
pub(crate) mod tombstones;

pub(crate) use snapshot::Writer;
