//! What the addresses under `/api` do, and the JSON and errors that clients get.
//!
//! The routes (`server/routes.rs`) read a request and call its handler, which returns a response or
//! an [`error::ApiError`]. Handlers of counters are in [`counters`], those of the node itself in
//! [`node`]. Sockets use the same shapes, checks and errors.

pub(crate) mod bounds;
pub(crate) mod code;
pub(crate) mod counters;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod json;
pub(crate) mod node;
pub(crate) mod openapi;
pub(crate) mod response;
mod session;
