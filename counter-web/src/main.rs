//! The binary `counter-web`: reads the command line, runs the command, and returns an exit status.
//!
//! `serve` runs one node and its page, `demo` a cluster on this machine. The other commands talk to
//! a running node.

mod access;
mod api;
mod app;
mod cli;
mod demo;
mod metrics;
mod operator;
mod page;
mod server;
mod top;
mod ws;

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::cli::exit::CommandError;
use crate::cli::variables;
use crate::cli::{Cli, Command};
use crate::server::serve;

fn main() -> ExitCode {
    let command = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli.command,
        Err(error) => error.exit(),
    };
    match start(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn start(command: Command) -> Result<(), CommandError> {
    let log = match &command {
        Command::Serve(args) => args.log.as_str(),
        Command::Demo(args) => args.log.as_str(),
        _ => "warn",
    };
    let filter = EnvFilter::try_new(log).map_err(|error| {
        CommandError::argument(format!(
            "--log {log:?} is not a log filter ({error}): write for example info, or \
             warn,counter_web=debug"
        ))
    })?;
    // Colours are for a person at a terminal, not for files and collectors.
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
    // The demo warns once for all of its nodes.
    if matches!(&command, Command::Serve(args) if !args.stop_with_stdin)
        || matches!(command, Command::Demo(_))
    {
        variables::warn_of_unknown();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::other)?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(*args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Members(args) => operator::members(&args).await,
            Command::Retire(args) => operator::retire(&args).await,
            Command::Leave(args) => operator::leave(&args).await,
            Command::Top(args) => top::run(args).await,
            Command::List(args) => operator::list(&args).await,
            Command::Reset(args) => operator::reset(&args).await,
            Command::Remove(args) => operator::remove(&args).await,
        }
    });
    // A read of standard input cannot be cancelled, and nothing else is left to wait for.
    runtime.shutdown_background();
    outcome
}
