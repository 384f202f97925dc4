//! Open connections: the peer and the process at the far end of each.
//!
//! [`Sessions`] knows which peers are up, and notices when one falls silent. [`Processes`] tells
//! two processes apart that run under one identity.

mod peers;
mod processes;

pub(super) use peers::Sessions;
pub(super) use processes::{IncomingRequest, ProcessOrder, Processes};
