//! Programs and forms behind nginx.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use crate::config::{DEFAULT, below_a_path, careful};
use crate::support::http::{HttpAnswer, add, connect, counter, get, raw, request};
use crate::support::nginx::Nginx;
use crate::support::process::{Node, cluster};

const ONE: &str = "{\"amount\":1}";

fn node(flags: &[&str]) -> Node {
    Node::start_with(&cluster(), "ord", &[], &[&["--http", "127.0.0.1:0"], flags].concat())
}

fn add_to(address: &str, path: &str, headers: &str) -> HttpAnswer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Type: \
            application/json\r\n{headers}"
    );
    raw(address, format!("{head}Content-Length: {}\r\n\r\n{ONE}", ONE.len()).as_bytes()).unwrap()
}

/// Reads events until one has this total. Returns the time.
fn event_with(address: &str, path: &str, total: i64, act: impl FnOnce()) -> Duration {
    let mut stream = connect(address);
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || loop {
        let line = lines.next().expect("an event").unwrap();
        if let Some(data) = line.strip_prefix("data:") {
            return serde_json::from_str::<serde_json::Value>(data).unwrap();
        }
    };
    assert_eq!(next()["type"], "state");
    let start = Instant::now();
    act();
    while next()["total"] != total {}
    start.elapsed()
}

#[test]
fn events_come_at_once_with_buffering_on() {
    let node = node(&[]);
    let Some(nginx) = Nginx::start("buffered events", DEFAULT, &node.http) else { return };
    for total in 1..=3 {
        let took =
            event_with(&nginx.address, "/api/counters/clicks/events", total, || add(&node.http, 1));
        println!("default nginx, buffering on: the event came after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    let slow = "server { listen LISTEN; location / { proxy_pass http://UPSTREAM; \
        proxy_ignore_headers X-Accel-Buffering; } }";
    let Some(nginx) = Nginx::start("the header is what does it", slow, &node.http) else { return };
    let mut stream = connect(&nginx.address);
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream
        .write_all(b"GET /api/counters/clicks/events HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .unwrap();
    assert!(
        std::io::Read::read(&mut stream, &mut [0; 64]).is_err(),
        "without the header nginx holds the state back"
    );
}

#[test]
fn default_nginx_gets_the_reason_and_the_flag() {
    let (plain, allowing) = (node(&[]), node(&["--allow-origin", "https://a.example"]));
    let Some(nginx) = Nginx::start("default", DEFAULT, &plain.http) else { return };
    let origin = "Origin: https://a.example\r\n";
    let refused = add_to(&nginx.address, "/api/counters/clicks/add", origin);
    println!("default nginx: {} {}", refused.status, refused.body);
    assert_eq!(refused.error(), (400, "wrong_origin".into()));
    assert!(refused.body.contains("--allow-origin https://a.example"), "{}", refused.body);
    assert_eq!(
        add_to(&nginx.address, "/api/counters/clicks/add", "").status,
        200,
        "a program has no Origin"
    );
    let Some(nginx) = Nginx::start("allowed", DEFAULT, &allowing.http) else { return };
    assert_eq!(add_to(&nginx.address, "/api/counters/clicks/add", origin).status, 200);
}

#[test]
fn local_nginx_gives_strangers_no_rights() {
    let node = node(&[]);
    let keeps_host = "server { listen LISTEN; location / { proxy_pass http://UPSTREAM; \
        proxy_http_version 1.1; proxy_set_header Connection ''; \
         proxy_set_header Host $http_host; } }";
    // nginx from 1.29.7 on does that by default. Its Host is then a loopback address, and only its
    // user tells it from a local program.
    let newest = "server { listen LISTEN; location / { proxy_pass http://UPSTREAM; \
        proxy_http_version 1.1; proxy_set_header Connection ''; } }";
    let configs = [
        ("default", DEFAULT),
        ("careful", &careful()),
        ("newest default", newest),
        ("1.1, outer Host", keeps_host),
    ];
    for (what, config) in configs {
        let Some(nginx) = Nginx::start(what, config, &node.http) else { return };
        for host in ["a.example", "localhost", "127.0.0.1"] {
            let head = format!(
                "POST /api/counters/others/add HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            );
            let answer = raw(
                &nginx.address,
                format!("{head}Content-Length: {}\r\n\r\n{ONE}", ONE.len()).as_bytes(),
            )
            .unwrap();
            println!("{what} nginx, Host {host}: {} {}", answer.status, answer.body);
            assert_eq!(answer.error(), (403, "name_not_allowed".into()), "{what} {host}");
        }
    }
    assert_eq!(counter(&node.http, "others")["total"], 0);
}

#[test]
fn forged_addresses_give_no_allowance() {
    let node = node(&["--trust-proxy", "--rate", "0.01"]);
    let Some(nginx) = Nginx::start("forged", &careful(), &node.http) else { return };
    let mut answered = 0;
    for n in 0..1_100 {
        let forged = format!(
            "Fly-Client-IP: 192.0.2.{}\r\nX-Forwarded-For: 198.51.100.{}\r\nX-Real-IP: \
                203.0.113.1\r\n",
            n % 250,
            n % 250
        );
        answered +=
            u32::from(add_to(&nginx.address, "/api/counters/clicks/add", &forged).status == 200);
    }
    // The burst, and the adds that the rate allowed meanwhile.
    println!("1,100 adds with forged addresses: {answered} answered 200");
    assert!((1_000..1_010).contains(&answered), "{answered}");
}

#[test]
fn everything_works_below_a_path() {
    let node = node(&["--trust-proxy", "--allow-partition"]);
    let Some(nginx) = Nginx::start("below a path", &below_a_path(), &node.http) else { return };
    let page = get(&nginx.address, "/apps/counter/");
    assert_eq!(page.status, 200);
    // Every address in the HTML is relative and exists.
    let named = page
        .body
        .split(['"', '\''])
        .filter(|text| text.contains("assets/") && !text.contains([' ', '<']));
    let mut asked = 0;
    for address in named {
        assert!(!address.starts_with('/'), "{address}");
        assert_eq!(
            get(&nginx.address, &format!("/apps/counter/{address}")).status,
            200,
            "{address}"
        );
        asked += 1;
    }
    assert!(asked > 5, "{}", page.body);
    for (path, back) in [("/apps/counter/", "./"), ("/apps/counter/c/clicks", "./clicks")] {
        let form = request(
            &nginx.address,
            "POST",
            path,
            &[("Content-Type", "application/x-www-form-urlencoded")],
            "amount=1",
        );
        println!(
            "below a path, form: {} {}",
            form.status,
            form.head.lines().find(|line| line.starts_with("Location")).unwrap_or_default()
        );
        assert!(
            form.status == 303 && form.head.contains(&format!("ocation: {back}")),
            "{}",
            form.head
        );
    }
    assert_eq!(counter(&node.http, "clicks")["total"], 2);
    let took = event_with(&nginx.address, "/apps/counter/api/counters/clicks/events", 3, || {
        add(&node.http, 1)
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
}
