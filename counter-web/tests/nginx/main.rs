//! A node behind a real nginx: with its defaults, carefully configured, over TLS and HTTP/2, below
//! a path, and with buffering.

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod config;
mod herd;
mod http;
