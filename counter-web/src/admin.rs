//! The operators' Unix socket, 0600: one command in, one line of JSON out; and the commands that speak to it.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{fs, io};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::app::App;
use crate::cli::{AdminArgs, RetireArgs};
use crate::exit::{Failure, print};
use crate::lives;
use crate::top;

/// The longest command, in bytes.
const COMMAND_BYTES_MAX: u64 = 256;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// The open socket of a running node; its file goes with it.
pub(crate) struct Admin {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Admin {
    /// Opens the socket. Without one the node still runs: `None`, and the log says why.
    pub(crate) fn open(app: &Arc<App>, replica: &str) -> Option<Self> {
        let opened = directory().and_then(|directory| {
            let path = directory.join(format!("{replica}.sock"));
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok((path, listener))
        });
        match opened {
            Ok((path, listener)) => Some(Self { path, task: tokio::spawn(listen(Arc::clone(app), listener)) }),
            Err(error) => {
                tracing::warn!("operators' commands are off: their socket cannot be opened: {error}");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
        // A file that stays behind is swept by the next look for sockets.
        let _removed = fs::remove_file(&self.path);
    }
}

async fn listen(app: Arc<App>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            // One after the other: these are the commands of a person.
            Ok((stream, _)) => drop(tokio::time::timeout(PATIENCE, answer(&app, stream)).await),
            Err(error) => {
                tracing::warn!("an operator's connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(app: &App, stream: UnixStream) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut command = String::new();
    BufReader::new(input.take(COMMAND_BYTES_MAX)).read_line(&mut command).await?;
    let (answer, stop) = match command.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["status"] => (top::report(app), false),
        ["members"] => (lives::members(&app.node), false),
        ["leave"] => (json!({ "leaving": app.node.info().replica.to_string() }), true),
        ["retire", replica] => (lives::retire(&app.node, replica), false),
        _ => (json!({ "error": "the commands are: members, status, retire REPLICA, leave" }), false),
    };
    output.write_all(format!("{answer}\n").as_bytes()).await?;
    if stop {
        app.leaves.store(true, Ordering::Relaxed);
        app.stop.say();
    }
    Ok(())
}

/// The sockets' directory, of this user alone.
fn directory() -> io::Result<PathBuf> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|base| base.is_dir());
    let owner = rustix::process::geteuid().as_raw();
    let directory = base.map_or_else(|| std::env::temp_dir().join(format!("counter-admin-{owner}")), |base| base.join("counter-admin"));
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&directory)?;
    if !found.is_dir() || found.uid() != owner || found.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is not a directory of this user alone", directory.display()),
        ));
    }
    Ok(directory)
}

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
        return Err(Failure::argument(format!("{:?} is no replica: write one as `counter-web members` shows it", args.replica)));
    }
    ask(&args.node, &format!("retire {}", args.replica)).await.and_then(print)
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

/// The sockets of all nodes of this user that run here; files of nodes that are gone are removed on the way.
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
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => drop(fs::remove_file(file.path())),
            Err(_) => {}
        }
    }
    if found.is_empty() {
        return Err(Failure::other("no node of yours runs here: start one with `counter-web serve`, or name its socket with --admin"));
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
    Err(Failure::argument(format!("{} nodes run here: say which one with\n{}", found.len(), paths.join("\n"))))
}

fn unreachable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::other(format!("the node behind {} does not answer: {error}", path.display()))
}
