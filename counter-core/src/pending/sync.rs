//! Atomics: the machine's, or loom's where interleavings are checked (`--cfg loom`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

pub(crate) use std::sync::{Arc, OnceLock};
