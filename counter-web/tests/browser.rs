//! The page in a real browser. Without Chromium each test says SKIPPED and why; with COUNTER_REQUIRE_BROWSER set that is a failure.

mod support;

use std::time::Duration;

use serde_json::json;
use support::browser::{Browser, Tab};
use support::demo::Demo;
use support::eventually;
use support::http::{add, counter};
use support::process::{Node, cluster};

const TOTAL: &str = "document.getElementById('total').textContent";
const LIVE: &str = "document.getElementById('status').textContent.trim()";

fn two() -> (Node, Node) {
    let cluster = cluster();
    let ord = Node::start(&cluster, "ord", &[]);
    let fra = Node::start(&cluster, "fra", &[&ord]);
    (ord, fra)
}

fn url(node: &Node) -> String {
    format!("http://{}/", node.http)
}

fn total_is(node: &Node, total: i64) {
    http_total_is(&node.http, total);
}

fn http_total_is(http: &str, total: i64) {
    eventually("the node shows the total", Duration::from_secs(10), || match counter(http, "clicks")["total"].clone() {
        seen if seen == total => Ok(()),
        seen => Err(seen.to_string()),
    });
}

async fn live_page(browser: &mut Browser, node: &Node) -> Tab {
    let tab = browser.tab().await;
    browser.open(&tab, &url(node)).await;
    browser.until(&tab, LIVE, "live").await;
    tab
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_paint_has_the_numbers_and_the_form_works_without_javascript() {
    let Some(mut browser) = Browser::start("no-script").await else { return };
    let (ord, fra) = two();
    add(&ord.http, 12);
    add(&fra.http, 30);
    total_is(&ord, 42);
    let tab = browser.tab().await;
    browser.command(&tab, "Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&tab, &url(&ord)).await;
    browser.until(&tab, TOTAL, "42").await;
    let rows = "[...document.querySelectorAll('#regions tbody tr')].map(row => row.dataset.region + row.querySelector('[data-f=value]').textContent).join()";
    browser.until(&tab, rows, "fra30,ord12").await;
    browser.until(&tab, "document.title.startsWith('42 ')", true).await;
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, "document.readyState === 'complete' && document.getElementById('total').textContent", "43").await;
    total_is(&fra, 43);
}

/// A real click of the mouse.
async fn click(browser: &mut Browser, tab: &Tab, id: &str) {
    let middle = format!(
        "(() => {{ const r = document.getElementById('{id}').getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
    );
    let at = browser.eval(tab, &middle).await;
    for kind in ["mousePressed", "mouseReleased"] {
        let event = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
        browser.command(tab, "Input.dispatchMouseEvent", event).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_on_one_page_is_seen_on_both() {
    let Some(mut browser) = Browser::start("two-pages").await else { return };
    let (ord, fra) = two();
    let here = live_page(&mut browser, &ord).await;
    let there = live_page(&mut browser, &fra).await;
    click(&mut browser, &here, "plus").await;
    browser.until(&here, TOTAL, "1").await;
    browser.until(&there, TOTAL, "1").await;
    click(&mut browser, &there, "minus").await;
    click(&mut browser, &there, "minus").await;
    browser.until(&here, TOTAL, "-1").await;
    browser.until(&there, TOTAL, "-1").await;
    let row = "document.querySelector('tr[data-region=fra] [data-f=value]').textContent";
    browser.until(&here, row, "-2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_fast_clicks_are_exactly_two_hundred() {
    let Some(mut browser) = Browser::start("fast").await else { return };
    let (ord, fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    browser.eval(&tab, "for (let i = 0; i < 200; i++) document.getElementById('plus').click()").await;
    browser.until(&tab, TOTAL, "200").await;
    total_is(&ord, 200);
    total_is(&fra, 200);
    browser.until(&tab, TOTAL, "200").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_count_too() {
    let Some(mut browser) = Browser::start("keys").await else { return };
    let (ord, _fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    for (key, times) in [("+", 3), ("-", 1)] {
        for _ in 0..times {
            browser.command(&tab, "Input.dispatchKeyEvent", json!({ "type": "keyDown", "key": key, "text": key })).await;
            browser.command(&tab, "Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key })).await;
        }
    }
    browser.until(&tab, TOTAL, "2").await;
    total_is(&ord, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_made_off_line_are_kept_over_a_reload_and_applied_once() {
    let Some(mut browser) = Browser::start("off-line").await else { return };
    let cluster = cluster();
    let fra = Node::start(&cluster, "fra", &[]);
    let mut ord = Node::start(&cluster, "ord", &[&fra]);
    let (http, tab) = (ord.http.clone(), live_page(&mut browser, &ord).await);
    ord.kill();
    browser.until(&tab, "document.getElementById('status').dataset.state !== 'live'", true).await;
    browser.eval(&tab, "for (let i = 0; i < 3; i++) document.getElementById('plus').click()").await;
    browser.until(&tab, "document.getElementById('status').textContent.includes('3 clicks waiting')", true).await;
    browser.until(&tab, TOTAL, "3").await;
    let ord = Node::start_with(&cluster, "ord", &[&fra], &["--http", &http]);
    browser.command(&tab, "Page.reload", json!({})).await;
    browser.until(&tab, LIVE, "live").await;
    browser.until(&tab, TOTAL, "3").await;
    total_is(&ord, 3);
    total_is(&fra, 3);
    browser.until(&tab, "Object.keys(localStorage).filter(key => localStorage[key] !== '{}').length", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_pages_show_every_region_without_javascript_and_each_others_clicks_with_it() {
    let Some(mut browser) = Browser::start("demo").await else { return };
    let demo = Demo::start(&["ord", "fra", "sin"]);
    (0..3).for_each(|at| add(demo.http(at), 10 + i64::try_from(at).unwrap()));
    (0..3).for_each(|at| http_total_is(demo.http(at), 33));
    let plain = browser.tab().await;
    browser.command(&plain, "Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&plain, &format!("http://{}/", demo.http(2))).await;
    browser.until(&plain, "document.querySelectorAll('#regions tbody tr').length", 3).await;
    for (region, value) in [("ord", "10"), ("fra", "11"), ("sin", "12")] {
        browser.until(&plain, &format!("document.querySelector('tr[data-region={region}] [data-f=value]').textContent"), value).await;
    }
    let (here, there) = (browser.tab().await, browser.tab().await);
    for (tab, at) in [(&here, 0), (&there, 1)] {
        browser.open(tab, &format!("http://{}/", demo.http(at))).await;
        browser.until(tab, LIVE, "live").await;
    }
    click(&mut browser, &here, "plus").await;
    for tab in [&here, &there] {
        browser.until(tab, TOTAL, "34").await;
        browser.until(tab, "document.querySelector('tr[data-region=ord] [data-f=value]').textContent", "11").await;
    }
    assert_eq!(demo.end("TERM").0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_that_its_server_is_gone_and_comes_back_with_it() {
    let Some(mut browser) = Browser::start("restart").await else { return };
    let cluster = cluster();
    let fra = Node::start(&cluster, "fra", &[]);
    let mut ord = Node::start(&cluster, "ord", &[&fra]);
    let tab = live_page(&mut browser, &ord).await;
    browser.eval(&tab, "window.sameLoad = true").await;
    click(&mut browser, &tab, "plus").await;
    total_is(&fra, 1);
    let http = ord.http.clone();
    ord.kill();
    browser.until(&tab, LIVE, "reconnecting").await;
    browser.until(&tab, TOTAL, "1").await;
    add(&fra.http, 4);
    let ord = Node::start_with(&cluster, "ord", &[&fra], &["--http", &http]);
    browser.until(&tab, LIVE, "live").await;
    browser.until(&tab, TOTAL, "5").await;
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, TOTAL, "6").await;
    total_is(&ord, 6);
    total_is(&fra, 6);
    browser.until(&tab, "window.sameLoad", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_made_without_a_network_are_shown_at_once_and_counted_once_when_it_is_back() {
    let Some(mut browser) = Browser::start("no-network").await else { return };
    let (ord, fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    browser.set_offline(&tab, true).await;
    browser.until(&tab, LIVE, "off line").await;
    for _ in 0..4 {
        click(&mut browser, &tab, "plus").await;
    }
    browser.until(&tab, LIVE, "off line with 4 clicks waiting").await;
    browser.until(&tab, TOTAL, "4").await;
    add(&fra.http, 10);
    total_is(&ord, 10);
    browser.set_offline(&tab, false).await;
    browser.until(&tab, LIVE, "live").await;
    total_is(&ord, 14);
    total_is(&fra, 14);
    browser.until(&tab, TOTAL, "14").await;
}
