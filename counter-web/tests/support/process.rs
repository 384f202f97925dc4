//! Processes of the built binary. Each ends with its handle.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::eventually;
use super::http::get;

/// A cluster name that no other test has.
pub fn cluster() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The runtime directory of one test, for `local` discovery and operators' sockets. Removed with
/// this handle.
pub struct Runtime(PathBuf);

impl Runtime {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Short, because the path of a Unix socket is limited to about 100 bytes.
        let name =
            format!("counter-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// The binary with an empty configuration, and no neighbours but those in `runtime`.
pub fn command(runtime: &Runtime) -> Command {
    command_of(Path::new(env!("CARGO_BIN_EXE_counter-web")), runtime)
}

/// The same with another binary.
pub fn command_of(binary: &Path, runtime: &Runtime) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("COUNTER_") || text.starts_with("FLY_") || text == "PORT" {
            command.env_remove(&name);
        }
    }
    command.env("RUST_LOG", "error").env("XDG_RUNTIME_DIR", runtime.path()).stdin(Stdio::null());
    command
}

/// A process that is killed if the test does not end it.
pub struct ChildGuard(pub Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// One running `counter-web serve`.
pub struct Node {
    child: ChildGuard,
    runtime: Option<Runtime>,
    pub http: String,
    pub gossip: String,
    pub replica: String,
    pub admin: String,
    pub started: Instant,
}

impl Node {
    /// A node that finds others by `peers` alone.
    pub fn start(cluster: &str, region: &str, peers: &[&Node]) -> Self {
        Self::start_with(cluster, region, peers, &["--http", "127.0.0.1:0"])
    }

    /// The same with more flags, that of the page's address among them.
    pub fn start_with(cluster: &str, region: &str, peers: &[&Node], flags: &[&str]) -> Self {
        let runtime = Runtime::new();
        let mut command = command(&runtime);
        command.args(["--cluster", cluster, "--region", region, "--discover", "none"]).args(flags);
        for peer in peers {
            command.args(["--peer", &peer.gossip]);
        }
        Self { runtime: Some(runtime), ..Self::spawn(command) }
    }

    /// A node with a data directory, named after its region, that finds the others of its cluster
    /// in `runtime`. Its log is appended to a file beside the directory.
    pub fn start_in(runtime: &Runtime, cluster: &str, directory: &Path, flags: &[&str]) -> Self {
        Self::start_as(command(runtime), cluster, directory, flags)
    }

    /// The same as a command, perhaps with another binary.
    pub fn start_as(mut command: Command, cluster: &str, directory: &Path, flags: &[&str]) -> Self {
        command.arg("--data-dir").arg(directory).args(flags);
        Self::spawn_logging(command, cluster, directory)
    }

    /// The same without the directory, whose path only gives the region and the log.
    pub fn start_in_memory(runtime: &Runtime, cluster: &str, path: &Path, flags: &[&str]) -> Self {
        let mut command = command(runtime);
        command.args(flags);
        Self::spawn_logging(command, cluster, path)
    }

    fn spawn_logging(mut command: Command, cluster: &str, path: &Path) -> Self {
        let region = path.file_name().and_then(|name| name.to_str()).unwrap();
        command.args([
            "--cluster",
            cluster,
            "--region",
            region,
            "--discover",
            "local",
            "--http",
            "127.0.0.1:0",
        ]);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path.with_extension("log"))
            .unwrap();
        command.env("RUST_LOG", "error,counter_net=warn").stderr(log);
        Self::spawn(command)
    }

    /// Waits until the node is ready. One without peers is, after a moment; until then, its streams
    /// may still get a change that says so.
    pub fn until_ready(&self) {
        eventually("the node is ready", Duration::from_secs(60), || {
            match get(&self.http, "/readyz") {
                ready if ready.status == 200 => Ok(()),
                other => Err(other.body),
            }
        });
    }

    /// Starts a command and reads its one line.
    pub fn spawn(mut command: Command) -> Self {
        let started = Instant::now();
        let mut child = ChildGuard(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap());
        let line = read_line(&mut lines);
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
        let (http, gossip, replica) =
            (text(&line["http"]), text(&line["gossip"][0]), text(&line["replica"]));
        Self { child, runtime: None, http, gossip, replica, admin: text(&line["admin"]), started }
    }

    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    pub fn kill(&mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.0.try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM. Returns the exit status.
    pub fn terminate(mut self) -> ExitStatus {
        signal(self.child.0.id(), "TERM");
        self.end()
    }

    /// Waits for its end. Returns the exit status.
    pub fn end(&mut self) -> ExitStatus {
        wait(&mut self.child.0, Duration::from_secs(15))
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
    assert!(
        Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

pub fn wait(child: &mut Child, within: Duration) -> ExitStatus {
    super::eventually("the process ends", within, || {
        child.try_wait().unwrap().ok_or_else(|| "still running".to_owned())
    })
}

/// Runs the binary to its end. Returns the exit code and stderr.
pub fn run(args: &[&str]) -> (Option<i32>, String) {
    let (code, _, stderr) = run_in(&Runtime::new(), args);
    (code, stderr)
}

/// The same among the nodes of `runtime`. Returns the exit code, stdout and stderr.
pub fn run_in(runtime: &Runtime, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = command(runtime);
    command.args(args).env("COUNTER_CLUSTER", cluster());
    let mut child =
        ChildGuard(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let status = wait(&mut child.0, Duration::from_secs(10));
    let text = |mut pipe: Box<dyn Read>| {
        let mut said = String::new();
        pipe.read_to_string(&mut said).unwrap();
        said
    };
    let (stdout, stderr) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    (status.code(), text(Box::new(stdout)), text(Box::new(stderr)))
}

/// Runs the binary, which refuses to start with these variables and flags. Returns the exit code
/// and stderr.
pub fn refused(
    runtime: &Runtime,
    variables: &[(&str, &str)],
    flags: &[&str],
) -> (Option<i32>, String) {
    let mut command = command(runtime);
    command
        .args(["--http", "127.0.0.1:0", "--cluster", &cluster()])
        .args(flags)
        .envs(variables.iter().copied());
    let mut child =
        ChildGuard(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let status = wait(&mut child.0, Duration::from_secs(20));
    let mut said = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code(), said)
}
