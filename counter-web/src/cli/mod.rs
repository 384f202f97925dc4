//! The command line: flags and their variables, the cluster's keys, advice on what to write
//! instead of a bad argument, and the exit status.
//!
//! Everything here is judged before a node starts, so a bad argument leaves nothing running.

mod advice;
pub(crate) mod args;
pub(crate) mod exit;
mod keys;
mod values;
pub(crate) mod variables;

pub(crate) use args::{AdminArgs, Cli, Command, DemoArgs, RetireArgs, ServeArgs, TopArgs};
