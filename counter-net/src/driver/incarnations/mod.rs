//! A node's runs: the one that begins, and earlier ones that it takes over.
//!
//! [`begin`] gives each start its identity and its state, from the data directory if there is one.
//! [`Predecessors`] settles the incarnations that came before on this disk or its original.
//! [`Departed`] retires nodes of this machine whose process has died.

mod begin;
mod departed;
mod predecessors;

pub(super) use begin::{NewIncarnation, begin};
pub(super) use departed::Departed;
pub(super) use predecessors::Predecessors;
