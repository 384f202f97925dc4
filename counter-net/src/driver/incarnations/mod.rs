//! A node's runs: the one that begins, and earlier ones that it takes over.
//!
//! [`begin()`] gives each start its identity and its state, from the data directory if there is
//! one. [`Incarnations`] takes over other ones: `predecessors` claims those that came before on
//! this disk or its original, and `departed` retires nodes of this machine whose process has died.

mod begin;
mod departed;
mod machine;
mod predecessors;

pub(super) use begin::{NewIncarnation, begin};
pub(super) use machine::Incarnations;
