//! The page in a real browser. Without Chromium each test prints SKIPPED and why. With
//! COUNTER_REQUIRE_BROWSER it fails instead.

#[path = "../support/mod.rs"]
mod support;

mod firefox;
mod hero;
mod keyboard;
mod live;
mod looks;
mod named;
mod network;
mod page;
mod quiet;
mod wide;
