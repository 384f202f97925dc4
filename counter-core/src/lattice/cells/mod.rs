//! The cells of all writers, and everything that is kept beside them.
//!
//! [`Cells`] owns four parts: the keys, the values by key and counter, the writers' snapshots, and
//! the index of counters that expire. Each change of a cell goes through its verbs, which keep the
//! four in step. The files `reset`, `absorb`, `removal`, `expiry` and `take_back` build the writes
//! of one replica on those verbs, and `intake` takes the cells of others.

mod absorb;
mod expiries;
mod expiry;
mod intake;
mod joined;
mod removal;
mod reset;
mod store;
mod take_back;
mod values;
mod writers;

pub use joined::Joined;
pub(crate) use removal::CleanupStep;
pub(crate) use store::Cells;
pub(crate) use writers::Writers;
