//! The page in Firefox: load, clicks, live updates, a partition, a node that dies, stops and comes
//! back, and the keyboard.

use serde_json::{Value, json};

use crate::page::*;
use crate::support::demo::Demo;
use crate::support::firefox::Firefox;
use crate::support::http::add;
use crate::support::process::{Node, cluster, signal};

const THERE: &str = "document.getElementById('there-total').textContent";
const WORDS: &str = "document.querySelector('#switch p').textContent";
const NONE: [String; 0] = [];

async fn live_page(firefox: &mut Firefox, http: &str) {
    firefox.open(&format!("http://{http}/")).await;
    firefox.until(LIVE, "live").await;
    firefox.until("document.getElementById('rtt').textContent !== ''", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_shows_a_partition_that_heals() {
    let Some(mut firefox) = Firefox::start("partition").await else { return };
    let demo = Demo::start(&["ord", "fra", "sin"]);
    live_page(&mut firefox, demo.http(0)).await;
    firefox.click("#plus").await;
    firefox.click("#there-plus").await;
    for total in [TOTAL, THERE] {
        firefox.until(total, "2").await;
    }
    add(demo.http(1), 4);
    for total in [TOTAL, THERE] {
        firefox.until(total, "6").await;
    }
    firefox.click("#switch button").await;
    firefox.until("document.getElementById('hero').classList.contains('cut')", true).await;
    for (button, times) in [("#plus", 3), ("#there-plus", 5)] {
        for _ in 0..times {
            firefox.click(button).await;
        }
    }
    firefox.until(TOTAL, "9").await;
    firefox.until(THERE, "11").await;
    firefox.click("#switch button").await;
    for total in [TOTAL, THERE] {
        firefox.until(total, "14").await;
    }
    firefox.until(WORDS, "Back in sync: sent 3 clicks, received 5.").await;
    assert_eq!(firefox.errors(), NONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_keeps_clicks_while_its_node_is_gone() {
    let Some(mut firefox) = Firefox::start("offline").await else { return };
    let cluster = cluster();
    let fra = Node::start(&cluster, "fra", &[]);
    let mut ord = Node::start(&cluster, "ord", &[&fra]);
    let http = ord.http.clone();
    live_page(&mut firefox, &http).await;
    assert_eq!(firefox.errors(), NONE);
    firefox.click("#plus").await;
    firefox.until(TOTAL, "1").await;
    total_is(&fra, 1);
    ord.kill();
    firefox.until(LIVE, "Chicago isn't responding").await;
    for _ in 0..3 {
        firefox.click("#plus").await;
    }
    firefox.until(LIVE, "Chicago isn't responding: 3 clicks waiting to send").await;
    firefox.until(TOTAL, "4").await;
    add(&fra.http, 10);
    let ord = Node::start_with(&cluster, "ord", &[&fra], &["--http", &http]);
    firefox.until(LIVE, "live").await;
    firefox.until(TOTAL, "14").await;
    total_is(&fra, 14);
    // The clicks of a page that is reloaded meanwhile count too.
    signal(ord.id(), "STOP");
    firefox.click("#plus").await;
    firefox.until(&format!("{LIVE}.includes('1 click waiting to send')"), true).await;
    signal(ord.id(), "CONT");
    firefox.reload().await;
    firefox.until(LIVE, "live").await;
    firefox.until(TOTAL, "15").await;
    total_is(&fra, 15);
    firefox.until("Object.keys(localStorage).length", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_works_by_keyboard() {
    let Some(mut firefox) = Firefox::start("keys").await else { return };
    let (ord, fra) = two();
    live_page(&mut firefox, &ord.http).await;
    for (key, times) in [("+", 3), ("-", 1)] {
        for _ in 0..times {
            firefox.key(key).await;
        }
    }
    firefox.until(TOTAL, "2").await;
    for (wanted, total) in [("minus", "1"), ("plus", "2")] {
        let mut tabs = 0;
        while firefox.eval("document.activeElement.id").await != wanted {
            firefox.key("Tab").await;
            tabs += 1;
            assert!(tabs < 20, "no Tab leads to {wanted}");
        }
        let outline = "getComputedStyle(document.activeElement).outlineStyle";
        assert_ne!(firefox.eval(outline).await, Value::from("none"), "{wanted}");
        firefox.key("Enter").await;
        firefox.until(TOTAL, total).await;
    }
    total_is(&fra, 2);
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(firefox.eval(fits).await, json!(true));
    assert_eq!(firefox.errors(), NONE);
}
