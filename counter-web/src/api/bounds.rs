//! How much one add, and one request's head, may say.

/// The greatest amount of one add, in either direction.
pub(crate) const AMOUNT_MAX: i64 = 1_000_000;

/// The longest id of an add, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 64;

/// The longest head of a request, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
