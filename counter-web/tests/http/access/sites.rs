//! What pages of other sites may do.

use super::{ONE, add_as};
use crate::support::callers::node_with;
use crate::support::http::{get, raw, request};
use crate::support::process::{Node, cluster};

const ADD: &str = "/api/counters/clicks/add";

#[test]
fn listed_sites_use_the_named_addresses_alone() {
    let node = node_with(&["--allow-origin", "https://b.example", "--allow-partition"]);
    add_as(&node, "clicks", &[]);
    let as_site = |method: &str, path: &str, origin: &str, body: &str| {
        request(
            &node.http,
            method,
            path,
            &[("Origin", origin), ("Content-Type", "application/json")],
            body,
        )
    };
    for (method, path) in [("GET", "/api/counters/clicks"), ("POST", ADD)] {
        let allowed = as_site(method, path, "https://b.example", ONE);
        assert_eq!(allowed.status, 200, "{path}: {}", allowed.body);
        assert_eq!(
            allowed.header("access-control-allow-origin"),
            Some("https://b.example"),
            "{path}"
        );
        assert_eq!(allowed.header("access-control-expose-headers"), Some("Counter-Token"));
        assert_eq!(allowed.header("vary"), Some("Origin"));
        assert_eq!(allowed.header("cross-origin-resource-policy"), Some("cross-origin"));
        assert_eq!(allowed.header("access-control-allow-credentials"), None);
        let other = as_site(method, path, "https://evil.example", ONE);
        assert_eq!(other.error(), (400, "wrong_origin".into()), "{path}");
        assert_eq!(other.header("access-control-allow-origin"), None);
    }
    // A refusal can be read by the site's script too.
    let bad = as_site("POST", ADD, "https://b.example", "{}");
    assert_eq!(
        (bad.status, bad.header("access-control-allow-origin")),
        (400, Some("https://b.example"))
    );
    // Preflights.
    let preflight = |path: &str, origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type,idempotency-key,counter-token"),
        ];
        request(&node.http, "OPTIONS", path, &headers, "")
    };
    for path in [ADD, "/api/counters/clicks", "/api/counters/clicks/events"] {
        let allowed = preflight(path, "https://b.example");
        assert_eq!(allowed.status, 204, "{path}");
        assert_eq!(allowed.header("access-control-allow-origin"), Some("https://b.example"));
        assert_eq!(allowed.header("access-control-allow-methods"), Some("GET, POST"));
        assert_eq!(
            allowed.header("access-control-allow-headers"),
            Some("Content-Type, Idempotency-Key, Counter-Token")
        );
        assert_eq!(preflight(path, "https://evil.example").error(), (400, "wrong_origin".into()));
    }
    // Everything else stays this node's own.
    for (method, path) in [
        ("GET", "/api/status"),
        ("GET", "/metrics"),
        ("GET", "/api/openapi.json"),
        ("GET", "/readyz"),
        ("POST", "/partition"),
        ("POST", "/api/counters/clicks/reset"),
    ] {
        let headers = [("Origin", "https://b.example"), ("Accept", "application/json")];
        let refused = request(
            &node.http,
            method,
            path,
            &headers,
            if path == "/partition" { "cut=1" } else { "" },
        );
        assert_eq!(refused.error(), (400, "wrong_origin".into()), "{path}");
        assert_eq!(refused.header("access-control-allow-origin"), None, "{path}");
    }
    assert_eq!(
        preflight("/api/status", "https://b.example").error(),
        (405, "method_not_allowed".into())
    );
    assert_eq!(get(&node.http, "/").header("cross-origin-resource-policy"), Some("same-origin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_events_of_listed_sites_open() {
    let node = node_with(&["--allow-origin", "*"]);
    for origin in ["https://anything.example", "null"] {
        assert!(
            crate::support::ws::TestSocket::ask(&node.http, "/ws", Some(origin)).await.is_ok(),
            "{origin}"
        );
    }
    let head = format!(
        "GET /api/counters/clicks/events HTTP/1.1\r\nHost: {}\r\nOrigin: https://b.example\r\n\r\n",
        node.http
    );
    let mut stream = crate::support::http::connect(&node.http);
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    let mut answer = [0; 2_048];
    let read = std::io::Read::read(&mut stream, &mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).to_ascii_lowercase();
    for line in ["http/1.1 200", "access-control-allow-origin: *", "x-accel-buffering: no"] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
}

#[test]
fn origin_errors_say_what_to_set() {
    let ask = |node: &Node, headers: &str| {
        let head = format!(
            "POST {ADD} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Type: application/json\r\n"
        );
        raw(&node.http, format!("{head}Content-Length: {}\r\n\r\n{ONE}", ONE.len()).as_bytes())
            .unwrap()
    };
    let (plain, trusting) = (node_with(&[]), node_with(&["--trust-proxy"]));
    // nginx by default.
    let by_default = "Host: counter_upstream\r\nOrigin: https://a.example\r\n";
    let refused = ask(&plain, by_default);
    assert_eq!(refused.error(), (400, "wrong_origin".into()));
    for part in [
        "https://a.example",
        "counter_upstream",
        "--allow-origin https://a.example",
        "X-Forwarded-Host",
        "proxy_set_header Host",
    ] {
        assert!(refused.body.contains(part), "{part}: {}", refused.body);
    }
    assert_eq!(ask(&node_with(&["--allow-origin", "https://a.example"]), by_default).status, 200);
    // The default port, written or not.
    assert_eq!(ask(&plain, "Host: a.example:443\r\nOrigin: https://a.example\r\n").status, 200);
    assert_eq!(ask(&plain, "Host: a.example\r\nOrigin: http://a.example:80\r\n").status, 200);
    assert_eq!(ask(&plain, "Host: a.example:80\r\nOrigin: https://a.example\r\n").error().0, 400);
    let forwarded =
        "Host: counter_upstream\r\nX-Forwarded-Host: a.example\r\nOrigin: https://a.example\r\n";
    assert_eq!(ask(&plain, forwarded).error().0, 400);
    assert_eq!(ask(&trusting, forwarded).status, 200);
}

#[test]
fn any_site_may_load_the_client_library() {
    let node = Node::start(&cluster(), "ord", &[]);
    for name in ["counter-client.js", "live-counter.js"] {
        let module = get(&node.http, &format!("/{name}"));
        assert_eq!(module.status, 200, "{}", module.body);
        assert!(
            module.body.contains("import") || module.body.contains("export"),
            "{}",
            module.body
        );
        assert!(module.header("content-type").unwrap().starts_with("text/javascript"));
        assert_eq!(module.header("access-control-allow-origin"), Some("*"));
        assert_eq!(module.header("cache-control"), Some("no-cache"));
        let tag = module.header("etag").expect("a tag");
        let again = request(&node.http, "GET", &format!("/{name}"), &[("If-None-Match", tag)], "");
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
}
