//! Adds with an id: each counts once, even if a client sends it again, to any replica.
//!
//! A writer notes every id that it applied in a dedup entry, in the same change as the amount. If
//! two writers applied one id before they met, the add has two copies, and one of them stands. The
//! writer of the other copy takes it back. A bit of that copy's own entry records this, so both are
//! remembered and forgotten together.
//!
//! - `entry`: one entry, and how an id is read.
//! - `table`: one writer's entries, within their bounds.
//! - `add_once`: what a replica does with entries: add, take back, and absorb those of a writer
//!   that ended.

mod add_once;
pub(crate) mod clients;
pub(crate) mod entry;
pub(crate) mod table;
pub(crate) mod tables;

pub use add_once::Once;
pub use entry::{ID_BYTES_MAX, ID_CHUNK};
pub use table::{CLIENTS_MAX, DEDUP_ENTRIES_MAX};
