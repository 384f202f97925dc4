//! Processes of the built binary, each ended with its handle.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A cluster name that no other test has.
pub fn cluster() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The binary with an environment in which nothing is configured.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counter-web"));
    for name in
        ["FLY_REGION", "PORT", "COUNTER_HTTP", "COUNTER_PEERS", "COUNTER_DISCOVER", "COUNTER_CLUSTER", "COUNTER_CLUSTER_KEY", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    command.env("RUST_LOG", "error").stdin(Stdio::null());
    command
}

/// One running `counter-web serve`.
pub struct Node {
    child: Child,
    pub http: String,
    pub gossip: String,
    pub replica: String,
    pub started: Instant,
}

impl Node {
    /// A node that finds others by `peers` alone.
    pub fn start(cluster: &str, region: &str, peers: &[&Node]) -> Self {
        let mut command = command();
        command.args(["--cluster", cluster, "--region", region, "--http", "127.0.0.1:0", "--discover", "none"]);
        for peer in peers {
            command.args(["--peer", &peer.gossip]);
        }
        Self::spawn(command)
    }

    /// Starts a command and reads its one line.
    pub fn spawn(mut command: Command) -> Self {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let line = read_line(&mut lines);
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, http: text(&line["http"]), gossip: text(&line["gossip"][0]), replica: text(&line["replica"]), started }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and the status it ends with.
    pub fn terminate(mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        wait(&mut self.child, Duration::from_secs(10))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The next line of a process, as JSON.
pub fn read_line(lines: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Sends a signal to a process that this test started.
pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

pub fn wait(child: &mut Child, within: Duration) -> ExitStatus {
    super::eventually("the process ends", within, || child.try_wait().unwrap().ok_or_else(|| "still running".to_owned()))
}

/// Runs the binary to its end: exit code and what it said on stderr.
pub fn run(args: &[&str]) -> (Option<i32>, String) {
    let mut child = command().args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let status = wait(&mut child, Duration::from_secs(10));
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    (status.code(), said)
}
