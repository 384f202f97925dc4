//! Adds with an id: each counts once, even if a client sends it again, to any replica.
//!
//! A writer notes every id that it applied in a dedup entry, in the same change as the amount. If
//! two writers applied one id before they met, the add has two copies, and one of them stands. The
//! writer of the other copy takes it back. A bit of that copy's own entry records this, so both are
//! remembered and forgotten together.
//!
//! - `id`: how an id is read.
//! - `chunk`: eight numbers of a client; `entry`: what one entry remembers.
//! - `table`: one writer's entries, within their bounds; `tables`: those of all writers.
//! - `clients`: the clients whose forgotten numbers this replica will remember.
//! - `add_once`: a replica adds; `copies`: it takes a copy back, unless the add is `settled`;
//!   `inherit`: it absorbs the entries of a writer that ended.

mod add_once;
pub(crate) mod chunk;
pub(crate) mod clients;
mod copies;
pub(crate) mod entry;
pub(crate) mod id;
mod inherit;
pub(crate) mod settled;
pub(crate) mod table;
pub(crate) mod tables;

pub use add_once::AddOutcome;
pub use chunk::ID_CHUNK;
pub use id::ID_BYTES_MAX;
pub use table::{CLIENTS_MAX, DEDUP_ENTRIES_MAX};
