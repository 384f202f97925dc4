//! This machine's clock. It says when counters and windows end, and nothing else depends on it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the start of 1970, by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    ms_since_1970(SystemTime::now())
}

/// A time in milliseconds since the start of 1970; 0 if it is earlier.
pub(crate) fn ms_since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
