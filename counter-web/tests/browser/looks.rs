//! The looks of the page: it fits every width, axe finds nothing, and it paints fast. With
//! COUNTER_SCREENS=DIR the tests save screenshots there.

use std::time::Duration;

use serde_json::json;

use crate::page::*;
use crate::support::browser::{Browser, Tab};
use crate::support::demo::Demo;
use crate::support::http::post_json;
use crate::support::process::{Node, cluster};

/// The time limit for the largest contentful paint, on loopback.
const PAINT_MAX: Duration = Duration::from_millis(200);

const REGIONS: [&str; 5] = ["ord", "fra", "sin", "syd", "gru"];

fn demo() -> Demo {
    let demo = Demo::start(&REGIONS);
    for (at, amount) in [128, 96, 41, 17, 3].into_iter().enumerate() {
        let answer = post_json(
            demo.http(at),
            "/api/counters/clicks/add",
            &format!("{{\"amount\":{amount}}}"),
        );
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    (0..REGIONS.len()).for_each(|at| http_total_is(demo.http(at), 285));
    demo
}

async fn agreed(browser: &mut Browser, tab: &Tab, demo: &Demo) {
    browser.open(tab, &format!("http://{}/", demo.http(0))).await;
    browser.until(tab, LIVE, "live").await;
    browser
        .until(
            tab,
            "document.getElementById('agreement').textContent === 'All regions agree'",
            true,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_fits_every_screen() {
    let Some(mut browser) = Browser::start("screens").await else { return };
    let demo = demo();
    let tab = browser.tab().await;
    agreed(&mut browser, &tab, &demo).await;
    for (name, size) in [("phone", (360, 780)), ("tablet", (768, 900)), ("wide", (1440, 900))] {
        for scheme in ["light", "dark"] {
            set_look(&mut browser, &tab, size, scheme).await;
            browser.until(&tab, "innerWidth", size.0).await;
            browser.until(&tab, "document.documentElement.scrollWidth <= innerWidth", true).await;
            let background =
                browser.eval(&tab, "getComputedStyle(document.body).backgroundColor").await;
            assert_eq!(
                background.as_str().unwrap() == "rgb(244, 246, 249)",
                scheme == "light",
                "{background}"
            );
            keep_picture(&mut browser, &tab, &format!("{name}-{scheme}")).await;
        }
    }
    set_look(&mut browser, &tab, (1200, 760), "light").await;
    click(&mut browser, &tab, "plus").await;
    browser
        .until(
            &tab,
            "document.querySelector('#map .parcel')?.getAnimations()[0]?.currentTime > 300",
            true,
        )
        .await;
    browser.eval(&tab, "document.getAnimations().forEach(animation => animation.pause())").await;
    keep_picture(&mut browser, &tab, "travelling").await;
    browser.eval(&tab, "document.getAnimations().forEach(animation => animation.play())").await;
    set_look(&mut browser, &tab, (1200, 900), "light").await;
    browser.eval(&tab, "document.querySelector('#switch button').click()").await;
    browser.until(&tab, "document.querySelectorAll('tr.stale').length", 4).await;
    for (id, times) in [("plus", 2), ("there-plus", 5)] {
        for _ in 0..times {
            click(&mut browser, &tab, id).await;
        }
    }
    browser.until(&tab, TOTAL, "288").await;
    browser.until(&tab, "document.getElementById('there-total').textContent", "291").await;
    browser.eval(&tab, "scrollTo(0, 0)").await;
    browser.until(&tab, "document.querySelectorAll('#links .cut').length", 4).await;
    browser.until(&tab, "document.querySelectorAll('.parcel, .pulse').length", 0).await;
    keep_picture(&mut browser, &tab, "cut-off").await;
}

/// The most that the page may move while it loads (cumulative layout shift).
const SHIFT_MAX: f64 = 0.01;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_on_load() {
    let Some(mut browser) = Browser::start("shifts").await else { return };
    let demo = demo();
    let alone = Node::start_with(
        &cluster(),
        "moon-base",
        &[],
        &["--http", "127.0.0.1:0", "--allow-partition"],
    );
    let tab = browser.tab().await;
    let watch = "window.shifts = []; new PerformanceObserver(list => \
        list.getEntries().forEach(entry => { \
                 if (!entry.hadRecentInput) shifts.push([entry.value, ...entry.sources.map(source => source.node?.id || source.node?.className || source.node?.nodeName)]); })) \
                 .observe({ type: 'layout-shift', buffered: true })";
    browser
        .command(&tab, "Page.addScriptToEvaluateOnNewDocument", json!({ "source": watch }))
        .await;
    for http in [demo.http(0), &alone.http] {
        for size in [(360, 780), (768, 900), (1440, 900)] {
            set_look(&mut browser, &tab, size, "light").await;
            browser.open(&tab, &format!("http://{http}/")).await;
            browser.until(&tab, LIVE, "live").await;
            browser.until(&tab, "document.getElementById('rtt').textContent !== ''", true).await;
            let asked = "!document.getElementById('agreement').textContent.startsWith('Asking')";
            browser.until(&tab, asked, true).await;
            // Until the next status has come too.
            tokio::time::sleep(Duration::from_millis(3_500)).await;
            let shifts = browser.eval(&tab, "shifts").await;
            let sum: f64 =
                shifts.as_array().unwrap().iter().map(|shift| shift[0].as_f64().unwrap()).sum();
            println!("{size:?}: moved by {sum:.4}");
            assert!(sum < SHIFT_MAX, "{size:?}: {sum} {shifts}");
        }
    }
}

/// Needs axe from npm, as in .ci/run: `npm pack axe-core`, unpacked, and
/// COUNTER_AXE=…/package/axe.min.js.
#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_no_violation() {
    let Some(mut browser) = Browser::start("axe").await else { return };
    let Ok(path) = std::env::var("COUNTER_AXE") else {
        println!("SKIPPED axe: COUNTER_AXE names no axe.min.js (npm pack axe-core, and unpack it)");
        return;
    };
    let axe = std::fs::read_to_string(path).unwrap();
    let demo = demo();
    let tab = browser.tab().await;
    agreed(&mut browser, &tab, &demo).await;
    browser.eval(&tab, &format!("{axe};0")).await;
    for cut in [false, true] {
        for (scheme, size) in [
            ("light", (1440, 900)),
            ("dark", (1440, 900)),
            ("light", (360, 780)),
            ("dark", (360, 780)),
        ] {
            set_look(&mut browser, &tab, size, scheme).await;
            let run = "axe.run().then(found => found.passes.length < 15 ? ['axe did not run'] : \
                found.violations.map(v => \
                       v.id + ': ' + v.nodes.map(node => node.html + ' ' + node.failureSummary).join(' | ')))";
            assert_eq!(
                browser.eval(&tab, run).await,
                json!([]),
                "{scheme} {size:?}, cut off: {cut}"
            );
        }
        if !cut {
            browser.eval(&tab, "document.querySelector('#switch button').click()").await;
            browser
                .until(
                    &tab,
                    "document.querySelector('#agreement').classList.contains('apart')",
                    true,
                )
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn largest_contentful_paint_is_early() {
    let Some(mut browser) = Browser::start("paint").await else { return };
    let demo = demo();
    let tab = browser.tab().await;
    browser.command(&tab, "Network.enable", json!({})).await;
    let (mut bare, mut page) = (Vec::new(), Vec::new());
    // Five loads, and more on a busy machine, because the limit of 200 ms is for a free one.
    while page.len() < 5 || page.len() < 40 && page.iter().all(|time| *time >= PAINT_MAX) {
        bare.push(
            largest_paint(&mut browser, &tab, &format!("http://{}/healthz", demo.http(0))).await,
        );
        page.push(largest_paint(&mut browser, &tab, &format!("http://{}/", demo.http(0))).await);
    }
    bare.sort();
    page.sort();
    println!("largest contentful paint: the page {page:?}, a line of text {bare:?}");
    assert!(page[0] < PAINT_MAX, "the page {page:?}, a line of text {bare:?}");
}

/// The time of the largest contentful paint of an address, with an empty browser cache.
async fn largest_paint(browser: &mut Browser, tab: &Tab, url: &str) -> Duration {
    browser.command(tab, "Network.clearBrowserCache", json!({})).await;
    browser.open(tab, url).await;
    browser.until(tab, "document.readyState", "complete").await;
    let largest = "new Promise(done => { new PerformanceObserver(list => \
        done(Math.max(...list.getEntries().map(e => e.startTime)))) \
                   .observe({ type: 'largest-contentful-paint', buffered: true }); setTimeout(() => done(null), 5000); })";
    let time = browser.eval(tab, largest).await;
    Duration::from_secs_f64(time.as_f64().expect("every load has one") / 1000.0)
}
