//! What strangers, local callers and tokens may do.

use std::process::Stdio;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{ONE, add_as, add_to_host};
use crate::support::callers::{OPERATOR, SERVICE, STRANGER, bearer, node_with, node_with_tokens};
use crate::support::http::{counter, get, raw, request};
use crate::support::process::{Node, Runtime, cluster, command, refused};

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
        form.status == 403 && form.header("content-type").unwrap().starts_with("text/html"),
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
        "POST /api/counters/others/add HTTP/1.1\r\nHost: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\nConnection: close\r\n\
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
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
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
