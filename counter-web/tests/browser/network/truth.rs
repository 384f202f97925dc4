//! The page never shows a number above the clicks. It is read at every change and every frame,
//! while pages reload, nodes restart and networks fail.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::silence::FlakyLink;
use crate::page::*;
use crate::support::browser::{Browser, Tab};
use crate::support::http::get;
use crate::support::process::{Node, Runtime, cluster, command};
use crate::support::relay::{Relay, RelayRules};

/// Counts the clicks in this tab over its reloads, and records each shown number above them.
const WATCH: &str = r#"if (location.protocol === "http:") {
  const made = () => Number(sessionStorage.made || 0);
  addEventListener("click", (event) => { if (event.target.id === "plus") sessionStorage.made = made() + 1; }, true);
  const look = () => {
    const total = document.getElementById("total");
    if (!total || !total.textContent) return;
    sessionStorage.looks = Number(sessionStorage.looks || 0) + 1;
    const row = document.querySelector("tbody [data-f=value]");
    for (const shown of [total.textContent, row && row.textContent, document.title.split(" ")[0]]) {
      if (!shown || !(Number(shown) > made())) continue;
      const above = JSON.parse(sessionStorage.above || "[]");
      const fault = shown + " shown after " + made() + " clicks";
      if (!above.includes(fault)) sessionStorage.above = JSON.stringify([...above, fault]);
    }
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true, characterData: true });
  const frame = () => { look(); requestAnimationFrame(frame); };
  frame();
}"#;

/// A watched page, and its clicks.
struct Watched {
    browser: Browser,
    tab: Tab,
    made: u64,
}

impl Watched {
    async fn open(mut browser: Browser, http: &str) -> Self {
        let tab = browser.tab().await;
        browser
            .command(&tab, "Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH }))
            .await;
        browser.open(&tab, &format!("http://{http}/")).await;
        let mut watched = Self { browser, tab, made: 0 };
        watched.until_live().await;
        watched
    }

    async fn until_live(&mut self) {
        self.browser.until(&self.tab, LIVE, "live").await;
    }

    /// Clicks by script in one turn of the page, then pauses in the page. The pause may be too
    /// short for sending the add, or long enough for sending, applying or storing it.
    async fn click(&mut self, times: u64, pause: u64) {
        self.made += times;
        let script = format!(
            "for (let i = 0; i < {times}; i++) document.getElementById('plus').click(); new \
                Promise(done => setTimeout(done, {pause}))"
        );
        self.browser.eval(&self.tab, &script).await;
    }

    /// Clicks with the mouse.
    async fn press(&mut self) {
        self.made += 1;
        click(&mut self.browser, &self.tab, "plus").await;
    }

    /// Clicks and reloads the page in one turn.
    async fn click_and_reload(&mut self) {
        self.made += 1;
        self.leave("document.getElementById('plus').click(); location.reload()").await;
    }

    async fn reload(&mut self) {
        self.leave("location.reload()").await;
    }

    /// Evaluates an expression that loads a new document, and waits for it.
    async fn leave(&mut self, script: &str) {
        self.browser.eval(&self.tab, &format!("window.left = true; {script}")).await;
        self.browser
            .until(
                &self.tab,
                "window.left === undefined && document.readyState === 'complete'",
                true,
            )
            .await;
    }

    /// Checks the first HTML that the node would send now.
    fn assert_first_html(&self, node: &Node) {
        let html = get(&node.http, "/").body;
        let total = html.split("id=\"total\">").nth(1).and_then(|rest| rest.split('<').next());
        let total: u64 =
            total.and_then(|total| total.parse().ok()).unwrap_or_else(|| panic!("{html}"));
        assert!(total <= self.made, "{total} in the HTML after {} clicks", self.made);
    }

    /// Every click counts once in the end, also for the next load. No shown number was above them.
    async fn assert_final_total(mut self, node: &Node, clicks: u64) {
        self.assert_total(node, clicks).await;
        self.reload().await;
        self.assert_total(node, clicks).await;
        self.assert_never_above_clicks().await;
    }

    /// The page shows every click, the node has counted each once, and no click waits.
    async fn assert_total(&mut self, node: &Node, clicks: u64) {
        assert_eq!(self.made, clicks);
        let left = "Object.keys(localStorage).filter(key => localStorage[key] !== '{}').length";
        self.browser.until(&self.tab, left, 0).await;
        self.until_live().await;
        self.browser.until(&self.tab, TOTAL, clicks.to_string()).await;
        total_is(node, i64::try_from(clicks).unwrap());
    }

    async fn assert_never_above_clicks(&mut self) {
        let seen = self
            .browser
            .eval(
                &self.tab,
                "[Number(sessionStorage.made), Number(sessionStorage.looks), sessionStorage.above]",
            )
            .await;
        assert_eq!(seen[0], self.made, "the page saw every click");
        assert_eq!(seen[2], Value::Null, "no number shown was above the clicks made");
        assert!(
            seen[1].as_u64() > Some(self.made),
            "the number was read at least once a click: {seen}"
        );
        println!("{} clicks, {} looks", self.made, seen[1]);
    }
}

/// A node with a data directory, on a port that it keeps over restarts.
struct Restarted<'a> {
    runtime: &'a Runtime,
    cluster: String,
    directory: &'a Path,
}

impl Restarted<'_> {
    fn start(&self, http: &str) -> Node {
        let mut command = command(self.runtime);
        command.args([
            "--cluster",
            &self.cluster,
            "--region",
            "ord",
            "--discover",
            "none",
            "--http",
            http,
            "--data-dir",
        ]);
        command.arg(self.directory);
        Node::spawn(command)
    }

    fn kill(&self, mut node: Node) -> Node {
        let http = node.http.clone();
        node.kill();
        self.start(&http)
    }

    fn terminate(&self, node: Node) -> Node {
        let http = node.http.clone();
        assert!(node.terminate().success());
        self.start(&http)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_never_shows_more_than_the_clicks() {
    const ROUNDS: u64 = 10;
    let Some(browser) = Browser::start("truth").await else { return };
    let runtime = Runtime::new();
    let directory = runtime.path().join("ord");
    let place = Restarted { runtime: &runtime, cluster: cluster(), directory: &directory };
    let mut node = place.start("127.0.0.1:0");
    let mut page = Watched::open(browser, &node.http).await;
    // Twenty clicks a round.
    for round in 0..ROUNDS {
        // From nothing to long enough for an add to reach the disk.
        let pause = round * 9 % 90;
        page.press().await;
        page.click(2, pause).await;
        page.click_and_reload().await;
        page.press().await;
        page.reload().await;
        page.assert_first_html(&node);
        page.until_live().await;
        page.click(3, pause).await;
        node = place.kill(node);
        page.click(1, 0).await;
        page.assert_first_html(&node);
        if round % 2 == 0 {
            page.reload().await;
        }
        page.until_live().await;
        page.click(3, pause).await;
        node = place.terminate(node);
        page.click(1, 0).await;
        if round % 2 == 1 {
            page.click_and_reload().await;
        } else {
            page.click(1, pause).await;
        }
        page.until_live().await;
        page.click(1, pause).await;
        page.browser.set_offline(&page.tab, true).await;
        page.click(3, 0).await;
        page.browser.set_offline(&page.tab, false).await;
        page.click(1, pause).await;
        page.click_and_reload().await;
        page.until_live().await;
    }
    page.assert_final_total(&node, ROUNDS * 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_after_a_click_never_shows_it_twice() {
    let Some(browser) = Browser::start("truth-in-memory").await else { return };
    let node = Node::start(&cluster(), "ord", &[]);
    let mut page = Watched::open(browser, &node.http).await;
    for _ in 0..10 {
        page.click_and_reload().await;
        page.assert_first_html(&node);
    }
    page.assert_final_total(&node, 10).await;
}

/// The link is slow, so the page is drawn between the first state of its next socket and the
/// replies.
#[tokio::test(flavor = "multi_thread")]
async fn clicks_with_lost_replies_are_not_shown_twice() {
    let Some(browser) = Browser::start("truth-answers").await else { return };
    let node = Node::start(&cluster(), "ord", &[]);
    let link = FlakyLink::slow(&node, Duration::from_millis(50));
    let mut page = Watched::open(browser, &link.address).await;
    page.press().await;
    page.browser.until(&page.tab, TOTAL, "1").await;
    total_is(&node, 1);
    link.lose_answers();
    page.click(3, 0).await;
    total_is(&node, 4);
    page.browser.until(&page.tab, TOTAL, "4").await;
    page.assert_total(&node, 4).await;
    page.assert_never_above_clicks().await;
}

/// Over events and POSTs, the event of an add may come before its response, which may also be lost.
#[tokio::test(flavor = "multi_thread")]
async fn page_without_websocket_never_shows_more_than_the_clicks() {
    const ROUNDS: u64 = 4;
    let Some(browser) = Browser::start("truth-events").await else { return };
    let runtime = Runtime::new();
    let directory = runtime.path().join("ord");
    let place = Restarted { runtime: &runtime, cluster: cluster(), directory: &directory };
    let mut node = place.start("127.0.0.1:0");
    let plain = RelayRules { no_upgrade: true, ..RelayRules::default() };
    let relay = Relay::to(&node.http, plain.clone());
    let mut page = Watched::open(browser, &relay.address).await;
    // Ten clicks a round.
    for round in 0..ROUNDS {
        let pause = round * 19 % 90;
        page.press().await;
        page.click(2, pause).await;
        page.click_and_reload().await;
        page.until_live().await;
        relay.set(RelayRules { lost: Some("POST"), ..plain.clone() });
        page.click(2, 100 + pause).await;
        relay.set(plain.clone());
        page.click(1, pause).await;
        node = place.kill(node);
        page.click(1, pause).await;
        page.until_live().await;
        // A WebSocket comes through for a while.
        relay.set(RelayRules::default());
        relay.cut();
        page.click(1, pause).await;
        relay.set(plain.clone());
        page.click(1, 0).await;
        relay.cut();
    }
    page.assert_final_total(&node, ROUNDS * 10).await;
}
