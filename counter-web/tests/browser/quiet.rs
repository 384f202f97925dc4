//! A quiet page: screen readers hear little, reduced motion stops animations, and a hidden tab is
//! no viewer.

use serde_json::{Value, json};

use crate::page::*;
use crate::support::browser::Browser;
use crate::support::http::{add, counter};
use crate::support::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn screen_readers_hear_the_total_every_three_seconds() {
    let Some(mut browser) = Browser::start("aloud").await else { return };
    let (ord, _fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    let regions = "[...document.querySelectorAll('output, [role=status], [role=alert], \
        [aria-live]')].map(live => live.id).join()";
    browser.until(&tab, regions, "trouble,said").await;
    browser.eval(&tab, "window.said = []; new MutationObserver(() => \
        said.push(document.getElementById('said').textContent)).observe(document.getElementById('said'), { childList: true, characterData: true, subtree: true })").await;
    let clicks = "new Promise(done => { let left = 20; const timer = setInterval(() => { \
        document.getElementById('plus').click(); \
                  if (--left === 0) { clearInterval(timer); done(); } }, 50); })";
    browser.eval(&tab, clicks).await;
    browser.until(&tab, "said[said.length - 1]", "the total is 20").await;
    let said = browser.eval(&tab, "said").await;
    assert!(
        said.as_array().unwrap().len() <= 2,
        "20 clicks within a second are not read out one by one: {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reduced_motion_stops_animations() {
    let Some(mut browser) = Browser::start("still").await else { return };
    let (ord, fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    browser.until(&tab, "document.querySelectorAll('#links path').length", 1).await;
    for (motion, moves) in [("no-preference", true), ("reduce", false)] {
        let features =
            json!({ "features": [{ "name": "prefers-reduced-motion", "value": motion }] });
        browser.command(&tab, "Emulation.setEmulatedMedia", features).await;
        browser.eval(&tab, "window.moved = 0; window.watch?.disconnect(); window.watch = new \
            MutationObserver(changes => changes.forEach(change => \
                            moved += [...change.addedNodes].filter(node => node.matches?.('.pulse, .parcel')).length)); watch.observe(document.body, { childList: true, subtree: true })").await;
        let before = browser.eval(&tab, TOTAL).await.as_str().unwrap().parse::<i64>().unwrap();
        add(&fra.http, 1);
        browser.until(&tab, TOTAL, (before + 1).to_string()).await;
        click(&mut browser, &tab, "plus").await;
        browser
            .until(
                &tab,
                "document.getElementById('moved').textContent",
                "Chicago sent +1 to 1 region",
            )
            .await;
        assert_eq!(browser.eval(&tab, "moved > 0").await, Value::from(moves), "{motion}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_tab_is_no_viewer_until_shown() {
    let Some(mut browser) = Browser::start("hidden").await else { return };
    let (ord, fra) = two();
    let tab = browser.tab().await;
    // The five minutes until a hidden tab closes its link pass at once. All other times stay.
    let hurry = "const wait = window.setTimeout; window.setTimeout = (f, ms, ...rest) => wait(f, \
        ms === 300000 ? 0 : ms, ...rest); \
                 window.hide = hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true }); document.dispatchEvent(new Event('visibilitychange')); }";
    browser
        .command(&tab, "Page.addScriptToEvaluateOnNewDocument", json!({ "source": hurry }))
        .await;
    browser.open(&tab, &url(&ord)).await;
    browser.until(&tab, LIVE, "live").await;
    for (hidden, viewers) in [(true, 0), (false, 1)] {
        browser.eval(&tab, &format!("hide({hidden})")).await;
        eventually("the viewers of ord are right", PATIENCE, || {
            match counter(&fra.http, "clicks")["regions"]["ord"]["connected"].clone() {
                seen if seen == viewers => Ok(()),
                seen => Err(format!("hidden: {hidden}, viewers: {seen}")),
            }
        });
        add(&fra.http, 1);
    }
    browser.until(&tab, LIVE, "live").await;
    browser.until(&tab, TOTAL, "2").await;
}
