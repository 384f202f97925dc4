//! Helpers for the tests of the page: nodes, pages, input, and the numbers shown.

use serde_json::json;

use crate::support::browser::{Browser, Tab};
use crate::support::http::counter;
use crate::support::process::{Node, cluster};
use crate::support::{PATIENCE, eventually};

pub(crate) const TOTAL: &str = "document.getElementById('total').textContent";
pub(crate) const LIVE: &str = "document.getElementById('status').textContent.trim()";

pub(crate) fn two() -> (Node, Node) {
    let cluster = cluster();
    let ord = Node::start(&cluster, "ord", &[]);
    let fra = Node::start(&cluster, "fra", &[&ord]);
    (ord, fra)
}

pub(crate) fn url(node: &Node) -> String {
    format!("http://{}/", node.http)
}

pub(crate) fn total_is(node: &Node, total: i64) {
    http_total_is(&node.http, total);
}

pub(crate) fn http_total_is(http: &str, total: i64) {
    eventually("the node shows the total", PATIENCE, || {
        match counter(http, "clicks")["total"].clone() {
            seen if seen == total => Ok(()),
            seen => Err(seen.to_string()),
        }
    });
}

pub(crate) async fn live_page(browser: &mut Browser, node: &Node) -> Tab {
    let tab = browser.tab().await;
    browser.open(&tab, &url(node)).await;
    browser.until(&tab, LIVE, "live").await;
    tab
}

/// A real click of the mouse on the element of this id.
pub(crate) async fn click(browser: &mut Browser, tab: &Tab, id: &str) {
    let at = browser.middle(tab, &format!("#{id}")).await;
    browser.press(tab, at).await;
}

/// Gives the tab a size and a colour scheme.
pub(crate) async fn set_look(
    browser: &mut Browser,
    tab: &Tab,
    (width, height): (u32, u32),
    scheme: &str,
) {
    let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
    browser.command(tab, "Emulation.setDeviceMetricsOverride", size).await;
    let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    browser.command(tab, "Emulation.setEmulatedMedia", features).await;
}

/// Saves a screenshot for the README, if COUNTER_SCREENS names a directory.
pub(crate) async fn keep_picture(browser: &mut Browser, tab: &Tab, name: &str) {
    if let Ok(directory) = std::env::var("COUNTER_SCREENS") {
        browser.picture(tab, &format!("{directory}/{name}.png")).await;
    }
}
