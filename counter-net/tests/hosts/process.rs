//! A node in its own process on each host. The process is this test binary, started again inside a
//! namespace, and it takes orders line by line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use counter_net::{Interest, Node};
use futures::StreamExt;

/// The longest wait: longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The last status of a node: numbers by name.
pub(crate) type Status = BTreeMap<String, i64>;

/// A process in a namespace. It is killed with its handle.
pub(crate) struct Process {
    child: Child,
    orders: ChildStdin,
    said: Arc<(Mutex<Status>, Condvar)>,
}

impl Process {
    /// Runs the test `role` of this binary in a namespace.
    pub(crate) fn start(namespace: &str, role: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(std::env::current_exe().unwrap());
        command
            .args(["--exact", role, "--ignored", "--nocapture", "--test-threads", "1"])
            .envs(settings.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let said = Arc::new((Mutex::new(Status::new()), Condvar::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(status) = line.split("status ").nth(1) {
                    *heard.0.lock().unwrap() = parse(status);
                    heard.1.notify_all();
                }
            }
        });
        Self { child, orders, said }
    }

    /// Gives the process an order: `add N` or `viewer`.
    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// Waits until `name` is `value` here. Returns how long that took.
    pub(crate) fn until(&self, name: &str, value: i64) -> Duration {
        let began = Instant::now();
        let said = self.said.0.lock().unwrap();
        let waits = |status: &mut Status| status.get(name) != Some(&value);
        let (said, outcome) = self.said.1.wait_timeout_while(said, PATIENCE, waits).unwrap();
        assert!(!outcome.timed_out(), "never: {name} is {value}; last said: {said:?}");
        began.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn parse(status: &str) -> Status {
    let pairs = status.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// Runs a node in a namespace. It prints its status whenever that changes, follows orders, and ends
/// when its input does.
pub(crate) async fn live() {
    let setting = |name: &str| std::env::var(name).ok();
    let mut builder = Node::builder().cluster("hosts").region(setting("REGION").unwrap());
    builder = builder.cluster_key(setting("KEY").unwrap().parse().unwrap());
    builder = builder.discover(setting("DISCOVER").unwrap().parse().unwrap());
    builder =
        setting("LISTEN").into_iter().fold(builder, |builder, address| builder.listen(address));
    for peer in setting("PEERS").unwrap_or_default().split_whitespace() {
        builder = builder.peer(peer);
    }
    let node = builder.start().await.unwrap();
    let (tell, mut orders) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| tell.send(line).ok())
    });
    let (mut changes, mut viewers) = (node.subscribe(Interest::All), Vec::new());
    // No subscription announces a connection.
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut said = String::new();
    loop {
        let status = status(&node);
        if status != said {
            println!("status {status}");
            said = status;
        }
        tokio::select! {
            order = orders.recv() => match order.as_deref().map(|order| order.split_once(' ').unwrap_or((order, ""))) {
                Some(("add", amount)) => node.counter("clicks").unwrap().add(amount.parse().unwrap()).unwrap(),
                Some(("viewer", _)) => viewers.push(node.viewer()),
                _ => return,
            },
            _ = ticks.tick() => {}
            change = changes.next() => assert!(change.is_some(), "the node runs"),
        }
    }
}

fn status(node: &Node) -> String {
    let (info, view) = (node.info(), node.view("clicks"));
    let nodes: u64 = view.regions.values().map(|region| region.nodes).sum();
    let viewers: u64 = view.regions.values().map(|region| region.connected).sum();
    format!(
        "peers={} clicks={} nodes={nodes} viewers={viewers} synced={}",
        info.peers,
        view.total,
        u8::from(view.synced)
    )
}
