//! The partition switch. One press cuts a region off, and both sides count apart. Another heals,
//! and the totals meet.

use serde_json::{Value, json};

use crate::page::*;
use crate::support::browser::Browser;
use crate::support::demo::Demo;
use crate::support::http::{counter, get, request};
use crate::support::process::{Node, cluster};

const AGREEMENT: &str = "document.getElementById('agreement').textContent";
const SWITCH: &str = "document.querySelector('#switch button').textContent";

#[tokio::test(flavor = "multi_thread")]
async fn switch_cuts_and_heals() {
    let Some(mut browser) = Browser::start("partition").await else { return };
    let demo = Demo::start(&["ord", "fra", "sin"]);
    let (cut, other) = (browser.tab().await, browser.tab().await);
    for (tab, at) in [(&cut, 0), (&other, 1)] {
        browser.open(tab, &format!("http://{}/", demo.http(at))).await;
        browser.until(tab, LIVE, "live").await;
    }
    click(&mut browser, &cut, "plus").await;
    browser.until(&other, TOTAL, "1").await;
    browser.until(&cut, SWITCH, "Disconnect Chicago").await;
    browser.eval(&cut, "document.querySelector('#switch button').id = 'cut'").await;
    click(&mut browser, &cut, "cut").await;
    browser.until(&cut, SWITCH, "Reconnect Chicago").await;
    browser.until(&cut, AGREEMENT, "Chicago is disconnected").await;
    browser.until(&cut, "document.querySelectorAll('#links .cut').length", 2).await;
    for (tab, times) in [(&cut, 2), (&other, 5)] {
        for _ in 0..times {
            click(&mut browser, tab, "plus").await;
        }
    }
    browser.until(&cut, TOTAL, "3").await;
    browser.until(&cut, "document.getElementById('own').textContent", "+2 since the cut").await;
    browser.until(&other, TOTAL, "6").await;
    let stale = "document.querySelector('tr[data-region=ord]').classList.contains('stale')";
    browser.until(&other, stale, true).await;
    browser.until(&other, AGREEMENT, "Can't reach Chicago").await;
    browser
        .until(
            &other,
            "document.querySelector('#switch p').textContent.startsWith('Chicago may still be \
                counting')",
            true,
        )
        .await;
    let totals = || [0, 1, 2].map(|at| counter(demo.http(at), "clicks")["total"].clone());
    assert_eq!(totals(), [3, 6, 6].map(Value::from), "the two sides count apart");
    click(&mut browser, &cut, "cut").await;
    for tab in [&cut, &other] {
        browser.until(tab, TOTAL, "8").await;
        browser.until(tab, AGREEMENT, "All regions agree").await;
        browser
            .until(
                tab,
                "[...document.querySelectorAll('#links path')].map(link => \
            link.getAttribute('class')).join()",
                ",",
            )
            .await;
    }
    browser
        .until(
            &cut,
            "document.querySelector('#switch p').textContent",
            "Back in sync: sent 2 clicks, received 5.",
        )
        .await;
    let hash = "document.getElementById('hash').textContent";
    let seen = browser.eval(&cut, hash).await;
    assert_eq!(seen.as_str().map(str::len), Some(8));
    browser.until(&other, hash, seen).await;
    (0..3).for_each(|at| http_total_is(demo.http(at), 8));
    assert_eq!(demo.end("TERM").0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn switch_works_without_a_script() {
    let Some(mut browser) = Browser::start("partition-form").await else { return };
    let demo = Demo::start(&["ord", "fra"]);
    let tab = browser.tab().await;
    browser.command(&tab, "Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&tab, &format!("http://{}/", demo.http(0))).await;
    for (label, isolated) in [("Reconnect Chicago", true), ("Disconnect Chicago", false)] {
        browser.until(&tab, "document.readyState", "complete").await;
        let at = browser.middle(&tab, "#switch button").await;
        browser.press(&tab, at).await;
        browser.until(&tab, SWITCH, label).await;
        assert_eq!(get(demo.http(0), "/api/status").json()["isolated"], isolated);
    }
}

#[test]
fn switch_needs_its_flag() {
    let plain = Node::start(&cluster(), "ord", &[]);
    // As the page's script asks, which gets JSON.
    let cut = |node: &Node, headers: &[(&str, &str)], form: &str| {
        let headers = [&[("Accept", "application/json")], headers].concat();
        request(&node.http, "POST", "/partition", &headers, form)
    };
    assert_eq!(cut(&plain, &[], "cut=1").error(), (404, "no_switch".into()));
    assert!(!get(&plain.http, "/").body.contains("id=\"switch\""));
    let node =
        Node::start_with(&cluster(), "ord", &[], &["--http", "127.0.0.1:0", "--allow-partition"]);
    assert_eq!(
        cut(&node, &[("Origin", "http://evil.example")], "cut=1").error(),
        (400, "wrong_origin".into())
    );
    assert_eq!(cut(&node, &[], "cut=yes").error(), (400, "bad_form".into()));
    assert_eq!(get(&node.http, "/api/status").json()["isolated"], false);
    assert_eq!(cut(&node, &[("Origin", &format!("http://{}", node.http))], "cut=1").status, 303);
    assert_eq!(get(&node.http, "/api/status").json()["isolated"], true);
}
