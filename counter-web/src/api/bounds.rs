//! Limits on the size of one add and of a request's head.

/// The greatest amount of one add, in either direction.
pub(crate) const AMOUNT_MAX: i64 = 1_000_000;

/// The longest id of an add, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 64;

/// The longest counter name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// The longest head of a request, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
