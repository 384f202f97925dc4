//! What each HTTP request does, and the shapes and errors that go over the wire.
//!
//! Handlers get parts of the request that are already read, and return a response or an
//! [`error::ApiError`]. Sockets use the same shapes, checks and errors.

pub(crate) mod adds;
pub(crate) mod bounds;
pub(crate) mod code;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod handlers;
pub(crate) mod json;
pub(crate) mod response;
mod session;
pub(crate) mod status;
