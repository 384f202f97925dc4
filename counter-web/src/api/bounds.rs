//! The greatest sizes in an add and in a request's head, the same over HTTP and sockets.
//!
//! Other limits are in the files that apply them: rates and connections in `access/limits.rs`,
//! bodies in `server/body.rs`, connections and timeouts in `server/accept.rs`, messages of a socket
//! in `ws/wire/frames.rs`, `ws/socket.rs` and `ws/subscriptions.rs`.

/// The greatest amount of one add, in either direction.
pub(crate) const AMOUNT_MAX: i64 = 1_000_000;

/// The longest id of an add, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 64;

/// The most adds in one batch.
pub(crate) const BATCH_ADDS_MAX: usize = 1_000;

/// The longest counter name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// The longest head of a request, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
