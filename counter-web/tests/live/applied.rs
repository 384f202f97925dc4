//! The order of replies on a socket: `applied` before any number that contains the add, `ack` once
//! it is on the disk.

use std::path::Path;

use crate::support::http::{counter, request};
use crate::support::process::{Node, Runtime, cluster, command};
use crate::support::ws::TestSocket;
use serde_json::{Value, json};

/// Clients that add at the same time. Each adds a power of a thousand, so a total shows how many
/// adds of each it contains.
const ADDERS: u32 = 3;

/// The adds of each client, each sent after the reply to the one before. Below a thousand.
const ADDS: i64 = 900;

/// Clients that only listen. They came first, so a round reaches the adding clients later.
const LISTENERS: usize = 60;

fn with_directory(runtime: &Runtime, cluster: &str, directory: &Path) -> Node {
    let mut command = command(runtime);
    command.args([
        "--cluster",
        cluster,
        "--region",
        "ord",
        "--discover",
        "none",
        "--http",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    command.arg(directory);
    Node::spawn(command)
}

async fn add(socket: &mut TestSocket, id: &str, amount: i64) {
    socket.say(&json!({ "type": "add", "id": id, "amount": amount }).to_string()).await;
}

/// Adds, and checks each message: a number contains every add that had a reply, and no other.
async fn adds_are_answered_in_order(mut socket: TestSocket, adder: u32, durable: bool) {
    let unit = 1_000_i64.pow(adder);
    let contained = |message: &Value| message["total"].as_i64().unwrap() / unit % 1_000;
    let id = |number: i64| format!("adder-{adder}:{number}");
    let first = if durable { "applied" } else { "ack" };
    let (mut answered, mut stored, mut shown) = (0, 0, 0);
    add(&mut socket, &id(1), unit).await;
    while shown < ADDS || (durable && stored < ADDS) {
        let message = socket.hear().await.unwrap();
        match message["type"].as_str().unwrap() {
            kind if kind == first => {
                answered += 1;
                assert_eq!(
                    message,
                    json!({ "type": first, "id": id(answered), "repeated": false })
                );
                if answered < ADDS {
                    add(&mut socket, &id(answered + 1), unit).await;
                }
            }
            "ack" => {
                stored += 1;
                assert_eq!(message, json!({ "type": "ack", "id": id(stored), "repeated": false }));
                assert!(stored <= answered, "an ack before its applied");
            }
            "change" => {
                shown = contained(&message);
                assert_eq!(
                    shown, answered,
                    "what a change of {adder} contains, and what was answered before it: {message}"
                );
            }
            other => panic!("{other}: {message}"),
        }
    }
    assert_eq!(answered, ADDS);
}

async fn all_adds_are_answered_in_order(node: &Node, durable: bool) {
    for _ in 0..LISTENERS {
        let mut listener = TestSocket::open(&node.http).await;
        tokio::spawn(async move { while listener.hear_raw().await {} });
    }
    let mut adders = Vec::new();
    for adder in 0..ADDERS {
        let mut socket = TestSocket::open(&node.http).await;
        assert_eq!(socket.hear().await.unwrap()["type"], "state");
        adders.push((socket, adder));
    }
    let adders: Vec<_> = adders
        .into_iter()
        .map(|(socket, adder)| tokio::spawn(adds_are_answered_in_order(socket, adder, durable)))
        .collect();
    for adder in adders {
        adder.await.unwrap();
    }
    assert_eq!(counter(&node.http, "clicks")["total"], ADDS * 1_001_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_precedes_the_change_and_ack_follows() {
    let runtime = Runtime::new();
    let node = with_directory(&runtime, &cluster(), &runtime.path().join("ord"));
    all_adds_are_answered_in_order(&node, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_the_ack_precedes_the_change() {
    all_adds_are_answered_in_order(&Node::start(&cluster(), "ord", &[]), false).await;
}

/// Reads the replies to one add until its ack. Returns their types and `repeated` fields.
async fn answers(socket: &mut TestSocket, id: &str) -> Vec<(String, bool)> {
    let mut answers = Vec::new();
    loop {
        let message = socket.hear().await.unwrap();
        if message["id"] == id {
            let kind = message["type"].as_str().unwrap().to_owned();
            answers.push((
                kind.clone(),
                message["repeated"].as_bool().unwrap_or_else(|| panic!("{message}")),
            ));
            if kind == "ack" {
                return answers;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeat_is_acknowledged_as_repeated() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let directory = runtime.path().join("ord");
    let mut node = with_directory(&runtime, &cluster, &directory);
    let mut socket = TestSocket::open(&node.http).await;
    add(&mut socket, "tab:1", 5).await;
    assert_eq!(
        answers(&mut socket, "tab:1").await,
        [("applied".to_owned(), false), ("ack".to_owned(), false)]
    );
    add(&mut socket, "tab:1", 5).await;
    assert_eq!(answers(&mut socket, "tab:1").await, [("ack".to_owned(), true)]);
    node.kill();
    let node = with_directory(&runtime, &cluster, &directory);
    let mut socket = TestSocket::open(&node.http).await;
    assert_eq!(socket.hear_of("state").await["total"], 5);
    add(&mut socket, "tab:1", 5).await;
    assert_eq!(answers(&mut socket, "tab:1").await, [("ack".to_owned(), true)]);
    // The id of an answer by HTTP names an add that is applied.
    let answer = request(
        &node.http,
        "POST",
        "/api/counters/clicks/add",
        &[("Content-Type", "application/json")],
        "{\"amount\":2}",
    )
    .json();
    let id = answer["id"].as_str().unwrap();
    add(&mut socket, id, 2).await;
    assert_eq!(answers(&mut socket, id).await, [("ack".to_owned(), true)]);
    assert_eq!(counter(&node.http, "clicks")["total"], 7);
}

/// The adds of two clients cancel each other, and yet each gets a number after its reply.
#[tokio::test(flavor = "multi_thread")]
async fn change_follows_every_reply() {
    let node = Node::start(&cluster(), "ord", &[]);
    let mut socket = TestSocket::open(&node.http).await;
    for round in 0..20 {
        // Both come in one packet, so the node reads its total before both or after both.
        let mut pair = String::new();
        for (sequence, amount) in [(2 * round + 1, 1), (2 * round + 2, -1)] {
            let id = format!("tab:{sequence}");
            pair = id.clone();
            socket.feed(&json!({ "type": "add", "id": id, "amount": amount }).to_string()).await;
        }
        socket.flush().await;
        loop {
            let message = socket.hear().await.unwrap();
            if message["type"] == "ack" && message["id"] == pair {
                break;
            }
        }
        assert_eq!(socket.hear_of("change").await["total"], 0, "round {round}");
    }
}
