//! Helpers for tests of the real binary: its processes, small HTTP and WebSocket clients, proxies,
//! private networks, and a browser.
#![allow(dead_code, unreachable_pub)]

pub mod browser;
pub mod callers;
pub mod demo;
pub mod firefox;
pub mod http;
pub mod load;
pub mod network;
pub mod nginx;
pub mod process;
pub mod relay;
pub mod ws;

use std::time::{Duration, Instant};

/// How long a test waits for an event that comes at once on a free machine. Long, because other
/// tests may take the processors meanwhile. A test that passes does not wait for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Starts nodes until the first page of one came within a second of its start. `start` checks the
/// page, and returns the time that it took. The limit is for a free machine, so a busy one has ten
/// tries.
pub fn first_page_within_a_second(start: impl FnMut() -> Duration) {
    let is_slow = |took: &Duration| *took >= Duration::from_secs(1);
    let slow: Vec<_> = std::iter::repeat_with(start).take(10).take_while(is_slow).collect();
    assert!(slow.len() < 10, "the first pages took {slow:?} from the start of their nodes");
}

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
