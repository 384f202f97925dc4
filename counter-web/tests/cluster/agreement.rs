//! Clusters of real processes: every node has exact numbers, even one that has just started.

use std::time::Duration;

use crate::support::http::{add, counter, get, row};
use crate::support::process::{Node, cluster};
use crate::support::ws::TestSocket;
use crate::support::{eventually, http};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);

/// Waits until all nodes show this total with equal states. Returns the counter.
fn agreed(nodes: &[&Node], total: i64) -> Value {
    eventually("all nodes agree", SOON, || {
        let seen: Vec<Value> = nodes.iter().map(|node| counter(&node.http, "clicks")).collect();
        let same = seen.iter().all(|one| {
            one["total"] == total
                && one["regions"] == seen[0]["regions"]
                && one["state_hash"] == seen[0]["state_hash"]
        });
        if same { Ok(seen[0].clone()) } else { Err(format!("{seen:?}")) }
    })
}

fn three() -> (String, [Node; 3]) {
    let cluster = cluster();
    let ord = Node::start(&cluster, "ord", &[]);
    let fra = Node::start(&cluster, "fra", &[&ord]);
    let sin = Node::start(&cluster, "sin", &[&ord, &fra]);
    (cluster, [ord, fra, sin])
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_agree() {
    let (_, nodes) = three();
    for (node, client) in nodes.iter().zip(["client-a", "client-b", "client-c"]) {
        (0..100).for_each(|_| add(&node.http, 1));
        TestSocket::open(&node.http).await.add(client, 100).await;
    }
    let [ord, fra, sin] = &nodes;
    eventually("viewers are gone", SOON, || {
        let seen = counter(&ord.http, "clicks");
        if seen["regions"].as_object().unwrap().values().all(|region| region["connected"] == 0) {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    });
    let seen = agreed(&[ord, fra, sin], 600);
    for region in ["ord", "fra", "sin"] {
        assert_eq!(
            (&seen["regions"][region]["value"], &seen["regions"][region]["nodes"]),
            (&200.into(), &1.into()),
            "{seen}"
        );
    }
}

#[test]
fn fresh_node_has_exact_numbers_in_the_first_html() {
    let (cluster, nodes) = three();
    let [ord, fra, sin] = &nodes;
    for (node, amount) in [(ord, 11), (fra, 222), (sin, -3)] {
        add(&node.http, amount);
    }
    agreed(&[ord, fra, sin], 230);
    crate::support::first_page_within_a_second(|| {
        let syd = Node::start(&cluster, "syd", &[fra]);
        let page = get(&syd.http, "/").body;
        let took = syd.started.elapsed();
        let shown = ["ord", "fra", "sin", "syd"].map(|region| row(&page, region));
        assert_eq!(shown, ["11", "222", "-3", "0"].map(|value| Some(value.to_owned())), "{page}");
        assert!(page.contains("<p class=\"total\" id=\"total\">230</p>"), "{page}");
        took
    });
}

#[test]
fn two_nodes_of_one_region_add_up() {
    let cluster = cluster();
    let first = Node::start(&cluster, "ord", &[]);
    let second = Node::start(&cluster, "ord", &[&first]);
    let other = Node::start(&cluster, "fra", &[&second]);
    for node in [&first, &second] {
        (0..100).for_each(|_| add(&node.http, 1));
    }
    let seen = agreed(&[&first, &second, &other], 200);
    assert_eq!(seen["regions"]["ord"]["value"], 200);
    eventually("both nodes are counted", SOON, || {
        match counter(&other.http, "clicks")["regions"]["ord"]["nodes"].clone() {
            nodes if nodes == 2 => Ok(()),
            nodes => Err(nodes.to_string()),
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn first_html_has_silent_and_unclicked_regions() {
    let (cluster, nodes) = three();
    let [ord, fra, sin] = &nodes;
    add(&ord.http, 7);
    let mut socket = TestSocket::open(&fra.http).await;
    socket.hear_of("state").await;
    agreed(&[ord, fra, sin], 7);
    eventually(
        "the viewer is known",
        SOON,
        || match counter(&sin.http, "clicks")["regions"]["fra"]["connected"].clone() {
            one if one == 1 => Ok(()),
            other => Err(other.to_string()),
        },
    );
    let syd = Node::start(&cluster, "syd", &[sin]);
    let page = get(&syd.http, "/").body;
    assert_eq!(
        (row(&page, "ord"), row(&page, "fra")),
        (Some("7".into()), Some("0".into())),
        "{page}"
    );
    let fra_row = page.split("<tr data-region=\"fra\"").nth(1).unwrap();
    assert!(fra_row.split("data-f=\"connected\">").nth(1).unwrap().starts_with('1'), "{fra_row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_viewers_leave_and_its_clicks_stay() {
    let (_, mut nodes) = three();
    add(&nodes[0].http, 5);
    agreed(&[&nodes[0], &nodes[1], &nodes[2]], 5);
    let viewers = |node: &Node, region: &str| {
        counter(&node.http, "clicks")["regions"][region]["connected"].clone()
    };
    let all_see = |nodes: &[Node; 3], region: &str, count: u64, within: Duration, who: &[usize]| {
        eventually("viewers are counted", within, || {
            let seen: Vec<Value> = who.iter().map(|&at| viewers(&nodes[at], region)).collect();
            if seen.iter().all(|one| *one == count || (count == 0 && one.is_null())) {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        });
    };
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(TestSocket::open(&nodes[0].http).await);
    }
    all_see(&nodes, "ord", 20, SOON, &[0, 1, 2]);
    drop(sockets);
    all_see(&nodes, "ord", 0, SOON, &[0, 1, 2]);
    let _viewers = (TestSocket::open(&nodes[0].http).await, TestSocket::open(&nodes[0].http).await);
    all_see(&nodes, "ord", 2, SOON, &[1, 2]);
    nodes[0].kill();
    all_see(&nodes, "ord", 0, Duration::from_secs(6), &[1, 2]);
    agreed(&[&nodes[1], &nodes[2]], 5);
}

#[test]
fn ten_thousand_counters_reach_an_empty_node() {
    let cluster = cluster();
    let first = Node::start(&cluster, "ord", &[]);
    many_adds(&first, 10_000);
    let second = Node::start(&cluster, "fra", &[&first]);
    eventually("both hold the same", Duration::from_secs(20), || {
        let [a, b] = [&first, &second].map(|node| counter(&node.http, "k9999"));
        if a["total"] == 1 && a["state_hash"] == b["state_hash"] && b["total"] == 1 {
            Ok(())
        } else {
            Err(format!("{a} {b}"))
        }
    });
    for node in [&first, &second] {
        assert_eq!(counters_held(node), 10_000);
    }
    for at in [0, 1, 4_999, 9_998] {
        assert_eq!(counter(&second.http, &format!("k{at}"))["total"], 1);
    }
}

/// A burst by gossip, to nodes that are connected already.
#[test]
fn burst_of_counters_reaches_listeners() {
    let (_, [ord, fra, sin]) = three();
    many_adds(&ord, 3_000);
    // A hash covers flushed adds only, so equal hashes alone could be older than the last flush.
    eventually("all hold 3,000 and the same", SOON, || {
        let seen = [&ord, &fra, &sin]
            .map(|node| (counters_held(node), counter(&node.http, "k0")["state_hash"].clone()));
        if seen.iter().all(|one| one.0 == 3_000 && one.1 == seen[0].1) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    for node in [&fra, &sin] {
        let stray = (0..3_000).find(|at| counter(&node.http, &format!("k{at}"))["total"] != 1);
        assert_eq!(stray, None);
    }
}

fn counters_held(node: &Node) -> usize {
    let metrics = get(&node.http, "/metrics").body;
    let held = metrics.lines().find_map(|line| line.strip_prefix("counter_counters "));
    held.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

/// Adds to each of `count` counters, pipelined on one connection.
fn many_adds(node: &Node, count: usize) {
    use std::io::{BufRead, BufReader, Read, Write};
    let stream = http::connect(&node.http);
    let mut writer = stream.try_clone().unwrap();
    let host = node.http.clone();
    let sender = std::thread::spawn(move || {
        for at in 0..count {
            let body = "{\"amount\":1}";
            let request = format!(
                "POST /api/counters/k{at}/add HTTP/1.1\r\nHost: {host}\r\nContent-Type: \
                    application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            writer.write_all(request.as_bytes()).unwrap();
        }
    });
    let mut reader = BufReader::new(stream);
    for _ in 0..count {
        let (mut length, mut line) = (0, String::new());
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("200"), "{line}");
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
    }
    sender.join().unwrap();
}

#[test]
fn clusters_of_other_names_never_meet() {
    let first = Node::start(&cluster(), "ord", &[]);
    let second = Node::start(&cluster(), "fra", &[&first]);
    add(&first.http, 9);
    add(&second.http, 1);
    // The second node has tried its peer before it gave up waiting.
    eventually("it says that it is alone", SOON, || {
        let status = get(&second.http, "/api/status").json();
        if status["peers"] == 0 && status["uptime_seconds"].as_u64() >= Some(2) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    assert_eq!(counter(&second.http, "clicks")["total"], 1);
    assert_eq!(counter(&first.http, "clicks")["total"], 9);
}
