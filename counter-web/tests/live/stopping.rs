//! How a node stops. Open requests are answered, new ones refused, and hanging ones cut at the
//! deadline.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::http::{Events, add, connect};
use crate::support::process::{Node, Runtime, cluster, signal};

const ADD: &str = "/api/counters/clicks/add";

/// The node's request for the body of a request.
const GO_ON: &[u8; 25] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The time that requests have to end, and the extra time for a busy machine.
const DRAIN: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(5);

/// A request without its last bytes. The node has read its head and asked for its body.
fn half_sent(node: &Node, body: &str) -> TcpStream {
    let mut stream = connect(&node.http);
    let head = format!(
        "POST {ADD} HTTP/1.1\r\nHost: {}\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
        node.http
    );
    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).unwrap();
    let mut asked = [0; GO_ON.len()];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, GO_ON);
    stream
}

fn no_new_ones(node: &Node) {
    eventually("new connections are refused", SLACK, || match TcpStream::connect(&node.http) {
        Ok(_) => Err("one was accepted".to_owned()),
        Err(_) => Ok(()),
    });
}

#[test]
fn stopping_node_finishes_open_requests() {
    let runtime = Runtime::new();
    let (directory, cluster) = (runtime.path().join("ord"), cluster());
    let mut node = Node::start_in(&runtime, &cluster, &directory, &[]);
    add(&node.http, 5);
    let mut events = Events::open(&node.http, "clicks");
    assert_eq!(events.hear().unwrap()["total"], 5);
    let (mut late, mut never) = (half_sent(&node, "{\"amou"), half_sent(&node, ""));
    signal(node.id(), "TERM");
    let start = Instant::now();
    no_new_ones(&node);
    assert!(start.elapsed() < DRAIN, "the two that hang did not hold this up");
    while events.hear().is_some() {}
    late.write_all(b"nt\":2}").unwrap();
    let mut answer = String::new();
    BufReader::new(&late).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    assert!(node.end().success());
    assert!(start.elapsed() < DRAIN + SLACK, "{:?}", start.elapsed());
    let mut rest = Vec::new();
    let _cut = never.read_to_end(&mut rest);
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    assert_eq!(
        crate::support::http::counter(&node.http, "clicks")["total"],
        7,
        "what was answered is on the disk"
    );
}
