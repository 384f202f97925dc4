//! A node's data directory: a log of deltas and a checkpoint in one crash-safe file, and the thread
//! that commits to it.
//!
//! A commit is *one delta* in the wire format: everything that the map gained since the last
//! commit, from all writers. So the store does not interpret cells, and it keeps fields of later
//! releases. Loading joins the checkpoint's pages, then the deltas after it. A checkpoint walks the
//! state in pages like a pull and writes one page per commit, so no lock is held for longer than
//! one page takes.
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
mod load;
mod log;
mod meta;
mod redb_log;
#[cfg(test)]
mod tests;

pub(crate) use checkpoint::Weight;
pub(crate) use committer::{CommitSource, Commits, Ticket};
pub(crate) use directory::DataDirectory;
#[cfg(test)]
pub(crate) use disk::recorder;
pub use error::{NotDurable, StoreError};
#[cfg(test)]
pub(crate) use log::{Batch, Log};
pub(crate) use meta::Meta;
pub(crate) use redb_log::{Opened, RedbLog};
#[cfg(test)]
pub(crate) use tests::Scratch;
