//! `counter-web serve`: starts the node, its front and its operators' socket, announces them in one
//! JSON line, and stops them in order.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use counter_net::{Node, StartError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::access::Access;
use crate::access::limits::LimitRules;
use crate::app::{App, FrontSettings};
use crate::cli::ServeArgs;
use crate::cli::exit::CommandError;
use crate::operator::OperatorSocket;
use crate::server::accept;

/// The default of `--rate`, in adds a second.
const RATE_DEFAULT: f64 = 100.0;
/// The default of `--connections-per-address`.
const CONNECTIONS_PER_ADDRESS_DEFAULT: u32 = 256;

/// Open files reserved for gossip, the store and logs.
const FILES_RESERVED: u64 = 640;

/// The most client connections, even if more files may be open.
const CONNECTIONS_MAX: u64 = 100_000;

/// The JSON line on standard output.
#[derive(Serialize)]
struct ReadyLine<'a> {
    http: String,
    gossip: &'a [String],
    replica: String,
    region: &'a str,
    admin: Option<String>,
}

/// Runs one node until a signal or an operator stops it.
///
/// # Errors
///
/// For a bad argument, a taken port, a network that cannot be set up, or a node that failed.
/// Nothing is left running.
pub(crate) async fn run(args: ServeArgs) -> Result<(), CommandError> {
    if args.restored && args.data_dir.is_none() {
        return Err(CommandError::argument(
            "--restored starts from a data directory: name it with --data-dir DIR",
        ));
    }
    let mut signals = Signals::listen(args.stop_with_stdin).map_err(CommandError::other)?;
    let connections_max = raise_file_limit();
    let listener = listen(&args).await?;
    let http = listener.local_addr().map_err(CommandError::other)?.to_string();
    // Checked before the node starts, so that a bad argument leaves nothing running.
    let access = args.access().map_err(CommandError::argument)?;
    let node = start_node(&args).await?;
    let info = node.info();
    let app = Arc::new(App::new(node.clone(), settings(&args, access)));
    let admin = OperatorSocket::open(&app, &info.replica.to_string());
    let admin_path = admin.as_ref().map(|admin| admin.path().display().to_string());
    let ready = ReadyLine {
        http,
        gossip: &info.addresses,
        replica: info.replica.to_string(),
        region: &info.region,
        admin: admin_path,
    };
    let front = tokio::spawn(accept::run(Arc::clone(&app), listener, connections_max));
    announce(&ready)?;
    match &args.data_dir {
        Some(directory) => tracing::info!("the state is kept in {}", directory.display()),
        None => tracing::info!(
            "the state is kept in memory alone, and lasts while any node of the cluster runs. \
             --data-dir DIR keeps it on disk"
        ),
    }
    tracing::info!(
        region = ready.region,
        replica = ready.replica,
        "the page is at http://{}/",
        ready.http
    );
    let mut failure = None;
    tokio::select! {
        () = signals.wait(&app) => {}
        () = app.stop.wait() => {}
        why = node.failed() => failure = Some(why),
    }
    tracing::info!("stopping");
    app.stop.start();
    // This fails only if the accept loop panicked, and the node must stop then too.
    let _drained = front.await;
    drop(admin);
    match app.leaves.load(Ordering::Relaxed) {
        true => node.leave().await,
        false => node.shutdown().await,
    }
    failure.map_or(Ok(()), |why| Err(CommandError::other(why)))
}

async fn listen(args: &ServeArgs) -> Result<TcpListener, CommandError> {
    let http = args.http();
    TcpListener::bind(http).await.map_err(|error| {
        CommandError::other(format!(
            "cannot serve on {http}: {error}. Choose another port with --http ADDR:PORT, such as \
             --http {}:0 for any free one",
            http.ip()
        ))
    })
}

async fn start_node(args: &ServeArgs) -> Result<Node, CommandError> {
    let mut builder = Node::builder()
        .region(args.region())
        .cluster(&args.cluster)
        .release(env!("CARGO_PKG_VERSION"));
    let mut keys = args.cluster_keys().map_err(CommandError::argument)?.into_iter();
    builder = keys.next().into_iter().fold(builder, |builder, key| builder.cluster_key(key));
    builder = keys.fold(builder, |builder, key| builder.also_accept_key(key));
    builder = args.listen().fold(builder, |builder, address| builder.listen(address));
    builder = args.peers().fold(builder, |builder, address| builder.peer(address));
    builder = args
        .discover()
        .map_err(CommandError::argument)?
        .fold(builder, |builder, way| builder.discover(way.clone()));
    builder = args
        .data_dir
        .iter()
        .fold(builder, |builder, directory| builder.data_dir(directory))
        .restored(args.restored);
    builder = args.node_name().into_iter().fold(builder, |builder, name| builder.node_name(name));
    builder = args.expire().fold(builder, |builder, rule| builder.expire(&rule.prefix, rule.after));
    builder = builder.ready_within(args.ready_within);
    builder = builder.counters_max(usize::try_from(args.counters_max).unwrap_or(usize::MAX));
    builder.start().await.map_err(|error| match error {
        StartError::Listen { .. }
        | StartError::Network(_)
        | StartError::Store(_)
        | StartError::Load(_)
        | StartError::CommitThread(_) => CommandError::other(error),
        argument => CommandError::argument(argument),
    })
}

fn settings(args: &ServeArgs, access: Access) -> FrontSettings {
    let limits = LimitRules {
        rate: args.rate.unwrap_or(RATE_DEFAULT),
        rate_given: args.rate.is_some(),
        connections_per_address: args
            .connections_per_address
            .unwrap_or(CONNECTIONS_PER_ADDRESS_DEFAULT),
        connections_given: args.connections_per_address.is_some(),
    };
    FrontSettings {
        counter: args.counter.clone(),
        access,
        limits,
        ping_interval: Duration::from_secs(args.ping_interval.into()),
        partition_switch: args.allow_partition,
    }
}

fn announce(ready: &ReadyLine<'_>) -> Result<(), CommandError> {
    let line = serde_json::to_string(ready).map_err(CommandError::other)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(CommandError::other)
}

/// Raises the limit of open files as far as allowed. Returns the number of clients that fit.
fn raise_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // If that is refused, the lower limit stays and is used below.
    let _raised =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let clients = files.saturating_sub(FILES_RESERVED).max(files / 2).min(CONNECTIONS_MAX);
    usize::try_from(clients).unwrap_or(usize::MAX)
}

/// The signals that stop `serve`: SIGINT, SIGTERM and, for the demo's nodes, the end of standard
/// input. One line with the addresses of the pages may come there first. It is answered with a line
/// once the node is ready.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    with_stdin: bool,
}

impl Signals {
    fn listen(with_stdin: bool) -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            with_stdin,
        })
    }

    async fn wait(&mut self, app: &App) {
        let with_stdin = self.with_stdin;
        let stdin_ended = async {
            if !with_stdin {
                return std::future::pending().await;
            }
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The first line counts. Others are ignored.
                let _known = serde_json::from_str(&line).map(|pages| app.set_pages(pages));
                tokio::select! {
                    // If the demo was killed meanwhile, its end follows.
                    () = app.node.ready() => drop(writeln!(std::io::stdout())),
                    further = lines.next_line() => if !matches!(further, Ok(Some(_))) { break },
                }
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = stdin_ended => {}
        }
    }
}
