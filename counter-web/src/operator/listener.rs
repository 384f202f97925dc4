//! The node's side of the operators' socket: reads a command, runs it, and answers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{fs, io};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::counters::{clear, list};
use super::directory::{COMMAND_TIMEOUT, directory};
use super::report::report;
use crate::api::counters::clearing::Clearing;
use crate::app::App;
use crate::operator::members::members;
use crate::operator::retirement::retire;

/// The longest command, in bytes: two names as JSON, in which a character may take six bytes.
const COMMAND_BYTES_MAX: u64 = 4_096;

/// The open socket of a running node. Dropping it removes the file.
pub(crate) struct OperatorSocket {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl OperatorSocket {
    /// Opens the socket. On failure it logs why and returns `None`; the node runs without it.
    pub(crate) fn open(app: &Arc<App>, replica: &str) -> Option<Self> {
        let opened = directory().and_then(|directory| {
            let path = directory.join(format!("{replica}.sock"));
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok((path, listener))
        });
        match opened {
            Ok((path, listener)) => {
                Some(Self { path, task: tokio::spawn(listen(Arc::clone(app), listener)) })
            }
            Err(error) => {
                tracing::warn!(
                    "the operators' socket cannot be opened, so their commands are off: {error}"
                );
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        self.task.abort();
        // The next search for sockets removes a file that stays behind.
        let _removed = fs::remove_file(&self.path);
    }
}

async fn listen(app: Arc<App>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            // One at a time: the commands come from a person.
            Ok((stream, _)) => {
                drop(tokio::time::timeout(COMMAND_TIMEOUT, answer(&app, stream)).await)
            }
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
    let argument = command.split_once(' ').map_or("", |(_, argument)| argument);
    let (answer, stop) = match command.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["status"] => (report(app), false),
        ["members"] => (members(&app.node), false),
        ["leave"] => (json!({ "leaving": app.node.info().replica.to_string() }), true),
        ["retire", replica] => (retire(&app.node, replica, false).await, false),
        ["retire", replica, "--force"] => (retire(&app.node, replica, true).await, false),
        // Names may have spaces, so these take JSON.
        ["list", ..] => (list(app, argument).await, false),
        ["reset", ..] => (clear(app, argument, Clearing::Reset).await, false),
        ["remove", ..] => (clear(app, argument, Clearing::Removal).await, false),
        _ => (
            json!({
                "error": "the commands are: members, status, retire REPLICA [--force], leave, \
                          list JSON, reset JSON, remove JSON",
            }),
            false,
        ),
    };
    output.write_all(format!("{answer}\n").as_bytes()).await?;
    if stop {
        app.leaves.store(true, Ordering::Relaxed);
        app.stop.start();
    }
    Ok(())
}
