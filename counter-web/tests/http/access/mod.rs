//! The rights of strangers, pages of other sites, local callers and tokens, on the real binary.

mod rights;
mod sites;

use crate::support::callers::post_json_as;
use crate::support::http::{HttpAnswer, raw};
use crate::support::process::Node;

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
