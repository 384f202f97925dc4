//! A link that dies silently, as when a phone changes its network. The page notices, reconnects,
//! and is still one viewer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::page::*;
use crate::support::browser::Browser;
use crate::support::http::{add, counter};
use crate::support::process::{Node, cluster};
use crate::support::relay::{Relay, RelayRules};

/// Forwards connections to a node. When they fall silent, both ends stay open and no byte passes.
pub(crate) struct FlakyLink {
    pub(crate) address: String,
    /// The number of times that all connections fell silent: towards the node, and towards the
    /// page.
    silences: [Arc<AtomicU64>; 2],
}

impl FlakyLink {
    pub(crate) fn to(node: &Node) -> Self {
        Self::slow(node, Duration::ZERO)
    }

    /// A link that delays everything from the node.
    pub(crate) fn slow(node: &Node, delay: Duration) -> Self {
        Self::before(node.http.clone(), delay)
    }

    /// A link in front of any address.
    fn before(http: String, delay: Duration) -> Self {
        let (listener, silences) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), <[Arc<AtomicU64>; 2]>::default());
        let (address, heard) = (listener.local_addr().unwrap().to_string(), silences.clone());
        std::thread::spawn(move || {
            for page in listener.incoming().map_while(Result::ok) {
                let node = TcpStream::connect(&http).unwrap();
                let ends = [
                    (page.try_clone().unwrap(), node.try_clone().unwrap(), Duration::ZERO),
                    (node, page, delay),
                ];
                for ((from, to, delay), silences) in ends.into_iter().zip(heard.clone()) {
                    let born = silences.load(Ordering::SeqCst);
                    std::thread::spawn(move || {
                        pass_on(from, to, delay, || silences.load(Ordering::SeqCst) == born)
                    });
                }
            }
        });
        Self { address, silences }
    }

    fn fall_silent(&self) {
        for silences in &self.silences {
            silences.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Passes bytes of pages, and none of the node.
    pub(crate) fn lose_answers(&self) {
        self.silences[1].fetch_add(1, Ordering::SeqCst);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration, is_open: impl Fn() -> bool) {
    let mut piece = [0; 65536];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        std::thread::sleep(delay);
        if is_open() && to.write_all(&piece[..bytes]).is_err() {
            break;
        }
    }
    if is_open() {
        // It may be closed already.
        let _closed = to.shutdown(Shutdown::Both);
    } else {
        // The far end must not notice: it is kept open for as long as the test runs.
        std::mem::forget((from, to));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silently_dead_link_is_replaced_by_one_viewer() {
    let Some(mut browser) = Browser::start("silence").await else { return };
    let node = Node::start(&cluster(), "ord", &[]);
    let link = FlakyLink::to(&node);
    let tab = browser.tab().await;
    browser.open(&tab, &format!("http://{}/", link.address)).await;
    browser.until(&tab, LIVE, "live").await;
    let viewers = "document.querySelector('tr[data-region=ord] [data-f=connected]').textContent";
    browser.until(&tab, viewers, "1").await;
    browser.eval(&tab, "window.states = []; new MutationObserver(() => \
        states.push(document.getElementById('status').dataset.state)).observe(document.getElementById('status'), { attributes: true })").await;
    link.fall_silent();
    let silent = Instant::now();
    click(&mut browser, &tab, "plus").await;
    browser.until(&tab, TOTAL, "1").await;
    http_total_is(&node.http, 1);
    assert!(
        silent.elapsed() < Duration::from_secs(12),
        "a click that nobody answers makes the page look for another way: {:?}",
        silent.elapsed()
    );
    browser.until(&tab, LIVE, "live").await;
    assert_eq!(
        browser.eval(&tab, "states.includes('waiting')").await,
        true,
        "it said so meanwhile"
    );
    assert_eq!(
        counter(&node.http, "clicks")["regions"]["ord"]["connected"],
        1,
        "the old socket, which the server takes for alive, stands for nobody"
    );
    browser.until(&tab, viewers, "1").await;
}

/// A page does not see the comments that keep an event stream alive. A POST without an event shows
/// that the stream is dead.
#[tokio::test(flavor = "multi_thread")]
async fn silent_events_are_reopened_after_a_click() {
    let Some(mut browser) = Browser::start("silent-events").await else { return };
    let node = Node::start(&cluster(), "ord", &[]);
    let relay = Relay::to(&node.http, RelayRules { no_upgrade: true, ..RelayRules::default() });
    let link = FlakyLink::before(relay.address.clone(), Duration::ZERO);
    let tab = browser.tab().await;
    browser.open(&tab, &format!("http://{}/", link.address)).await;
    browser.until(&tab, "document.readyState", "complete").await;
    add(&node.http, 5);
    browser.until(&tab, TOTAL, "5").await;
    link.lose_answers();
    let silent = Instant::now();
    click(&mut browser, &tab, "plus").await;
    http_total_is(&node.http, 6);
    browser.until(&tab, TOTAL, "6").await;
    assert!(silent.elapsed() < Duration::from_secs(12), "{:?}", silent.elapsed());
    browser.until(&tab, LIVE, "live").await;
}
