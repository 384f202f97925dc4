//! Repeated adds on real processes. An id counts once, also after a kill and on another node.

use std::path::Path;
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::{counter, request};
use crate::support::process::{Node, Runtime, cluster, command};

const SOON: Duration = Duration::from_secs(60);
const ADD: &str = "/api/counters/clicks/add";

struct NodeDirectory<'a> {
    runtime: &'a Runtime,
    cluster: String,
    directory: std::path::PathBuf,
}

impl<'a> NodeDirectory<'a> {
    fn new(runtime: &'a Runtime, cluster: &str, region: &str) -> Self {
        let directory = runtime.path().join(region);
        std::fs::create_dir(&directory).unwrap();
        Self { runtime, cluster: cluster.to_owned(), directory }
    }

    /// A node of this directory that knows only `peer`.
    fn serve(&self, peer: Option<&Node>) -> Node {
        let region = Path::file_name(&self.directory).and_then(|name| name.to_str()).unwrap();
        let mut command = command(self.runtime);
        command.args([
            "--cluster",
            &self.cluster,
            "--region",
            region,
            "--discover",
            "none",
            "--http",
            "127.0.0.1:0",
            "--data-dir",
        ]);
        command.arg(&self.directory);
        if let Some(peer) = peer {
            command.args(["--peer", &peer.gossip]);
        }
        Node::spawn(command)
    }
}

/// Adds with an id; acknowledged once it is on the disk.
fn add(node: &Node, id: &str, amount: i64) {
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", id)];
    let answer = request(&node.http, "POST", ADD, &headers, &format!("{{\"amount\":{amount}}}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn total_is(node: &Node, total: i64) {
    eventually("the total", SOON, || match counter(&node.http, "clicks")["total"].as_i64() {
        Some(is) if is == total => Ok(()),
        is => Err(format!("{is:?} is not {total}")),
    });
}

#[test]
fn repeat_counts_once_after_a_kill() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let ord = NodeDirectory::new(&runtime, &cluster, "ord");
    let mut first = ord.serve(None);
    add(&first, "tab:1", 5);
    add(&first, "order-17", -2);
    first.kill();
    let first = ord.serve(None);
    add(&first, "tab:1", 5);
    add(&first, "order-17", -2);
    assert_eq!(counter(&first.http, "clicks")["total"], 3);
    let second = NodeDirectory::new(&runtime, &cluster, "fra").serve(Some(&first));
    total_is(&second, 3);
    add(&second, "tab:1", 5);
    add(&second, "order-17", -2);
    add(&second, "tab:2", 100);
    total_is(&first, 103);
    assert_eq!(counter(&second.http, "clicks")["total"], 103);
}

/// Each of the two first applies an add that the other repeats. So both orders of their ids are
/// tested.
#[test]
fn unknown_repeat_counts_once_when_nodes_meet() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let (ord, fra) = (
        NodeDirectory::new(&runtime, &cluster, "ord"),
        NodeDirectory::new(&runtime, &cluster, "fra"),
    );
    let mut first = ord.serve(None);
    add(&first, "tab:1", 5);
    first.kill();
    let mut second = fra.serve(None);
    add(&second, "tab:1", 5);
    add(&second, "tab:2", 30);
    second.kill();
    let first = ord.serve(None);
    add(&first, "tab:2", 30);
    let second = fra.serve(Some(&first));
    // Both incarnations have ended. One of the two copies is taken back once they are absorbed.
    let is_clean = |node: &Node| {
        crate::support::http::get(&node.http, "/api/status").json()["retirement"] == "clean"
    };
    let state = |node: &Node| counter(&node.http, "clicks")["state_hash"].clone();
    eventually("equal states without incarnations that ended", SOON, || {
        let is_over = is_clean(&first) && is_clean(&second) && state(&first) == state(&second);
        if is_over { Ok(()) } else { Err("not yet".to_owned()) }
    });
    total_is(&second, 35);
    assert_eq!(counter(&first.http, "clicks")["total"], 35, "and it stays");
}

#[test]
fn ids_of_one_client_may_come_in_any_order() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let node = NodeDirectory::new(&runtime, &cluster, "ord").serve(None);
    for _ in 0..2 {
        for id in ["order:100", "order:7", "order:18446744073709551615", "order:8"] {
            add(&node, id, 1);
        }
    }
    assert_eq!(counter(&node.http, "clicks")["total"], 4);
}

#[test]
fn adds_repeated_elsewhere_count_once() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let (ord, fra) = (
        NodeDirectory::new(&runtime, &cluster, "ord"),
        NodeDirectory::new(&runtime, &cluster, "fra"),
    );
    let mut first = ord.serve(None);
    (0..300).for_each(|number| add(&first, &format!("c:{number}"), number % 3 + 1));
    first.kill();
    let second = fra.serve(None);
    (0..300).for_each(|number| add(&second, &format!("c:{number}"), number % 3 + 1));
    let first = ord.serve(Some(&second));
    total_is(&first, 600);
    total_is(&second, 600);
}
