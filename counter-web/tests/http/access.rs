//! The rights of strangers, pages of other sites, local callers and tokens, on the real binary.

use std::process::Stdio;
use std::time::Duration;

use crate::support::callers::{
    OPERATOR, SERVICE, STRANGER, bearer, node_with, node_with_tokens, post_json_as,
};
use crate::support::eventually;
use crate::support::http::{HttpAnswer, counter, get, post_json, raw, request};
use crate::support::process::{Node, Runtime, cluster, command, refused};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const ADD: &str = "/api/counters/clicks/add";
const ONE: &str = "{\"amount\":1}";

fn add_as(node: &Node, name: &str, headers: &[(&str, &str)]) -> HttpAnswer {
    post_json_as(node, &format!("/api/counters/{name}/add"), headers, ONE)
}

/// The same with a Host of the test's choice.
fn add_to_host(node: &Node, name: &str, version: &str, host: &str) -> HttpAnswer {
    let head = format!(
        "POST /api/counters/{name}/add HTTP/{version}\r\nHost: {host}\r\nConnection: close\r\n"
    );
    raw(&node.http, format!("{head}Content-Length: {}\r\n\r\n{ONE}", ONE.len()).as_bytes()).unwrap()
}

fn header<'a>(answer: &'a HttpAnswer, name: &str) -> Option<&'a str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_create_only_listed_names() {
    let node = node_with(&["--create", "likes:*, visits"]);
    for name in ["clicks", "visits", "likes:1", "likes%3A2"] {
        assert_eq!(add_as(&node, name, &[STRANGER]).status, 200, "{name}");
    }
    for name in ["others", "visits2", "like", "caf%C3%A9"] {
        assert_eq!(
            add_as(&node, name, &[STRANGER]).error(),
            (403, "name_not_allowed".into()),
            "{name}"
        );
        assert_eq!(
            request(&node.http, "GET", &format!("/c/{name}"), &[STRANGER], "").error(),
            (404, "not_found".into())
        );
        assert_eq!(counter(&node.http, name)["total"], 0, "reading makes nothing");
        assert_eq!(add_as(&node, name, &[STRANGER]).error().0, 403);
    }
    // On a socket the refusal names the add.
    let mut asked = format!("ws://{}/ws?counter=others", node.http).into_client_request().unwrap();
    asked.headers_mut().insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
    let mut socket =
        crate::support::ws::TestSocket(tokio_tungstenite::connect_async(asked).await.unwrap().0);
    socket.say("{\"type\":\"add\",\"amount\":1,\"id\":\"a:1\"}").await;
    let refused = socket.hear_of("error").await;
    assert!(refused["id"] == "a:1" && refused["error"] == "name_not_allowed", "{refused}");
    // A form is refused by a page.
    let form = request(&node.http, "POST", "/c/others", &[STRANGER], "amount=1");
    assert!(
        form.status == 403 && header(&form, "content-type").unwrap().starts_with("text/html"),
        "{}",
        form.head
    );
    // Anybody may add to a counter that exists.
    assert_eq!(add_as(&node, "others", &[]).status, 200);
    assert_eq!(add_as(&node, "others", &[STRANGER]).status, 200);
    assert_eq!(request(&node.http, "GET", "/c/others", &[STRANGER], "").status, 200);
    assert_eq!(counter(&node.http, "others")["total"], 2);
}

#[test]
fn rebound_names_get_no_local_rights() {
    let node = node_with(&[]);
    let port = node.http.rsplit(':').next().unwrap();
    for host in [&node.http, &format!("localhost:{port}")] {
        assert_eq!(add_to_host(&node, &format!("by-{host}"), "1.1", host).status, 200, "{host}");
    }
    for (version, host) in [
        ("1.1", "evil.example"),
        ("1.1", "127.0.0.1.evil.example"),
        ("1.0", &node.http),
        ("1.1", "192.0.2.1"),
    ] {
        assert_eq!(
            add_to_host(&node, "others", version, host).error(),
            (403, "name_not_allowed".into()),
            "{version} {host}"
        );
        assert_eq!(add_to_host(&node, "clicks", version, host).status, 200, "{version} {host}");
    }
    for header in [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "Fly-Client-IP",
        "CF-Connecting-IP",
    ] {
        assert_eq!(add_as(&node, "others", &[(header, "127.0.0.1")]).error().0, 403, "{header}");
    }
    // This node's page on this machine is local. A rebound page is not.
    let own = format!("http://{}", node.http);
    assert_eq!(add_as(&node, "by-the-page", &[("Origin", &own)]).status, 200);
    let rebound = format!(
        "POST /api/counters/others/add HTTP/1.1\r\nHost: evil.example:{port}\r\nOrigin: \
            http://evil.example:{port}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{ONE}",
        ONE.len()
    );
    assert_eq!(raw(&node.http, rebound.as_bytes()).unwrap().error().0, 403);
}

/// A proxy that adds no header is a process of another user, like nginx's workers.
#[test]
fn other_users_get_no_local_rights() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can be another user");
        return;
    }
    if std::process::Command::new("curl").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED: no curl on this machine");
        return;
    }
    let node = node_with(&[]);
    let url = |name: &str| format!("http://{}/api/counters/{name}/add", node.http);
    let status = |user: &[&str], name: &str| {
        let mut command = std::process::Command::new(user[0]);
        command.args(&user[1..]).args([
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-d",
            ONE,
        ]);
        let said =
            command.args(["-H", "Content-Type: application/json", &url(name)]).output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    };
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    assert_eq!(status(&nobody, "others"), "403");
    assert_eq!(status(&nobody, "clicks"), "200");
    assert_eq!(status(&["env"], "others"), "200");
}

#[test]
fn tokens_give_their_rights() {
    let (runtime, service, operator) = (Runtime::new(), bearer(SERVICE), bearer(OPERATOR));
    let node =
        node_with_tokens(&runtime, &["--rate", "0.001", "--allow-origin", "https://b.example"]);
    let with = |token: &'static str| [STRANGER, ("Authorization", token)];
    let (service_headers, operator_headers) =
        ([STRANGER, ("Authorization", &*service)], [STRANGER, ("Authorization", &*operator)]);
    // A service may use any name, and has no rate: more adds than the burst of 1,000.
    for _ in 0..1_050 {
        assert_eq!(add_as(&node, "made", &service_headers).status, 200);
    }
    assert_eq!(add_as(&node, "made-too", &operator_headers).status, 200);
    for unknown in ["Bearer service-token-of-the-tesT", "Bearer nothing"] {
        let refused = add_as(&node, "made", &with(unknown));
        assert_eq!(refused.error(), (401, "unauthorized".into()), "{unknown}");
        assert_eq!(header(&refused, "www-authenticate"), Some("Bearer"));
    }
    assert_eq!(
        add_as(&node, "clicks", &with("Basic dXNlcjpwYXNz")).status,
        200,
        "a password of the proxy's"
    );
    // Reset is the operator's.
    let reset = |headers: &[(&str, &str)]| {
        request(&node.http, "POST", "/api/counters/made/reset", headers, "")
    };
    for (headers, error) in [
        (&[][..], (401, "unauthorized")),
        (&[STRANGER], (401, "unauthorized")),
        (&with("Bearer nothing"), (401, "unauthorized")),
        (&service_headers, (403, "forbidden")),
        (&[("Authorization", &*operator), ("Origin", "https://b.example")], (400, "wrong_origin")),
        (
            &[("Authorization", &*operator), ("Origin", "https://evil.example")],
            (400, "wrong_origin"),
        ),
    ] {
        assert_eq!(reset(headers).error(), (error.0, error.1.to_owned()), "{headers:?}");
    }
    assert_eq!(counter(&node.http, "made")["total"], 1_050);
    assert_eq!(reset(&operator_headers).json()["total"], 0);
    assert_eq!(counter(&node.http, "made")["total"], 0);
    // Neither token works from a page of another site.
    for token in [&*service, &*operator] {
        let headers = [STRANGER, ("Authorization", token), ("Origin", "https://b.example")];
        assert_eq!(add_as(&node, "by-cors", &headers).error(), (403, "name_not_allowed".into()));
    }
    assert_eq!(counter(&node.http, "by-cors")["total"], 0);
}

#[test]
fn node_without_tokens_leaves_the_header_to_others() {
    let node = node_with(&[]);
    assert_eq!(add_as(&node, "clicks", &[("Authorization", "Bearer of-the-proxy")]).status, 200);
    let reset = request(
        &node.http,
        "POST",
        "/api/counters/clicks/reset",
        &[("Authorization", "Bearer of-the-proxy")],
        "",
    );
    assert_eq!(reset.error(), (403, "forbidden".into()));
    assert!(reset.body.contains("--operator-token-file"), "{}", reset.body);
}

#[test]
fn tokens_are_shown_nowhere() {
    let runtime = Runtime::new();
    let (log, file) = (runtime.path().join("log"), runtime.path().join("token"));
    std::fs::write(&file, format!("{SERVICE}\n")).unwrap();
    let mut command = command(&runtime);
    command
        .args([
            "--cluster",
            &cluster(),
            "--discover",
            "none",
            "--http",
            "127.0.0.1:0",
            "--service-token-file",
        ])
        .arg(&file);
    command
        .env("COUNTER_OPERATOR_TOKEN", OPERATOR)
        .env("RUST_LOG", "trace")
        .stderr(std::fs::File::create(&log).unwrap());
    let node = Node::spawn(command);
    for token in [SERVICE, OPERATOR, "unknown-token-of-a-stranger"] {
        add_as(&node, "made", &[("Authorization", &bearer(token))]);
        request(
            &node.http,
            "POST",
            "/api/counters/made/reset",
            &[("Authorization", &bearer(token))],
            "",
        );
    }
    let shown = [
        std::fs::read_to_string(format!("/proc/{}/cmdline", node.id())).unwrap(),
        get(&node.http, "/metrics").body,
        get(&node.http, "/api/status").body,
        std::fs::read_to_string(&log).unwrap(),
    ];
    assert!(shown[3].len() > 1_000, "{}", shown[3]);
    for text in &shown {
        for token in [SERVICE, OPERATOR, "unknown-token"] {
            assert!(!text.contains(token), "{token} in {text}");
        }
    }
}

#[test]
fn untrusted_proxy_is_warned_of_once() {
    let runtime = Runtime::new();
    let log = runtime.path().join("log");
    let mut command = command(&runtime);
    command.args(["--cluster", &cluster(), "--discover", "none", "--http", "127.0.0.1:0"]);
    command.env_remove("RUST_LOG").stderr(std::fs::File::create(&log).unwrap());
    let node = Node::spawn(command);
    for _ in 0..3 {
        assert_eq!(add_as(&node, "clicks", &[STRANGER]).status, 200);
    }
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(said.matches("X-Forwarded-For and is not trusted").count(), 1, "{said}");
}

#[test]
fn bad_tokens_are_refused_at_the_start() {
    for (variables, hint) in [
        (vec![("COUNTER_SERVICE_TOKEN", "")], "COUNTER_SERVICE_TOKEN: the token is empty"),
        (vec![("COUNTER_OPERATOR_TOKEN", " ")], "COUNTER_OPERATOR_TOKEN: the token is empty"),
        (vec![("COUNTER_OPERATOR_TOKEN", "secret-of-me")], "12 bytes"),
        (vec![("COUNTER_SERVICE_TOKEN_FILE", "")], "--service-token-file"),
        (vec![("COUNTER_SERVICE_TOKEN_FILE", "/nonexistent/token")], "/nonexistent/token"),
        (vec![("COUNTER_ALLOW_ORIGIN", "example.com")], "such as https://example.com"),
        (vec![("COUNTER_CREATE", "a*b")], "clicks,likes:*"),
    ] {
        let (code, said) = refused(&Runtime::new(), &variables, &[]);
        assert!(
            code == Some(2) && said.contains(hint) && !said.contains("secret-of-me"),
            "{variables:?}: {code:?} {said}"
        );
    }
}

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
            header(&allowed, "access-control-allow-origin"),
            Some("https://b.example"),
            "{path}"
        );
        assert_eq!(header(&allowed, "access-control-expose-headers"), Some("Counter-Token"));
        assert_eq!(header(&allowed, "vary"), Some("Origin"));
        assert_eq!(header(&allowed, "cross-origin-resource-policy"), Some("cross-origin"));
        assert_eq!(header(&allowed, "access-control-allow-credentials"), None);
        let other = as_site(method, path, "https://evil.example", ONE);
        assert_eq!(other.error(), (400, "wrong_origin".into()), "{path}");
        assert_eq!(header(&other, "access-control-allow-origin"), None);
    }
    // A refusal can be read by the site's script too.
    let bad = as_site("POST", ADD, "https://b.example", "{}");
    assert_eq!(
        (bad.status, header(&bad, "access-control-allow-origin")),
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
        assert_eq!(header(&allowed, "access-control-allow-origin"), Some("https://b.example"));
        assert_eq!(header(&allowed, "access-control-allow-methods"), Some("GET, POST"));
        assert_eq!(
            header(&allowed, "access-control-allow-headers"),
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
        assert_eq!(header(&refused, "access-control-allow-origin"), None, "{path}");
    }
    assert_eq!(
        preflight("/api/status", "https://b.example").error(),
        (405, "method_not_allowed".into())
    );
    assert_eq!(header(&get(&node.http, "/"), "cross-origin-resource-policy"), Some("same-origin"));
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
            "POST {ADD} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Type: \
                application/json\r\n"
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
        assert!(header(&module, "content-type").unwrap().starts_with("text/javascript"));
        assert_eq!(header(&module, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&module, "cache-control"), Some("no-cache"));
        let tag = header(&module, "etag").expect("a tag");
        let again = request(&node.http, "GET", &format!("/{name}"), &[("If-None-Match", tag)], "");
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
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
                header(&refused, "content-type").unwrap().starts_with("text/html"),
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
        assert_eq!((answer.status, header(&answer, "location")), (303, Some(location)), "{path}");
    }
    // At the limit of connections.
    let full = eventually("the limit is reached", Duration::from_secs(10), || {
        let _held = crate::support::http::connect(&node.http);
        std::thread::sleep(Duration::from_millis(100));
        let answer = request(&node.http, "GET", "/", &[browser], "");
        if answer.status == 429 { Ok(answer) } else { Err(answer.head) }
    });
    assert!(full.body.contains("too many connections") && full.body.contains("<"), "{}", full.body);
    let _held = crate::support::http::connect(&node.http);
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
    assert_eq!(add_as(&node, ENCODED, &[]).status, 200);
    assert_eq!(counter(&node.http, ENCODED)["name"], NAME);
    let badge = get(&node.http, &format!("/badge/{ENCODED}.svg"));
    assert!(badge.status == 200 && badge.body.matches("<svg").count() == 1, "{}", badge.body);
    assert!(header(&badge, "content-security-policy").unwrap().contains("sandbox"));
    assert_eq!(header(&badge, "cross-origin-resource-policy"), Some("cross-origin"));
    let mut events = crate::support::http::Events::open(&node.http, ENCODED);
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

/// A page is one viewer over all of its streams. It stays one when another stream is refused.
#[test]
fn refused_stream_takes_no_viewer_away() {
    let node = node_with(&["--trust-proxy", "--connections-per-address", "1"]);
    let open = || {
        let mut stream = crate::support::http::connect(&node.http);
        let head = "GET /api/counters/clicks/events?page=a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: \
            192.0.2.7\r\n\r\n";
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        let mut status = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut status).unwrap();
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

#[test]
fn unknown_fields_are_named() {
    let node = node_with(&[]);
    let refused = post_json(&node.http, ADD, "{\"amount\":1,\"ammount\":2}");
    assert_eq!(refused.error(), (400, "bad_json".into()));
    assert!(refused.body.contains("unknown field `ammount`"), "{}", refused.body);
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
