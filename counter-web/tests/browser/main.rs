//! The page in a real browser. Without Chromium each test says SKIPPED and why; with
//! COUNTER_REQUIRE_BROWSER set that is a failure.

#[path = "../support/mod.rs"]
mod support;

mod keyboard;
mod live;
mod looks;
mod named;
mod offline;
mod page;
mod partition;
mod proxied;
mod quiet;
mod silence;
mod truth;
mod wide;
