//! Staging: a large pull comes in pages, and a span counts only with a writer's last page.
//!
//! [`Staging`] gathers the pages of one source and releases a writer when it is complete. The model
//! visits every state of a small world of pages, and shows the fault that each broken rule causes.

mod gather;
#[cfg(test)]
mod model;

pub use gather::Staging;
