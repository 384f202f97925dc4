//! The part of the API about other nodes: members and incarnations, and the waits for disk, copies
//! and versions.
//!
//! A [`Token`] names a state, so that another node can wait until it has it. [`Durable`] waits for
//! the disk, [`Replicated`] for copies, and a [`StableTotal`] is held by every enrolled replica. An
//! [`Incarnation`] is one run of a node.

mod durable;
mod incarnations;
mod on_node;
mod stable;
mod token;
mod waiting;

pub use durable::Durable;
pub use incarnations::{Incarnation, Standing};
pub use stable::StableTotal;
pub use token::{Token, TokenError};
pub use waiting::{NotReached, NotReplicated, Replicated};
