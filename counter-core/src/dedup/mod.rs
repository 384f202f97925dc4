//! Adds that come with an id: each counts once, however often and wherever it is sent again.
//!
//! A writer notes every id that it applied as a dedup entry, in the same change as the amount.
//! Where two writers applied one id before they met, the add has two copies. One copy stands. The
//! writer of the other takes it back, and a bit of that copy's own entry says so: both are
//! remembered and forgotten together.
//!
//! - `entry`: what one entry says, and how an id is read.
//! - `table`: one writer's entries, within their bounds.
//! - `add_once`: what a replica does with them: add, take back, and absorb the entries of a writer
//!   that ended.

mod add_once;
pub(crate) mod entry;
pub(crate) mod table;

pub(crate) use add_once::Clients;
pub use add_once::Once;
pub use entry::{ID_BYTES_MAX, ID_CHUNK};
pub use table::{CLIENTS_MAX, DEDUP_ENTRIES_MAX};
