//! A page of many nodes. All are drawn, and a click travels to all.

use serde_json::json;

use crate::page::*;
use crate::support::browser::Browser;
use crate::support::process::{Node, cluster};

/// The members added to the node's status. The test is about drawing, not about many processes.
const MORE: &str =
    "ams arn atl bog bom bos cdg den dfw ewr eze fra gdl gig gru hkg iad jnb lax lhr maa mad mia";

#[tokio::test(flavor = "multi_thread")]
async fn click_is_drawn_to_all_of_26_nodes() {
    let Some(mut browser) = Browser::start("many").await else { return };
    // The page of the last region, which a cut by order would drop.
    let cluster = cluster();
    let yyz = Node::start(&cluster, "yyz", &[]);
    let _others = ["nrt", "moon-base"].map(|region| Node::start(&cluster, region, &[&yyz]));
    let tab = browser.tab().await;
    let more = format!(
        "const ask = window.fetch; window.fetch = async (...what) => {{ const answer = await \
            ask(...what); \
         if (!String(what[0]).endsWith('/api/status')) return answer; const status = await answer.json(); \
         for (const region of '{MORE}'.split(' ')) status.members.push({{ replica: region, region, live: true, last_heard_ms: 0, lag_versions: 0 }}); \
         return {{ json: async () => status }}; }}"
    );
    browser.command(&tab, "Page.addScriptToEvaluateOnNewDocument", json!({ "source": more })).await;
    browser.open(&tab, &url(&yyz)).await;
    // A region without a place is only in the table.
    browser.until(&tab, "document.querySelectorAll('#links path').length", 24).await;
    browser
        .until(
            &tab,
            "[...document.querySelectorAll('#dots circle[data-region]')].map(dot => \
            dot.dataset.region).sort().join()",
            "nrt,yyz",
        )
        .await;
    // Animations last less than a second, so they are counted when they start.
    let watch = "window.flown = 0; new MutationObserver(changes => changes.forEach(change => \
                 window.flown += [...change.addedNodes].filter(node => node.classList.contains('parcel')).length)).observe(document.getElementById('map'), { childList: true })";
    browser.eval(&tab, watch).await;
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, "window.flown", 24).await;
    browser
        .until(
            &tab,
            "document.getElementById('moved').textContent",
            "Toronto sent +1 to 25 regions",
        )
        .await;
    browser.until(&tab, "document.querySelectorAll('.parcel').length", 0).await;
    browser.eval(&tab, "document.querySelector('[data-sort=city]').click()").await;
    browser
        .until(
            &tab,
            "[...document.querySelectorAll('#regions tbody tr')].map(row => \
            row.dataset.region).join()",
            "moon-base,nrt,yyz",
        )
        .await;
}
