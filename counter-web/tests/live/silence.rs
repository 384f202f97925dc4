//! Clients that are silent, only answer pings, or read nothing, on the real binary with a ping
//! interval of a second.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::http::{counter, request};
use crate::support::process::{Node, cluster};
use crate::support::ws::{RawSocket, TestSocket};
use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{Bytes, Message};

const INTERVAL: Duration = Duration::from_secs(1);

/// The extra time for a busy machine.
const SLACK: Duration = Duration::from_secs(4);

fn node() -> Node {
    Node::start_with(&cluster(), "ord", &[], &["--http", "127.0.0.1:0", "--ping-interval", "1"])
}

#[test]
fn silent_client_is_pinged_then_closed() {
    let node = node();
    let (mut silent, start, mut pings) = (RawSocket::open(&node.http), Instant::now(), 0);
    let goodbye = loop {
        assert!(
            start.elapsed() < INTERVAL * 4 + SLACK,
            "still there after {:?} and {pings} pings",
            start.elapsed()
        );
        match silent.frame().expect("a Close frame before the end") {
            (0x88, goodbye) => break goodbye,
            (0x89, _) => pings += 1,
            _ => {}
        }
    };
    let after = start.elapsed();
    assert!(pings >= 2, "{pings} pings");
    assert!(goodbye.starts_with(&1008_u16.to_be_bytes()) && goodbye.len() > 10, "{goodbye:?}");
    assert!(after > INTERVAL * 5 / 2 && after < INTERVAL * 4 + SLACK, "cut after {after:?}");
    assert_eq!(silent.frame(), None, "nothing follows");
    assert_eq!(
        counter(&node.http, "clicks")["regions"]["ord"]["connected"],
        0,
        "and it is no viewer any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pongs_keep_a_socket_open() {
    let node = node();
    let mut quiet = TestSocket::open(&node.http).await;
    let start = Instant::now();
    // The client library answers pings while it reads.
    let mut pings = 0;
    while start.elapsed() < INTERVAL * 7 {
        match tokio::time::timeout(INTERVAL / 4, quiet.0.next()).await {
            Ok(Some(Ok(Message::Ping(_)))) => pings += 1,
            Ok(Some(Ok(Message::Close(close)))) => panic!("closed: {close:?}"),
            Ok(None | Some(Err(_))) => panic!("cut"),
            _ => {}
        }
    }
    assert!(pings >= 3, "{pings} pings");
    quiet.0.send(Message::Ping(Bytes::from_static(b"are you there?"))).await.unwrap();
    let answered = async {
        while let Some(Ok(message)) = quiet.0.next().await {
            if let Message::Pong(bytes) = message {
                return bytes;
            }
        }
        panic!("closed before a pong");
    };
    assert_eq!(
        tokio::time::timeout(SLACK, answered).await.expect("a pong"),
        Bytes::from_static(b"are you there?")
    );
    quiet.add("quiet", 1).await;
}

/// It sends pings and reads no pongs until its socket is full. The node then stops reading, and
/// cuts it earlier than for silence.
#[test]
fn stuck_reader_is_cut_off() {
    const LONG: Duration = Duration::from_secs(3);
    let node = Node::start_with(
        &cluster(),
        "ord",
        &[],
        &["--http", "127.0.0.1:0", "--ping-interval", "3"],
    );
    let mut deaf = RawSocket::open(&node.http);
    deaf.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let ping = [&[0x81, 0x80 | 21, 0, 0, 0, 0], b"{\"type\":\"ping\",\"t\":1}".as_slice()].concat();
    let many = ping.repeat(1_000);
    while deaf.stream.write_all(&many).is_ok() {}
    let stuck_at = Instant::now();
    let connected = || counter(&node.http, "clicks")["regions"]["ord"]["connected"].clone();
    assert_eq!(connected(), 1, "it is there, and full");
    eventually("the full socket is given up", LONG * 2 + SLACK, || match connected() {
        none if none == 0 => Ok(()),
        some => Err(some.to_string()),
    });
    let after = stuck_at.elapsed();
    assert!(
        after < LONG * 5 / 2,
        "silence alone would have cut it at {:?}, and it took {after:?}",
        LONG * 3
    );
    crate::support::http::add(&node.http, 1);
}

/// RFC 6455, 5.5.1: a Close frame is answered with one, of the same code.
#[test]
fn close_is_answered_with_its_own_code() {
    let node = node();
    for (payload, echo) in [
        (&b""[..], &b""[..]),
        (&b"\x03\xe8"[..], &b"\x03\xe8"[..]),
        (b"\x0f\xa1bye", b"\x0f\xa1"),
        (b"\x03\xe9going", b"\x03\xe9"),
        (b"\x03\xed", b"\x03\xea"),
        (b"x", b"\x03\xea"),
    ] {
        let mut socket = RawSocket::open(&node.http);
        let head = [0x88, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        socket.stream.write_all(&[&head, payload].concat()).unwrap();
        let said = loop {
            if let (0x88, said) = socket.frame().expect("a Close frame before the end") {
                break said;
            }
        };
        assert!(
            said.starts_with(echo) && said.is_empty() == echo.is_empty(),
            "{payload:?} was answered with {said:?}"
        );
        assert_eq!(socket.frame(), None, "the server ends the connection");
    }
}

/// An address that may have one connection opens the next one as soon as it has seen the end of
/// the last.
#[test]
fn closed_socket_frees_its_slot_at_once() {
    let node = Node::start_with(
        &cluster(),
        "ord",
        &[],
        &["--http", "127.0.0.1:0", "--connections-per-address", "1"],
    );
    for turn in 0..40 {
        let answer = request(&node.http, "GET", "/readyz", &[], "");
        assert_eq!(answer.status, 200, "turn {turn}: {}", answer.body);
        let mut socket = RawSocket::open(&node.http);
        socket.stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
        while socket.frame().is_some_and(|(kind, _)| kind != 0x88) {}
        // Its side is still open. Only the Close frame shows the end.
        assert_eq!(request(&node.http, "GET", "/readyz", &[], "").status, 200, "turn {turn}");
    }
    let _held = RawSocket::open(&node.http);
    let refused = request(&node.http, "GET", "/readyz", &[], "");
    assert_eq!(refused.error(), (429, "too_many_connections".into()));
    assert!(
        refused.head.to_ascii_lowercase().contains("\r\nconnection: close"),
        "{}",
        refused.head
    );
}
