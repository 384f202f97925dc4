//! Difficult clients: many behind one proxy, slow ones, ones that never read, and ones at the limit
//! of connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::callers::{STRANGER, node_with};
use crate::support::eventually;
use crate::support::http::{connect, counter, get, request};
use crate::support::process::{Node, cluster};
use crate::support::ws::TestSocket;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const ADD: &str = "/api/counters/clicks/add";

fn node(flags: &[&str]) -> Node {
    Node::start_with(&cluster(), "ord", &[], &[&["--http", "127.0.0.1:0"], flags].concat())
}

/// Adds with a proxy's header until one is refused. Returns the number accepted, at most `most`.
fn burst(node: &Node, name: &str, address: &str, most: usize) -> usize {
    let headers = [("Content-Type", "application/json"), (name, address)];
    let add = || request(&node.http, "POST", ADD, &headers, "{\"amount\":1}");
    (0..most).take_while(|_| add().status == 200).count()
}

/// The adds in a full bucket, whatever the rate is.
const BURST: usize = 1_000;

/// At this rate the next add is allowed after 100 s.
const SLOW: [&str; 2] = ["--rate", "0.01"];

/// Sends a burst with each header of `asked` to a fresh node, and returns how many adds of each it
/// accepts. Tries again if a bucket may have been refilled meanwhile.
fn went_through(flags: &[&str], asked: &[(&str, &str)]) -> Vec<usize> {
    eventually("a machine that is quick enough to judge", Duration::from_secs(300), || {
        let (node, start) = (node(flags), Instant::now());
        let passed: Vec<usize> =
            asked.iter().map(|(name, address)| burst(&node, name, address, BURST + 3)).collect();
        assert_eq!(counter(&node.http, "clicks")["total"], passed.iter().sum::<usize>());
        let took = start.elapsed();
        if took < Duration::from_secs(90) { Ok(passed) } else { Err(format!("{took:?}")) }
    })
}

#[test]
fn only_the_trusted_proxys_entry_counts() {
    let asked = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-For", "192.0.2.77, 192.0.2.3"),
        ("X-Forwarded-For", "192.0.2.88, 192.0.2.3"),
        // The proxy itself, because it named no client.
        ("Fly-Client-IP", "192.0.2.4"),
        ("Fly-Client-IP", "192.0.2.5"),
        ("X-Real-IP", "192.0.2.6"),
    ];
    // The peer of this test is on loopback, which is limited since a rate is given.
    assert_eq!(
        went_through(&[SLOW[0], SLOW[1], "--trust-proxy"], &asked),
        [BURST, BURST, 0, BURST, 0, 0]
    );
}

#[test]
fn client_header_is_believed_alone() {
    let asked = [
        ("Fly-Client-IP", "192.0.2.1"),
        ("Fly-Client-IP", "192.0.2.1"),
        ("Fly-Client-IP", "192.0.2.2"),
        ("X-Forwarded-For", "192.0.2.3"),
        ("X-Forwarded-For", "192.0.2.4"),
    ];
    assert_eq!(
        went_through(&[SLOW[0], SLOW[1], "--client-ip-header", "Fly-Client-IP"], &asked),
        [BURST, 0, BURST, BURST, 0]
    );
}

#[test]
fn untrusted_proxy_headers_are_ignored() {
    let asked = [
        ("Fly-Client-IP", "192.0.2.1"),
        ("Fly-Client-IP", "192.0.2.2"),
        ("X-Forwarded-For", "192.0.2.3"),
    ];
    assert_eq!(went_through(&SLOW, &asked), [BURST, 0, 0]);
}

/// Opens a socket for a client behind a proxy. Returns the status if it is refused.
async fn socket_for(node: &Node, address: &str) -> Result<TestSocket, u16> {
    let mut request = format!("ws://{}/ws", node.http).into_client_request().unwrap();
    request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(TestSocket(socket)),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_proxy_counts_sockets_by_client() {
    let node = node(&["--connections-per-address", "2", "--trust-proxy"]);
    let (Ok(mut first), Ok(_second)) =
        (socket_for(&node, "192.0.2.1").await, socket_for(&node, "192.0.2.1").await)
    else {
        panic!("a client may have two");
    };
    assert_eq!(socket_for(&node, "192.0.2.1").await.err(), Some(429));
    assert!(socket_for(&node, "192.0.2.2").await.is_ok(), "another client behind the same proxy");
    first.0.close(None).await.unwrap();
    while first.hear().await.is_some() {}
    let deadline = Instant::now() + Duration::from_secs(20);
    while socket_for(&node, "192.0.2.1").await.is_err() {
        assert!(Instant::now() < deadline, "a closed socket gives its place back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends `bytes`, and waits until the server ends the connection. Returns its output and the time.
fn until_cut(http: &str, said: &[u8]) -> (String, Duration) {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(said).unwrap();
    let (start, mut heard) = (Instant::now(), Vec::new());
    // It may be reset or closed. The time tells our own timeout apart.
    let _cut = stream.read_to_end(&mut heard);
    (String::from_utf8_lossy(&heard).into_owned(), start.elapsed())
}

#[test]
fn slow_senders_are_cut_off_and_delay_nobody() {
    let node = node(&[]);
    let whole = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", node.http);
    let half_body =
        format!("POST {ADD} HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\n{{\"am", node.http);
    let dawdlers: Vec<_> = [
        ("half a head", "GET / HTTP/1.1\r\nHos"),
        ("nothing more", &whole),
        ("half a body", &half_body),
    ]
    .map(|(what, said)| {
        let (http, said) = (node.http.clone(), said.as_bytes().to_vec());
        (what, std::thread::spawn(move || until_cut(&http, &said)))
    })
    .into();
    let half_heads: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = connect(&node.http);
            stream.write_all(b"GET / HTTP/1.1\r\nHos").unwrap();
            stream
        })
        .collect();
    assert_eq!(get(&node.http, "/healthz").status, 200, "200 half requests hold nobody up");
    for (what, dawdler) in dawdlers {
        let (said, after) = dawdler.join().unwrap();
        assert!(after < Duration::from_secs(50), "{what} was not cut off");
        assert!(after > Duration::from_secs(5), "{what} was cut off after {after:?} with {said:?}");
        assert_eq!(said.starts_with("HTTP/1.1 200"), what == "nothing more", "{what}: {said}");
    }
    drop(half_heads);
    assert_eq!(get(&node.http, "/healthz").status, 200);
}

/// A client whose buffers fill until nothing more can be sent.
#[test]
fn client_that_never_reads_is_cut_off() {
    let node = node(&[]);
    let mut stream = TcpStream::connect(&node.http).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let page = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", node.http);
    let start = Instant::now();
    let cut = loop {
        assert!(start.elapsed() < Duration::from_secs(90), "it holds its place");
        match stream.write(page.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => break error,
        }
    };
    println!("cut off after {:?}: {cut}", start.elapsed());
    assert!(start.elapsed() > Duration::from_secs(20), "not before its time: {cut}");
    assert_eq!(get(&node.http, "/healthz").status, 200);
}

/// The median time from a click to its change on the same socket.
async fn click_time(reader: &mut TestSocket, from: i64, clicks: i64) -> Duration {
    let mut times = Vec::new();
    for total in from + 1..=from + clicks {
        let start = Instant::now();
        reader.say(&format!("{{\"type\":\"add\",\"amount\":1,\"id\":\"reader:{total}\"}}")).await;
        while reader.hear().await.expect("an open socket")["total"]
            .as_i64()
            .is_none_or(|shown| shown < total)
        {}
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_clients_slow_nobody() {
    let node = node(&[]);
    let mut reader = TestSocket::open(&node.http).await;
    let alone = click_time(&mut reader, 0, 300).await;
    let mut deaf = Vec::new();
    for _ in 0..100 {
        deaf.push(TestSocket::open(&node.http).await);
    }
    let beside = click_time(&mut reader, 300, 1_500).await;
    println!("a click shows after {alone:?} alone, after {beside:?} beside 100 that never read");
    assert!(
        beside < alone * 5 + Duration::from_millis(20),
        "{beside:?} beside 100 that never read, {alone:?} alone"
    );
    let late = &mut deaf[0];
    while late.hear().await.expect("an open socket")["total"] != 1_800 {}
    assert_eq!(counter(&node.http, "clicks")["total"], 1_800);
    eventually("all are viewers still", Duration::from_secs(10), || {
        let connected = counter(&node.http, "clicks")["regions"]["ord"]["connected"].clone();
        if connected == 101 { Ok(()) } else { Err(connected.to_string()) }
    });
}

/// A page is one viewer over all of its streams. It stays one when another stream is refused.
#[test]
fn refused_stream_takes_no_viewer_away() {
    let node = node_with(&["--trust-proxy", "--connections-per-address", "1"]);
    let open = || {
        let mut stream = connect(&node.http);
        let head = "GET /api/counters/clicks/events?page=a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8_lossy(&status).into_owned())
    };
    let viewers = || counter(&node.http, "clicks")["regions"]["ord"]["connected"].clone();
    let (_held, first) = open();
    assert!(first.ends_with("200") && viewers() == 1, "{first}");
    let (_refused, second) = open();
    assert!(second.ends_with("429"), "{second}");
    assert_eq!(viewers(), 1);
}

/// A page sends OPTIONS to learn why its socket does not open. That must have no effect.
#[test]
fn options_request_takes_no_connection_slot() {
    let node = node_with(&["--trust-proxy", "--connections-per-address", "1"]);
    for _ in 0..20 {
        assert_eq!(
            request(&node.http, "OPTIONS", "/ws?counter=clicks", &[STRANGER], "").status,
            204
        );
    }
    assert_eq!(counter(&node.http, "clicks")["regions"]["ord"]["connected"], 0);
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let head = request(&node.http, "HEAD", "/ws", &upgrade, "");
    assert_eq!(head.status, 405, "a handshake is a GET");
}
