//! Sockets that watch many counters: every change has a name and an exact total, however slow the
//! client, and a closed socket leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::{counter, get, post_json};
use crate::support::process::{Node, cluster};
use crate::support::ws::TestSocket;
use serde_json::{Value, json};

/// The most counters that a socket watches.
const WATCHED_MAX: usize = 64;

const SOON: Duration = Duration::from_secs(20);

fn node() -> Node {
    Node::start(&cluster(), "ord", &[])
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("c{at}")).collect()
}

async fn watch<T: serde::Serialize>(socket: &mut TestSocket, counters: T) {
    socket.say(&json!({ "type": "watch", "counters": counters }).to_string()).await;
}

/// Reads the states of these counters, in any order, each once.
async fn hear_states(socket: &mut TestSocket, counters: &[String]) {
    let mut missing: BTreeSet<&str> = counters.iter().map(String::as_str).collect();
    while !missing.is_empty() {
        let message = socket.hear().await.unwrap();
        // A change of the socket's own counter may have no name before the watch.
        if message["type"] == "state" {
            assert!(missing.remove(message["counter"].as_str().unwrap()), "{message}");
        }
    }
}

#[tokio::test]
async fn watch_brings_the_state_of_the_sockets_own_counter_too() {
    let node = node();
    node.until_ready();
    let mut socket = TestSocket::open(&node.http).await;
    let own = socket.hear().await.unwrap()["counter"].as_str().unwrap().to_owned();
    for names in [vec![own.clone()], vec![], vec!["other".to_owned(), own.clone()]] {
        watch(&mut socket, &names).await;
        hear_states(&mut socket, &names).await;
    }
    add_to(&node, [(own.as_str(), 3)]);
    assert_eq!(hear_totals(&mut socket, &BTreeMap::from([(own, 3)])).await, 1);
}

/// Opens a socket that watches these counters, and reads all states.
async fn open_watching(node: &Node, counters: &[String]) -> TestSocket {
    let mut socket = TestSocket::open(&node.http).await;
    assert_eq!(socket.hear().await.unwrap()["type"], "state");
    watch(&mut socket, counters).await;
    hear_states(&mut socket, counters).await;
    socket
}

/// Adds to many counters in one batch.
fn add_to<'a>(node: &Node, adds: impl IntoIterator<Item = (&'a str, i64)>) {
    let adds: Vec<Value> = adds
        .into_iter()
        .map(|(counter, amount)| json!({ "counter": counter, "amount": amount }))
        .collect();
    let answer = post_json(&node.http, "/api/adds", &json!({ "adds": adds }).to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Reads until every counter shows its total. Returns the number of messages.
async fn hear_totals(socket: &mut TestSocket, totals: &BTreeMap<String, i64>) -> usize {
    let (mut shown, mut heard) = (BTreeMap::<String, i64>::new(), 0);
    while totals.iter().any(|(name, total)| shown.get(name) != Some(total)) {
        let message = socket.hear().await.unwrap_or_else(|| panic!("closed at {shown:?}"));
        let name = message["counter"].as_str().unwrap_or_else(|| panic!("no name: {message}"));
        let total = message["total"].as_i64().unwrap();
        assert!(shown.get(name).is_none_or(|before| *before <= total), "backwards: {message}");
        assert!(totals.get(name).is_none_or(|all| total <= *all), "too much: {message}");
        shown.insert(name.to_owned(), total);
        heard += 1;
    }
    heard
}

fn figure(node: &Node, name: &str) -> i64 {
    let metrics = get(&node.http, "/metrics").body;
    let value =
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

/// Waits until the node holds nothing for clients.
fn holds_nothing(node: &Node) {
    let figures = [
        "counter_web_topics",
        "counter_web_streams",
        "counter_viewers",
        // A subscription ends with the task that reads it, soon after its topic.
        "counter_subscribers",
    ];
    eventually("nothing is held", SOON, || {
        let held = figures.map(|name| figure(node, name));
        if held == [0; 4] { Ok(()) } else { Err(format!("{figures:?} are {held:?}")) }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_watched_counters_have_their_names() {
    let node = node();
    let mut socket = open_watching(&node, &["a".into(), "b".into()]).await;
    assert_eq!(figure(&node, "counter_counters"), 0, "a watch makes no counter");
    add_to(&node, [("a", 3), ("b", 4), ("clicks", 1), ("other", 9)]);
    let totals = [("a", 3), ("b", 4), ("clicks", 1)];
    let totals = totals.map(|(name, total)| (name.to_owned(), total)).into();
    hear_totals(&mut socket, &totals).await;
    add_to(&node, [("b", -2)]);
    loop {
        let change = socket.hear_of("change").await;
        assert_ne!(change["counter"], "other");
        if change["counter"] == "b" && change["total"] == 2 {
            assert_eq!(change["regions"]["ord"]["value"], 2);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_watch_changes_nothing() {
    let node = node();
    let all = names(WATCHED_MAX + 1);
    let mut socket = open_watching(&node, &all[..WATCHED_MAX]).await;
    assert_eq!(figure(&node, "counter_web_topics"), 65, "and the socket's own");
    let long = "x".repeat(129);
    let bad = [
        (json!(all), "too_large"),
        (json!(["x", ""]), "bad_name"),
        (json!(["x", "a\nb"]), "bad_name"),
        (json!([long]), "bad_name"),
        (json!(["x", "y", "x"]), "bad_message"),
        (json!("x"), "bad_message"),
        (json!([1]), "bad_message"),
    ];
    for (counters, code) in bad {
        watch(&mut socket, &counters).await;
        let refusal = socket.hear_of("error").await;
        assert_eq!(refusal["error"], code, "{counters}");
        assert!(refusal["message"].as_str().is_some_and(|text| text.len() > 20), "{refusal}");
        assert!(refusal.get("id").is_none() && refusal.get("index").is_none(), "{refusal}");
    }
    assert_eq!(figure(&node, "counter_web_topics"), 65);
    add_to(&node, all.iter().map(|name| (name.as_str(), 1)));
    let mut totals: BTreeMap<_, _> = all.into_iter().map(|name| (name, 1)).collect();
    totals.remove("c64");
    hear_totals(&mut socket, &totals).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_socket_is_one_viewer() {
    let node = node();
    let mut socket = open_watching(&node, &names(WATCHED_MAX)).await;
    for name in ["clicks", "c0", "c63"] {
        assert_eq!(counter(&node.http, name)["regions"]["ord"]["connected"], 1, "{name}");
    }
    watch(&mut socket, json!(["clicks"])).await;
    socket.say("{\"type\":\"ping\",\"t\":1}").await;
    socket.hear_of("pong").await;
    assert_eq!(counter(&node.http, "clicks")["regions"]["ord"]["connected"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn second_watch_replaces_the_first() {
    let node = node();
    let mut socket = open_watching(&node, &["a".into(), "b".into()]).await;
    watch(&mut socket, ["b", "c"]).await;
    // Only the new counter sends its state.
    assert_eq!(socket.hear_of("state").await["counter"], "c");
    add_to(&node, [("a", 1), ("b", 2), ("c", 3), ("clicks", 4)]);
    let mut missing = BTreeMap::from([("b", 2), ("c", 3), ("clicks", 4)]);
    while !missing.is_empty() {
        let change = socket.hear_of("change").await;
        let name = change["counter"].as_str().unwrap();
        assert_ne!(name, "a", "nobody watches it any more");
        if missing.get(name).is_some_and(|total| change["total"] == *total) {
            missing.remove(name);
        }
    }
    assert_eq!(figure(&node, "counter_web_topics"), 3);
    watch(&mut socket, json!([])).await;
    eventually("only its own counter is left", SOON, || {
        match figure(&node, "counter_web_topics") {
            1 => Ok(()),
            held => Err(held.to_string()),
        }
    });
    // A counter that is watched again starts with its present state.
    watch(&mut socket, ["a"]).await;
    let state = socket.hear_of("state").await;
    assert_eq!((&state["counter"], &state["total"]), (&json!("a"), &json!(1)));
}

/// The last of many watches in one packet counts, and the node opens topics for that one only.
#[tokio::test(flavor = "multi_thread")]
async fn last_watch_of_a_packet_counts() {
    let node = node();
    let mut socket = TestSocket::open(&node.http).await;
    for round in 0..200 {
        let counters = [format!("a{round}"), "b".into()];
        socket.feed(&json!({ "type": "watch", "counters": counters }).to_string()).await;
    }
    socket.flush().await;
    while socket.hear_of("state").await["counter"] != "a199" {}
    eventually("three topics are open", SOON, || match figure(&node, "counter_web_topics") {
        3 => Ok(()),
        held => Err(held.to_string()),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_sockets_release_all_topics() {
    let node = node();
    holds_nothing(&node);
    for round in 0..3 {
        let mut sockets = Vec::new();
        for _ in 0..5 {
            sockets.push(open_watching(&node, &names(WATCHED_MAX)).await);
        }
        assert_eq!(figure(&node, "counter_web_topics"), 65);
        assert_eq!(figure(&node, "counter_viewers"), 5);
        for (at, mut socket) in sockets.into_iter().enumerate() {
            // Half of them break off without a Close frame.
            if (at + round) % 2 == 0 {
                socket.0.close(None).await.unwrap();
                while socket.hear_raw().await {}
            }
        }
        holds_nothing(&node);
    }
}

/// Adds to watched counters, one after the other. A number on the same socket contains every add
/// that had its reply, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn replies_precede_the_changes_of_watched_counters() {
    const ADDS: usize = 500;
    let node = node();
    let counters = names(8);
    let mut socket = open_watching(&node, &counters).await;
    for at in 0..ADDS {
        // Two counters in a message, and two messages in a packet.
        for pair in 0..2 {
            let adds: Vec<Value> = (0..2)
                .map(|part| {
                    let counter = &counters[(at + 2 * pair + 3 * part) % 8];
                    json!({ "counter": counter, "amount": 1, "id": format!("{counter}.{at}.{pair}.{part}") })
                })
                .collect();
            socket.feed(&json!({ "type": "adds", "adds": adds }).to_string()).await;
        }
        socket.flush().await;
    }
    let (mut answered, mut shown) = (BTreeMap::new(), BTreeMap::new());
    let total = |counts: &BTreeMap<String, i64>| counts.values().sum::<i64>();
    while total(&shown) < 4 * ADDS as i64 {
        let message = socket.hear().await.unwrap();
        match message["type"].as_str().unwrap() {
            "ack" => {
                let name = message["id"].as_str().unwrap().split('.').next().unwrap();
                *answered.entry(name.to_owned()).or_default() += 1;
            }
            "change" if message["counter"] != "clicks" => {
                let name = message["counter"].as_str().unwrap().to_owned();
                let now = message["total"].as_i64().unwrap();
                assert_eq!(answered.get(&name), Some(&now), "{message}");
                shown.insert(name, now);
            }
            _ => {}
        }
    }
    assert_eq!(shown, answered);
}

/// Sockets add to the same counters, each in an order of its own, while all of them watch. None
/// waits for another for ever, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sockets_that_add_to_each_others_counters_stay_exact() {
    const SOCKETS: usize = 8;
    const ROUNDS: usize = 100;
    let node = node();
    let counters = names(16);
    let total = (SOCKETS * ROUNDS) as i64;
    let totals: BTreeMap<_, _> = counters.iter().map(|name| (name.clone(), total)).collect();
    let mut clients = Vec::new();
    for number in 0..SOCKETS {
        let mut socket = open_watching(&node, &counters).await;
        let (mut order, totals) = (counters.clone(), totals.clone());
        clients.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                fastrand::Rng::with_seed((number * ROUNDS + round) as u64).shuffle(&mut order);
                let adds: Vec<Value> = order
                    .iter()
                    .map(|name| json!({ "counter": name, "amount": 1, "id": format!("{number}.{round}.{name}") }))
                    .collect();
                socket.feed(&json!({ "type": "adds", "adds": adds }).to_string()).await;
            }
            socket.flush().await;
            let mut missing = totals;
            while !missing.is_empty() {
                let message = socket.hear().await.expect("an open socket");
                assert_ne!(message["type"], "error", "{message}");
                if message["type"] == "change"
                    && let Some(name) = message["counter"].as_str()
                    && missing.get(name).is_some_and(|total| message["total"] == *total)
                {
                    missing.remove(name);
                }
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    holds_nothing(&node);
}

/// 50 sockets, each with 64 of 128 counters, while batches come by HTTP and sockets add themselves.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_sockets_with_64_counters_stay_exact() {
    const SOCKETS: usize = 50;
    const BATCHES: i64 = 40;
    let node = node();
    let all = names(2 * WATCHED_MAX);
    let expected: BTreeMap<String, i64> = all
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let by_sockets = (0..SOCKETS).filter(|socket| socket % 2 * WATCHED_MAX == at).count();
            (name.clone(), BATCHES * (1 + at as i64 % 3) + by_sockets as i64)
        })
        .collect();
    let mut clients = Vec::new();
    for number in 0..SOCKETS {
        let watched = all[number % 2 * WATCHED_MAX..][..WATCHED_MAX].to_vec();
        let mut socket = open_watching(&node, &watched).await;
        let mut totals: BTreeMap<_, _> =
            watched.iter().map(|name| (name.clone(), expected[name])).collect();
        totals.insert("clicks".into(), 7);
        clients.push(tokio::spawn(async move {
            let add =
                json!({ "counter": watched[0], "amount": 1, "id": format!("client-{number}:1") });
            socket.say(&json!({ "type": "adds", "adds": [add] }).to_string()).await;
            assert_eq!(
                hear_ack_and_keep(&mut socket, &mut totals).await,
                format!("client-{number}:1")
            );
            hear_totals(&mut socket, &totals).await;
        }));
    }
    for _ in 0..BATCHES {
        add_to(&node, all.iter().enumerate().map(|(at, name)| (name.as_str(), 1 + at as i64 % 3)));
    }
    add_to(&node, [("clicks", 7)]);
    for client in clients {
        client.await.unwrap();
    }
    for (name, total) in &expected {
        assert_eq!(counter(&node.http, name)["total"], *total, "{name}");
    }
    holds_nothing(&node);
}

/// Reads until the ack. Counters that show their final total meanwhile need not show it again.
async fn hear_ack_and_keep(socket: &mut TestSocket, totals: &mut BTreeMap<String, i64>) -> String {
    loop {
        let message = socket.hear().await.unwrap();
        if message["type"] == "ack" {
            return message["id"].as_str().unwrap().to_owned();
        }
        let (name, total) = (message["counter"].as_str().unwrap(), message["total"].as_i64());
        if total.is_some() && total == totals.get(name).copied() {
            totals.remove(name);
        }
    }
}

/// A client reads nothing while 64 counters change. It then gets the latest of each, with all
/// regions, and not every version between.
#[tokio::test(flavor = "multi_thread")]
async fn slow_reader_skips_to_the_latest_of_every_counter() {
    const BATCHES: i64 = 400;
    let cluster = cluster();
    let ord = Node::start(&cluster, "ord", &[]);
    let fra = Node::start(&cluster, "fra", &[&ord]);
    // Long names make long changes, so that the socket is full after a third of them.
    let all: Vec<String> = names(WATCHED_MAX).iter().map(|name| format!("{name:x<120}")).collect();
    add_to(&fra, all.iter().map(|name| (name.as_str(), 1)));
    eventually("the other region is here", SOON, || {
        let missing = all.iter().find(|name| counter(&ord.http, name)["total"] != 1);
        missing.map_or(Ok(()), |name| Err(name.clone()))
    });
    let mut slow = TestSocket::open_narrow(&ord.http).await;
    watch(&mut slow, &all).await;
    let mut quick = open_watching(&ord, &all).await;
    let totals: BTreeMap<_, _> = all.iter().map(|name| (name.clone(), BATCHES + 1)).collect();
    let reader = {
        let totals = totals.clone();
        tokio::spawn(async move { hear_totals(&mut quick, &totals).await })
    };
    for _ in 0..BATCHES {
        add_to(&ord, all.iter().map(|name| (name.as_str(), 1)));
    }
    let by_quick = reader.await.unwrap();
    let (mut missing, mut by_slow) = (totals.clone(), 0);
    while !missing.is_empty() {
        let message = slow.hear().await.expect("an open socket");
        let Some(name) = message["counter"].as_str().filter(|name| *name != "clicks") else {
            continue;
        };
        by_slow += 1;
        if message["total"] == totals[name] && missing.remove(name).is_some() {
            let regions = &message["regions"];
            assert_eq!(regions["ord"]["value"], BATCHES, "{message}");
            assert_eq!(regions["fra"]["value"], 1, "all regions are named: {message}");
        }
    }
    assert!(by_slow < by_quick, "{by_slow} messages to the slow client, {by_quick} to the other");
}
