//! The operators' Unix socket, 0600: one command in, one line of JSON out; and the commands that
//! speak to it.

mod commands;
mod directory;
pub(crate) mod incarnations;
mod listener;
mod report;

pub(crate) use commands::{converse, leave, members, retire, sockets};
pub(crate) use listener::Admin;
