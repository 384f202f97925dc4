//! Removals at real processes: over HTTP and by operators, with a node that is away meanwhile, and
//! after restarts.

use std::time::Duration;

use crate::support::callers::{OPERATOR, SERVICE, bearer};
use crate::support::eventually;
use crate::support::http::{HttpAnswer, get, metric, request};
use crate::support::process::{Node, Runtime, cluster, command, run_in};
use serde_json::Value;

fn start(runtime: &Runtime, cluster: &str, region: &str, flags: &[&str]) -> Node {
    let directory = runtime.path().join(region);
    let mut command = command(runtime);
    command.args(["--cluster", cluster, "--region", region, "--http", "127.0.0.1:0"]);
    command.args(["--create", "visits:*"]).args(flags).arg("--data-dir").arg(directory);
    command.env("COUNTER_OPERATOR_TOKEN", OPERATOR).env("COUNTER_SERVICE_TOKEN", SERVICE);
    Node::spawn(command)
}

fn add(node: &Node, name: &str, amount: u32) {
    let answer = request(
        &node.http,
        "POST",
        &format!("/api/counters/{name}/add"),
        &[],
        &format!("{{\"amount\":{amount}}}"),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Removes a counter, once the node has caught up.
fn remove(node: &Node, name: &str) -> HttpAnswer {
    wait("the node is synced", || {
        get(&node.http, "/api/status").json()["synced"] == Value::Bool(true)
    });
    let authorization = bearer(OPERATOR);
    let headers = [("Authorization", authorization.as_str())];
    request(&node.http, "DELETE", &format!("/api/counters/{name}"), &headers, "")
}

fn total(node: &Node, name: &str) -> i64 {
    get(&node.http, &format!("/api/counters/{name}")).json()["total"].as_i64().unwrap()
}

fn names(node: &Node) -> Vec<String> {
    let list = get(&node.http, "/api/counters").json();
    let names = list["counters"].as_array().unwrap().iter();
    names.map(|counter| counter["name"].as_str().unwrap().to_owned()).collect()
}

/// Waits until something is true.
fn wait(what: &str, mut is_true: impl FnMut() -> bool) {
    eventually(what, Duration::from_secs(60), || match is_true() {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    })
}

fn all_show(nodes: &[&Node], name: &str, wanted: i64) {
    wait(&format!("{name} is {wanted}"), || nodes.iter().all(|node| total(node, name) == wanted));
}

/// Nothing of removed counters is left: no cell but the `cells` of others, and no tombstone.
fn left(nodes: &[&Node], cells: f64) {
    wait("nothing is left", || {
        nodes.iter().all(|node| {
            metric(&node.http, "counter_cells") == Some(cells)
                && metric(&node.http, "counter_tombstones") == Some(0.0)
        })
    });
}

#[test]
fn removed_counter_is_gone_everywhere() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let nodes = ["ord", "fra", "sin"].map(|region| start(&runtime, &cluster, region, &[]));
    let nodes: Vec<&Node> = nodes.iter().collect();
    for (node, amount) in nodes.iter().zip([1, 20, 300]) {
        add(node, "likes:1", amount);
        add(node, "likes:2", amount);
    }
    all_show(&nodes, "likes:1", 321);
    all_show(&nodes, "likes:2", 321);

    let answer = remove(nodes[0], "likes:1");
    assert_eq!((answer.status, answer.json()["total"].as_i64()), (200, Some(0)));
    assert_eq!((total(nodes[0], "likes:1"), names(nodes[0])), (0, vec!["likes:2".to_owned()]));
    // To strangers it does not exist any more.
    let stranger = [("X-Forwarded-For", "192.0.2.7")];
    assert_eq!(request(&nodes[0].http, "GET", "/c/likes:1", &stranger, "").status, 404);
    assert_eq!(request(&nodes[0].http, "GET", "/c/likes:2", &stranger, "").status, 200);
    all_show(&nodes, "likes:1", 0);
    left(&nodes, 3.0);
    assert!(nodes.iter().all(|node| names(node) == ["likes:2"]));
    assert!(nodes.iter().all(|node| metric(&node.http, "counter_counters") == Some(1.0)));

    // It is created again, at any node.
    add(nodes[1], "likes:1", 5);
    all_show(&nodes, "likes:1", 5);
    // The removal of a counter that does not exist creates nothing.
    assert_eq!(remove(nodes[2], "nobody").status, 200);
    assert_eq!(names(nodes[2]), ["likes:1", "likes:2"]);

    let (code, said, stderr) = run_in(&runtime, &["remove", "likes:2", "--admin", &nodes[1].admin]);
    assert_eq!((code, said.trim()), (Some(0), "{\"total\":0}"), "{stderr}");
    all_show(&nodes, "likes:2", 0);
    left(&nodes, 1.0);
    let (code, _, stderr) = run_in(&runtime, &["remove", "likes:2", "--admin", &nodes[1].admin]);
    assert!(code == Some(1) && stderr.contains("there is no counter"), "{code:?} {stderr}");
}

#[test]
fn node_that_was_away_resurrects_nothing() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let start = |region: &str| start(&runtime, &cluster, region, &[]);
    let (ord, fra, sin) = (start("ord"), start("fra"), start("sin"));
    for node in [&ord, &fra, &sin] {
        (0..20).for_each(|at| add(node, &format!("visits:{at}"), 7));
        add(node, "kept", 7);
    }
    all_show(&[&ord, &fra, &sin], "visits:19", 21);
    all_show(&[&ord, &fra, &sin], "kept", 21);
    // Killed as by `kill -9`, with everything on its disk.
    drop(sin);
    for at in 0..20 {
        assert_eq!(remove(&ord, &format!("visits:{at}")).status, 200);
    }
    add(&fra, "visits:3", 1);
    all_show(&[&ord, &fra], "visits:3", 1);
    all_show(&[&ord, &fra], "visits:19", 0);
    // The one that is away holds the tombstones back, and operators hear of it.
    wait("the tombstones are reported", || {
        [&ord, &fra].iter().all(|node| metric(&node.http, "counter_tombstones") > Some(0.0))
    });
    let status: Value = get(&ord.http, "/api/status").json();
    wait("the tombstones are reported", || {
        let status = get(&ord.http, "/api/status").json();
        status["retirement"].as_str().is_some_and(|text| text.contains("removed cells wait"))
    });
    assert_eq!(names(&ord), ["kept", "visits:3"], "{status}");

    let sin = start("sin");
    let nodes = [&ord, &fra, &sin];
    wait("it is ready", || get(&sin.http, "/readyz").status == 200);
    assert_eq!((total(&sin, "visits:19"), total(&sin, "kept")), (0, 21), "as soon as it is ready");
    all_show(&nodes, "visits:3", 1);
    all_show(&nodes, "visits:0", 0);
    all_show(&nodes, "kept", 21);
    wait("no tombstones", || {
        nodes.iter().all(|node| metric(&node.http, "counter_tombstones") == Some(0.0))
    });
    assert!(nodes.iter().all(|node| names(node) == ["kept", "visits:3"]));

    // All restart from their disks.
    drop((ord, fra, sin));
    let nodes = [start("ord"), start("fra"), start("sin")];
    let nodes: Vec<&Node> = nodes.iter().collect();
    all_show(&nodes, "visits:3", 1);
    all_show(&nodes, "kept", 21);
    assert!(nodes.iter().all(|node| names(node) == ["kept", "visits:3"]));
}

#[test]
fn strangers_and_services_remove_nothing() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let node = start(&runtime, &cluster, "ord", &["--discover", "none"]);
    add(&node, "clicks", 3);
    let service = bearer(SERVICE);
    for (headers, status) in [
        (vec![], 401),
        (vec![("Authorization", "Bearer of-nobody-at-all-00")], 401),
        (vec![("Authorization", service.as_str())], 403),
    ] {
        let answer = request(&node.http, "DELETE", "/api/counters/clicks", &headers, "");
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let operator = bearer(OPERATOR);
    let headers = [("Authorization", operator.as_str()), ("Origin", "https://a.example")];
    let answer = request(&node.http, "DELETE", "/api/counters/clicks", &headers, "");
    assert_eq!(answer.error().0, 400, "never by way of another site");
    let answer = request(&node.http, "DELETE", "/api/counters/%00", &[headers[0]], "");
    assert_eq!(answer.error().0, 400);
    assert_eq!(total(&node, "clicks"), 3);
}
