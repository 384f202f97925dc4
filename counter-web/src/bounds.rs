//! How much one add may say.

/// The greatest amount of one add, in either direction.
pub(crate) const AMOUNT_MAX: i64 = 1_000_000;

/// The longest id of an add, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 64;
