//! The hero of a demo's page: two cities, each with a socket to its own node, and the cable between
//! them.

use serde_json::{Value, json};

use crate::page::*;
use crate::support::browser::{Browser, Tab};
use crate::support::demo::Demo;
use crate::support::http::counter;

const THERE: &str = "document.getElementById('there-total').textContent";
const WORDS: &str = "document.querySelector('#switch p').textContent";

/// Counts the clicks in both cities. Records each shown number that is above the clicks which its
/// node can know of: all before the cut, and those of its own side after it.
const WATCH: &str = r#"(() => {
  const made = { plus: 0, "there-plus": 0 };
  let common = 0, isCut = false;
  window.above = [];
  window.cutNow = (cut) => { if (cut) { common = made.plus + made["there-plus"]; made.plus = made["there-plus"] = 0; } isCut = cut; };
  addEventListener("click", (event) => { if (event.target.id in made) made[event.target.id]++; }, true);
  const look = () => {
    for (const [id, own] of [["total", "plus"], ["there-total", "there-plus"]]) {
      const most = common + (isCut ? made[own] : made.plus + made["there-plus"]);
      const shown = document.getElementById(id).textContent;
      if (Number(shown) > most) above.push(`${id} shows ${shown} of ${most}`);
    }
    requestAnimationFrame(look);
  };
  look();
})()"#;

async fn open(browser: &mut Browser, demo: &Demo) -> Tab {
    let tab = browser.tab().await;
    browser.watch_errors(&tab).await;
    browser.open(&tab, &format!("http://{}/", demo.http(0))).await;
    browser.until(&tab, LIVE, "live").await;
    browser.until(&tab, THERE, "0").await;
    tab
}

async fn press_switch(browser: &mut Browser, tab: &Tab) {
    let at = browser.middle(tab, "#switch button").await;
    browser.press(tab, at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_of_two_cities_part_and_meet_on_one_page() {
    let Some(mut browser) = Browser::start("hero").await else { return };
    let demo = Demo::start(&["ord", "fra", "sin"]);
    let tab = open(&mut browser, &demo).await;
    // The farthest node, not the first.
    let second = "document.querySelector('#there h2').textContent.includes('Singapore')";
    browser.until(&tab, second, true).await;
    browser.eval(&tab, WATCH).await;
    for id in ["plus", "there-plus", "there-plus"] {
        click(&mut browser, &tab, id).await;
    }
    for total in [TOTAL, THERE] {
        browser.until(&tab, total, "3").await;
    }
    // Each click counts at the node of its card.
    let regions = counter(demo.http(1), "clicks")["regions"].clone();
    assert_eq!((&regions["ord"]["value"], &regions["sin"]["value"]), (&json!(1), &json!(2)));

    press_switch(&mut browser, &tab).await;
    browser.until(&tab, "document.getElementById('hero').classList.contains('cut')", true).await;
    browser.eval(&tab, "cutNow(true)").await;
    for (id, times) in [("plus", 3), ("there-plus", 5)] {
        for _ in 0..times {
            click(&mut browser, &tab, id).await;
        }
    }
    browser.until(&tab, TOTAL, "6").await;
    browser.until(&tab, THERE, "8").await;
    let note = |id: &str| format!("document.getElementById('{id}').textContent");
    browser.until(&tab, &note("own"), "+3 since the cut").await;
    browser.until(&tab, &note("there-own"), "+5 since the cut").await;
    let totals = [0, 1, 2].map(|at| counter(demo.http(at), "clicks")["total"].clone());
    assert_eq!(totals, [6, 8, 8].map(Value::from));

    browser.eval(&tab, "cutNow(false)").await;
    press_switch(&mut browser, &tab).await;
    for total in [TOTAL, THERE] {
        browser.until(&tab, total, "11").await;
    }
    browser.until(&tab, WORDS, "Back in sync: sent 3 clicks, received 5.").await;
    browser.until(&tab, &note("own"), "Your clicks: 4").await;
    browser.until(&tab, &note("there-own"), "Your clicks: 7").await;
    assert_eq!(browser.eval(&tab, "above").await, json!([]));
    assert_eq!(browser.errors(), [""; 0]);
}

/// A page that is loaded while its node is cut off learns from the other side what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn page_loaded_after_the_cut_knows_both_sides() {
    let Some(mut browser) = Browser::start("hero-late").await else { return };
    let demo = Demo::start(&["ord", "fra"]);
    let tab = open(&mut browser, &demo).await;
    press_switch(&mut browser, &tab).await;
    browser.until(&tab, "document.getElementById('hero').classList.contains('cut')", true).await;
    crate::support::http::add(demo.http(0), 2);
    crate::support::http::add(demo.http(1), 7);
    browser.open(&tab, &format!("http://{}/", demo.http(0))).await;
    let note = |id: &str| format!("document.getElementById('{id}')?.textContent");
    browser.until(&tab, &note("own"), "+2 since the cut").await;
    browser.until(&tab, &note("there-own"), "+7 since the cut").await;
    press_switch(&mut browser, &tab).await;
    browser.until(&tab, WORDS, "Back in sync: sent 2 clicks, received 7.").await;
}

/// The other node dies: its card says so, keeps its last total and its clicks, and this city goes
/// on. The demo starts the node again.
#[tokio::test(flavor = "multi_thread")]
async fn second_city_may_stop_and_continue() {
    let Some(mut browser) = Browser::start("hero-stop").await else { return };
    let demo = Demo::start(&["ord", "fra"]);
    let tab = open(&mut browser, &demo).await;
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, THERE, "1").await;
    let fra = demo.process("fra").unwrap();
    crate::support::process::signal(fra, "STOP");
    click(&mut browser, &tab, "there-plus").await;
    let note = "document.getElementById('there-own').textContent";
    browser.until(&tab, note, "Frankfurt isn't responding: 1 click waiting to send").await;
    browser.until(&tab, THERE, "2").await;
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, TOTAL, "2").await;
    crate::support::process::signal(fra, "CONT");
    for total in [TOTAL, THERE] {
        browser.until(&tab, total, "3").await;
    }
    browser.until(&tab, note, "Your clicks: 1").await;
    assert_eq!(demo.end("TERM").0, Some(0));
}

/// The other nodes of a demo let its pages in, and no other site.
#[tokio::test(flavor = "multi_thread")]
async fn demo_lets_only_its_own_pages_in() {
    use crate::support::http::request;
    let demo = Demo::start(&["ord", "fra"]);
    let origin = |http: &str| format!("http://{http}");
    let own = [
        origin(demo.http(1)),
        origin(demo.http(0)),
        origin(&demo.http(0).replace("127.0.0.1", "localhost")),
    ];
    for (origin, status) in
        own.iter().map(|own| (own.as_str(), 200)).chain([("http://127.0.0.1:1", 400)])
    {
        let headers = [("Origin", origin), ("Content-Type", "application/json")];
        let path = "/api/counters/clicks/add";
        let answer = request(demo.http(1), "POST", path, &headers, "{\"amount\":1}");
        assert_eq!(answer.status, status, "{origin}: {}", answer.body);
    }
    // The switch stays the node's own.
    let headers = [("Origin", own[1].as_str()), ("Accept", "application/json")];
    let answer = request(demo.http(1), "POST", "/partition", &headers, "cut=1");
    assert_ne!(answer.status, 303, "{}", answer.body);
}
