//! The client's side of the operators' socket: the commands of the binary that ask a running node.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::counters::ListArgument;
use super::directory::{COMMAND_TIMEOUT, directory};
use crate::cli::exit::{CommandError, print};
use crate::cli::{AdminArgs, CounterArgs, ListArgs, RetireArgs};

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// `counter-web members`: prints a line for each member.
pub(crate) async fn members(args: &AdminArgs) -> Result<(), CommandError> {
    let answer = ask(args, "members").await?;
    for member in answer.as_array().into_iter().flatten() {
        print(member)?;
    }
    Ok(())
}

/// `counter-web retire REPLICA`.
pub(crate) async fn retire(args: &RetireArgs) -> Result<(), CommandError> {
    let valid = args.replica.len() <= 64 && args.replica.parse::<counter_net::ReplicaId>().is_ok();
    if !valid {
        return Err(CommandError::argument(format!(
            "{:?} is not a replica: copy one from `counter-web members`",
            args.replica
        )));
    }
    let force = if args.force { " --force" } else { "" };
    ask(&args.node, &format!("retire {}{force}", args.replica)).await.and_then(print)
}

/// `counter-web leave`.
pub(crate) async fn leave(args: &AdminArgs) -> Result<(), CommandError> {
    ask(args, "leave").await.and_then(print)
}

/// `counter-web list [PREFIX]`: prints a line for each counter, in the order of names.
pub(crate) async fn list(args: &ListArgs) -> Result<(), CommandError> {
    let socket = socket(&args.node).await?;
    let mut page = ListArgument { prefix: args.prefix.clone(), after: String::new() };
    loop {
        let answer = converse(&socket, &format!("list {}", json!(page))).await?;
        let counters = answer["counters"].as_array().into_iter().flatten();
        let lines: Vec<String> = counters.map(Value::to_string).collect();
        if !lines.is_empty() {
            print(lines.join("\n"))?;
        }
        match answer["next"].as_str() {
            Some(next) => page.after = next.to_owned(),
            None => return Ok(()),
        }
    }
}

/// `counter-web reset NAME`: prints the total after the reset.
pub(crate) async fn reset(args: &CounterArgs) -> Result<(), CommandError> {
    ask(&args.node, &format!("reset {}", json!(args.name))).await.and_then(print)
}

/// `counter-web remove NAME`: prints the total after the removal.
pub(crate) async fn remove(args: &CounterArgs) -> Result<(), CommandError> {
    ask(&args.node, &format!("remove {}", json!(args.name))).await.and_then(print)
}

async fn ask(args: &AdminArgs, command: &str) -> Result<Value, CommandError> {
    converse(&socket(args).await?, command).await
}

/// The socket that the arguments name, or that of the only node on this machine.
async fn socket(args: &AdminArgs) -> Result<PathBuf, CommandError> {
    match &args.admin {
        Some(path) => Ok(path.clone()),
        None => only_socket().await,
    }
}

/// Sends one command to the node behind `path`, and returns its answer.
///
/// # Errors
///
/// If the node does not answer in time, or answers with an error.
pub(crate) async fn converse(path: &Path, command: &str) -> Result<Value, CommandError> {
    let asked = async {
        let (input, mut output) = UnixStream::connect(path).await?.into_split();
        output.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        input.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = tokio::time::timeout(COMMAND_TIMEOUT, asked)
        .await
        .map_err(|_| unreachable(path, &"no answer"))?
        .map_err(|error| unreachable(path, &error))?;
    let answer: Value = serde_json::from_str(&answer).map_err(|error| unreachable(path, &error))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(CommandError::other(error)),
        None => Ok(answer),
    }
}

/// Returns the sockets of all nodes of this user on this machine. Removes the files of nodes that
/// are gone.
///
/// # Errors
///
/// If no node runs.
pub(crate) async fn sockets() -> Result<Vec<PathBuf>, CommandError> {
    let directory = directory().map_err(CommandError::other)?;
    let mut found = Vec::new();
    for file in fs::read_dir(&directory).map_err(CommandError::other)?.flatten() {
        match UnixStream::connect(file.path()).await {
            Ok(_) => found.push(file.path()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                drop(fs::remove_file(file.path()))
            }
            Err(_) => {}
        }
    }
    if found.is_empty() {
        return Err(CommandError::other(
            "you have no node running here: start one with `counter-web serve`, or name its socket \
             with --admin",
        ));
    }
    Ok(found)
}

/// The socket of the only node on this machine.
async fn only_socket() -> Result<PathBuf, CommandError> {
    let mut found = sockets().await?;
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    let paths: Vec<_> = found.iter().map(|path| format!("  --admin {}", path.display())).collect();
    Err(CommandError::argument(format!(
        "{} nodes run here: say which one with\n{}",
        found.len(),
        paths.join("\n")
    )))
}

fn unreachable(path: &Path, error: &dyn std::fmt::Display) -> CommandError {
    CommandError::other(format!("the node behind {} does not answer: {error}", path.display()))
}
