//! The page with only a keyboard.

use serde_json::{Value, json};

use crate::page::*;
use crate::support::browser::{Browser, Tab};

#[tokio::test(flavor = "multi_thread")]
async fn plus_and_minus_keys_count_anywhere() {
    let Some(mut browser) = Browser::start("keys").await else { return };
    let (ord, _fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    for (key, times) in [("+", 3), ("-", 1)] {
        for _ in 0..times {
            browser.key(&tab, key).await;
        }
    }
    browser.until(&tab, TOTAL, "2").await;
    total_is(&ord, 2);
}

/// Presses Tab until the focus is on `wanted`, a selector. Every stop on the way must show its
/// focus.
async fn tab_to(browser: &mut Browser, tab: &Tab, wanted: &str) {
    for _ in 0..20 {
        browser.key(tab, "Tab").await;
        if browser.eval(tab, &format!("document.activeElement.matches('{wanted}')")).await == true {
            let outline = "getComputedStyle(document.activeElement).outlineStyle";
            assert_ne!(
                browser.eval(tab, outline).await,
                Value::from("none"),
                "{wanted}: the focus is seen"
            );
            return;
        }
    }
    panic!("no Tab leads to {wanted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn page_works_by_keyboard() {
    let Some(mut browser) = Browser::start("tabs").await else { return };
    let (ord, fra) = two();
    let tab = live_page(&mut browser, &ord).await;
    tab_to(&mut browser, &tab, "#minus").await;
    browser.key(&tab, "Enter").await;
    browser.until(&tab, TOTAL, "−1").await;
    tab_to(&mut browser, &tab, "#plus").await;
    for _ in 0..3 {
        browser.key(&tab, " ").await;
    }
    browser.until(&tab, TOTAL, "2").await;
    total_is(&fra, 2);
    tab_to(&mut browser, &tab, "[data-sort=city]").await;
    browser.key(&tab, "Enter").await;
    let order =
        "[...document.querySelectorAll('#regions tbody tr')].map(row => row.dataset.region).join()";
    browser.until(&tab, order, "ord,fra").await;
    browser
        .until(&tab, "document.activeElement.parentElement.getAttribute('aria-sort')", "ascending")
        .await;
    browser.key(&tab, "Enter").await;
    browser.until(&tab, order, "fra,ord").await;
    // Rows stay in place under a resting pointer, unless the user sorts.
    let (x, y) = browser.middle(&tab, "#regions tbody tr").await;
    browser
        .command(&tab, "Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": x, "y": y }))
        .await;
    browser.until(&tab, "document.querySelector('#regions tbody:hover') !== null", true).await;
    browser.key(&tab, "Enter").await;
    browser.until(&tab, order, "ord,fra").await;
    tab_to(&mut browser, &tab, "a[href=\"api/openapi.json\"]").await;
}
