//! A node behind a real nginx: as it comes, configured with care, over TLS and HTTP/2, below a
//! path, with buffering on.

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod config;
mod herd;
mod http;
