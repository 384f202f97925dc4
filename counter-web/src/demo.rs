//! `counter-web demo`: a cluster on this machine, one process of this very program a region.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::DemoArgs;
use crate::cli::exit::Failure;
use crate::page::regions;

/// What is left for the nodes to stop by themselves.
const STOP_WAIT: Duration = Duration::from_secs(8);

/// The pause before a node that ended is started again. It doubles each time that the node ends
/// soon after its start.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause. A node that ran for as long did not end soon.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);

/// One node of the demo. Its standard input is a pipe that ends with this process, however that
/// ends; the node stops with it.
struct DemoNode {
    region: String,
    /// Its `--node-name`.
    name: String,
    /// Where its page is: what it was told, with port 0 for any, and once it is ready what it said.
    http: String,
    child: Child,
    /// Kept apart from the child, since waiting for a child closes what it has of it.
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The part of a node's line that people want to see.
#[derive(Deserialize)]
struct Line {
    http: String,
}

/// Starts a node a region, prints the line of each, and runs until a signal. A node that ends is
/// started again.
///
/// # Errors
///
/// Where a node cannot start the first time, for example because its port is taken; the others are
/// stopped.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt()).map_err(Failure::other)?,
        signal(SignalKind::terminate()).map_err(Failure::other)?,
    );
    if args.port != 0 && usize::from(u16::MAX - args.port) + 1 < args.regions.len() {
        return Err(Failure::argument(format!(
            "--port {}: there are no {} ports from there on: write a lower one",
            args.port,
            args.regions.len()
        )));
    }
    let mut nodes = Vec::new();
    let outcome = tokio::select! {
        // A Ctrl-C reaches the nodes too: their end is no news then.
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        outcome = start_and_watch(&args, &mut nodes) => outcome,
    };
    stop(nodes).await;
    outcome
}

async fn start_and_watch(args: &DemoArgs, nodes: &mut Vec<DemoNode>) -> Result<(), Failure> {
    for (offset, region) in (0..).zip(&args.regions) {
        let port = if args.port == 0 { 0 } else { args.port + offset };
        nodes.push(start(args, region, &name(offset), &format!("127.0.0.1:{port}"))?);
    }
    let mut pages = BTreeMap::new();
    for node in nodes.iter_mut() {
        if !node.gets_ready().await {
            return Err(Failure::other(format!(
                "the node of {} did not start; its message is above. The others are stopped",
                node.region
            )));
        }
        eprintln!(
            "  {} {:<12} http://{}/",
            regions::flag(&node.region),
            regions::city(&node.region),
            node.http
        );
        pages.insert(node.region.clone(), format!("http://{}/", node.http));
    }
    for node in nodes.iter_mut() {
        node.tell(&pages).await;
    }
    eprintln!("Open any of them, and click. Ctrl-C ends them all.");
    futures::future::join_all(nodes.iter_mut().map(|node| keep_running(args, node, &pages))).await;
    Ok(())
}

/// Starts the node again whenever it ends, with the flags and at the address it had. Does not
/// return.
async fn keep_running(args: &DemoArgs, node: &mut DemoNode, pages: &BTreeMap<String, String>) {
    let (mut pause, mut started) = (RESTART_PAUSE_MIN, Instant::now());
    loop {
        let ended = node
            .child
            .wait()
            .await
            .map_or_else(|error| error.to_string(), |status| status.to_string());
        if started.elapsed() >= RESTART_PAUSE_MAX {
            pause = RESTART_PAUSE_MIN;
        }
        eprintln!(
            "The node of {} ended ({ended}) and is started again in {} ms.",
            node.region,
            pause.as_millis()
        );
        tokio::time::sleep(pause).await;
        (pause, started) = (RESTART_PAUSE_MAX.min(pause * 2), Instant::now());
        match start(args, &node.region, &node.name, &node.http) {
            Ok(again) => *node = again,
            Err(error) => {
                eprintln!("The node of {} cannot be started: {error}.", node.region);
                continue;
            }
        }
        if node.gets_ready().await {
            node.tell(pages).await;
        }
    }
}

impl DemoNode {
    /// Waits for the node's line and prints it. False where the node ended instead.
    async fn gets_ready(&mut self) -> bool {
        let Ok(Some(line)) = self.lines.next_line().await else { return false };
        println!("{line}");
        if let Ok(ready) = serde_json::from_str::<Line>(&line) {
            self.http = ready.http;
        }
        true
    }

    /// Tells the node where all pages are, so that its own can lead to the others.
    async fn tell(&mut self, pages: &BTreeMap<String, String>) {
        let line = serde_json::to_string(pages).unwrap_or_default() + "\n";
        if let Some(stdin) = &mut self.stdin {
            // A node that hears nothing has ended, which is noticed elsewhere.
            let _told = stdin.write_all(line.as_bytes()).await;
        }
    }
}

/// The node keeps its name when it is started again. Another demo beside this one has others.
fn name(offset: u16) -> String {
    format!("demo {} {offset}", std::process::id())
}

fn start(args: &DemoArgs, region: &str, name: &str, http: &str) -> Result<DemoNode, Failure> {
    let program = std::env::current_exe().map_err(Failure::other)?;
    let mut command = Command::new(program);
    command.args([
        "serve",
        "--stop-with-stdin",
        "--allow-partition",
        "--region",
        region,
        "--cluster",
        &args.cluster,
        "--log",
        &args.log,
    ]);
    command.args(["--http", http, "--node-name", name]);
    if let Some(directory) = &args.data_dir {
        command.arg("--data-dir").arg(directory.join(region));
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Failure::other)?;
    let output =
        child.stdout.take().ok_or_else(|| Failure::other("a node has no standard output"))?;
    let stdin = child.stdin.take();
    Ok(DemoNode {
        region: region.to_owned(),
        name: name.to_owned(),
        http: http.to_owned(),
        child,
        stdin,
        lines: BufReader::new(output).lines(),
    })
}

/// Ends every node's standard input, which stops them, and waits; one that hangs is killed.
async fn stop(mut nodes: Vec<DemoNode>) {
    for node in &mut nodes {
        drop(node.stdin.take());
    }
    let all = futures::future::join_all(nodes.iter_mut().map(|node| node.child.wait()));
    if tokio::time::timeout(STOP_WAIT, all).await.is_err() {
        tracing::warn!("a node did not stop within {} s and is killed", STOP_WAIT.as_secs());
    }
}
