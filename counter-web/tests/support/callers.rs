//! Who calls a node: services and operators with their tokens, and strangers.

use super::http::{HttpAnswer, request};
use super::process::{Node, Runtime, cluster, command};

pub const SERVICE: &str = "service-token-of-the-test";
pub const OPERATOR: &str = "operator-token-of-the-test";

/// A proxy's header, which makes a request a stranger's.
pub const STRANGER: (&str, &str) = ("X-Forwarded-For", "192.0.2.7");

/// The header value that proves a token.
pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A node with these flags, at any port, ready.
pub fn node_with(flags: &[&str]) -> Node {
    let flags = [&["--http", "127.0.0.1:0"], flags].concat();
    let node = Node::start_with(&cluster(), "ord", &[], &flags);
    node.until_ready();
    node
}

/// A node with both tokens in variables, and with these flags.
pub fn node_with_tokens(runtime: &Runtime, flags: &[&str]) -> Node {
    let mut command = command(runtime);
    command
        .args(["--cluster", &cluster(), "--discover", "none", "--http", "127.0.0.1:0"])
        .args(flags);
    command.env("COUNTER_SERVICE_TOKEN", SERVICE).env("COUNTER_OPERATOR_TOKEN", OPERATOR);
    Node::spawn(command)
}

/// Sends JSON with these headers besides.
pub fn post_json_as(node: &Node, path: &str, headers: &[(&str, &str)], body: &str) -> HttpAnswer {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    request(&node.http, "POST", path, &headers, body)
}
