//! Nodes far from each other: real processes behind proxies that delay, stall and refuse.

mod proxy;
#[path = "../support/mod.rs"]
mod support;
