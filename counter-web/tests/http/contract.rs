//! The shapes that scripts and load clients rely on, with a test for each address.

use std::io::{BufReader, Read};
use std::process::Stdio;
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::{Events, add, counter, get, post_json, request};
use crate::support::process::{
    ChildGuard, Node, Runtime, cluster, command, read_line, signal, wait,
};
use crate::support::ws::TestSocket;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

fn node() -> Node {
    Node::start(&cluster(), "ord", &[])
}

/// Fields of a JSON object, in order.
fn fields(value: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> =
        value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

/// True if all `names` are fields. Further fields are allowed.
fn has(value: &Value, names: &[&str]) {
    let fields = fields(value);
    let missing: Vec<_> = names.iter().filter(|name| !fields.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {value}");
}

fn is_hash(value: &Value) -> bool {
    value.as_str().is_some_and(|hash| {
        hash.len() == 32
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
    })
}

fn is_region(value: &Value) {
    assert!(
        value["value"].is_i64() && value["connected"].is_u64() && value["nodes"].is_u64(),
        "{value}"
    );
    assert_eq!(fields(value), ["connected", "nodes", "value"]);
}

#[test]
fn serve_prints_one_line_and_exits_0() {
    for name in ["TERM", "INT"] {
        let runtime = Runtime::new();
        let mut command = command(&runtime);
        command
            .args([
                "--cluster",
                &cluster(),
                "--region",
                "ord",
                "--http",
                "127.0.0.1:0",
                "--discover",
                "none",
            ])
            .env("RUST_LOG", "info");
        let mut serve =
            ChildGuard(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut out = BufReader::new(serve.0.stdout.take().unwrap());
        let line = read_line(&mut out);
        has(&line, &["admin", "gossip", "http", "region", "replica"]);
        assert_eq!(line["region"], "ord");
        let gossip = line["gossip"][0].as_str().unwrap();
        assert!(
            gossip.starts_with("/ip4/127.0.0.1/tcp/") && gossip.contains("/p2p/12D3"),
            "{gossip}"
        );
        assert!(line["admin"].as_str().unwrap().ends_with(".sock"), "{line}");
        add(line["http"].as_str().unwrap(), 1);
        signal(serve.0.id(), name);
        assert_eq!(wait(&mut serve.0, SOON).code(), Some(0), "{name}");
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "logs go to stderr");
    }
}

#[test]
fn page_is_uncached_html_with_a_form() {
    let node = node();
    let page = get(&node.http, "/");
    assert_eq!(page.status, 200);
    let head = page.head.to_ascii_lowercase();
    assert!(
        head.contains("content-type: text/html; charset=utf-8")
            && head.contains("cache-control: private, no-cache"),
        "{head}"
    );
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    for (body, total) in [("amount=1", 1), ("amount=-3", -2)] {
        let answer = request(&node.http, "POST", "/", &form, body);
        assert_eq!(answer.status, 303, "{}", answer.body);
        assert!(
            answer.head.to_ascii_lowercase().contains("\r\nlocation: ./\r\n"),
            "{}",
            answer.head
        );
        assert_eq!(counter(&node.http, "clicks")["total"], total);
    }
    let head = request(&node.http, "HEAD", "/", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn counter_has_total_regions_and_hash() {
    let node = node();
    add(&node.http, 10);
    let seen = counter(&node.http, "clicks");
    assert_eq!(fields(&seen), ["name", "regions", "state_hash", "synced", "total"]);
    assert_eq!((&seen["name"], &seen["total"]), (&json!("clicks"), &json!(10)));
    assert!(is_hash(&seen["state_hash"]) && seen["synced"].is_boolean(), "{seen}");
    assert_eq!(seen["regions"], json!({ "ord": { "value": 10, "connected": 0, "nodes": 1 } }));
    is_region(&seen["regions"]["ord"]);
}

#[test]
fn unknown_counter_is_0_and_stays_unknown() {
    let node = node();
    for name in ["never", "caf%C3%A9%2Fa%20b"] {
        let answer = get(&node.http, &format!("/api/counters/{name}"));
        assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(0)));
    }
    assert_eq!(counter(&node.http, "caf%C3%A9%2Fa%20b")["name"], "café/a b");
    assert!(get(&node.http, "/metrics").body.contains("\ncounter_counters 0\n"));
}

#[test]
fn add_returns_numbers_and_id() {
    let node = node();
    let answer = post_json(&node.http, "/api/counters/other/add", "{\"amount\":5}").json();
    assert_eq!(fields(&answer), ["id", "region", "total", "value"]);
    assert_eq!(
        (&answer["total"], &answer["region"], &answer["value"]),
        (&json!(5), &json!("ord"), &json!(5))
    );
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "a client:7")];
    let answer =
        request(&node.http, "POST", "/api/counters/other/add", &headers, "{\"amount\":-1000000}")
            .json();
    assert_eq!((&answer["total"], &answer["id"]), (&json!(-999_995), &json!("a client:7")));
    assert_eq!(counter(&node.http, "clicks")["total"], 0, "another counter's clicks");
}

#[test]
fn status_has_identity_and_members() {
    let cluster = cluster();
    let ord = Node::start(&cluster, "ord", &[]);
    let fra = Node::start(&cluster, "fra", &[&ord]);
    let status = eventually("both are members", SOON, || {
        let status = get(&fra.http, "/api/status").json();
        let known = status["members"].as_array().unwrap().len() == 2
            && status["peers"] == 1
            && status["synced"] == true;
        if known { Ok(status) } else { Err(status.to_string()) }
    });
    has(
        &status,
        &[
            "cluster",
            "gossip",
            "members",
            "peer_id",
            "peers",
            "region",
            "replica",
            "synced",
            "uptime_seconds",
            "version",
        ],
    );
    assert_eq!(
        (&status["region"], &status["cluster"], &status["replica"]),
        (&json!("fra"), &json!(cluster), &json!(fra.replica))
    );
    assert_eq!(status["gossip"][0], fra.gossip);
    assert!(
        fra.gossip.ends_with(status["peer_id"].as_str().unwrap())
            && status["uptime_seconds"].is_u64(),
        "{status}"
    );
    let member = status["members"]
        .as_array()
        .unwrap()
        .iter()
        .find(|member| member["region"] == "ord")
        .unwrap();
    has(member, &["connected", "last_heard_ms", "live", "region", "replica"]);
    assert_eq!((&member["replica"], &member["live"]), (&json!(ord.replica), &json!(true)));
}

#[test]
fn node_without_its_peers_is_healthy_but_not_ready() {
    let mut peer = node();
    peer.kill();
    let node = Node::start(&cluster(), "fra", &[&peer]);
    assert_eq!(get(&node.http, "/healthz").status, 200);
    assert_eq!(get(&node.http, "/readyz").error(), (503, "not_ready".into()));
    assert_eq!(counter(&node.http, "clicks")["synced"], false);
    add(&node.http, 4);
    assert!(
        get(&node.http, "/").body.contains("id=\"total\">4<"),
        "the page waits for it, but not for ever"
    );
}

#[test]
fn metrics_are_prometheus_text() {
    let node = node();
    node.until_ready();
    add(&node.http, 1);
    let metrics = get(&node.http, "/metrics");
    assert!(
        metrics.status == 200
            && metrics
                .head
                .to_ascii_lowercase()
                .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        metrics.head
    );
    for line in metrics.body.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}")).1;
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for line in ["counter_adds_total 1", "counter_synced 1", "counter_web_adds_total 1"] {
        assert!(metrics.body.lines().any(|found| found == line), "{line}:\n{}", metrics.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_messages_have_their_shapes() {
    let node = node();
    node.until_ready();
    let mut socket = TestSocket::open(&node.http).await;
    let state = socket.hear().await.unwrap();
    assert_eq!(state["type"], "state");
    assert_eq!(
        fields(&state),
        ["counter", "region", "regions", "replica", "state_hash", "synced", "total", "type"]
    );
    assert_eq!(
        (&state["counter"], &state["region"], &state["replica"]),
        (&json!("clicks"), &json!("ord"), &json!(node.replica))
    );
    assert_eq!(state["regions"], json!({ "ord": { "value": 0, "connected": 1, "nodes": 1 } }));
    socket.say("{\"type\":\"add\",\"amount\":3,\"id\":\"me:1\"}").await;
    assert_eq!(
        socket.hear_of("ack").await,
        json!({ "type": "ack", "id": "me:1", "repeated": false })
    );
    add(&node.http, 4);
    let change = loop {
        let change = socket.hear_of("change").await;
        if change["total"] == 7 {
            break change;
        }
    };
    has(&change, &["regions", "state_hash", "total"]);
    assert_eq!(change["regions"]["ord"], json!({ "value": 7, "connected": 1, "nodes": 1 }));
    assert!(is_hash(&change["state_hash"]), "{change}");
    socket.say("{\"type\":\"ping\",\"t\":7}").await;
    assert_eq!(socket.hear_of("pong").await, json!({ "type": "pong", "t": 7 }));
    socket.say("{\"type\":\"add\",\"amount\":1000001,\"id\":\"me:2\"}").await;
    let error = socket.hear_of("error").await;
    assert_eq!(fields(&error), ["error", "id", "message", "type"]);
    assert_eq!((&error["id"], &error["error"]), (&json!("me:2"), &json!("bad_amount")));
    assert_eq!(counter(&node.http, "clicks")["total"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn change_names_only_changed_regions() {
    let cluster = cluster();
    let ord = Node::start(&cluster, "ord", &[]);
    let fra = Node::start(&cluster, "fra", &[&ord]);
    add(&ord.http, 1);
    add(&fra.http, 1);
    let mut socket = TestSocket::open(&fra.http).await;
    eventually("both see two clicks and the viewer", SOON, || {
        let seen = [&ord, &fra].map(|node| counter(&node.http, "clicks"));
        if seen.iter().all(|one| one["total"] == 2 && one["regions"]["fra"]["connected"] == 1) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    add(&ord.http, 5);
    loop {
        let change = socket.hear_of("change").await;
        if change["total"] == 7 {
            assert_eq!(fields(&change["regions"]), ["ord"], "{change}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_count_over_counters_and_streams() {
    let node = node();
    let _page = TestSocket::open(&node.http).await;
    let mut other = TestSocket::ask(&node.http, "/ws?counter=caf%C3%A9+x", None)
        .await
        .unwrap_or_else(|status| panic!("{status}"));
    assert_eq!(other.hear_of("state").await["counter"], "café x");
    let events = Events::open(&node.http, "third");
    let connected = |wanted: u64| {
        eventually("viewers are counted", SOON, || {
            match counter(&node.http, "clicks")["regions"]["ord"]["connected"].clone() {
                seen if seen == wanted => Ok(()),
                seen => Err(format!("{seen}, not {wanted}")),
            }
        });
    };
    connected(3);
    drop(events);
    drop(other);
    connected(1);
}
