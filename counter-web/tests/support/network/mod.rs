//! Networks that a test makes: one of its own in namespaces, and links that take their time.

pub mod apart;
pub mod distance;
pub mod inside;
