//! `counter-web demo`: a cluster on this machine, one process of this very program a region.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::DemoArgs;
use crate::exit::Failure;
use crate::regions;

/// What is left for the nodes to stop by themselves.
const STOP_WAIT: Duration = Duration::from_secs(8);

/// One node of the demo. Its standard input is a pipe that ends with this process, however that ends; the node stops with it.
struct DemoNode {
    region: String,
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

/// Starts a node a region, prints the line of each, and runs until a signal or until one of them ends.
///
/// # Errors
///
/// Where a node cannot start, for example because its port is taken, or ends by itself; the others are stopped.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(Failure::other)?, signal(SignalKind::terminate()).map_err(Failure::other)?);
    if args.port != 0 && usize::from(u16::MAX - args.port) + 1 < args.regions.len() {
        return Err(Failure::argument(format!(
            "--port {}: there are no {} ports from there on: write a lower one",
            args.port,
            args.regions.len()
        )));
    }
    let mut nodes = Vec::new();
    let outcome = tokio::select! {
        outcome = start_and_watch(&args, &mut nodes) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    stop(nodes).await;
    outcome
}

async fn start_and_watch(args: &DemoArgs, nodes: &mut Vec<DemoNode>) -> Result<(), Failure> {
    for (offset, region) in (0..).zip(&args.regions) {
        let port = if args.port == 0 { 0 } else { args.port + offset };
        nodes.push(start(args, region, port)?);
    }
    let mut pages = BTreeMap::new();
    for node in nodes.iter_mut() {
        let line = node.lines.next_line().await.ok().flatten();
        let Some(line) = line else {
            return Err(Failure::other(format!("the node of {} did not start; its message is above. The others are stopped", node.region)));
        };
        println!("{line}");
        if let Ok(ready) = serde_json::from_str::<Line>(&line) {
            eprintln!("  {} {:<12} http://{}/", regions::flag(&node.region), regions::city(&node.region), ready.http);
            pages.insert(node.region.clone(), format!("http://{}/", ready.http));
        }
    }
    tell(nodes, &pages).await;
    eprintln!("Open any of them, and click. Ctrl-C ends them all.");
    let (_, ended, _) = futures::future::select_all(nodes.iter_mut().map(|node| Box::pin(node.child.wait()))).await;
    let region = nodes.get(ended).map_or("", |node| node.region.as_str());
    Err(Failure::other(format!("the node of {region} ended by itself; the others are stopped")))
}

/// Tells each node where all pages are, so that its own can lead to the others.
async fn tell(nodes: &mut [DemoNode], pages: &BTreeMap<String, String>) {
    let line = serde_json::to_string(pages).unwrap_or_default() + "\n";
    for stdin in nodes.iter_mut().filter_map(|node| node.stdin.as_mut()) {
        // A node that hears nothing has ended, which is noticed below.
        let _told = stdin.write_all(line.as_bytes()).await;
    }
}

fn start(args: &DemoArgs, region: &str, port: u16) -> Result<DemoNode, Failure> {
    let program = std::env::current_exe().map_err(Failure::other)?;
    let mut command = Command::new(program);
    command.args(["serve", "--stop-with-stdin", "--allow-partition", "--region", region, "--cluster", &args.cluster, "--log", &args.log]);
    command.arg("--http").arg(format!("127.0.0.1:{port}"));
    if let Some(directory) = &args.data_dir {
        command.arg("--data-dir").arg(directory.join(region));
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().map_err(Failure::other)?;
    let output = child.stdout.take().ok_or_else(|| Failure::other("a node has no standard output"))?;
    let stdin = child.stdin.take();
    Ok(DemoNode { region: region.to_owned(), child, stdin, lines: BufReader::new(output).lines() })
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
