//! Lists of counters over HTTP and over the operators' socket, and resets by operators.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::callers::{OPERATOR, SERVICE, STRANGER, bearer};
use crate::support::http::{HttpAnswer, counter, get, raw, request};
use crate::support::process::{Node, Runtime, command, run_in};
use counter_net::Discovery;
use serde_json::{Value, json};

/// Names as strangers and services may make them, in order.
const NAMES: [&str; 8] =
    ["<b>&\"'", "a b", "a/b", "clicks", "likes:1", "likes:2", "likes:é", "likes:日本"];

fn start(runtime: &Runtime, variables: &[(&str, &str)], flags: &[&str]) -> Node {
    let mut command = command(runtime);
    command.args(["--cluster", "listing", "--region", "ord", "--discover", "none"]);
    command.args(["--http", "127.0.0.1:0"]).args(flags).envs(variables.iter().copied());
    Node::spawn(command)
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn add(node: &Node, name: &str, amount: i32) {
    let path = format!("/api/counters/{}/add", encoded(name));
    let body = format!("{{\"amount\":{amount}}}");
    assert_eq!(request(&node.http, "POST", &path, &[], &body).status, 200, "{name}");
}

fn list(node: &Node, query: &str) -> Value {
    let answer = get(&node.http, &format!("/api/counters{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()
}

fn names(list: &Value) -> Vec<&str> {
    let counters = list["counters"].as_array().unwrap().iter();
    counters.map(|counter| counter["name"].as_str().unwrap()).collect()
}

/// A node with the counters `NAMES`, whose totals are 1, -2, 3, -4, …
fn node_with_counters(runtime: &Runtime) -> Node {
    let node = start(runtime, &[], &[]);
    for (at, name) in NAMES.iter().enumerate().rev() {
        let size = at as i32 + 1;
        add(&node, name, if size % 2 == 0 { -size } else { size });
    }
    node
}

#[test]
fn counters_are_listed_by_name_in_pages() {
    let runtime = Runtime::new();
    let node = node_with_counters(&runtime);
    let all = list(&node, "");
    assert_eq!((names(&all), &all["next"]), (NAMES.to_vec(), &Value::Null));
    assert_eq!(all["counters"][1], json!({ "name": "a b", "total": -2 }));
    for limit in [1, 3, 8, 1_000] {
        let (mut found, mut query, mut pages) = (Vec::new(), format!("?limit={limit}"), 0);
        loop {
            let page = list(&node, &query);
            found.extend(names(&page).into_iter().map(str::to_owned));
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            query = format!("?limit={limit}&after={}", encoded(next));
        }
        assert_eq!(
            (found, pages),
            (NAMES.map(str::to_owned).to_vec(), NAMES.len().div_ceil(limit))
        );
    }
    assert_eq!(names(&list(&node, "?prefix=likes:")), NAMES[4..]);
    assert_eq!(names(&list(&node, "?prefix=likes%3A%C3%A9")), ["likes:é"]);
    assert_eq!(names(&list(&node, "?prefix=likes:&after=likes:1&limit=1")), ["likes:2"]);
    for empty in ["?prefix=x", "?after=zzz", "?prefix=clicks&after=clicks", "?prefix=a&after=b"] {
        assert_eq!(list(&node, empty), json!({ "counters": [], "next": null }), "{empty}");
    }
    let by_total = list(&node, "?order=total&limit=3");
    assert_eq!(
        (names(&by_total), &by_total["next"]),
        (vec!["likes:é", "likes:1", "a/b"], &Value::Null)
    );
    assert_eq!(names(&list(&node, "?order=total&prefix=likes:")).len(), 4);
    // Reading makes nothing.
    assert_eq!(counter(&node.http, "others")["total"], 0);
    assert_eq!(names(&list(&node, "")), NAMES);
}

#[test]
fn wrong_queries_are_refused() {
    let runtime = Runtime::new();
    let node = start(&runtime, &[], &[]);
    assert_eq!(list(&node, ""), json!({ "counters": [], "next": null }));
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=",
        "order=size",
        "prefix=%FF",
        "order=total&after=a",
    ] {
        let answer = get(&node.http, &format!("/api/counters?{query}"));
        assert_eq!(answer.error(), (400, "bad_request".into()), "{query}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = request(&node.http, method, "/api/counters", &[], "");
        assert_eq!(answer.error(), (405, "method_not_allowed".into()), "{method}");
    }
    assert_eq!(get(&node.http, "/api/counters/?limit=1").status, 404);
}

#[test]
fn lists_are_for_services_and_local_callers() {
    let runtime = Runtime::new();
    let tokens = [("COUNTER_SERVICE_TOKEN", SERVICE), ("COUNTER_OPERATOR_TOKEN", OPERATOR)];
    let node = start(&runtime, &tokens, &["--allow-origin", "https://b.example"]);
    let as_caller = |node: &Node, headers: &[(&str, &str)]| -> HttpAnswer {
        request(&node.http, "GET", "/api/counters", headers, "")
    };
    let (service, operator) = (bearer(SERVICE), bearer(OPERATOR));
    for token in [&service, &operator] {
        assert_eq!(as_caller(&node, &[STRANGER, ("Authorization", token)]).status, 200);
    }
    assert_eq!(as_caller(&node, &[]).status, 200, "a local caller");
    let own = format!("http://{}", node.http);
    assert_eq!(as_caller(&node, &[("Origin", &own)]).status, 200, "this node's page, seen locally");
    for (headers, error) in [
        (&[STRANGER][..], (401, "unauthorized")),
        (&[STRANGER, ("Authorization", "Bearer nothing")], (401, "unauthorized")),
        (&[("Authorization", "Bearer nothing")], (401, "unauthorized")),
        (&[("Authorization", &*service), ("Origin", "https://b.example")], (400, "wrong_origin")),
        (&[("Authorization", &*operator), ("Origin", "https://c.example")], (400, "wrong_origin")),
        (&[("Origin", "https://b.example")], (400, "wrong_origin")),
    ] {
        let answer = as_caller(&node, headers);
        assert_eq!(answer.error(), (error.0, error.1.to_owned()), "{headers:?}");
        assert!(!answer.head.to_ascii_lowercase().contains("access-control-allow-origin"));
    }
    let rebound = "GET /api/counters HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = raw(&node.http, rebound.as_bytes()).unwrap();
    assert_eq!(answer.error(), (401, "unauthorized".into()), "a name that leads to loopback");
    let without = start(&Runtime::new(), &[], &[]);
    let refused = as_caller(&without, &[STRANGER]);
    assert_eq!(refused.error(), (403, "forbidden".into()));
    assert!(refused.body.contains("--service-token-file"), "{}", refused.body);
}

/// A directory with these adds, as an earlier run of the node leaves it.
async fn write_directory(directory: &Path, adds: impl Iterator<Item = (String, u64)>) {
    let node = counter_net::Node::builder()
        .cluster("listing")
        .region("ord")
        .discover(Discovery::None)
        .data_dir(directory)
        .start()
        .await
        .unwrap();
    for (name, amount) in adds {
        node.counter(&name).unwrap().add(amount).unwrap();
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_totals_are_strings_also_after_a_restart() {
    let runtime = Runtime::new();
    let directory = runtime.path().join("data");
    let large = (0..1 << 21).map(|_| ("large".to_owned(), 1 << 32));
    write_directory(&directory, large.chain([("small".to_owned(), 1)])).await;
    let node = start(&runtime, &[], &["--data-dir", directory.to_str().unwrap()]);
    let expected =
        json!([{ "name": "large", "total": "9007199254740992" }, { "name": "small", "total": 1 }]);
    assert_eq!(list(&node, "")["counters"], expected);
    assert_eq!(list(&node, "?order=total")["counters"], expected);
    let (_, said, _) = run_in(&runtime, &["list", "l"]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), expected[0]);
}

#[test]
fn operators_list_and_reset() {
    let runtime = Runtime::new();
    let node = node_with_counters(&runtime);
    let listed = |arguments: &[&str]| -> Vec<(String, i64)> {
        let (code, said, stderr) = run_in(&runtime, &[&["list"], arguments].concat());
        assert_eq!(code, Some(0), "{stderr}");
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|line| {
                (line["name"].as_str().unwrap().to_owned(), line["total"].as_i64().unwrap())
            })
            .collect()
    };
    let all = listed(&[]);
    assert_eq!(all.iter().map(|line| line.0.as_str()).collect::<Vec<_>>(), NAMES);
    assert_eq!(listed(&["a "]), [("a b".to_owned(), -2)]);
    assert_eq!(listed(&["likes:", "--admin", &node.admin]).len(), 4);
    assert_eq!(listed(&["x"]), []);
    for name in ["<b>&\"'", "a b", "likes:日本"] {
        let (code, said, stderr) = run_in(&runtime, &["reset", name]);
        assert_eq!((code, said.trim()), (Some(0), "{\"total\":0}"), "{stderr}");
        assert_eq!(counter(&node.http, &encoded(name))["total"], 0);
    }
    assert_eq!(listed(&["a"]), [("a b".to_owned(), 0), ("a/b".to_owned(), 3)]);
    let (code, _, stderr) = run_in(&runtime, &["reset", "nobody"]);
    assert!(code == Some(1) && stderr.contains("counter-web list"), "{code:?} {stderr}");
    assert_eq!(listed(&["nobody"]), [], "nothing was made");
    let (code, _, stderr) = run_in(&runtime, &["reset", ""]);
    assert!(code == Some(2) && stderr.contains("name"), "{code:?} {stderr}");
}

/// Longer than a page, with names at their longest.
#[tokio::test(flavor = "multi_thread")]
async fn operators_list_all_pages() {
    let runtime = Runtime::new();
    let directory = runtime.path().join("data");
    let names: Vec<String> = (0..2_500).map(|i| format!("{}{i:04}", "é".repeat(62))).collect();
    write_directory(&directory, names.iter().map(|name| (name.clone(), 1))).await;
    let node = start(&runtime, &[], &["--data-dir", directory.to_str().unwrap()]);
    // More than a pipe holds, so it must be read meanwhile.
    let listed = command(&runtime).args(["list", "é", "--admin", &node.admin]).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let said = String::from_utf8(listed.stdout).unwrap();
    let expected = names.iter().map(|name| json!({ "name": name, "total": 1 }).to_string());
    assert!(said.lines().eq(expected));
}

/// A connection that stays open.
struct KeptAlive(BufReader<TcpStream>);

impl KeptAlive {
    fn open(http: &str) -> Self {
        let stream = TcpStream::connect(http).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> String {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: \
                application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

/// The times of adds by HTTP while `work` runs, the longest last.
fn times_of_adds(node: &Node, work: impl FnOnce()) -> Vec<Duration> {
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let adds = threads.spawn(|| {
            let mut connection = KeptAlive::open(&node.http);
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let started = Instant::now();
                let answer = connection.ask("POST", "/api/counters/clicks/add", "{\"amount\":1}");
                times.push(started.elapsed());
                assert!(answer.starts_with("{\"total\":"), "{answer}");
                std::thread::sleep(Duration::from_micros(200));
            }
            times.sort();
            times
        });
        work();
        done.store(true, Ordering::Relaxed);
        adds.join().unwrap()
    })
}

/// Keeps one processor busy, as a list does, without any lock.
fn compute(time: Duration) {
    let started = Instant::now();
    while started.elapsed() < time {
        std::hint::black_box((0..1_000_u64).map(std::hint::black_box).sum::<u64>());
    }
}

/// Adds go on while a million names are listed. A busy machine delays some requests by milliseconds
/// anyway. So the longest add beside each kind of list is compared with the longest add beside a
/// thread that only computes, each in its best round. A lock that is held too long delays an add in
/// every round.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test --release -p counter-web --test http -- --ignored \
    --nocapture listing"]
async fn lists_of_a_million_names_delay_no_add() {
    const NAMES: usize = 1_000_000;
    let runtime = Runtime::new();
    let directory = runtime.path().join("data");
    write_directory(&directory, (0..NAMES).map(|i| (format!("likes:{i:07}"), 1))).await;
    let node = start(&runtime, &[], &["--data-dir", directory.to_str().unwrap()]);
    let mut connection = KeptAlive::open(&node.http);
    let mut first_page = || {
        let started = Instant::now();
        let page = connection.ask("GET", "/api/counters?prefix=likes:05", "");
        assert_eq!(page.matches("likes:05").count(), 101);
        started.elapsed()
    };
    println!("first page after the start: {:?}", first_page());
    let first_pages: Vec<Duration> = (0..20).map(|_| first_page()).collect();
    println!("first page: {first_pages:?}");
    assert!(first_pages.iter().min().unwrap() < &Duration::from_millis(1));
    let show = |what: &str, took: Duration, adds: &[Duration]| {
        let quantile = |of: usize| adds[adds.len() * of / 1_000];
        println!(
            "{what}: {took:?}; {} adds, p50 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}",
            adds.len(),
            quantile(500),
            quantile(990),
            quantile(999),
            adds.last().unwrap()
        );
    };
    let mut longest = [const { Vec::new() }; 3];
    for _ in 0..8 {
        let idle = times_of_adds(&node, || std::thread::sleep(Duration::from_millis(500)));
        show("no list", Duration::from_millis(500), &idle);
        let busy = times_of_adds(&node, || compute(Duration::from_millis(500)));
        show("no list, one processor busy", Duration::from_millis(500), &busy);
        let mut took = Duration::ZERO;
        let listing = times_of_adds(&node, || {
            let started = Instant::now();
            let (mut count, mut path) = (0, "/api/counters?limit=1000".to_owned());
            loop {
                let page: Value = serde_json::from_str(&connection.ask("GET", &path, "")).unwrap();
                count += page["counters"].as_array().unwrap().len();
                let Some(next) = page["next"].as_str() else { break };
                path = format!("/api/counters?limit=1000&after={}", encoded(next));
            }
            took = started.elapsed();
            assert!(count > NAMES, "{count}");
        });
        show("all pages", took, &listing);
        let top = times_of_adds(&node, || {
            for _ in 0..16 {
                let started = Instant::now();
                connection.ask("GET", "/api/counters?order=total&limit=1000", "");
                took = started.elapsed();
            }
        });
        show("top 1,000, 16 times", took, &top);
        for (longest, adds) in longest.iter_mut().zip([busy, listing, top]) {
            longest.extend(adds.last().copied());
        }
    }
    let [busy, listing, top] = longest.map(|longest| longest.into_iter().min().unwrap());
    println!("longest add in the best round: {busy:?} busy, {listing:?} listing, {top:?} top");
    assert!(listing.max(top).saturating_sub(busy) < Duration::from_millis(1));
}
