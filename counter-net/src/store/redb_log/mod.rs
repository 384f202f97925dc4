//! The store's file: a redb database with three tables. It is checked as a whole when it is opened,
//! and reopened after a failed write.
//!
//! [`RedbLog`] is the open file. `file` makes, opens and reopens it, and leaves a refused file as
//! it was; `open_failure` says why one is refused. `rows` places the rows of checkpoints and
//! deltas, and `record` has the rows about the node itself.

mod file;
mod log;
mod open_failure;
mod record;
mod rows;

pub(crate) use log::{Opened, RedbLog};
