//! Pages whose network or server fails: cut off, silent, offline, or behind a proxy.

mod offline;
mod partition;
mod proxied;
mod silence;
mod truth;
