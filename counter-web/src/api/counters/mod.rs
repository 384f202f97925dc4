//! Reads and changes of counters over HTTP. Sockets and operators' commands call the same checks.

pub(crate) mod adds;
pub(crate) mod batch;
pub(crate) mod clearing;
pub(crate) mod limit_check;
pub(crate) mod listing;
pub(crate) mod state;
