//! Bytes, messages and time, each with a bound.

mod scale;
mod traffic;
