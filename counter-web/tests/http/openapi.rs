//! The OpenAPI document against the real server. Every operation exists, and answers and refuses as
//! documented. None is missing.

use std::collections::BTreeSet;

use crate::support::http::{Events, HttpAnswer, get, request};
use crate::support::process::{Node, cluster};
use serde_json::Value;

fn node() -> Node {
    Node::start_with(&cluster(), "ord", &[], &["--http", "127.0.0.1:0", "--allow-partition"])
}

fn document(node: &Node) -> Value {
    let answer = get(&node.http, "/api/openapi.json");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Follows `$ref` to its end.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolved(
            document,
            document
                .pointer(&reference[1..])
                .unwrap_or_else(|| panic!("{reference} leads nowhere")),
        ),
        None => schema,
    }
}

/// The violations of the schema in `value`. Knows the part of JSON Schema that the document uses.
fn misfits(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = resolved(document, schema);
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the test does not know the type {other}"),
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.into_iter().any(is) {
        found.push(format!("{at} is {value}, and should be of type {}", schema["type"]));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        found.push(format!("{at} is {value}, and none of {choices:?}"));
    }
    if let Some(least) = schema["minimum"].as_i64()
        && value.as_i64().is_some_and(|value| value < least)
    {
        found.push(format!("{at} is {value}, below {least}"));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fitting = choices.iter().filter(|choice| {
            let mut inner = Vec::new();
            misfits(document, choice, value, at, &mut inner);
            inner.is_empty()
        });
        if fitting.count() != 1 {
            found.push(format!("{at} is {value}, and fits not one of {choices:?}"));
        }
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(required).is_none() {
            found.push(format!("{at} has no {required}: {value}"));
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let known = &schema["properties"][name];
        if known.is_object() {
            misfits(document, known, inner, &format!("{at}.{name}"), found);
        } else if schema["additionalProperties"].is_object() {
            misfits(
                document,
                &schema["additionalProperties"],
                inner,
                &format!("{at}.{name}"),
                found,
            );
        } else if schema["properties"].is_object() {
            found.push(format!("{at}.{name} is not in the document"));
        }
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        misfits(document, &schema["items"], inner, &format!("{at}[{index}]"), found);
    }
}

/// Fails if the operation does not document this status, type or body.
fn check(document: &Value, operation: &Value, what: &str, answer: &HttpAnswer) {
    let said = &operation["responses"][answer.status.to_string()];
    assert!(said.is_object(), "{what}: {} is not in the document: {}", answer.status, answer.body);
    for (media, content) in said["content"].as_object().into_iter().flatten() {
        let head = answer.head.to_ascii_lowercase();
        assert!(
            head.contains(&format!("content-type: {media}")),
            "{what}: not of type {media}: {head}"
        );
        if media == "application/json" {
            let mut found = Vec::new();
            misfits(document, &content["schema"], &answer.json(), "body", &mut found);
            assert!(found.is_empty(), "{what}: {found:#?}");
        }
    }
    let headers = said["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, header)| header["required"] != false);
    for header in headers.map(|(name, _)| name.to_ascii_lowercase()) {
        assert!(
            answer.head.to_ascii_lowercase().contains(&format!("\r\n{header}: ")),
            "{what}: no {header}"
        );
    }
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            all.push((path.clone(), method.to_ascii_uppercase(), operation.clone()));
        }
    }
    all
}

#[test]
fn operations_answer_as_documented() {
    let node = node();
    let document = document(&node);
    let names = ["clicks", "caf%C3%A9", "%00", "%zz", "%FF", &"x".repeat(129), "a%2Fb"];
    let json = [
        "{\"amount\":1}",
        "{\"amount\":0}",
        "{\"amount\":1e999}",
        "{\"amount\":\"1\"}",
        "{\"amount\":1,\"limit\":5,\"window_s\":60}",
        "[]",
        "",
        "nonsense",
        "{\"amount\":-1000001}",
        "{\"adds\":[{\"counter\":\"clicks\",\"amount\":1,\"id\":\"a:1\"},{\"counter\":\"b\",\"amount\":2}]}",
        "{\"adds\":[{\"counter\":\"clicks\",\"amount\":1},{\"counter\":\"b\",\"amount\":0}]}",
    ];
    let forms =
        ["amount=1", "cut=1", "cut=0", "amount=x", "", "amount=%F", "cut=2", "amount=1&cut=0"];
    let headers: [&[(&str, &str)]; 7] = [
        &[],
        &[("Counter-Token", "")],
        &[("Counter-Token", "nonsense")],
        &[("Idempotency-Key", "a:1")],
        &[("Idempotency-Key", "é")],
        &[("Origin", "http://evil.example")],
        &[("Content-Type", "text/plain")],
    ];
    let mut asked = 0;
    for (path, method, operation) in
        operations(&document).iter().filter(|(path, ..)| !path.ends_with("/events"))
    {
        let bodies: &[&str] = match &operation["requestBody"]["content"] {
            content if content["application/json"].is_object() => &json,
            Value::Null => &[""],
            _ => &forms,
        };
        for name in if path.contains('{') { &names[..] } else { &names[..1] } {
            for (body, headers) in
                bodies.iter().flat_map(|body| headers.iter().map(move |headers| (body, headers)))
            {
                let path = path.replace("{name}", name);
                check(
                    &document,
                    operation,
                    &format!("{method} {path} {headers:?} {body:?}"),
                    &request(&node.http, method, &path, headers, body),
                );
                asked += 1;
            }
        }
        if bodies.len() > 1 {
            let long = request(
                &node.http,
                method,
                &path.replace("{name}", "x"),
                &[],
                &"x".repeat(600_000),
            );
            check(&document, operation, "a long body", &long);
            assert_eq!(long.status, 413);
        }
    }
    let lists = &document["paths"]["/api/counters"]["get"];
    for query in ["", "?limit=1", "?order=total", "?prefix=c&after=clicks", "?limit=0", "?order=x"]
    {
        let answer = get(&node.http, &format!("/api/counters{query}"));
        check(&document, lists, query, &answer);
        assert_eq!(answer.status == 400, query.contains("=0") || query.contains("=x"), "{query}");
    }
    assert!(asked > 300, "{asked}");
    let events = &document["paths"]["/api/counters/{name}/events"]["get"];
    check(&document, events, "events of no counter", &get(&node.http, "/api/counters/%0A/events"));
    assert_eq!(Events::open(&node.http, "clicks").hear().unwrap()["type"], "state");
}

/// The messages of a real socket against their schemas.
#[tokio::test(flavor = "multi_thread")]
async fn socket_messages_are_as_the_document_says() {
    let directory = crate::support::process::Runtime::new();
    let node = Node::start_with(
        &cluster(),
        "ord",
        &[],
        &["--http", "127.0.0.1:0", "--data-dir", directory.path().join("data").to_str().unwrap()],
    );
    let document = document(&node);
    let schema =
        |name: &str| document.pointer(&format!("/components/schemas/{name}")).unwrap().clone();
    let (said, heard) = (schema("ClientMessage"), schema("ServerMessage"));
    let mut socket = crate::support::ws::TestSocket::open(&node.http).await;
    let mut kinds = BTreeSet::new();
    for (text, is_good) in [
        ("{\"type\":\"add\",\"amount\":2,\"id\":\"a:1\"}", true),
        ("{\"type\":\"watch\",\"counters\":[\"b\",\"none\"]}", true),
        ("{\"type\":\"watch\",\"counters\":\"b\"}", false),
        ("{\"type\":\"watch\",\"counters\":[\"\"]}", false),
        ("{\"type\":\"ping\",\"t\":1.5}", true),
        ("{\"type\":\"add\",\"amount\":0,\"id\":\"a:2\"}", false),
        ("{\"type\":\"add\",\"amount\":1,\"id\":\"a:3\",\"more\":1}", false),
        ("{\"type\":\"add\",\"amount\":2,\"id\":\"a:1\"}", true),
        (
            "{\"type\":\"adds\",\"adds\":[{\"amount\":2,\"id\":\"a:4\"},{\"counter\":\"b\",\"amount\":1,\"id\":\"a:5\"}]}",
            true,
        ),
        (
            "{\"type\":\"adds\",\"adds\":[{\"amount\":2,\"id\":\"a:6\"},{\"amount\":0,\"id\":\"a:7\"}]}",
            false,
        ),
    ] {
        let mut found = Vec::new();
        misfits(&document, &said, &serde_json::from_str(text).unwrap(), "said", &mut found);
        assert!(!is_good || found.is_empty(), "{text}: {found:#?}");
        socket.say(text).await;
    }
    let fits = |message: &Value| {
        let mut found = Vec::new();
        misfits(&document, &heard, message, "heard", &mut found);
        assert!(found.is_empty(), "{message}: {found:#?}");
    };
    // The last message is a refused batch, so everything was heard by then, but for late acks.
    let (mut last, mut acks) = (false, 0);
    while kinds.len() < 6 || !last || acks < 4 {
        let message = socket.hear().await.expect("all six kinds of messages");
        fits(&message);
        last |= message["index"] == 1;
        acks += u32::from(message["type"] == "ack");
        kinds.insert(message["type"].as_str().unwrap().to_owned());
    }
    socket.say(r#"{"type":"adds","adds":[{"counter":"b","amount":1,"id":"a:8"}]}"#).await;
    loop {
        let message = socket.hear().await.expect("a change of the watched counter");
        fits(&message);
        if message["type"] == "change" && message["counter"] == "b" && message["total"] == 2 {
            break;
        }
    }
}

#[test]
fn undocumented_methods_and_paths_are_refused() {
    let node = node();
    let all = operations(&document(&node));
    let paths: BTreeSet<&str> = all.iter().map(|(path, ..)| path.as_str()).collect();
    for path in &paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let named = all.iter().any(|(known, has, _)| known == path && has == method);
            if !named {
                let answer =
                    request(&node.http, method, &path.replace("{name}", "clicks"), &[], "");
                assert_eq!(answer.error(), (405, "method_not_allowed".into()), "{method} {path}");
                assert!(
                    answer.head.to_ascii_lowercase().contains("\r\nallow: "),
                    "{method} {path}"
                );
            }
        }
        // Behind the list of counters, every name is a counter's address.
        if paths.contains(format!("{path}/{{name}}").as_str()) {
            continue;
        }
        let beyond = request(
            &node.http,
            "GET",
            &format!("{}/beyond", path.replace("{name}", "clicks").trim_end_matches('/')),
            &[],
            "",
        );
        assert_eq!(beyond.error(), (404, "not_found".into()), "{path}");
    }
    // The addresses of this crate's README are in the document too.
    for path in [
        "/",
        "/c/{name}",
        "/ws",
        "/partition",
        "/api/counters",
        "/api/counters/{name}",
        "/api/counters/{name}/add",
        "/api/adds",
        "/api/limits/{name}/check",
        "/api/status",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(paths.contains(path), "{path}");
    }
}
