//! Sessions over HTTP on real nodes. No node shows a client with a token less than it has seen, and
//! bad tokens are refused.

use std::time::{Duration, Instant};

use crate::support::http::{HttpAnswer, request};
use crate::support::process::{Node, cluster};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PATH: &str = "/api/counters/likes";
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn token(answer: &HttpAnswer) -> Option<String> {
    let line = answer.head.lines().find_map(|line| {
        line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("counter-token"))
    });
    line.map(|(_, value)| value.trim().to_owned())
}

fn read(node: &Node, seen: &str) -> HttpAnswer {
    request(&node.http, "GET", PATH, &[("Counter-Token", seen)], "")
}

fn add(node: &Node, seen: &str) -> HttpAnswer {
    request(
        &node.http,
        "POST",
        &format!("{PATH}/add"),
        &[JSON, ("Counter-Token", seen)],
        "{\"amount\":1}",
    )
}

#[test]
fn no_node_shows_a_session_less() {
    let name = cluster();
    let one = Node::start(&name, "ord", &[]);
    let two = Node::start(&name, "fra", &[&one]);
    let three = Node::start(&name, "sin", &[&one, &two]);
    let nodes = [&one, &two, &three];
    let (mut seen, mut least) = (String::new(), 0);
    for round in 0..60 {
        // Write here, and read at the next node at once. Without the token the add is often
        // missing.
        let written = add(nodes[round % 3], &seen);
        assert_eq!(written.status, 200, "{}", written.body);
        seen = token(&written).expect("who sends a token gets one");
        least += 1;
        let asked = Instant::now();
        let shown = loop {
            let shown = read(nodes[(round + 1) % 3], &seen);
            // Under load a second may be too short. The node must report that, and the client asks
            // again.
            if shown.status == 200 {
                break shown;
            }
            assert_eq!(shown.error(), (503, "behind".to_owned()));
            assert!(asked.elapsed() < PATIENCE, "round {round}: the node never catches up");
        };
        let total = shown.json()["total"].as_i64().unwrap();
        assert!(total >= least, "round {round}: {total} shown, {least} written");
        (seen, least) = (token(&shown).expect("who sends a token gets one"), total);
    }
    assert_eq!(least, 60);
    assert!(seen.len() < 120, "three writers: {seen}");
}

#[test]
fn bad_tokens_are_refused() {
    let (node, other) = (Node::start(&cluster(), "ord", &[]), Node::start(&cluster(), "fra", &[]));
    assert_eq!(token(&request(&node.http, "GET", PATH, &[], "")), None);
    assert!(token(&read(&node, "")).is_some());
    let long = "A".repeat(8_001);
    for wrong in ["nonsense", "====", long.as_str()] {
        assert_eq!(read(&node, wrong).error(), (400, "bad_token".to_owned()));
        assert_eq!(add(&node, wrong).error(), (400, "bad_token".to_owned()));
    }
    assert_eq!(read(&node, "").json()["total"], 0, "an add whose token is refused is not applied");
    // The state of another cluster never comes. The wait ends with an error.
    let strange = token(&add(&other, "")).unwrap();
    let asked = Instant::now();
    assert_eq!(read(&node, &strange).error(), (503, "behind".to_owned()));
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(add(&node, &strange).status, 200, "an add waits for nothing");
}
