//! The page in a real browser behind nginx.

use std::time::Duration;

use serde_json::json;

use crate::config::{DEFAULT, below_a_path, careful, deployed};
use crate::support::browser::{Browser, Tab};
use crate::support::eventually;
use crate::support::http::counter;
use crate::support::nginx::{Nginx, free_address};
use crate::support::process::{Node, cluster};

const STATUS: &str = "document.getElementById('status').textContent.trim()";
const TOTAL: &str = "document.getElementById('total').textContent";
const SENTENCE: &str = "document.getElementById('trouble').textContent";
/// The addresses whose requests by the page failed.
const FAILED: &str = "performance.getEntriesByType('resource').filter(e => e.responseStatus >= \
    400).map(e => e.name).join()";

/// Submits the form with `+`, like a browser without scripts.
const SUBMIT: &str = "(form => { form.append(Object.assign(document.createElement('input'), { \
    name: 'amount', value: 1 })); form.submit(); }) \
    (document.getElementById('clicks'))";

fn node(flags: &[&str]) -> Node {
    Node::start_with(&cluster(), "ord", &[], &[&["--http", "127.0.0.1:0"], flags].concat())
}

async fn open(browser: &mut Browser, url: &str) -> Tab {
    let tab = browser.tab().await;
    browser.open(&tab, url).await;
    tab
}

/// One click, which the node must count, and the page must show.
async fn clicks(browser: &mut Browser, tab: &Tab, node: &Node, total: i64) {
    let plus = browser.middle(tab, "#plus").await;
    browser.press(tab, plus).await;
    browser.until(tab, TOTAL, total.to_string()).await;
    eventually("the click is counted", Duration::from_secs(10), || {
        match counter(&node.http, "clicks")["total"].clone() {
            seen if seen == total => Ok(()),
            seen => Err(seen.to_string()),
        }
    });
}

async fn picture(browser: &mut Browser, tab: &Tab, name: &str) {
    if let Ok(directory) = std::env::var("COUNTER_SCREENS") {
        browser.picture(tab, &format!("{directory}/{name}.png")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn default_nginx_page_says_what_to_set() {
    let Some(mut browser) = Browser::start("nginx-default").await else { return };
    let plain = node(&[]);
    let Some(nginx) = Nginx::start("default", DEFAULT, &plain.http) else { return };
    let url = format!("http://{}/", nginx.address);
    let tab = open(&mut browser, &url).await;
    browser.until(&tab, STATUS, "Refused").await;
    let sentence = browser.eval(&tab, SENTENCE).await;
    println!("default nginx, the page says: {sentence}");
    for part in [&plain.http, &format!("--allow-origin http://{}", nginx.address), "--trust-proxy"]
    {
        assert!(sentence.as_str().unwrap().contains(part), "{part}: {sentence}");
    }
    let plus = browser.middle(&tab, "#plus").await;
    browser.press(&tab, plus).await;
    browser.until(&tab, STATUS, "Refused: 1 click waiting to send").await;
    picture(&mut browser, &tab, "nginx-default-refused").await;
    assert_eq!(counter(&plain.http, "clicks")["total"], 0);

    // The flag that the error names. nginx passes no Upgrade, so the page uses events and POST.
    let address = free_address();
    let allowing = node(&["--allow-partition", "--allow-origin", &format!("http://{address}")]);
    let Some(_nginx) = Nginx::start_at(&address, "allowed", DEFAULT, &allowing.http) else {
        return;
    };
    let tab = open(&mut browser, &format!("http://{address}/")).await;
    browser.until(&tab, STATUS, "live").await;
    clicks(&mut browser, &tab, &allowing, 1).await;
    crate::support::http::add(&allowing.http, 4);
    browser.until(&tab, TOTAL, "5").await;
    // To the node this is a page of another site, which may do no more.
    let switch = browser.middle(&tab, "#switch button").await;
    browser.press(&tab, switch).await;
    browser
        .until(
            &tab,
            &format!("{SENTENCE}.includes('may read, listen and add, and nothing else')"),
            true,
        )
        .await;
    println!("default nginx with --allow-origin: live, clicks count");
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_host_and_trust_mend_it_too() {
    let Some(mut browser) = Browser::start("nginx-forwarded").await else { return };
    let node = node(&["--trust-proxy"]);
    let config = "server { listen LISTEN; location / { proxy_pass http://UPSTREAM; \
        proxy_set_header X-Forwarded-Host $http_host; \
                  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } }";
    let Some(nginx) = Nginx::start("forwarded", config, &node.http) else { return };
    let tab = open(&mut browser, &format!("http://{}/", nginx.address)).await;
    browser.until(&tab, STATUS, "live").await;
    clicks(&mut browser, &tab, &node, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn careful_nginx_passes_the_socket() {
    let Some(mut browser) = Browser::start("nginx-careful").await else { return };
    let node = node(&["--trust-proxy"]);
    for (what, config, path) in
        [("careful", careful(), "/"), ("below a path", below_a_path(), "/apps/counter/")]
    {
        let Some(nginx) = Nginx::start(what, &config, &node.http) else { return };
        let before = counter(&node.http, "clicks")["total"].as_i64().unwrap();
        for page in ["", "c/clicks"] {
            let tab = open(&mut browser, &format!("http://{}{path}{page}", nginx.address)).await;
            browser.until(&tab, STATUS, "live").await;
            let total = counter(&node.http, "clicks")["total"].as_i64().unwrap() + 1;
            clicks(&mut browser, &tab, &node, total).await;
            assert_eq!(browser.eval(&tab, FAILED).await, "", "{what} {page}");
            // A form without a script returns to its page.
            browser.eval(&tab, SUBMIT).await;
            browser.until(&tab, TOTAL, (total + 1).to_string()).await;
            browser.until(&tab, "location.pathname", format!("{path}{page}")).await;
        }
        assert_eq!(counter(&node.http, "clicks")["total"], before + 4);
        let passed = nginx.requests();
        println!(
            "{what}: {} requests, sockets among them: {}",
            passed.lines().count(),
            passed.contains(" 101 ")
        );
        assert!(
            passed.contains(" 101 ") && !passed.contains("/events"),
            "{what}: a socket, and no events: {passed}"
        );
        assert_eq!(nginx.log(), "", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_works_over_tls_and_http2() {
    let Some(mut browser) =
        Browser::start_with("nginx-tls", &["--ignore-certificate-errors"]).await
    else {
        return;
    };
    let node = node(&["--trust-proxy"]);
    let Some(nginx) = Nginx::start("TLS and HTTP/2", &deployed(), &node.http) else { return };
    let tab = open(&mut browser, &format!("https://{}/", nginx.address)).await;
    browser.until(&tab, STATUS, "live").await;
    browser
        .until(&tab, "performance.getEntriesByType('navigation')[0].nextHopProtocol", "h2")
        .await;
    clicks(&mut browser, &tab, &node, 1).await;
    let hidden = browser.eval(&tab, "fetch('/metrics').then(answer => answer.status)").await;
    assert_eq!(hidden, 404, "the operator's numbers");
    println!("TLS, HTTP/2: live, 1 click counted");
    picture(&mut browser, &tab, "nginx-tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_reports_the_connection_limit() {
    let Some(mut browser) = Browser::start("nginx-limit").await else { return };
    let node = node(&["--trust-proxy", "--connections-per-address", "2"]);
    let Some(nginx) = Nginx::start("limit", &careful(), &node.http) else { return };
    let url = format!("http://{}/", nginx.address);
    let (first, second) = (open(&mut browser, &url).await, open(&mut browser, &url).await);
    for tab in [&first, &second] {
        browser.until(tab, STATUS, "live").await;
    }
    let third = open(&mut browser, &url).await;
    browser.until(&third, STATUS, "Refused").await;
    let sentence = browser.eval(&third, SENTENCE).await;
    println!("at the limit, the page says: {sentence}");
    assert!(
        sentence.as_str().unwrap().contains("too many connections from this address"),
        "{sentence}"
    );
    // A freed slot is used.
    browser.command(&first, "Page.navigate", json!({ "url": "about:blank" })).await;
    browser.until(&third, STATUS, "live").await;
    browser.until(&third, SENTENCE, "").await;
}
