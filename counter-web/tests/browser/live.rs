//! Connected pages: the first paint, and clicks on several of them, which all count.

use serde_json::json;

use crate::page::*;
use crate::support::browser::Browser;
use crate::support::demo::Demo;
use crate::support::http::add;

#[tokio::test(flavor = "multi_thread")]
async fn page_works_without_javascript() {
    let Some(mut browser) = Browser::start("no-script").await else { return };
    let (ord, fra) = two();
    add(&ord.http, 12);
    add(&fra.http, 30);
    total_is(&ord, 42);
    let tab = browser.tab().await;
    browser.command(&tab, "Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&tab, &url(&ord)).await;
    browser.until(&tab, TOTAL, "42").await;
    let rows = "[...document.querySelectorAll('#regions tbody tr')].map(row => row.dataset.region \
        + row.querySelector('[data-f=value]').textContent).join()";
    browser.until(&tab, rows, "fra30,ord12").await;
    browser.until(&tab, "document.title.startsWith('42 ')", true).await;
    click(&mut browser, &tab, "plus").await;
    browser
        .until(
            &tab,
            "document.readyState === 'complete' && document.getElementById('total').textContent",
            "43",
        )
        .await;
    total_is(&fra, 43);
}

#[tokio::test(flavor = "multi_thread")]
async fn click_on_one_page_is_seen_on_both() {
    let Some(mut browser) = Browser::start("two-pages").await else { return };
    let (ord, fra) = two();
    let here = live_page(&mut browser, &ord).await;
    let there = live_page(&mut browser, &fra).await;
    let agree = "document.getElementById('agreement').textContent === 'All regions agree'";
    browser.until(&here, agree, true).await;
    let click_and_read = format!(
        "new Promise(done => {{ document.getElementById('plus').click(); requestAnimationFrame(() \
            => requestAnimationFrame(() => done({agree}))); }})"
    );
    assert_eq!(
        browser.eval(&here, &click_and_read).await,
        false,
        "nobody can have said already that it has the click"
    );
    browser.until(&here, TOTAL, "1").await;
    browser.until(&there, TOTAL, "1").await;
    browser.until(&here, agree, true).await;
    click(&mut browser, &there, "minus").await;
    click(&mut browser, &there, "minus").await;
    browser.until(&here, TOTAL, "−1").await;
    browser.until(&there, TOTAL, "−1").await;
    let row = "document.querySelector('tr[data-region=fra] [data-f=value]').textContent";
    browser.until(&here, row, "−2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_clicks_are_exact() {
    let Some(mut browser) = Browser::start("fast").await else { return };
    let (ord, fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    browser
        .eval(&tab, "for (let i = 0; i < 200; i++) document.getElementById('plus').click()")
        .await;
    browser.until(&tab, TOTAL, "200").await;
    total_is(&ord, 200);
    total_is(&fra, 200);
    browser.until(&tab, TOTAL, "200").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_counts_like_a_mouse_click() {
    let Some(mut browser) = Browser::start("touch").await else { return };
    let (ord, fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    browser.command(&tab, "Emulation.setTouchEmulationEnabled", json!({ "enabled": true })).await;
    for (id, times) in [("plus", 3), ("minus", 1)] {
        let (x, y) = browser.middle(&tab, &format!("#{id}")).await;
        for _ in 0..times {
            browser
                .command(
                    &tab,
                    "Input.dispatchTouchEvent",
                    json!({ "type": "touchStart", "touchPoints": [{ "x": x, "y": y }] }),
                )
                .await;
            browser
                .command(
                    &tab,
                    "Input.dispatchTouchEvent",
                    json!({ "type": "touchEnd", "touchPoints": [] }),
                )
                .await;
        }
    }
    browser.until(&tab, TOTAL, "2").await;
    total_is(&fra, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_pages_show_every_region() {
    let Some(mut browser) = Browser::start("demo").await else { return };
    let demo = Demo::start(&["ord", "fra", "sin"]);
    (0..3).for_each(|at| add(demo.http(at), 10 + i64::try_from(at).unwrap()));
    (0..3).for_each(|at| http_total_is(demo.http(at), 33));
    let plain = browser.tab().await;
    browser.command(&plain, "Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&plain, &format!("http://{}/", demo.http(2))).await;
    browser.until(&plain, "document.querySelectorAll('#regions tbody tr').length", 3).await;
    for (region, value) in [("ord", "10"), ("fra", "11"), ("sin", "12")] {
        browser
            .until(
                &plain,
                &format!(
                    "document.querySelector('tr[data-region={region}] [data-f=value]').textContent"
                ),
                value,
            )
            .await;
    }
    let (here, there) = (browser.tab().await, browser.tab().await);
    for (tab, at) in [(&here, 0), (&there, 1)] {
        browser.open(tab, &format!("http://{}/", demo.http(at))).await;
        browser.until(tab, LIVE, "live").await;
    }
    let others = "[...document.querySelectorAll('.cities a')].map(link => link.href).join()";
    browser
        .until(&here, others, format!("http://{}/,http://{}/", demo.http(1), demo.http(2)))
        .await;
    click(&mut browser, &here, "plus").await;
    for tab in [&here, &there] {
        browser.until(tab, TOTAL, "34").await;
        browser
            .until(
                tab,
                "document.querySelector('tr[data-region=ord] [data-f=value]').textContent",
                "11",
            )
            .await;
    }
    assert_eq!(demo.end("TERM").0, Some(0));
}
