//! Nodes with a directory: durable adds, starts from the disk, and recovery after a kill.

mod durable;
mod durable_cluster;
mod million_on_disk;
mod recovery;

pub use durable::{DurableRates, durable};
pub use durable_cluster::{DurableLoad, LOAD_BATCH, LOAD_SOCKETS, durable_load};
pub use million_on_disk::{COMMITTERS, MillionOnDisk, million_on_disk};
pub use recovery::recovery;
