//! Operators' commands: `members`, `retire`, `leave`, `list`, `reset`, `remove` and the status that
//! `top` reads.
//!
//! A running node listens on a Unix socket with mode 0600. It reads one command, and answers with
//! one line of JSON. The commands of the binary are clients of that socket.
//!
//! A new command is a variant of `cli::Command`, a function in `commands` that asks the node, and
//! an arm in `listener` that answers.

mod commands;
mod counters;
mod directory;
mod listener;
pub(crate) mod members;
mod report;
pub(crate) mod retirement;

pub(crate) use commands::{converse, leave, list, members, remove, reset, retire, sockets};
pub(crate) use listener::OperatorSocket;
