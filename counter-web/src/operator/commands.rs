//! The commands that speak to a running node over its socket.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::directory::{PATIENCE, directory};
use crate::cli::exit::{Failure, print};
use crate::cli::{AdminArgs, RetireArgs};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// `counter-web members`: one line a member.
pub(crate) async fn members(args: &AdminArgs) -> Result<(), Failure> {
    let answer = ask(args, "members").await?;
    for member in answer.as_array().into_iter().flatten() {
        print(member)?;
    }
    Ok(())
}

/// `counter-web retire REPLICA`.
pub(crate) async fn retire(args: &RetireArgs) -> Result<(), Failure> {
    let valid = args.replica.len() <= 64 && args.replica.parse::<counter_net::ReplicaId>().is_ok();
    if !valid {
        return Err(Failure::argument(format!(
            "{:?} is no replica: write one as `counter-web members` shows it",
            args.replica
        )));
    }
    let force = if args.force { " --force" } else { "" };
    ask(&args.node, &format!("retire {}{force}", args.replica)).await.and_then(print)
}

/// `counter-web leave`.
pub(crate) async fn leave(args: &AdminArgs) -> Result<(), Failure> {
    ask(args, "leave").await.and_then(print)
}

async fn ask(args: &AdminArgs, command: &str) -> Result<Value, Failure> {
    match &args.admin {
        Some(path) => converse(path, command).await,
        None => converse(&only_socket().await?, command).await,
    }
}

/// Sends one command to the node behind `path`; its answer.
///
/// # Errors
///
/// Where the node does not answer in time, or answers with an error.
pub(crate) async fn converse(path: &Path, command: &str) -> Result<Value, Failure> {
    let asked = async {
        let (input, mut output) = UnixStream::connect(path).await?.into_split();
        output.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        input.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, asked)
        .await
        .map_err(|_| unreachable(path, &"no answer"))?
        .map_err(|error| unreachable(path, &error))?;
    let answer: Value = serde_json::from_str(&answer).map_err(|error| unreachable(path, &error))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(Failure::other(error)),
        None => Ok(answer),
    }
}

/// The sockets of all nodes of this user that run here; files of nodes that are gone are removed on
/// the way.
///
/// # Errors
///
/// Where there is none.
pub(crate) async fn sockets() -> Result<Vec<PathBuf>, Failure> {
    let directory = directory().map_err(Failure::other)?;
    let mut found = Vec::new();
    for file in fs::read_dir(&directory).map_err(Failure::other)?.flatten() {
        match UnixStream::connect(file.path()).await {
            Ok(_) => found.push(file.path()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                drop(fs::remove_file(file.path()))
            }
            Err(_) => {}
        }
    }
    if found.is_empty() {
        return Err(Failure::other(
            "no node of yours runs here: start one with `counter-web serve`, or name its socket with --admin",
        ));
    }
    Ok(found)
}

/// The socket of the only node that runs here.
async fn only_socket() -> Result<PathBuf, Failure> {
    let mut found = sockets().await?;
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    let paths: Vec<_> = found.iter().map(|path| format!("  --admin {}", path.display())).collect();
    Err(Failure::argument(format!(
        "{} nodes run here: say which one with\n{}",
        found.len(),
        paths.join("\n")
    )))
}

fn unreachable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::other(format!("the node behind {} does not answer: {error}", path.display()))
}
