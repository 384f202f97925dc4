//! Thousands of pages behind one nginx, whose node dies and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::config::careful;
use crate::support::http::{counter, get};
use crate::support::nginx::Nginx;
use crate::support::process::{Node, cluster};

const PAGES: usize = 5_000;
const BACK_WITHIN: Duration = Duration::from_secs(30);
const SPREAD_MIN: Duration = Duration::from_secs(2);

/// The waits of the client library, on which the page is built, in milliseconds.
struct PageWaits {
    min: f64,
    first_max: f64,
    max: f64,
}

impl PageWaits {
    fn of_the_page() -> Self {
        let script = include_str!("../../assets/scripts/counter-client.js");
        let number = |name: &str| {
            let text = script.split(&format!("{name} = ")).nth(1).unwrap();
            text.split([',', ';'])
                .next()
                .unwrap()
                .trim()
                .replace('_', "")
                .parse()
                .unwrap_or_else(|_| panic!("{name} in counter-client.js"))
        };
        Self { min: number("WAIT_MIN"), first_max: number("FIRST_MAX"), max: number("WAIT_MAX") }
    }

    /// As `drop` in counter-client.js.
    fn wait(&self, attempts: i32) -> Duration {
        let most = self.max.min(self.first_max * 2_f64.powi(attempts));
        Duration::from_secs_f64((self.min + fastrand::f64() * (most - self.min)) / 1_000.0)
    }
}

type PageSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(url: &str) -> Option<PageSocket> {
    let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
    let mut socket = connect_async_with_config(url, Some(config), true).await.ok()?.0;
    // The first message shows that it works.
    socket.next().await?.ok()?;
    Some(socket)
}

/// One page, open until the test ends. Returns the times when it reconnected.
async fn page(url: String, waits: Arc<PageWaits>, ends: Arc<AtomicBool>) -> Vec<Instant> {
    let (mut attempts, mut opened) = (0, Vec::new());
    while !ends.load(Ordering::Relaxed) {
        if let Some(mut socket) = open(&url).await {
            (attempts, _) = (0, opened.push(Instant::now()));
            while !ends.load(Ordering::Relaxed) {
                if let Ok(None | Some(Err(_))) =
                    tokio::time::timeout(Duration::from_millis(500), socket.next()).await
                {
                    break;
                }
            }
        }
        tokio::time::sleep(waits.wait(attempts)).await;
        attempts += 1;
    }
    opened
}

async fn viewers_become(node: &Node, count: usize, within: Duration) -> Duration {
    let start = Instant::now();
    loop {
        let seen = counter(&node.http, "clicks")["regions"]["ord"]["connected"].clone();
        if seen == count {
            return start.elapsed();
        }
        assert!(start.elapsed() < within, "{seen} viewers of {count} after {within:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_pages_come_back_spread_out() {
    let files = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files }).unwrap();
    let flags = |http: &str| ["--http", http, "--trust-proxy"].map(str::to_owned);
    let cluster = cluster();
    let start = |http: &str| {
        let flags = flags(http);
        Node::start_with(&cluster, "ord", &[], &flags.each_ref().map(String::as_str))
    };
    let mut node = start("127.0.0.1:0");
    let Some(nginx) = Nginx::start("herd", &careful(), &node.http) else { return };
    let (waits, ends) = (Arc::new(PageWaits::of_the_page()), Arc::new(AtomicBool::new(false)));
    let url = format!("ws://{}/ws?counter=clicks", nginx.address);
    let mut pages = Vec::new();
    for at in 0..PAGES {
        pages.push(tokio::spawn(page(url.clone(), Arc::clone(&waits), Arc::clone(&ends))));
        if at % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    viewers_become(&node, PAGES, Duration::from_secs(60)).await;

    let http = node.http.clone();
    let killed = Instant::now();
    node.kill();
    let node = start(&http);
    let back = viewers_become(&node, PAGES, BACK_WITHIN).await;
    assert_eq!(get(&node.http, "/healthz").status, 200);
    ends.store(true, Ordering::Relaxed);
    let mut again = Vec::new();
    for page in pages {
        again.extend(page.await.unwrap().into_iter().filter(|opened| *opened > killed));
    }
    again.sort();
    let after = |share: f64| again[((again.len() - 1) as f64 * share) as usize] - killed;
    let spread = after(0.99) - after(0.01);
    println!(
        "{PAGES} pages, killed and started: all {PAGES} viewers {back:?} after the start; \
            reconnects 1 % after {:?}, half after {:?}, 99 % after {:?}",
        after(0.01),
        after(0.5),
        after(0.99)
    );
    assert!(spread >= SPREAD_MIN, "{spread:?}");
}
