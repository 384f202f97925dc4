//! `counter-web demo`: a cluster on this machine, with one process of this program for each region.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::DemoArgs;
use crate::cli::exit::CommandError;
use crate::page::regions;

/// How long the nodes have to stop before they are killed.
const STOP_WAIT: Duration = Duration::from_secs(8);

/// The pause before a node is restarted. It doubles each time the node ends soon after its start.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause. A node that ran at least this long did not end soon.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);

/// One node of the demo. Its standard input is a pipe that closes when this process ends, however
/// it ends. The node then stops.
struct DemoNode {
    region: String,
    /// Its `--node-name`.
    name: String,
    /// The address of its page. Its port may be 0 until the node is ready.
    http: String,
    child: Child,
    /// Taken out of `child`, because waiting for a child closes its input.
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The part of a node's JSON line that the demo needs.
#[derive(Deserialize)]
struct DemoNodeLine {
    http: String,
}

/// Starts a node for each region, prints their lines, and runs until a signal. Restarts nodes that
/// end.
///
/// # Errors
///
/// If a node fails its first start, for example because its port is taken. The others are stopped.
pub(crate) async fn run(args: DemoArgs) -> Result<(), CommandError> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt()).map_err(CommandError::other)?,
        signal(SignalKind::terminate()).map_err(CommandError::other)?,
    );
    if args.port != 0 && usize::from(u16::MAX - args.port) + 1 < args.regions.len() {
        return Err(CommandError::argument(format!(
            "--port {}: {} consecutive ports do not fit above it: write a lower one",
            args.port,
            args.regions.len()
        )));
    }
    let mut nodes = Vec::new();
    let outcome = tokio::select! {
        // Ctrl-C reaches the nodes too, and their end is not worth a message then.
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        outcome = start_and_watch(&args, &mut nodes) => outcome,
    };
    stop(nodes).await;
    outcome
}

async fn start_and_watch(args: &DemoArgs, nodes: &mut Vec<DemoNode>) -> Result<(), CommandError> {
    for (offset, region) in (0..).zip(&args.regions) {
        let port = if args.port == 0 { 0 } else { args.port + offset };
        nodes.push(start(args, region, &name(offset), &format!("127.0.0.1:{port}"))?);
    }
    let mut lines = Vec::new();
    for node in nodes.iter_mut() {
        let Some(line) = node.gets_ready().await else {
            return Err(CommandError::other(format!(
                "the node of {} did not start; its message is above. The others are stopped",
                node.region
            )));
        };
        lines.push(line);
    }
    let page = |node: &DemoNode| (node.region.clone(), format!("http://{}/", node.http));
    let pages: BTreeMap<String, String> = nodes.iter().map(page).collect();
    for (node, line) in nodes.iter_mut().zip(lines) {
        // The line comes last, so whoever opens the page at once sees another city beside it.
        node.send_pages(&pages).await;
        println!("{line}");
        eprintln!(
            "  {} {:<12} http://{}/",
            regions::flag(&node.region),
            regions::city(&node.region),
            node.http
        );
    }
    eprintln!("Open any of them, and click. Ctrl-C ends them all.");
    futures::future::join_all(nodes.iter_mut().map(|node| keep_running(args, node, &pages))).await;
    Ok(())
}

/// Restarts the node whenever it ends, with the same flags and address. Does not return.
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
            "The node of {} ended ({ended}). Restarting it in {} ms.",
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
        if let Some(line) = node.gets_ready().await {
            node.send_pages(pages).await;
            println!("{line}");
        }
    }
}

impl DemoNode {
    /// Waits for the node's line. Returns None if the node ended instead.
    async fn gets_ready(&mut self) -> Option<String> {
        let line = self.lines.next_line().await.ok()??;
        if let Ok(ready) = serde_json::from_str::<DemoNodeLine>(&line) {
            self.http = ready.http;
        }
        Some(line)
    }

    /// Sends the addresses of all pages to the node. Waits until its page links to the others, and
    /// until it is ready.
    async fn send_pages(&mut self, pages: &BTreeMap<String, String>) {
        let line = serde_json::to_string(pages).unwrap_or_default() + "\n";
        if let Some(stdin) = &mut self.stdin {
            // If this fails, the node has ended. `keep_running` notices that.
            let _sent = stdin.write_all(line.as_bytes()).await;
            let _answer = self.lines.next_line().await;
        }
    }
}

/// The `--node-name`. A restarted node keeps it, and no other demo has it.
fn name(offset: u16) -> String {
    format!("demo {} {offset}", std::process::id())
}

fn start(args: &DemoArgs, region: &str, name: &str, http: &str) -> Result<DemoNode, CommandError> {
    let program = std::env::current_exe().map_err(CommandError::other)?;
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
        .map_err(CommandError::other)?;
    let output =
        child.stdout.take().ok_or_else(|| CommandError::other("a node has no standard output"))?;
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

/// Closes every node's standard input, which stops them, and waits. Kills nodes that hang.
async fn stop(mut nodes: Vec<DemoNode>) {
    for node in &mut nodes {
        drop(node.stdin.take());
    }
    let all = futures::future::join_all(nodes.iter_mut().map(|node| node.child.wait()));
    if tokio::time::timeout(STOP_WAIT, all).await.is_err() {
        tracing::warn!("a node did not stop within {} s and is killed", STOP_WAIT.as_secs());
    }
}
