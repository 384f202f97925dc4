//! The page of any counter at `/c/{name}`. Every name is text, and the page's form and links lead
//! to that counter.

use serde_json::{Value, json};

use crate::page::*;
use crate::support::browser::Browser;
use crate::support::http::counter;
use crate::support::process::{Node, cluster};
use crate::support::relay::{Relay, RelayRules};
use crate::support::{PATIENCE, eventually};

/// Each with its form in a path.
const NAMES: [(&str, &str); 6] = [
    ("\"><svg onload=alert(1)>", "%22%3E%3Csvg%20onload%3Dalert(1)%3E"),
    ("</script><script>alert(1)</script>", "%3C%2Fscript%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E"),
    ("{{state}}", "%7B%7Bstate%7D%7D"),
    ("it's 100%: a/b?c#d", "it's%20100%25%3A%20a%2Fb%3Fc%23d"),
    ("點擊 ×", "%E9%BB%9E%E6%93%8A%20%C3%97"),
    ("abc\u{202e}def", "abc%E2%80%AEdef"),
];

fn total_becomes(node: &Node, path: &str, total: u64) {
    eventually("the counter of this name grows", PATIENCE, || {
        match counter(&node.http, path)["total"].clone() {
            seen if seen == total => Ok(()),
            seen => Err(seen.to_string()),
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_odd_names_work() {
    let Some(mut browser) = Browser::start("names").await else { return };
    let node = Node::start(&cluster(), "ord", &[]);
    let tab = browser.tab().await;
    let watch = "window.hits = 0; window.alert = () => { hits++; };";
    browser
        .command(&tab, "Page.addScriptToEvaluateOnNewDocument", json!({ "source": watch }))
        .await;
    for (name, path) in NAMES {
        browser.open(&tab, &format!("http://{}/c/{path}", node.http)).await;
        browser.until(&tab, "document.querySelector('#name bdi')?.textContent", name).await;
        browser.until(&tab, "document.getElementById('rtt').textContent !== ''", true).await;
        click(&mut browser, &tab, "plus").await;
        browser.until(&tab, TOTAL, "1").await;
        total_becomes(&node, path, 1);
        let added = "document.querySelectorAll('[onload], [onerror], \
            script:not([src]):not(#state)').length";
        assert_eq!(browser.eval(&tab, &format!("[hits, {added}]")).await, json!([0, 0]), "{name}");
        let stays = "document.getElementById('clicks').action === location.href";
        assert_eq!(browser.eval(&tab, stays).await, true, "{name}");
        // Text after a name stands to the right of it, whatever direction the name sets.
        let order = "(() => { document.getElementById('details').open = true; const name = \
            document.querySelector('.facts bdi'); \
                     const next = name.closest('span').nextElementSibling; \
                     return next.getBoundingClientRect().left >= name.getBoundingClientRect().right - 1; })()";
        assert_eq!(browser.eval(&tab, order).await, true, "{name}");
    }
    keep_picture(&mut browser, &tab, "named").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn named_page_works_below_a_path() {
    let Some(mut browser) = Browser::start("named-below").await else { return };
    let node = Node::start(&cluster(), "ord", &[]);
    let rules = RelayRules { prefixes: &["/counter"], no_upgrade: true, ..RelayRules::default() };
    let relay = Relay::to(&node.http, rules);
    let path = NAMES[3].1;
    let url = format!("http://{}/counter/c/{path}", relay.address);
    let tab = browser.tab().await;
    // A name must exist before a proxy's client may add to it.
    crate::support::http::post_json(
        &node.http,
        &format!("/api/counters/{path}/add"),
        "{\"amount\":1}",
    );
    browser.open(&tab, &url).await;
    browser.until(&tab, "document.readyState", "complete").await;
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, TOTAL, "2").await;
    total_becomes(&node, path, 2);
    browser.command(&tab, "Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&tab, &url).await;
    browser
        .until(
            &tab,
            "document.readyState === 'complete' && document.getElementById('total').textContent",
            "2",
        )
        .await;
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, TOTAL, "3").await;
    total_becomes(&node, path, 3);
    assert_eq!(browser.eval(&tab, "location.href").await, Value::from(url));
}
