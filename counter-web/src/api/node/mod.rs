//! The node itself over HTTP: its status, and whether it is healthy and ready.

pub(crate) mod health;
pub(crate) mod status;
