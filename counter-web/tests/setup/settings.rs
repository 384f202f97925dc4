//! Flags and variables. Empty ones count as unset, bad ones are refused with advice, and limits
//! hold.

use std::process::Command;

use crate::support::http::{connect, counter, get, post_json, raw};
use crate::support::process::{Node, Runtime, cluster, command, refused};

const ADD: &str = "/api/counters/clicks/add";

#[test]
fn empty_variables_and_items_are_ignored() {
    let runtime = Runtime::new();
    let mut command = command(&runtime);
    let empty = [
        "FLY_REGION",
        "PORT",
        "COUNTER_HTTP",
        "COUNTER_DISCOVER",
        "COUNTER_DATA_DIR",
        "COUNTER_NAME",
        "COUNTER_RATE",
        "COUNTER_CLUSTER",
    ];
    command
        .envs(empty.map(|name| (name, "")))
        .env("COUNTER_PEERS", "/ip4/127.0.0.1/tcp/1, /ip4/127.0.0.1/tcp/2,")
        .env("COUNTER_TRUST_PROXY", "");
    let node =
        Node::spawn(command_with(command, &["--http", "127.0.0.1:0", "--cluster", &cluster()]));
    assert_eq!(get(&node.http, "/api/status").json()["region"], "local");
    assert!(node.terminate().success());
}

fn command_with(mut command: Command, flags: &[&str]) -> Command {
    command.args(flags);
    command
}

#[test]
fn bad_settings_say_what_to_write() {
    let runtime = Runtime::new();
    let file = runtime.path().join("key");
    std::fs::write(&file, "a passphrase of its own").unwrap();
    let file = file.to_str().unwrap();
    let five_keys: Vec<String> = (1..=5).map(|number| format!("{number:064x}")).collect();
    for (variables, flags, hint) in [
        (vec![("COUNTER_TRUST_PROXY", "maybe")], vec![], "write true or false"),
        (vec![("PORT", "x")], vec![], "PORT=8080"),
        (vec![("COUNTER_CLUSTER_KEY", "")], vec![], "the cluster key is empty"),
        (
            vec![("COUNTER_CLUSTER_KEY", "another passphrase")],
            vec!["--cluster-key-file", file],
            "different keys",
        ),
        (vec![("COUNTER_CLUSTER_KEY_FILE", "")], vec![], "write FILE"),
        (vec![("COUNTER_CLUSTER_KEY_FILE", &format!("{file},"))], vec![], "write FILE"),
        (
            vec![("COUNTER_CLUSTER_KEY", &format!("{},", "0a".repeat(32)))],
            vec![],
            "only 1 of these 2 parts",
        ),
        (vec![("COUNTER_CLUSTER_KEY", &five_keys.join(","))], vec![], "at most 4"),
        (vec![], vec!["--discover", "none", "--discover", "local"], "write one or the other"),
        (vec![], vec!["--rate", "-1"], "write for example 100"),
        (vec![], vec!["--connections-per-address", "0"], "write for example 256"),
    ] {
        let (code, said) = refused(&runtime, &variables, &flags);
        assert!(code == Some(2) && said.contains(hint), "{variables:?} {flags:?}: {code:?} {said}");
    }
}

#[test]
fn data_directory_stays_with_its_cluster() {
    let runtime = Runtime::new();
    let (directory, cluster) = (runtime.path().join("ord"), cluster());
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    crate::support::http::add(&node.http, 3);
    assert!(node.terminate().success());
    let (code, said) = refused(&runtime, &[], &["--data-dir", directory.to_str().unwrap()]);
    assert!(code == Some(1) && said.contains(&format!("--cluster {cluster}")), "{code:?} {said}");
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    assert_eq!(counter(&node.http, "clicks")["total"], 3);
}

#[test]
fn low_rate_keeps_the_burst_and_says_when_to_retry() {
    let node =
        Node::start_with(&cluster(), "ord", &[], &["--http", "127.0.0.1:0", "--rate", "0.001"]);
    for _ in 0..20 {
        assert_eq!(post_json(&node.http, ADD, "{\"amount\":1}").status, 200);
    }
    let refused = (0..1_000)
        .map(|_| post_json(&node.http, ADD, "{\"amount\":1}"))
        .find(|answer| answer.status != 200)
        .expect("a refusal");
    assert_eq!(refused.error(), (429, "rate_limited".into()));
    assert_eq!(counter(&node.http, "clicks")["total"], 1_000);
    let head = refused.head.to_ascii_lowercase();
    let seconds: u64 = head
        .split("retry-after: ")
        .nth(1)
        .and_then(|rest| rest.lines().next()?.parse().ok())
        .unwrap_or_default();
    assert!((800..=1_000).contains(&seconds), "{head}");
}

/// A node whose shell has set a limit first.
fn limited(runtime: &Runtime, limit: &str) -> Command {
    let bare = command(runtime);
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("{limit} && exec \"$@\""), "sh"]).arg(bare.get_program());
    limited.args(["--cluster", &cluster(), "--discover", "none", "--http", "127.0.0.1:0"]);
    for (name, value) in bare.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

#[test]
fn full_node_refuses_with_complete_json() {
    let runtime = Runtime::new();
    // With so few files, half of them are for clients.
    let node = Node::spawn(limited(&runtime, "ulimit -n 160"));
    let held: Vec<_> = (0..80).map(|_| connect(&node.http)).collect();
    let full = raw(&node.http, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(full.error(), (503, "too_many_connections".into()), "{}", full.head);
    assert!(full.head.contains(&format!("content-length: {}", full.body.len())), "{}", full.head);
    let health = raw(&node.http, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!((health.status, &*health.body), (200, "ok\n"), "a probe is answered all the same");
    drop(held);
    crate::support::eventually("there is room again", crate::support::PATIENCE, || {
        match raw(&node.http, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(other.map_or_else(|error| error.to_string(), |answer| answer.head)),
        }
    });
}

#[test]
fn other_sites_read_nothing_and_huge_bodies_are_refused() {
    let node = Node::start(&cluster(), "ord", &[]);
    for path in ["/api/counters/clicks", "/api/counters/clicks/events", "/api/status", "/metrics"] {
        for origin in ["http://elsewhere.example", "null", &format!("ftp://{}", node.http)] {
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n",
                node.http
            );
            assert_eq!(
                raw(&node.http, head.as_bytes()).unwrap().error(),
                (400, "wrong_origin".into()),
                "{path} {origin}"
            );
        }
    }
    let head = format!(
        "POST {ADD} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: \
            10000000000\r\n\r\n{{",
        node.http
    );
    assert_eq!(raw(&node.http, head.as_bytes()).unwrap().error(), (413, "too_large".into()));
    assert_eq!(counter(&node.http, "clicks")["total"], 0);
}

#[test]
fn node_raises_its_limit_of_open_files() {
    let runtime = Runtime::new();
    let node = Node::spawn(limited(&runtime, "ulimit -S -n 200"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert!(numbers[0] == numbers[1] && numbers[0] != "200", "{files}");
    let held: Vec<_> = (0..250).map(|_| connect(&node.http)).collect();
    assert_eq!(get(&node.http, "/healthz").status, 200, "with {} connections open", held.len());
}

/// An HTTP/1.1 request names its host once (RFC 9112, 3.2). A head that cannot be read gets hyper's
/// own refusal, without a body.
#[test]
fn bad_heads_are_refused() {
    let node = Node::start(&cluster(), "ord", &[]);
    let ask = |head: &str| raw(&node.http, format!("{head}\r\n\r\n").as_bytes()).unwrap();
    for head in [
        "GET /healthz HTTP/1.1",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b",
        "GET /healthz HTTP/1.1\r\nHost: a b",
        "GET /healthz HTTP/1.0\r\nHost: a\r\nHost: a",
    ] {
        assert_eq!(ask(head).error(), (400, "bad_host".into()), "{head}");
    }
    for head in [
        "GET /healthz HTTP/1.0",
        "GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: [::1]:4000",
        "GET /healthz HTTP/1.1\r\nConnection: close\r\nHost:",
    ] {
        assert_eq!(ask(head).status, 200, "{head}");
    }
    for head in [
        "nonsense",
        "GET / HTTP/9.9\r\nHost: x",
        "GET / HTTP/1.1\r\nHost : x",
        "G\u{7f}T / HTTP/1.1\r\nHost: x",
    ] {
        let refused = ask(head);
        assert_eq!((refused.status, &*refused.body), (400, ""), "{head}");
        assert!(
            refused.head.to_ascii_lowercase().contains("\r\nconnection: close"),
            "{}",
            refused.head
        );
    }
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(40 * 1024));
    // The node reads only its beginning. The close then resets the connection, and the refusal may
    // be lost.
    if let Ok(refused) = raw(&node.http, long.as_bytes()) {
        assert!([0, 431].contains(&refused.status), "{}", refused.head);
    }
    assert_eq!(counter(&node.http, "clicks")["total"], 0);
}

#[test]
fn start_logs_the_storage_and_unknown_variables() {
    let runtime = Runtime::new();
    let start = |variables: &[(&str, &str)]| {
        let log = runtime.path().join(format!("log-{}", variables.len()));
        let mut command = command(&runtime);
        command
            .args(["--cluster", &cluster(), "--discover", "none", "--http", "127.0.0.1:0"])
            .envs(variables.iter().copied());
        command.env_remove("RUST_LOG").stderr(std::fs::File::create(&log).unwrap());
        let node = Node::spawn(command);
        let region = get(&node.http, "/api/status").json()["region"].as_str().unwrap().to_owned();
        assert!(node.terminate().success());
        (region, std::fs::read_to_string(log).unwrap())
    };
    let directory = runtime.path().join("data");
    let (region, said) = start(&[
        ("COUNTER_DATADIR", directory.to_str().unwrap()),
        ("COUNTER_REGION", "fra"),
        ("FLY_REGION", "ord"),
    ]);
    assert_eq!(region, "fra");
    assert!(
        said.contains("kept in memory alone") && said.contains("COUNTER_DATADIR is ignored"),
        "{said}"
    );
    assert!(said.contains("did you mean COUNTER_DATA_DIR?"), "{said}");
    let (region, said) =
        start(&[("COUNTER_DATA_DIR", directory.to_str().unwrap()), ("FLY_REGION", "ord")]);
    assert_eq!(region, "ord");
    assert!(
        said.contains(&format!("kept in {}", directory.display())) && !said.contains("ignored"),
        "{said}"
    );
}
