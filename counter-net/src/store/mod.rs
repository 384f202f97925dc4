//! The store of a node's directory: a log of deltas and a checkpoint in one crash-safe file, and
//! the thread that commits to it.
//!
//! A commit is *one delta*: whatever the map gained since the last one, cut by versions, whoever
//! wrote it, in the bytes that also travel. So the store knows nothing of cells, and fields of
//! later releases are kept as they came. Loading joins the checkpoint's pages, then the deltas
//! after it. A checkpoint is the same walk in pages as a pull, written a page a commit, so no lock
//! is held for longer than a page.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | name | format version, key pair, incarnation, place, cluster, checkpoint in force |
//! | `pages` | (checkpoint, number) | a page of the checkpoint |
//! | `log` | (checkpoint, number) | a delta committed after that checkpoint began |

mod checkpoint;
mod committer;
mod directory;
mod disk;
mod error;
mod guarded_file;
mod load;
mod log;
mod meta;
mod redb_log;
#[cfg(test)]
mod tests;

pub(crate) use checkpoint::Weight;
pub(crate) use committer::{Commits, Source, Ticket};
pub(crate) use directory::Directory;
#[cfg(test)]
pub(crate) use disk::recorder;
pub use error::{NotDurable, StoreError};
#[cfg(test)]
pub(crate) use log::{Batch, Log};
pub(crate) use meta::Meta;
pub(crate) use redb_log::{Opened, RedbLog};
#[cfg(test)]
pub(crate) use tests::Scratch;
