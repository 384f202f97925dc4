//! Batches over HTTP and on a socket, on the real binary: all or nothing, bounded, and only for
//! those who may.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::callers::{
    OPERATOR, SERVICE, STRANGER, bearer, node_with, node_with_tokens, post_json_as,
};
use crate::support::http::{HttpAnswer, connect, counter, get, metric};
use crate::support::process::{Node, Runtime};
use crate::support::ws::TestSocket;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

fn send(node: &Node, headers: &[(&str, &str)], body: &str) -> HttpAnswer {
    post_json_as(node, "/api/adds", headers, body)
}

fn send_adds(node: &Node, headers: &[(&str, &str)], adds: &[Value]) -> HttpAnswer {
    send(node, headers, &json!({ "adds": adds }).to_string())
}

/// Adds of 1 to the page's counter, with the ids of this client.
fn clicks(client: &str, count: usize) -> Vec<Value> {
    let id = |number| format!("{client}:{number}");
    (1..=count).map(|number| json!({"counter": "clicks", "amount": 1, "id": id(number)})).collect()
}

/// A refusal's status and code, and the index that it names.
fn refusal(answer: &HttpAnswer) -> (u16, String, Option<u64>) {
    let (status, code) = answer.error();
    (status, code, answer.json()["index"].as_u64())
}

#[test]
fn results_come_in_order_and_name_repeats() {
    let node = node_with(&[]);
    let adds = [
        json!({"counter": "clicks", "amount": 5}),
        json!({"counter": "café/a", "amount": -3, "id": "order:1"}),
        json!({"counter": "clicks", "amount": 2, "id": "any 17"}),
        json!({"counter": "clicks", "amount": 9, "id": "order:1"}),
    ];
    let answer = send_adds(&node, &[], &adds);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let results = answer.json()["results"].clone();
    let generated = results[0]["id"].as_str().unwrap().to_owned();
    let result = |counter: &str, total: i64, id: &str, outcome: &str| json!({"counter": counter, "total": total, "value": total, "id": id, "outcome": outcome});
    let expected = [
        result("clicks", 7, &generated, "applied"),
        result("café/a", -3, "order:1", "applied"),
        result("clicks", 7, "any 17", "applied"),
        result("clicks", 7, "order:1", "repeated"),
    ];
    assert_eq!(results, json!(expected));
    // A generated id adds nothing at any node, and shifts no index.
    let again = [
        json!({"counter": "clicks", "amount": 1, "id": generated}),
        json!({"counter": "clicks", "amount": 1}),
    ];
    let results = send_adds(&node, &[], &again).json()["results"].clone();
    assert_eq!(results[0], result("clicks", 8, &generated, "repeated"));
    assert_eq!((&results[1]["total"], &results[1]["outcome"]), (&json!(8), &json!("applied")));
    assert_eq!(send_adds(&node, &[], &[]).json(), json!({"results": []}));
    assert_eq!(metric(&node.http, "counter_adds_total"), Some(4.0));
}

#[test]
fn a_thousand_adds_are_the_most() {
    let node = node_with(&[]);
    let answer = send_adds(&node, &[], &clicks("a", 1_000));
    assert_eq!(answer.json()["results"][999]["total"], 1_000);
    let more = send_adds(&node, &[], &clicks("b", 1_001));
    assert_eq!(refusal(&more), (413, "too_large".into(), Some(1_000)));
    assert_eq!(counter(&node.http, "clicks")["total"], 1_000);
    // A full batch of the longest names and ids fits.
    let longest: Vec<Value> = (0..1_000)
        .map(|number| {
            let (name, id) = (format!("{number:x>128}"), format!("{number:y>64}"));
            json!({"counter": name, "amount": -1_000_000, "id": id})
        })
        .collect();
    assert_eq!(send_adds(&node, &[], &longest).status, 200);
    let long = send(&node, &[], &" ".repeat(600 * 1024));
    assert_eq!(refusal(&long), (413, "too_large".into(), None));
}

#[test]
fn first_bad_add_is_named_and_nothing_is_added() {
    let node = node_with(&["--counters-max", "3"]);
    assert_eq!(send_adds(&node, &[], &clicks("a", 1)).status, 200);
    let good = json!({"counter": "clicks", "amount": 1});
    let (long_name, long_id) = ("n".repeat(129), "i".repeat(65));
    for (bad, status, code) in [
        (json!({"counter": "clicks", "amount": 0}), 400, "bad_amount"),
        (json!({"counter": "clicks", "amount": 1_000_001}), 400, "bad_amount"),
        (json!({"counter": "clicks", "amount": 1.5}), 400, "bad_amount"),
        (json!({"counter": "clicks", "amount": "1"}), 400, "bad_amount"),
        (json!({"counter": "clicks"}), 400, "bad_amount"),
        (json!({"amount": 1}), 400, "bad_name"),
        (json!({"counter": "", "amount": 1}), 400, "bad_name"),
        (json!({"counter": "a\nb", "amount": 1}), 400, "bad_name"),
        (json!({"counter": long_name, "amount": 1}), 400, "bad_name"),
        (json!({"counter": "clicks", "amount": 1, "id": ""}), 400, "bad_id"),
        (json!({"counter": "clicks", "amount": 1, "id": long_id}), 400, "bad_id"),
        (json!({"counter": "clicks", "amount": 1, "id": 7}), 400, "bad_json"),
        (json!({"counter": "clicks", "amount": 1, "more": 1}), 400, "bad_json"),
        (json!(["clicks", 1, "a:1"]), 400, "bad_json"),
        (json!(7), 400, "bad_json"),
        (json!({"counter": "fourth", "amount": 1}), 503, "counter_full"),
    ] {
        let new = json!({"counter": "second", "amount": 1, "id": "a:2"});
        let newer = json!({"counter": "third", "amount": 1});
        let answer = send_adds(&node, &[], &[good.clone(), new, newer, bad.clone()]);
        assert_eq!(refusal(&answer), (status, code.to_owned(), Some(3)), "{bad}");
    }
    for bad in ["[]", "", "nonsense", "{\"adds\":1}", "{}", "{\"adds\":[],\"more\":1}"] {
        assert_eq!(refusal(&send(&node, &[], bad)), (400, "bad_json".into(), None), "{bad}");
    }
    assert_eq!(counter(&node.http, "clicks")["total"], 1);
    assert_eq!(metric(&node.http, "counter_counters"), Some(1.0), "no counter was created");
    assert_eq!(metric(&node.http, "counter_adds_total"), Some(1.0));
}

#[test]
fn only_services_and_local_callers_may_batch() {
    let one = clicks("a", 1);
    let plain = node_with(&[]);
    assert_eq!(send_adds(&plain, &[], &one).status, 200, "a local caller");
    assert_eq!(refusal(&send_adds(&plain, &[STRANGER], &one)), (403, "forbidden".into(), None));
    let page = ("Origin", "http://evil.example");
    assert_eq!(refusal(&send_adds(&plain, &[page], &one)), (400, "wrong_origin".into(), None));

    let runtime = Runtime::new();
    let node = node_with_tokens(&runtime, &["--allow-origin", "http://friend.example"]);
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(refusal(&send_adds(&node, &[STRANGER], &one)), (401, "unauthorized".into(), None));
    for headers in [&[][..], &[STRANGER]] {
        let wrong = bearer("another-token-of-no-use");
        let headers = [headers, &[("Authorization", wrong.as_str())]].concat();
        assert_eq!(refusal(&send_adds(&node, &headers, &one)).0, 401);
    }
    let friend = ("Origin", "http://friend.example");
    for token in [SERVICE, OPERATOR] {
        let token = bearer(token);
        let authorization = ("Authorization", token.as_str());
        assert_eq!(send_adds(&node, &[STRANGER, authorization], &one).status, 200);
        let by_page = send_adds(&node, &[friend, authorization], &one);
        assert_eq!(refusal(&by_page), (400, "wrong_origin".into(), None), "never by way of CORS");
    }
    assert_eq!(counter(&node.http, "clicks")["total"], 1);
    let get = get(&node.http, "/api/adds");
    assert_eq!(get.error(), (405, "method_not_allowed".into()));
}

#[test]
fn each_add_counts_against_the_rate() {
    let runtime = Runtime::new();
    let node = node_with_tokens(&runtime, &["--rate", "0.001"]);
    assert_eq!(send_adds(&node, &[], &clicks("a", 600)).status, 200, "a local caller");
    let refused = send_adds(&node, &[], &clicks("b", 401));
    assert_eq!(refusal(&refused), (429, "rate_limited".into(), Some(400)));
    assert!(refused.head.to_ascii_lowercase().contains("retry-after: "), "{}", refused.head);
    assert_eq!(send_adds(&node, &[], &clicks("b", 400)).status, 200, "a refusal takes nothing");
    assert_eq!(refusal(&send_adds(&node, &[], &clicks("c", 1))).0, 429);
    let token = bearer(SERVICE);
    for client in ["d", "e"] {
        let by_service = send_adds(&node, &[("Authorization", &token)], &clicks(client, 1_000));
        assert_eq!(by_service.status, 200, "services have no rate");
    }
    assert_eq!(counter(&node.http, "clicks")["total"], 3_000);
}

#[test]
fn batch_on_disk_is_one_commit() {
    let runtime = Runtime::new();
    let directory = runtime.path().join("data");
    let node = node_with(&["--discover", "none", "--data-dir", directory.to_str().unwrap()]);
    let commits = || metric(&node.http, "counter_store_commits_total").unwrap();
    assert_eq!(send_adds(&node, &[], &clicks("a", 1)).status, 200);
    let before = commits();
    assert_eq!(send_adds(&node, &[], &clicks("b", 1_000)).status, 200);
    assert!((commits() - before - 1.0).abs() < 0.5, "{} commits", commits() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_acknowledges_each_add_of_a_batch() {
    let runtime = Runtime::new();
    let directory = runtime.path().join("data");
    for flags in [&[][..], &["--data-dir", directory.to_str().unwrap()]] {
        let node = node_with(flags);
        let mut socket = TestSocket::open(&node.http).await;
        assert_eq!(socket.hear().await.unwrap()["type"], "state");
        let mut adds = vec![json!({"amount": 5, "id": "a:1"})];
        adds.push(json!({"counter": "others", "amount": 1, "id": "a:2"}));
        adds.push(json!({"counter": "clicks", "amount": 2, "id": "a:3"}));
        adds.push(json!({"amount": 5, "id": "a:1"}));
        socket.say(&json!({"type": "adds", "adds": adds}).to_string()).await;
        let (mut applied, mut acks) = (Vec::new(), Vec::new());
        while acks.len() < 4 {
            let message = socket.hear().await.unwrap();
            let answered = (message["id"].clone(), message["repeated"].clone());
            match message["type"].as_str().unwrap() {
                "applied" => applied.push(answered),
                "ack" => acks.push(answered),
                "change" if message["total"] == 7 => {
                    let answered = if flags.is_empty() { acks.len() } else { applied.len() };
                    assert!(answered >= 3, "a change before the replies to its adds");
                }
                other => panic!("{other}: {message}"),
            }
        }
        let expected = [("a:1", false), ("a:2", false), ("a:3", false), ("a:1", true)];
        let expected = expected.map(|(id, repeated)| (json!(id), json!(repeated)));
        assert_eq!(acks, expected);
        assert_eq!(applied, if flags.is_empty() { &[] } else { &expected[..3] });
        assert_eq!(counter(&node.http, "others")["total"], 1);

        // An empty batch has no reply.
        socket.say("{\"type\":\"adds\",\"adds\":[]}").await;
        socket.say("{\"type\":\"ping\",\"t\":1}").await;
        assert_eq!(socket.hear_of("pong").await["t"], 1);

        // A full batch of the client library's clicks fits, and one more does not.
        let batch = json!({"type": "adds", "adds": clicks("0123456789abcdef", 1_000)});
        socket.say(&batch.to_string()).await;
        for number in 1..=1_000 {
            assert_eq!(socket.hear_of("ack").await["id"], format!("0123456789abcdef:{number}"));
        }
        let over: Vec<Value> =
            (0..1_001).map(|n| json!({"amount": 1, "id": n.to_string()})).collect();
        socket.say(&json!({"type": "adds", "adds": over}).to_string()).await;
        let refused = socket.hear_of("error").await;
        assert_eq!((&refused["error"], &refused["id"]), (&json!("too_large"), &json!("1000")));
        assert_eq!(counter(&node.http, "clicks")["total"], 1_007);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_batch_of_a_stranger_is_all_or_nothing() {
    let node = node_with(&["--rate", "0.001", "--create", "likes:*"]);
    let mut asked = format!("ws://{}/ws?counter=clicks", node.http).into_client_request().unwrap();
    asked.headers_mut().insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
    let mut socket = TestSocket(tokio_tungstenite::connect_async(asked).await.unwrap().0);
    for (bad, code) in [
        (json!({"counter": "others", "amount": 1, "id": "b:9"}), "name_not_allowed"),
        (json!({"amount": 0, "id": "b:9"}), "bad_amount"),
        (json!({"counter": "", "amount": 1, "id": "b:9"}), "bad_name"),
        (json!({"amount": 1, "id": "b:9", "more": 1}), "bad_message"),
    ] {
        let likes = json!({"counter": "likes:1", "amount": 1, "id": "b:1"});
        let batch = json!({"type": "adds", "adds": [likes, bad]});
        socket.say(&batch.to_string()).await;
        let refused = socket.hear_of("error").await;
        let named = (&refused["error"], &refused["id"], &refused["index"]);
        assert_eq!(named, (&json!(code), &json!("b:9"), &json!(1)));
    }
    socket.say("{\"type\":\"adds\",\"adds\":[{\"amount\":1,\"id\":\"b:1\"},{\"amount\":1}]}").await;
    let refused = socket.hear_of("error").await;
    assert_eq!((&refused["error"], &refused["index"]), (&json!("bad_id"), &json!(1)));
    socket.say(&json!({"type": "adds", "adds": clicks("c", 700)}).to_string()).await;
    for _ in 0..700 {
        socket.hear_of("ack").await;
    }
    socket.say(&json!({"type": "adds", "adds": clicks("d", 301)}).to_string()).await;
    let refused = socket.hear_of("error").await;
    assert_eq!((&refused["error"], &refused["id"]), (&json!("rate_limited"), &json!("d:301")));
    assert_eq!(counter(&node.http, "clicks")["total"], 700);
    assert_eq!(counter(&node.http, "likes:1")["total"], 0);
    assert_eq!(metric(&node.http, "counter_counters"), Some(1.0), "no counter was created");
}

/// Adds a second through `POST /api/adds`, over four connections. Run it in a release build:
/// `cargo test --release -p counter-web --test http -- --ignored --nocapture batch::rate`.
#[test]
#[ignore = "a measurement"]
fn rate_of_batches() {
    let time = Duration::from_secs(5);
    for (what, counters, has_ids) in
        [("one counter", 1, false), ("1,000 counters", 1_000, false), ("with ids", 1_000, true)]
    {
        let node = node_with(&["--discover", "none"]);
        let until = Instant::now() + time;
        let adder = |client: usize| {
            let http = node.http.clone();
            move || {
                let (mut stream, mut answer, mut adds) = (connect(&http), vec![0; 1 << 20], 0);
                let bodies: Vec<Value> = (0..1_000)
                    .map(|n| json!({"counter": format!("counter {}", n % counters), "amount": 1}))
                    .collect();
                let mut body = json!({ "adds": bodies }).to_string();
                while Instant::now() < until {
                    if has_ids {
                        let member = |n| {
                            let (number, counter) = (adds + n + 1, n % counters);
                            format!(
                                "{{\"counter\":\"counter \
                                    {counter}\",\"amount\":1,\"id\":\"client-{client}:{number}\"}}"
                            )
                        };
                        let members: Vec<String> = (0..1_000).map(member).collect();
                        body = format!("{{\"adds\":[{}]}}", members.join(","));
                    }
                    let head = format!("POST /api/adds HTTP/1.1\r\nHost: {http}\r\n");
                    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(request.as_bytes()).unwrap();
                    let mut read = 0;
                    loop {
                        read += stream.read(&mut answer[read..]).unwrap();
                        let text = &answer[..read];
                        let end = text.windows(4).take(1_000).position(|four| four == b"\r\n\r\n");
                        let Some(end) = end else { continue };
                        let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
                        assert!(head.starts_with("http/1.1 200"), "{head}");
                        let length = head.split("content-length: ").nth(1).unwrap();
                        let length: usize = length.lines().next().unwrap().parse().unwrap();
                        if read >= end + 4 + length {
                            break;
                        }
                    }
                    adds += 1_000;
                }
                adds
            }
        };
        let start = Instant::now();
        let adders: Vec<_> = (0..4).map(|client| std::thread::spawn(adder(client))).collect();
        let adds: usize = adders.into_iter().map(|adder| adder.join().unwrap()).sum();
        let rate = adds as f64 / start.elapsed().as_secs_f64();
        println!("{what}: {rate:.0} adds/s");
        assert_eq!(metric(&node.http, "counter_adds_total"), Some(adds as f64));
    }
}
