//! Bad input of every kind. It gets a clear error or is cut off. Nothing is lost and nothing
//! panics.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::callers::node_with;
use crate::support::eventually;
use crate::support::http::{Events, add, connect, counter, get, post_json, raw, request};
use crate::support::process::{Node, Runtime, cluster, command, run};
use crate::support::ws::TestSocket;
use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{Bytes, Message};

const ADD: &str = "/api/counters/clicks/add";

/// A node with a total of 5, which must be the same at the end.
fn node() -> Node {
    let node = Node::start(&cluster(), "ord", &[]);
    add(&node.http, 5);
    node
}

fn unharmed(mut node: Node) {
    assert!(node.is_running());
    assert_eq!(counter(&node.http, "clicks")["total"], 5);
    assert!(node.terminate().success());
}

#[test]
fn bad_arguments_exit_with_2_and_say_what_to_write() {
    for (args, said) in [
        (&["--unknown"][..], "--unknown"),
        (&["--region", "Bad Region!"], "region"),
        (&["--listen", "nonsense"], "/ip4/"),
        (&["--peer", "nonsense"], "/ip4/"),
        (&["--http", "localhost"], "127.0.0.1:4000"),
        (&["--discover", "magic"], "none"),
        (&["--counter", ""], "counter"),
        (&["--listen", "/ip4/0.0.0.0/tcp/0", "--http", "127.0.0.1:0"], "COUNTER_CLUSTER_KEY"),
        (&["demo", "--regions", "ord,Bad!"], "region"),
    ] {
        let (code, stderr) = run(args);
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?} should speak of {said}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn taken_port_exits_with_1_and_one_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stderr) = run(&["--http", &address, "--discover", "none"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&address) && stderr.contains("--http"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn bad_adds_are_refused_in_one_shape() {
    let node = node();
    for body in [
        "",
        "nonsense",
        "{}",
        "[]",
        "[7]",
        "{\"amount\":0}",
        "{\"amount\":1.5}",
        "{\"amount\":\"1\"}",
        "{\"amount\":null}",
        "{\"amount\":1000001}",
    ] {
        assert_eq!(post_json(&node.http, ADD, body).error().0, 400, "{body}");
    }
    let huge = format!("{{\"amount\":1{}}}", "0".repeat(30));
    assert_eq!(post_json(&node.http, ADD, &huge).error(), (400, "bad_amount".into()));
    assert_eq!(
        post_json(&node.http, ADD, &format!("{{\"amount\":1,\"x\":\"{}\"}}", "y".repeat(1 << 20)))
            .error()
            .0,
        413
    );
    assert_eq!(
        request(&node.http, "POST", ADD, &[("Content-Type", "text/plain")], "{\"amount\":1}")
            .error()
            .0,
        415
    );
    assert_eq!(
        request(&node.http, "POST", ADD, &[("Origin", "http://evil.example")], "{\"amount\":1}")
            .error()
            .0,
        400
    );
    assert_eq!(
        request(&node.http, "POST", "/", &[("Accept", "application/json")], "amount=0").error().0,
        400
    );
    assert_eq!(
        request(&node.http, "POST", ADD, &[("Idempotency-Key", &"x".repeat(65))], "{\"amount\":1}")
            .error()
            .0,
        400
    );
    unharmed(node);
}

#[test]
fn errors_differ_by_cause() {
    let node = node();
    assert_eq!(get(&node.http, "/nothing").error().0, 404);
    assert_eq!(request(&node.http, "DELETE", "/", &[], "").error().0, 405);
    assert_eq!(request(&node.http, "PUT", ADD, &[], "").error().0, 405);
    for name in ["%", "%zz", "%FF", "a%00b", &"x".repeat(129)] {
        assert_eq!(get(&node.http, &format!("/api/counters/{name}")).error().0, 400, "{name}");
    }
    assert_eq!(get(&node.http, "/api/counters/%0A/events").error().0, 400);
    assert_eq!(
        post_json(&node.http, "/api/counters//add", "{\"amount\":1}").error().0,
        404,
        "an empty name is no address"
    );
    assert_eq!(post_json(&node.http, "/api/counters/a%00b/add", "{\"amount\":1}").error().0, 400);
    assert_eq!(counter(&node.http, "caf%C3%A9")["name"], "café");
    unharmed(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_other_sites_are_refused() {
    let node = node();
    let own = format!("http://{}", node.http);
    assert!(TestSocket::ask(&node.http, "/ws", Some(&own)).await.is_ok());
    for foreign in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(
            TestSocket::ask(&node.http, "/ws", Some(foreign)).await.err(),
            Some(400),
            "{foreign}"
        );
    }
    for counter in ["", "%0A", "%zz", &"x".repeat(129)] {
        assert_eq!(
            TestSocket::ask(&node.http, &format!("/ws?counter={counter}"), None).await.err(),
            Some(400),
            "{counter}"
        );
    }
    unharmed(node);
}

/// RFC 6455, 4.2 and 4.4.
#[test]
fn handshakes_are_checked() {
    const CONNECTION: &str = "Connection: close, Upgrade\r\n";
    const UPGRADE: &str = "Upgrade: WebSocket\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let node = node();
    let ask = |headers: [&str; 4]| {
        let head = format!("GET /ws HTTP/1.1\r\nHost: x\r\n{}\r\n", headers.concat());
        raw(&node.http, head.as_bytes()).unwrap()
    };
    for version in ["8", "12", "14", "x"] {
        let version = format!("Sec-WebSocket-Version: {version}\r\n");
        let refused = ask([CONNECTION, UPGRADE, &version, KEY]);
        assert_eq!(refused.error(), (426, "not_a_websocket".into()), "{version}");
        let head = refused.head.to_ascii_lowercase();
        assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    }
    const CLOSE: &str = "Connection: close\r\n";
    for headers in [
        [CLOSE, "", "", ""],
        [CLOSE, UPGRADE, VERSION, KEY],
        [CONNECTION, "", VERSION, KEY],
        [CONNECTION, UPGRADE, VERSION, ""],
        [CONNECTION, UPGRADE, VERSION, "Sec-WebSocket-Key: abc\r\n"],
        [CONNECTION, UPGRADE, VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n"],
    ] {
        assert_eq!(ask(headers).error(), (400, "not_a_websocket".into()), "{headers:?}");
    }
    unharmed(node);
}

/// True if the socket is closed, and not by a timeout.
async fn is_cut(message: Message, node: &Node) -> bool {
    let mut socket = TestSocket::open(&node.http).await;
    socket.hear_of("state").await;
    // The server may cut before all is sent.
    let _sent = socket.0.send(message).await;
    let ended = async {
        loop {
            match socket.0.next().await {
                None | Some(Err(_) | Ok(Message::Close(_))) => return true,
                Some(Ok(_)) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_close_the_socket() {
    let node = node();
    assert!(is_cut(Message::text("x".repeat(1 << 20)), &node).await);
    assert!(is_cut(Message::Binary(Bytes::from_static(b"\xff\xfe")), &node).await);
    assert!(is_cut(invalid_text(), &node).await);
    unharmed(node);
}

/// A text frame that is not UTF-8, built by hand because the library refuses to.
fn invalid_text() -> Message {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    Message::Frame(Frame::message(
        Bytes::from_static(b"\xff\xfe\xfd"),
        OpCode::Data(Data::Text),
        true,
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_keep_the_socket_open() {
    let node = node();
    let mut socket = TestSocket::open(&node.http).await;
    socket.say("nonsense").await;
    assert!(socket.hear_of("error").await["message"].is_string());
    for (message, id) in [
        ("{\"type\":\"add\",\"amount\":0,\"id\":\"a:1\"}", Some("a:1")),
        ("{\"type\":\"add\",\"amount\":1e30,\"id\":\"a:2\"}", Some("a:2")),
        ("{\"type\":\"add\",\"amount\":1}", None),
    ] {
        socket.say(message).await;
        assert_eq!(socket.hear_of("error").await["id"].as_str(), id, "{message}");
    }
    socket.say("{\"type\":\"ping\",\"t\":12.5}").await;
    assert_eq!(socket.hear_of("pong").await["t"], 12.5);
    drop(socket);
    unharmed(node);
}

#[test]
fn random_bytes_on_either_port_harm_nobody() {
    let node = node();
    let gossip = node.gossip.split('/').collect::<Vec<_>>();
    let gossip = format!("{}:{}", gossip[2], gossip[4]);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..40 {
        let noise: Vec<u8> = (0..1000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as u8
            })
            .collect();
        let port = if round % 2 == 0 { &gossip } else { &node.http };
        let mut stream = TcpStream::connect(port).unwrap();
        // The far end may have cut us off already.
        let _sent = stream.write_all(&noise);
    }
    assert_eq!(raw(&node.http, b"\x00\x01\x02\r\n\r\n").map_or(400, |answer| answer.status), 400);
    unharmed(node);
}

#[test]
fn half_sent_request_does_not_delay_the_stop() {
    let node = node();
    let mut half = connect(&node.http);
    half.write_all(
        b"POST /api/counters/clicks/add HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"am",
    )
    .unwrap();
    let mut header = connect(&node.http);
    header.write_all(b"GET / HTTP/1.1\r\nHos").unwrap();
    unharmed(node);
    let mut rest = Vec::new();
    // It is cut off, with or without an answer.
    let _cut = half.read_to_end(&mut rest);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_node_sends_close_frames() {
    let node = node();
    let mut socket = TestSocket::open(&node.http).await;
    socket.hear_of("state").await;
    let ended = std::thread::spawn(move || node.terminate());
    let close = loop {
        match tokio::time::timeout(Duration::from_secs(5), socket.0.next()).await.unwrap() {
            Some(Ok(Message::Close(Some(close)))) => break close,
            Some(Ok(_)) => {}
            other => panic!("ended without a Close frame: {other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 1001);
    assert!(!close.reason.is_empty());
    assert!(ended.join().unwrap().success());
}

#[test]
fn unknown_fields_are_named() {
    let node = node_with(&[]);
    let refused = post_json(&node.http, ADD, "{\"amount\":1,\"ammount\":2}");
    assert_eq!(refused.error(), (400, "bad_json".into()));
    assert!(refused.body.contains("unknown field `ammount`"), "{}", refused.body);
    assert_eq!(counter(&node.http, "clicks")["total"], 0);
}

#[test]
fn people_get_errors_as_pages() {
    let node = node_with(&["--connections-per-address", "1"]);
    let browser = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    let form = |path: &str, headers: &[(&str, &str)], body: &str| {
        request(&node.http, "POST", path, headers, body)
    };
    for (path, body, status) in [
        ("/", "amount=0", 400),
        ("/", "", 400),
        ("/c/clicks", "amount=x", 400),
        ("/partition", "cut=1", 404),
    ] {
        for headers in [&[][..], &[browser]] {
            let refused = form(path, headers, body);
            assert_eq!(refused.status, status, "{path}");
            assert!(
                refused.header("content-type").unwrap().starts_with("text/html"),
                "{path}: {}",
                refused.head
            );
        }
    }
    let unknown = request(&node.http, "GET", "/nothing/here", &[browser], "");
    assert!(unknown.status == 404 && unknown.body.contains("href=\"../\""), "{}", unknown.body);
    assert_eq!(get(&node.http, "/nothing/here").error(), (404, "not_found".into()));
    // Relative addresses would lead elsewhere there.
    for path in ["/c/clicks/", "/api/counters/clicks/", "/api/status/"] {
        assert_eq!(get(&node.http, path).error(), (404, "not_found".into()), "{path}");
    }
    assert_eq!(form("/c/clicks/", &[], "amount=1").status, 404);
    // The link leads back to the form's page, wherever a proxy has it.
    for (path, location) in
        [("/", "./"), ("/c/clicks", "./clicks"), ("/c/a%2Fb", "./a%2Fb"), ("/c/a:b", "./a:b")]
    {
        let answer = form(path, &[], "amount=1");
        assert_eq!((answer.status, answer.header("location")), (303, Some(location)), "{path}");
    }
    // At the limit of connections.
    let full = eventually("the limit is reached", Duration::from_secs(10), || {
        let _held = connect(&node.http);
        std::thread::sleep(Duration::from_millis(100));
        let answer = request(&node.http, "GET", "/", &[browser], "");
        if answer.status == 429 { Ok(answer) } else { Err(answer.head) }
    });
    assert!(full.body.contains("too many connections") && full.body.contains("<"), "{}", full.body);
    let _held = connect(&node.http);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(get(&node.http, "/healthz").status, 200, "this process runs");
}

/// A name that looks like markup, wherever it is shown. The page in a browser has its own test.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_markup_are_text() {
    const NAME: &str = "\"><svg onload=alert(1)></script>{{state}}\u{202e}";
    const ENCODED: &str =
        "%22%3E%3Csvg%20onload=alert(1)%3E%3C%2Fscript%3E%7B%7Bstate%7D%7D%E2%80%AE";
    let runtime = Runtime::new();
    let log = runtime.path().join("log");
    let mut command = command(&runtime);
    command.args(["--cluster", &cluster(), "--discover", "none", "--http", "127.0.0.1:0"]);
    command.env("RUST_LOG", "trace").stderr(std::fs::File::create(&log).unwrap());
    let node = Node::spawn(command);
    assert_eq!(
        post_json(&node.http, &format!("/api/counters/{ENCODED}/add"), "{\"amount\":1}").status,
        200
    );
    assert_eq!(counter(&node.http, ENCODED)["name"], NAME);
    let badge = get(&node.http, &format!("/badge/{ENCODED}.svg"));
    assert!(badge.status == 200 && badge.body.matches("<svg").count() == 1, "{}", badge.body);
    assert!(badge.header("content-security-policy").unwrap().contains("sandbox"));
    assert_eq!(badge.header("cross-origin-resource-policy"), Some("cross-origin"));
    let mut events = Events::open(&node.http, ENCODED);
    assert_eq!(events.hear().unwrap()["counter"], NAME);
    let page = get(&node.http, &format!("/c/{ENCODED}"));
    assert!(
        page.status == 200
            && !page.body.contains("<svg onload")
            && !page.body.contains("alert(1)></script>"),
        "{}",
        page.body
    );
    for accept in ["text/plain", "application/openmetrics-text; version=1.0.0"] {
        let metrics = request(&node.http, "GET", "/metrics", &[("Accept", accept)], "");
        assert!(metrics.status == 200 && !metrics.body.contains("onload"), "{accept}");
    }
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(
        !log.contains('\u{202e}') && !log.contains("<svg onload"),
        "a name in the log is quoted and escaped"
    );
}
