//! What each HTTP request does, and the shapes and errors that go over the wire.
//!
//! Handlers get parts that are already read and judged, and return a response or an
//! [`error::ApiError`]. The same shapes and errors serve sockets.

pub(crate) mod answer;
pub(crate) mod bounds;
pub(crate) mod code;
pub(crate) mod error;
pub(crate) mod handlers;
pub(crate) mod model;
mod session;
