//! Counters that expire at real processes. Nothing of them is left over HTTP or on the disks. Adds
//! are refused while a node that is away still holds one.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::http::{HttpAnswer, counter, get, metric, post_json, request};
use crate::support::process::{Node, Runtime, cluster, command, run_in};

/// How long the counters of these tests live, and the flag that says so.
const LIFETIME: Duration = Duration::from_secs(4);
const EXPIRE: &str = "day:*=4s,never:*=7d";

fn start(runtime: &Runtime, cluster: &str, region: &str) -> Node {
    let directory = runtime.path().join(region);
    let mut command = command(runtime);
    command.args(["--cluster", cluster, "--region", region, "--http", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(directory).env("COUNTER_EXPIRE", EXPIRE);
    let node = Node::spawn(command);
    wait("the node is ready", || get(&node.http, "/readyz").status == 200);
    node
}

fn try_add(node: &Node, name: &str, amount: u32) -> HttpAnswer {
    let body = format!("{{\"amount\":{amount}}}");
    post_json(&node.http, &format!("/api/counters/{name}/add"), &body)
}

fn add(node: &Node, name: &str, amount: u32) {
    let answer = try_add(node, name, amount);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn wait(what: &str, mut is_true: impl FnMut() -> bool) {
    eventually(what, Duration::from_secs(60), || match is_true() {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    })
}

fn total(node: &Node, name: &str) -> i64 {
    counter(&node.http, name)["total"].as_i64().unwrap()
}

fn all_show(nodes: &[&Node], name: &str, wanted: i64) {
    wait(&format!("{name} is {wanted}"), || nodes.iter().all(|node| total(node, name) == wanted));
}

fn names(node: &Node) -> Vec<String> {
    let list = get(&node.http, "/api/counters").json();
    let names = list["counters"].as_array().unwrap().iter();
    names.map(|counter| counter["name"].as_str().unwrap().to_owned()).collect()
}

/// True if this many cells are left at a node, of one counter, and no trace of others.
fn is_left(node: &Node, cells: f64) -> bool {
    let metrics = ["counter_cells", "counter_tombstones", "counter_counters"];
    metrics.map(|name| metric(&node.http, name)) == [Some(cells), Some(0.0), Some(1.0)]
}

#[test]
fn expired_counter_leaves_nothing_at_any_node_or_disk() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let started = ["ord", "fra", "sin"].map(|region| start(&runtime, &cluster, region));
    let nodes: Vec<&Node> = started.iter().collect();
    let made = Instant::now();
    add(nodes[0], "day:1", 1);
    let made_after = made.elapsed();
    add(nodes[1], "day:1", 20);
    add(nodes[2], "never:1", 5);
    all_show(&nodes, "day:1", 21);
    all_show(&nodes, "never:1", 5);
    wait("it has ended", || nodes.iter().any(|node| total(node, "day:1") != 21));
    assert!(made.elapsed() >= LIFETIME, "it lives for four seconds");
    wait("nothing is left", || nodes.iter().all(|node| is_left(node, 1.0)));
    let left = made.elapsed().saturating_sub(LIFETIME + made_after);
    println!("nothing is left {left:?} after the end");
    assert!(left < Duration::from_secs(10), "{left:?}");
    for node in &nodes {
        assert_eq!((total(node, "day:1"), names(node)), (0, vec!["never:1".to_owned()]));
    }

    // The name is free, and the counter is created again, with another end.
    add(nodes[1], "day:1", 7);
    all_show(&nodes, "day:1", 7);
    wait("nothing is left", || nodes.iter().all(|node| is_left(node, 1.0)));

    // Nothing comes back from the disks.
    drop(started);
    let started = ["ord", "fra", "sin"].map(|region| start(&runtime, &cluster, region));
    let nodes: Vec<&Node> = started.iter().collect();
    wait("nothing is left", || nodes.iter().all(|node| is_left(node, 1.0)));
    assert!(nodes.iter().all(|node| names(node) == ["never:1"] && total(node, "day:1") == 0));
}

#[test]
fn adds_are_refused_until_the_last_cell_is_gone() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let (ord, fra) = (start(&runtime, &cluster, "ord"), start(&runtime, &cluster, "fra"));
    add(&ord, "day:1", 1);
    add(&fra, "day:1", 20);
    all_show(&[&ord, &fra], "day:1", 21);
    // Killed as by `kill -9`. It cannot drop its cell.
    drop(fra);
    wait("the own part is gone", || total(&ord, "day:1") == 20);
    let refused = try_add(&ord, "day:1", 1);
    assert_eq!(refused.error(), (409, "counter_expired".to_owned()));
    assert!(
        refused.body.contains("expired at ") && refused.body.contains(" GMT"),
        "{}",
        refused.body
    );
    let path = "/api/counters/day:1/add";
    let headers = [("Idempotency-Key", "a:1"), ("Content-Type", "application/json")];
    let refused = request(&ord.http, "POST", path, &headers, "{\"amount\":1}");
    assert_eq!(refused.error(), (409, "counter_expired".to_owned()));
    let batch = r#"{"adds":[{"counter":"never:1","amount":1},{"counter":"day:1","amount":1}]}"#;
    let refused = post_json(&ord.http, "/api/adds", batch);
    assert_eq!(
        (refused.error().1, refused.json()["index"].as_u64()),
        ("counter_expired".into(), Some(1))
    );
    assert_eq!((total(&ord, "day:1"), total(&ord, "never:1")), (20, 0));

    // It takes over its earlier incarnation, and drops the cell of that.
    let fra = start(&runtime, &cluster, "fra");
    wait("nothing is left", || {
        [&ord, &fra].iter().all(|node| {
            metric(&node.http, "counter_cells") == Some(0.0)
                && metric(&node.http, "counter_tombstones") == Some(0.0)
        })
    });
    wait("the name is free", || try_add(&ord, "day:1", 3).status == 200);
    all_show(&[&ord, &fra], "day:1", 3);
}

#[test]
fn bad_expiries_say_what_to_write() {
    let runtime = Runtime::new();
    for bad in ["day:*", "day:=7d", "day:*=7", "day:*=0s", "*", "a\u{1}*=7d"] {
        let (code, said, stderr) = run_in(&runtime, &["--expire", bad, "--http", "127.0.0.1:0"]);
        assert_eq!((code, said.as_str()), (Some(2), ""), "{bad}: {stderr}");
        assert!(stderr.contains("write for example day:*=7d"), "{bad}: {stderr}");
    }
}
