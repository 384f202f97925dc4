//! A node as a process. It is spawned from the release binary, and killed when dropped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{Http, SERVICE_TOKEN};
use super::socket::Socket;
use crate::system::{MeasureFailure, Measured};

/// The longest that a node may take to be ready.
const READY_MAX: Duration = Duration::from_secs(60);

/// The path of the node's binary: `COUNTER_WEB`, or beside this program.
fn binary() -> Measured<PathBuf> {
    let beside = || std::env::current_exe().ok().map(|own| own.with_file_name("counter-web"));
    let path = std::env::var_os("COUNTER_WEB")
        .map(PathBuf::from)
        .or_else(beside)
        .filter(|path| path.exists());
    path.ok_or_else(|| {
        MeasureFailure("the node's binary is not built: run `cargo build --release -p counter-web`, or name it in COUNTER_WEB".into())
    })
}

/// A cluster name that nobody else uses.
pub(in crate::system) fn cluster_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A running node.
#[derive(Debug)]
pub(in crate::system) struct NodeProcess {
    child: Child,
    /// When it was spawned.
    pub(in crate::system) started: Instant,
    /// The address that it serves at.
    pub(in crate::system) http: SocketAddr,
    /// The address that it gossips at, with its peer id.
    pub(in crate::system) gossip: String,
}

impl NodeProcess {
    /// Spawns a node and waits for its first line. It may not be synced yet.
    pub(in crate::system) fn spawn(cluster: &str, region: &str, peers: &[&str]) -> Measured<Self> {
        Self::spawn_with(cluster, region, peers, &[])
    }

    /// The same with further arguments.
    pub(in crate::system) fn spawn_with(
        cluster: &str,
        region: &str,
        peers: &[&str],
        arguments: &[&str],
    ) -> Measured<Self> {
        let mut command = Command::new(binary()?);
        command.args([
            "--region",
            region,
            "--cluster",
            cluster,
            "--http",
            "127.0.0.1:0",
            "--discover",
            "none",
            "--log",
            "error",
        ]);
        command.args(peers.iter().flat_map(|peer| ["--peer", peer])).args(arguments);
        // Variables of this process must not reach the node.
        command
            .env_remove("COUNTER_PEERS")
            .env_remove("COUNTER_CLUSTER_KEY")
            .env_remove("COUNTER_LISTEN")
            .env_remove("RUST_LOG");
        command.env_remove("COUNTER_DATA_DIR");
        Self::start(command)
    }

    /// A node in a network namespace. Its address is fixed, because no other program is there to
    /// take its port.
    pub(in crate::system) fn spawn_on(
        namespace: &str,
        region: &str,
        listen: &str,
        peers: &[String],
        http: &str,
    ) -> Measured<Self> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(binary()?);
        // Its clients are not on its own loopback, so they would get the rate limit of strangers.
        command.args([
            "--rate",
            "1000000",
            "--cluster",
            "hosts",
            "--discover",
            "none",
            "--http",
            http,
        ]);
        Self::start_keyed(command, region, listen, peers)
    }

    /// A node in the namespaces of this process. It finds the named peers, or others by `discover`.
    pub(in crate::system) fn spawn_far(
        cluster: &str,
        region: &str,
        listen: &str,
        discover: &str,
        peers: &[String],
    ) -> Measured<Self> {
        let mut command = Command::new(binary()?);
        command.args(["--cluster", cluster, "--discover", discover, "--http", "127.0.0.1:0"]);
        Self::start_keyed(command, region, listen, peers)
    }

    fn start_keyed(
        mut command: Command,
        region: &str,
        listen: &str,
        peers: &[String],
    ) -> Measured<Self> {
        command
            .args(["--region", region, "--listen", listen, "--log", "error"])
            .args(peers.iter().flat_map(|peer| ["--peer", peer]));
        command
            .env("COUNTER_CLUSTER_KEY", "a key of this bench alone")
            .env_remove("COUNTER_PEERS")
            .env_remove("COUNTER_LISTEN");
        command.env_remove("COUNTER_DATA_DIR").env_remove("RUST_LOG");
        Self::start(command)
    }

    /// A Node.js server of `benches/peers/node`. It prints its address, as ours does.
    pub(in crate::system) fn spawn_node_script(name: &str) -> Measured<Self> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/node");
        if !std::path::Path::new(directory).join("node_modules/ws").exists() {
            return Err(MeasureFailure(
                "node ws: skipped; it needs ws: `npm install --prefix benches/peers/node`".into(),
            ));
        }
        if Command::new("node").arg("--version").output().is_err() {
            return Err(MeasureFailure(
                "node ws: skipped; it needs node (Debian's package nodejs)".into(),
            ));
        }
        let mut command = Command::new("node");
        command.arg(format!("{directory}/{name}"));
        Self::start(command)
    }

    /// This program itself, as a server.
    pub(in crate::system) fn spawn_own(arguments: &[&str]) -> Measured<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        Self::start(command)
    }

    fn start(mut command: Command) -> Measured<Self> {
        let started = Instant::now();
        let mut child = command
            // The clients name their counters as they like, and their Host makes them strangers.
            .env("COUNTER_CREATE", "*")
            .env("COUNTER_SERVICE_TOKEN", SERVICE_TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| MeasureFailure(format!("the node does not start: {error}")))?;
        let mut line = String::new();
        let read = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let ready: Value = match read {
            Some(Ok(_)) => serde_json::from_str(&line).map_err(|error| {
                MeasureFailure(format!("the node's first line is {line:?}: {error}"))
            })?,
            _ => return Err(MeasureFailure("the node ended before it was ready".into())),
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let http = text(&ready["http"]).parse().map_err(|error| {
            MeasureFailure(format!("the node's address is {:?}: {error}", ready["http"]))
        })?;
        Ok(Self { child, started, http, gossip: text(&ready["gossip"][0]) })
    }

    /// Spawns nodes in these regions that all know the first one. Waits until each is synced and
    /// has all others as members.
    pub(in crate::system) async fn cluster(regions: &[String]) -> Measured<Vec<Self>> {
        Self::cluster_with(&cluster_name(), regions, |_| Vec::new()).await
    }

    /// The same, with a name and further arguments for each region.
    pub(in crate::system) async fn cluster_with(
        cluster: &str,
        regions: &[String],
        arguments: impl Fn(&str) -> Vec<String>,
    ) -> Measured<Vec<Self>> {
        let mut nodes: Vec<Self> = Vec::new();
        for region in regions {
            let peers: Vec<&str> =
                nodes.first().map(|first| first.gossip.as_str()).into_iter().collect();
            let arguments = arguments(region);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            nodes.push(Self::spawn_with(cluster, region, &peers, &arguments)?);
        }
        for node in &nodes {
            node.until_ready().await?;
            node.until_members(nodes.len()).await?;
        }
        Ok(nodes)
    }

    /// Its process id.
    pub(in crate::system) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processor time that it has used.
    pub(in crate::system) fn cpu(&self) -> Measured<Duration> {
        // The first number of each thread's schedstat: nanoseconds on a processor.
        let mut total = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.id()))? {
            // A thread may end at any moment.
            let stat = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            total +=
                stat.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total))
    }

    /// Its resident memory.
    pub(in crate::system) fn resident_bytes(&self) -> Measured<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        line.map(|kib| kib * 1024).ok_or_else(|| {
            MeasureFailure("this system does not say how much memory a process holds".into())
        })
    }

    /// Waits until it reports itself synced. Returns the time since it was spawned.
    pub(in crate::system) async fn until_ready(&self) -> Measured<Duration> {
        let mut http = Http::open(self.http).await?;
        while self.started.elapsed() < READY_MAX {
            if http.get("/readyz").await?.0 == 200 {
                return Ok(self.started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(MeasureFailure("a node was not synced within a minute".into()))
    }

    /// Waits until it has this many live members, itself included.
    pub(in crate::system) async fn until_members(&self, count: usize) -> Measured<()> {
        let mut http = Http::open(self.http).await?;
        while self.started.elapsed() < READY_MAX {
            let status = http.json("/api/status").await?;
            let live = status["members"].as_array().map_or(0, |members| {
                members.iter().filter(|member| member["live"] == true).count()
            });
            if live >= count {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(MeasureFailure(format!("a node did not meet {count} members within a minute")))
    }

    /// Waits until a counter's total is exactly this. A greater total is wrong.
    pub(in crate::system) async fn until_total(&self, counter: &str, total: i64) -> Measured<()> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            match self.total(counter).await? {
                shown if shown == total => return Ok(()),
                shown if shown > total || Instant::now() > deadline => {
                    return Err(MeasureFailure(format!(
                        "wrong: {counter} shows {shown}, and {total} were added"
                    )));
                }
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// Adds 1 to a counter, this many times, and waits for each acknowledgement.
    pub(in crate::system) async fn add_many(&self, counter: &str, adds: u64) -> Measured<()> {
        let mut socket = Socket::open(self.http, counter).await?;
        socket.add_many(0..adds).await?;
        socket.until_acks(adds).await
    }

    /// The sum of some counters.
    pub(in crate::system) async fn sum(
        &self,
        counters: impl Iterator<Item = String>,
    ) -> Measured<i64> {
        let (mut http, mut sum) = (Http::open(self.http).await?, 0);
        for counter in counters {
            sum += total_in(&http.json(&format!("/api/counters/{counter}")).await?)?;
        }
        Ok(sum)
    }

    /// The total of a counter.
    pub(in crate::system) async fn total(&self, counter: &str) -> Measured<i64> {
        let view = Http::open(self.http).await?.json(&format!("/api/counters/{counter}")).await?;
        total_in(&view)
    }
}

fn total_in(view: &Value) -> Measured<i64> {
    view["total"]
        .as_i64()
        .ok_or_else(|| MeasureFailure(format!("the node's answer has no total: {view}")))
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}
