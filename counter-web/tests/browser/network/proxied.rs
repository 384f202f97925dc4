//! The page behind proxies: below a path, with another Host, and without WebSocket.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::page::*;
use crate::support::browser::{Browser, Tab};
use crate::support::http::{add, get};
use crate::support::process::{Node, cluster};
use crate::support::relay::{Canned, Relay, RelayRules};

const TROUBLE: &str = "document.getElementById('trouble').textContent";
/// The round trip time, which only a WebSocket measures.
const RTT: &str = "document.getElementById('rtt').textContent !== ''";

/// A refusal with a message that would do harm as HTML.
const REFUSAL: &str = r#"{"error":"wrong_origin","message":"your Origin is <b>outer.example</b>, and the Host is inner.example: set --trust-proxy"}"#;
const SENTENCE: &str =
    "your Origin is <b>outer.example</b>, and the Host is inner.example: set --trust-proxy";

fn node() -> Node {
    Node::start(&cluster(), "ord", &[])
}

async fn open(browser: &mut Browser, relay: &Relay, path: &str) -> Tab {
    let tab = browser.tab().await;
    browser.open(&tab, &format!("http://{}{path}", relay.address)).await;
    tab
}

#[tokio::test(flavor = "multi_thread")]
async fn page_works_below_a_path() {
    let Some(mut browser) = Browser::start("below").await else { return };
    let flags = ["--http", "127.0.0.1:0", "--allow-partition"];
    let node = Node::start_with(&cluster(), "ord", &[], &flags);
    let relay =
        Relay::to(&node.http, RelayRules { prefixes: &["/counter"], ..RelayRules::default() });
    let tab = open(&mut browser, &relay, "/counter/").await;
    browser.until(&tab, RTT, true).await;
    click(&mut browser, &tab, "plus").await;
    total_is(&node, 1);
    browser.until(&tab, TOTAL, "1").await;
    let form = "new URL(document.getElementById('clicks').action).pathname";
    browser.until(&tab, form, "/counter/").await;
    browser.eval(&tab, "document.querySelector('#switch button').click()").await;
    browser
        .until(&tab, "document.querySelector('#switch button').textContent", "Reconnect Chicago")
        .await;
    assert_eq!(get(&node.http, "/api/status").json()["isolated"], true);
    let outside = "performance.getEntriesByType('resource').map(entry => new URL(entry.name)) \
                   .filter(url => !url.pathname.startsWith('/counter/')).join()";
    assert_eq!(browser.eval(&tab, outside).await, "");
    let links =
        "[...document.querySelectorAll('a')].map(link => new URL(link.href).pathname).join()";
    assert_eq!(browser.eval(&tab, links).await, "/counter/api/openapi.json");
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_below_two_paths_share_no_clicks() {
    let Some(mut browser) = Browser::start("two-paths").await else { return };
    let node = node();
    let rules = RelayRules { prefixes: &["/a", "/b"], ..RelayRules::default() };
    let relay = Relay::to(&node.http, rules.clone());
    let tab = open(&mut browser, &relay, "/a/").await;
    browser.until(&tab, RTT, true).await;
    let gone = ["GET", "OPTIONS"].map(|method| Canned::bad_gateway(method, "/a/ws"));
    relay.set(RelayRules { answers: gone.to_vec(), ..rules.clone() });
    relay.cut();
    browser.until(&tab, RTT, false).await;
    for _ in 0..2 {
        click(&mut browser, &tab, "plus").await;
    }
    browser
        .until(
            &tab,
            "document.getElementById('status').textContent.includes('2 clicks waiting to send')",
            true,
        )
        .await;
    browser.open(&tab, &format!("http://{}/b/", relay.address)).await;
    browser.until(&tab, RTT, true).await;
    assert_eq!(browser.eval(&tab, TOTAL).await, "0");
    total_is(&node, 0);
    relay.set(rules);
    browser.open(&tab, &format!("http://{}/a/", relay.address)).await;
    browser.until(&tab, TOTAL, "2").await;
    total_is(&node, 2);
}

/// A proxy that passes no WebSocket, and refuses OPTIONS.
fn refusing() -> RelayRules {
    let answer = |method| Canned { method, path: "/ws", status: "400 Bad Request", body: REFUSAL };
    RelayRules { answers: ["GET", "OPTIONS"].map(answer).to_vec(), ..RelayRules::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_stays_on_the_page_while_it_holds() {
    let Some(mut browser) = Browser::start("refused").await else { return };
    let node = node();
    let relay = Relay::to(&node.http, refusing());
    let tab = open(&mut browser, &relay, "/").await;
    browser.until(&tab, LIVE, "Refused").await;
    browser.until(&tab, TROUBLE, SENTENCE).await;
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, LIVE, "Refused: 1 click waiting to send").await;
    assert_eq!(browser.eval(&tab, "document.querySelector('#trouble').children.length").await, 0);
    for (name, width, height) in [("refused-phone", 360, 780), ("refused-wide", 1440, 900)] {
        set_look(&mut browser, &tab, (width, height), "light").await;
        browser.until(&tab, "document.documentElement.scrollWidth <= innerWidth", true).await;
        browser.eval(&tab, "scrollTo(0, 0)").await;
        keep_picture(&mut browser, &tab, name).await;
    }
    tokio::time::sleep(Duration::from_millis(8_500)).await;
    assert_eq!(browser.eval(&tab, TROUBLE).await, SENTENCE);
    assert_eq!(browser.eval(&tab, LIVE).await, "Refused: 1 click waiting to send");
    total_is(&node, 0);
    relay.set(RelayRules::default());
    browser.until(&tab, LIVE, "live").await;
    browser.until(&tab, TROUBLE, "").await;
    browser.until(&tab, TOTAL, "1").await;
    total_is(&node, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_and_a_bad_gateway_are_no_refusals() {
    let Some(mut browser) = Browser::start("no-refusal").await else { return };
    let node = node();
    let relay = Relay::to(&node.http, RelayRules::default());
    let tab = open(&mut browser, &relay, "/").await;
    browser.until(&tab, RTT, true).await;
    let stopping = r#"{"error":"stopping","message":"this node is stopping"}"#;
    for (status, body) in [("503 Service Unavailable", stopping), ("504 Gateway Timeout", "<html>")]
    {
        let answer = |method| Canned { method, path: "/ws", status, body };
        relay.set(RelayRules {
            answers: ["GET", "OPTIONS"].map(answer).to_vec(),
            ..RelayRules::default()
        });
        relay.cut();
        let before = relay.asked("OPTIONS /ws");
        crate::support::eventually("the page asks why", crate::support::PATIENCE, || {
            if relay.asked("OPTIONS /ws") > before { Ok(()) } else { Err("it did not".to_owned()) }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        browser.until(&tab, LIVE, "Chicago isn't responding").await;
        assert_eq!(browser.eval(&tab, TROUBLE).await, "", "{status}");
        relay.set(RelayRules::default());
        browser.until(&tab, RTT, true).await;
    }
    assert_eq!(relay.asked("GET /api/counters/clicks/events"), 0);
}

/// The node itself detects the wrong Origin, although the browser sends none with a GET.
#[tokio::test(flavor = "multi_thread")]
async fn page_shows_the_wrong_origin_error() {
    let Some(mut browser) = Browser::start("wrong-origin").await else { return };
    let node = node();
    let relay =
        Relay::to(&node.http, RelayRules { host: Some("inner.example"), ..RelayRules::default() });
    let tab = open(&mut browser, &relay, "/").await;
    browser.until(&tab, LIVE, "Refused").await;
    browser.until(&tab, &format!("{TROUBLE}.includes('Origin')"), true).await;
    relay.set(RelayRules::default());
    browser.until(&tab, RTT, true).await;
    browser.until(&tab, TROUBLE, "").await;
}

fn without_upgrade() -> RelayRules {
    RelayRules { no_upgrade: true, ..RelayRules::default() }
}

const POST: &str = "POST /api/counters/clicks/add";

#[tokio::test(flavor = "multi_thread")]
async fn page_works_without_websocket() {
    let Some(mut browser) = Browser::start("events").await else { return };
    let node = node();
    let relay = Relay::to(&node.http, without_upgrade());
    let tab = open(&mut browser, &relay, "/").await;
    browser.until(&tab, "document.readyState", "complete").await;
    add(&node.http, 5);
    browser.until(&tab, TOTAL, "5").await;
    browser.until(&tab, LIVE, "live").await;
    browser
        .eval(&tab, "for (let i = 0; i < 200; i++) document.getElementById('plus').click()")
        .await;
    browser.until(&tab, TOTAL, "205").await;
    total_is(&node, 205);
    browser.until(&tab, "Object.values(localStorage).join()", "").await;
    assert_eq!(browser.eval(&tab, RTT).await, false);
    assert_eq!((relay.asked("GET /ws"), relay.asked("OPTIONS /ws"), relay.asked(POST)), (2, 2, 1));
    // Where events break, the WebSocket is tried first.
    relay.set(RelayRules::default());
    relay.cut();
    browser.until(&tab, RTT, true).await;
    click(&mut browser, &tab, "plus").await;
    total_is(&node, 206);
    assert_eq!(relay.asked(POST), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn post_errors_are_retried_dropped_or_shown() {
    let Some(mut browser) = Browser::start("posts").await else { return };
    let node = node();
    let relay = Relay::to(&node.http, without_upgrade());
    let tab = open(&mut browser, &relay, "/").await;
    browser.until(&tab, "document.getElementById('status').dataset.state", "live").await;
    let events = "GET /api/counters/clicks/events";
    crate::support::eventually("the page listens", crate::support::PATIENCE, || {
        if relay.asked(events) > 0 { Ok(()) } else { Err("no events".to_owned()) }
    });
    let answering = |status, body| {
        let answer = Canned { method: "POST", path: "/api", status, body };
        relay.set(RelayRules { answers: vec![answer], ..without_upgrade() });
    };
    // Too fast: sent again.
    answering("429 Too Many Requests", r#"{"error":"rate_limited","message":"too many adds"}"#);
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, TROUBLE, "too many adds").await;
    browser.until(&tab, LIVE, "live, 1 click on the way").await;
    assert_eq!(
        browser.eval(&tab, TOTAL).await,
        "0",
        "no add of a POST is shown ahead of its event"
    );
    relay.set(without_upgrade());
    browser.until(&tab, TOTAL, "1").await;
    browser.until(&tab, LIVE, "live").await;
    // Refused for good: given up.
    answering(
        "403 Forbidden",
        r#"{"error":"name_not_allowed","message":"this name is not listed"}"#,
    );
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, TROUBLE, "this name is not listed").await;
    browser.until(&tab, LIVE, "live").await;
    browser.until(&tab, "Object.values(localStorage).join()", "").await;
    // A refusal of the page: shown, and the click is kept.
    let refuse = |method, path| Canned { method, path, status: "400 Bad Request", body: REFUSAL };
    let answers = vec![refuse("POST", "/api"), refuse("OPTIONS", "/ws")];
    relay.set(RelayRules { answers, ..without_upgrade() });
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, LIVE, "Refused: 1 click waiting to send").await;
    browser.until(&tab, TROUBLE, SENTENCE).await;
    relay.set(without_upgrade());
    browser.until(&tab, TOTAL, "2").await;
    total_is(&node, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn click_reconnects_at_once_without_hammering() {
    let Some(mut browser) = Browser::start("hurry").await else { return };
    let node = node();
    let relay = Relay::to(&node.http, RelayRules::default());
    let tab = browser.tab().await;
    // Every wait takes as long as it may.
    let slow = json!({ "source": "Math.random = () => 0.9999;" });
    browser.command(&tab, "Page.addScriptToEvaluateOnNewDocument", slow).await;
    browser.open(&tab, &format!("http://{}/", relay.address)).await;
    browser.until(&tab, RTT, true).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    relay.cut();
    browser.until(&tab, RTT, false).await;
    let start = Instant::now();
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, RTT, true).await;
    assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
    total_is(&node, 1);
    let gone = ["GET", "OPTIONS"].map(|method| Canned::bad_gateway(method, "/ws"));
    relay.set(RelayRules { answers: gone.to_vec(), ..RelayRules::default() });
    relay.cut();
    browser.until(&tab, RTT, false).await;
    let before = relay.asked("GET /ws");
    let clicks = "new Promise(done => { let left = 100; const timer = setInterval(() => { \
        document.getElementById('plus').click(); \
                  if (--left === 0) { clearInterval(timer); done(); } }, 50); })";
    browser.eval(&tab, clicks).await;
    let tries = relay.asked("GET /ws") - before;
    assert!((2..=4).contains(&tries), "{tries} tries in 5 s of clicking");
    relay.set(RelayRules::default());
    browser.until(&tab, RTT, true).await;
    total_is(&node, 101);
}
