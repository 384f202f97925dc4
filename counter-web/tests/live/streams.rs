//! Sockets and events. A repeated add counts once, an error names its add, events equal a socket's
//! messages, and a client that never reads slows nobody.

use std::io::{BufRead, BufReader, Write};

use crate::support::http::{add, connect, counter, get, request};
use crate::support::process::{Node, cluster};
use crate::support::ws::TestSocket;
use crate::support::{PATIENCE, eventually, http};
use serde_json::Value;

const ADD: &str = "/api/counters/clicks/add";

fn node() -> Node {
    Node::start(&cluster(), "ord", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_add_counts_once_over_any_connection() {
    let node = node();
    let message = "{\"type\":\"add\",\"amount\":5,\"id\":\"tab:1\"}";
    for _ in 0..2 {
        let mut socket = TestSocket::open(&node.http).await;
        for _ in 0..2 {
            socket.say(message).await;
            assert_eq!(socket.hear_of("ack").await["id"], "tab:1");
        }
    }
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "tab:1")];
    let answer = request(&node.http, "POST", ADD, &headers, "{\"amount\":5}");
    assert_eq!(
        (answer.status, answer.json()["total"].clone(), answer.json()["id"].clone()),
        (200, 5.into(), "tab:1".into())
    );
    add(&node.http, 5);
    assert_eq!(counter(&node.http, "clicks")["total"], 10, "an add of its own counts");
    let other = request(&node.http, "POST", "/api/counters/other/add", &headers, "{\"amount\":5}");
    assert_eq!(other.json()["total"], 0, "an id names one add, whatever comes with it");
}

/// The id in the response to an add without a key is that of an applied add. Sent as a key, it is a
/// repeat.
#[test]
fn generated_id_sent_as_a_key_is_a_repeat() {
    let node = node();
    let json = ("Content-Type", "application/json");
    let id = request(&node.http, "POST", ADD, &[json], "{\"amount\":5}").json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let again =
        request(&node.http, "POST", ADD, &[json, ("Idempotency-Key", &id)], "{\"amount\":5}");
    assert_eq!(
        (again.status, again.json()["total"].clone(), again.json()["id"].clone()),
        (200, 5.into(), id.into()),
        "{}",
        again.body
    );
    for key in ["answered-17", "answered-0123456789abcdef-", "answered-0123456789ABCDEF-1"] {
        assert_eq!(
            request(&node.http, "POST", ADD, &[json, ("Idempotency-Key", key)], "{\"amount\":1}")
                .status,
            200
        );
    }
    assert_eq!(counter(&node.http, "clicks")["total"], 8);
}

#[test]
fn events_are_a_state_and_changes() {
    let node = node();
    add(&node.http, 3);
    let mut stream = connect(&node.http);
    write!(stream, "GET /api/counters/clicks/events HTTP/1.1\r\nHost: {}\r\n\r\n", node.http)
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut next = move || -> Value {
        lines
            .by_ref()
            .find_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok())
            .expect("an event")
    };
    let state = next();
    assert_eq!(
        (&state["type"], &state["total"], &state["regions"]["ord"]["connected"]),
        (&"state".into(), &3.into(), &1.into()),
        "{state}"
    );
    add(&node.http, 4);
    let change = eventually("the change arrives", PATIENCE, || match next() {
        change if change["total"] == 7 => Ok(change),
        other => Err(other.to_string()),
    });
    assert_eq!(
        (&change["type"], &change["regions"]["ord"]["value"]),
        (&"change".into(), &7.into())
    );
}

/// Adds on one socket while `idle` others never read. The adds are acknowledged and sent all the
/// same.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_slow_nobody() {
    let node = node();
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(TestSocket::open(&node.http).await);
    }
    let mut socket = TestSocket::open(&node.http).await;
    socket.add("quick", 2_000).await;
    assert_eq!(counter(&node.http, "clicks")["total"], 2_000);
    let late = eventually_total(&mut idle[0], 2_000).await;
    assert!(
        late < 2_001,
        "a client that comes back finds the latest, not one frame an add: {late}"
    );
}

/// The number of messages until the total arrives.
async fn eventually_total(socket: &mut TestSocket, total: i64) -> usize {
    let mut heard = 0;
    while socket.hear().await.expect("an open socket")["total"] != total {
        heard += 1;
    }
    heard
}

#[test]
fn every_answer_carries_the_security_headers() {
    let node = node();
    for path in ["/", "/assets/0/app.js", "/api/status", "/nowhere"] {
        let head = get(&node.http, path).head.to_ascii_lowercase();
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
        ] {
            assert!(head.contains(header), "{path}: {head}");
        }
    }
    let html = get(&node.http, "/").body;
    assert!(
        !html.contains(" style=") && !html.contains("<style") && !html.contains("onclick"),
        "the policy allows nothing inline"
    );
    let cross = http::request(
        &node.http,
        "POST",
        ADD,
        &[("Content-Type", "application/json"), ("Origin", "http://evil.example")],
        "{\"amount\":1}",
    );
    assert_eq!(cross.error(), (400, "wrong_origin".into()));
}
