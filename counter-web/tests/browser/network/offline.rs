//! Pages that lose their server or their network: the status they show, the clicks they keep, and
//! how they reconnect.

use serde_json::json;

use crate::page::*;
use crate::support::browser::Browser;
use crate::support::http::{add, counter};
use crate::support::process::{Node, cluster};
use crate::support::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn offline_clicks_survive_a_reload() {
    let Some(mut browser) = Browser::start("off-line").await else { return };
    let cluster = cluster();
    let fra = Node::start(&cluster, "fra", &[]);
    let mut ord = Node::start(&cluster, "ord", &[&fra]);
    let (http, tab) = (ord.http.clone(), live_page(&mut browser, &ord).await);
    ord.kill();
    browser.until(&tab, "document.getElementById('status').dataset.state !== 'live'", true).await;
    browser.eval(&tab, "for (let i = 0; i < 3; i++) document.getElementById('plus').click()").await;
    browser
        .until(
            &tab,
            "document.getElementById('status').textContent.includes('3 clicks waiting to send')",
            true,
        )
        .await;
    browser.until(&tab, TOTAL, "3").await;
    let ord = Node::start_with(&cluster, "ord", &[&fra], &["--http", &http]);
    browser.command(&tab, "Page.reload", json!({})).await;
    browser.until(&tab, LIVE, "live").await;
    browser.until(&tab, TOTAL, "3").await;
    total_is(&ord, 3);
    total_is(&fra, 3);
    browser
        .until(
            &tab,
            "Object.keys(localStorage).filter(key => localStorage[key] !== '{}').length",
            0,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_a_lost_server_and_reconnects() {
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
    browser.until(&tab, LIVE, "Chicago isn't responding").await;
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
async fn page_never_says_offline_while_its_server_restarts() {
    let Some(mut browser) = Browser::start("short-restart").await else { return };
    let cluster = cluster();
    let node = Node::start(&cluster, "ord", &[]);
    let tab = live_page(&mut browser, &node).await;
    browser.until(&tab, "document.getElementById('rtt').textContent !== ''", true).await;
    let watch = "window.states = []; new MutationObserver(() => \
        states.push(document.getElementById('status').dataset.state)) \
                 .observe(document.getElementById('status'), { attributes: true })";
    browser.eval(&tab, watch).await;
    let http = node.http.clone();
    assert!(node.terminate().success());
    browser.until(&tab, "document.getElementById('rtt').textContent", "").await;
    let _node = Node::start_with(&cluster, "ord", &[], &["--http", &http]);
    browser.until(&tab, "document.getElementById('rtt').textContent !== ''", true).await;
    let states = browser.eval(&tab, "states").await;
    assert!(!states.to_string().contains("offline"), "{states}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_clicks_show_at_once_and_count_once() {
    let Some(mut browser) = Browser::start("no-network").await else { return };
    let (ord, fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    browser.set_offline(&tab, true).await;
    browser.until(&tab, LIVE, "Offline").await;
    for _ in 0..4 {
        click(&mut browser, &tab, "plus").await;
    }
    browser.until(&tab, LIVE, "Offline: 4 clicks waiting to send").await;
    browser.until(&tab, TOTAL, "4").await;
    add(&fra.http, 10);
    total_is(&ord, 10);
    browser.set_offline(&tab, false).await;
    browser.until(&tab, LIVE, "live").await;
    total_is(&ord, 14);
    total_is(&fra, 14);
    browser.until(&tab, TOTAL, "14").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_from_the_back_forward_cache_reconnects() {
    let Some(mut browser) = Browser::start("back-forward").await else { return };
    let (ord, fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, TOTAL, "1").await;
    add(&fra.http, 10);
    // A browser may reload a page instead. This test is about a page that it kept.
    let mut kept = false;
    for _ in 0..6 {
        browser
            .eval(
                &tab,
                "addEventListener('pageshow', event => { window.restored = \
            event.persisted; }); window.sameLoad = true",
            )
            .await;
        browser.open(&tab, &url(&fra)).await;
        browser.until(&tab, LIVE, "live").await;
        eventually("the page that was left is no viewer", PATIENCE, || {
            let regions = counter(&ord.http, "clicks")["regions"].clone();
            if regions["ord"]["connected"] == 0 { Ok(()) } else { Err(regions.to_string()) }
        });
        total_is(&ord, 11);
        browser.eval(&tab, "history.back()").await;
        browser.until(&tab, "location.host", ord.http.as_str()).await;
        browser.until(&tab, LIVE, "live").await;
        kept = browser.eval(&tab, "window.sameLoad === true && window.restored === true").await
            == true;
        if kept {
            break;
        }
    }
    assert!(kept, "the browser keeps the page at least once");
    browser.until(&tab, TOTAL, "11").await;
    click(&mut browser, &tab, "plus").await;
    total_is(&fra, 12);
    browser
        .until(
            &tab,
            "document.querySelector('tr[data-region=ord] [data-f=connected]').textContent",
            "1",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_says_that_its_node_is_catching_up() {
    let Some(mut browser) = Browser::start("behind").await else { return };
    let cluster = cluster();
    let mut fra = Node::start(&cluster, "fra", &[]);
    fra.kill();
    let ord = Node::start(&cluster, "ord", &[&fra]);
    let tab = live_page(&mut browser, &ord).await;
    let hash = |words: &str| {
        format!("document.getElementById('agreement').textContent.startsWith('{words}')")
    };
    browser.until(&tab, &hash("Not in touch with other regions"), true).await;
    let _fra = Node::start(&cluster, "fra", &[&ord]);
    browser.until(&tab, &hash("All regions agree"), true).await;
}
