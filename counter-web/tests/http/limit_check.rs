//! Limits over HTTP: within them, over them, at two nodes, and by whom.

use std::time::Duration;

use crate::support::callers::STRANGER;
use crate::support::eventually;
use crate::support::http::{get, metric, request};
use crate::support::process::{Node, Runtime, cluster, command};
use serde_json::{Value, json};

fn check(node: &Node, name: &str, body: &Value) -> Value {
    let path = format!("/api/limits/{name}/check");
    let answer = request(&node.http, "POST", &path, &[], &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[test]
fn limit_allows_as_many_as_it_says() {
    let node = Node::start(&cluster(), "ord", &[]);
    let body = json!({ "amount": 2, "limit": 5, "window_s": 60 });
    for left in [3, 1] {
        let wanted = json!({ "allowed": true, "remaining": left, "retry_after_ms": 0 });
        assert_eq!(check(&node, "anna", &body), wanted);
    }
    let refused = check(&node, "anna", &body);
    assert_eq!((&refused["allowed"], &refused["remaining"]), (&json!(false), &json!(1)));
    let wait = refused["retry_after_ms"].as_u64().unwrap();
    assert!((54_000..=60_000).contains(&wait), "{wait}");
    // The refused amount was not added. Another name and another window have limits of their own.
    let one = json!({ "amount": 1, "limit": 5, "window_s": 60 });
    assert_eq!(check(&node, "anna", &one)["remaining"], 0);
    assert_eq!(check(&node, "bob", &body)["remaining"], 3);
    assert_eq!(
        check(&node, "anna", &json!({ "amount": 2, "limit": 5, "window_s": 61 }))["remaining"],
        3
    );
    let none = json!({ "amount": 1, "limit": 0, "window_s": 3_600 });
    let refused = check(&node, "carl", &none);
    assert_eq!((&refused["allowed"], &refused["remaining"]), (&json!(false), &json!(0)));
    assert!(
        refused["retry_after_ms"].as_u64() > Some(3_200_000),
        "never, so a whole window: {refused}"
    );
    // No counter of these names is made or listed.
    let list = get(&node.http, "/api/counters").json();
    assert_eq!(list["counters"], json!([]));
}

#[test]
fn window_passes_and_leaves_nothing() {
    let node = Node::start(&cluster(), "ord", &[]);
    let body = json!({ "amount": 1, "limit": 1, "window_s": 1 });
    assert_eq!(check(&node, "anna", &body)["allowed"], true);
    let refused = check(&node, "anna", &body);
    assert_eq!(refused["allowed"], false);
    std::thread::sleep(Duration::from_millis(refused["retry_after_ms"].as_u64().unwrap() + 5));
    assert_eq!(check(&node, "anna", &body)["allowed"], true, "after the time that it said");
    let kept = metric(&node.http, "counter_cells").unwrap();
    assert!(kept > 0.0);
    eventually("the buckets are dropped a minute later", Duration::from_secs(90), || match metric(
        &node.http,
        "counter_cells",
    ) {
        Some(0.0) => Ok(()),
        cells => Err(format!("{cells:?} cells")),
    });
}

#[test]
fn nodes_share_a_limit() {
    let cluster = cluster();
    let ord = Node::start(&cluster, "ord", &[]);
    let fra = Node::start(&cluster, "fra", &[&ord]);
    let body = json!({ "amount": 1, "limit": 10, "window_s": 600 });
    for _ in 0..6 {
        assert_eq!(check(&ord, "anna", &body)["allowed"], true);
    }
    // A check of more than the limit adds nothing, and returns the rest.
    let ask = json!({ "amount": 11, "limit": 10, "window_s": 600 });
    eventually("fra has heard of it", Duration::from_secs(20), || {
        match check(&fra, "anna", &ask)["remaining"].as_u64() {
            Some(4) => Ok(()),
            left => Err(format!("{left:?} left")),
        }
    });
    for left in [3, 2, 1, 0] {
        assert_eq!(check(&fra, "anna", &body)["remaining"], left);
    }
    assert_eq!(check(&fra, "anna", &body)["allowed"], false);
}

#[test]
fn bad_checks_and_strangers_are_refused() {
    let runtime = Runtime::new();
    let mut command = command(&runtime);
    command.args(["--cluster", &cluster(), "--region", "ord", "--discover", "none"]);
    command.args(["--http", "127.0.0.1:0"]);
    let node = Node::spawn(command);
    for bad in [
        json!({ "limit": 5, "window_s": 60 }),
        json!({ "amount": 0, "limit": 5, "window_s": 60 }),
        json!({ "amount": -1, "limit": 5, "window_s": 60 }),
        json!({ "amount": 1, "limit": -5, "window_s": 60 }),
        json!({ "amount": 1, "limit": 5 }),
        json!({ "amount": 1, "limit": 5, "window_s": 0 }),
        json!({ "amount": 1, "limit": 5, "window_s": 86_401 }),
        json!({ "amount": 1, "limit": 5, "window_s": 60, "more": 1 }),
        json!([1, 5, 60]),
    ] {
        let answer = request(&node.http, "POST", "/api/limits/anna/check", &[], &bad.to_string());
        assert_eq!(answer.error().0, 400, "{bad}");
    }
    let good = json!({ "amount": 1, "limit": 5, "window_s": 60 }).to_string();
    let answer = request(&node.http, "POST", "/api/limits/%01/check", &[], &good);
    assert_eq!(answer.error().0, 400);
    let answer = request(&node.http, "POST", "/api/limits/anna/check", &[STRANGER], &good);
    assert_eq!(answer.error().0, 403);
    let answer = request(&node.http, "GET", "/api/limits/anna/check", &[], "");
    assert_eq!(answer.error().0, 405);
}
