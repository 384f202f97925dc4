//! The handlers of HTTP requests, and the JSON and errors that clients get.
//!
//! The routes (`server/routes.rs`) read a request and call its handler, which returns a response or
//! an [`error::ApiError`]. Sockets use the same shapes, checks and errors.

pub(crate) mod adds;
pub(crate) mod batch;
pub(crate) mod bounds;
pub(crate) mod clearing;
pub(crate) mod code;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod handlers;
pub(crate) mod json;
pub(crate) mod limits;
pub(crate) mod listing;
pub(crate) mod response;
mod session;
pub(crate) mod status;
