//! Helpers for tests of the real binary: its processes, small HTTP and WebSocket clients, proxies,
//! private networks, and a browser.
#![allow(dead_code, unreachable_pub)]

pub mod apart;
pub mod browser;
pub mod callers;
pub mod demo;
pub mod distance;
pub mod firefox;
pub mod http;
pub mod inside;
pub mod load;
pub mod nginx;
pub mod process;
pub mod relay;
pub mod ws;

use std::time::{Duration, Instant};

/// Calls `found` until it returns a value. Fails with its last error after `within`.
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut found: impl FnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + within;
    loop {
        match found() {
            Ok(found) => return found,
            Err(seen) if Instant::now() > end => {
                panic!("{what}: not within {within:?}; last seen: {seen}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
