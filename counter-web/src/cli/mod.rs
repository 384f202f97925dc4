//! The command line: flags and their variables, the cluster's keys, advice after a bad argument,
//! and the exit status.
//!
//! All arguments are checked before a node starts, so a bad one leaves nothing running.

mod advice;
pub(crate) mod args;
pub(crate) mod exit;
mod keys;
mod values;
pub(crate) mod variables;

pub(crate) use args::{
    AdminArgs, Cli, Command, CounterArgs, DemoArgs, ListArgs, RetireArgs, ServeArgs, TopArgs,
};
