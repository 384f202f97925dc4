//! A node under 100,000 adds a second, in its own process. Its memory stays flat, and it keeps
//! answering.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::cluster::{self, PATIENCE, address, alone, start_all, until};
use crate::peer::Hostile;
use counter_net::{Counter, Interest, Node};
use futures::StreamExt;

const ADDS_PER_SECOND: u64 = 100_000;
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The report that the loaded process prints twice a second.
#[derive(Debug)]
struct Report {
    rss_kib: i64,
    adds: u64,
    /// The longest read of a counter since the last report.
    read_max: Duration,
}

/// The loaded process. It is killed with its handle.
struct Loaded {
    child: Child,
    _input: ChildStdin,
    reports: mpsc::Receiver<Report>,
    address: String,
}

impl Loaded {
    fn start(peers: &[Node], counters: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args([
            "--exact",
            "adds::loaded_node",
            "--ignored",
            "--nocapture",
            "--test-threads",
            "1",
        ]);
        command
            .env("LOAD_CLUSTER", peers[0].info().cluster)
            .env("LOAD_COUNTERS", counters.to_string());
        command.env("LOAD_PEERS", peers.iter().map(address).collect::<Vec<_>>().join(" "));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let (input, stdout) =
            (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (tell, reports) = mpsc::channel();
        let (tell_address, listens) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let at = words
                    .iter()
                    .position(|word| ["listens", "report"].contains(word))
                    .unwrap_or(words.len());
                // The receiver may be gone already.
                let _gone = match &words[at..] {
                    ["listens", address] => tell_address.send((*address).to_owned()).is_ok(),
                    ["report", numbers @ ..] => {
                        read_report(numbers).is_some_and(|report| tell.send(report).is_ok())
                    }
                    _ => true,
                };
            }
        });
        let address = listens.recv_timeout(PATIENCE).expect("it listens");
        Self { child, _input: input, reports, address }
    }
}

fn read_report(numbers: &[&str]) -> Option<Report> {
    let [rss_kib, adds, read_max] = numbers else { return None };
    Some(Report {
        rss_kib: rss_kib.parse().ok()?,
        adds: adds.parse().ok()?,
        read_max: Duration::from_micros(read_max.parse().ok()?),
    })
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The time from an add here until this node sees that the loaded one has seen it and added too.
async fn there_and_back(node: &Node, there: &Counter) -> Duration {
    let mut changes = node.subscribe(Interest::Counter("back".into()));
    let goal = there.total() + 1;
    let began = Instant::now();
    there.add(1).expect("added");
    let waiting = async {
        while node.view("back").total < goal {
            changes.next().await.expect("the node runs");
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it answers");
    began.elapsed()
}

/// Runs the load for some time. Prints and returns the reports and the sorted times there and back.
async fn run(
    counters: usize,
    time: Duration,
    with_deaf_peer: bool,
) -> (Vec<Report>, Vec<Duration>) {
    let nodes = start_all(&cluster::cluster(), &["ord", "fra"]).await;
    let loaded = Loaded::start(&nodes, counters);
    until(&nodes[0], "the loaded node is there", |node| {
        node.info().peers == 2 && node.view("back").regions.contains_key("sin")
    })
    .await;
    let deaf = if with_deaf_peer {
        Some(Hostile::connect_to(&loaded.address, &nodes[0].info().cluster).await)
    } else {
        None
    };
    let deaf = deaf.map(|mut deaf| {
        tokio::spawn(async move {
            deaf.until_pinged().await;
            deaf.stop_reading();
            deaf.live().await;
        })
    });
    let there = nodes[0].counter("there").expect("a counter");
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        times.push(there_and_back(&nodes[0], &there).await);
    }
    let reports: Vec<Report> = loaded.reports.try_iter().collect();
    times.sort();
    let rate = reports.last().map_or(0.0, |report| {
        report.adds as f64 / (reports.len() as f64 * REPORT_INTERVAL.as_secs_f64())
    });
    println!(
        "{rate:.0} adds/s on {counters} counters for {time:?}, with a peer that never reads: {with_deaf_peer}; {} round trips: median {:?}, \
         99 % within {:?}; longest read {:?}; memory by the half second, MiB: {:?}",
        times.len(),
        times[times.len() / 2],
        times[(times.len() - 1) * 99 / 100],
        reports.iter().map(|report| report.read_max).max().unwrap_or_default(),
        reports.iter().map(|report| report.rss_kib / 1024).collect::<Vec<_>>()
    );
    if let Some(deaf) = deaf {
        deaf.abort();
    }
    (reports, times)
}

/// The growth of memory after the first half of the time, in KiB.
fn growth(reports: &[Report]) -> i64 {
    let (first, second) = reports.split_at(reports.len() / 2);
    let greatest =
        |reports: &[Report]| reports.iter().map(|report| report.rss_kib).max().unwrap_or(0);
    greatest(second) - greatest(first)
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_under_load() {
    let _quiet = crate::QUIET.lock().await;
    let (reports, times) = run(50, Duration::from_secs(6), false).await;
    assert!(reports.len() >= 4, "{reports:?}");
    assert!(growth(&reports) < 16 * 1024, "{reports:?}");
    assert!(times[times.len() / 2] < Duration::from_secs(1), "{:?}", times[times.len() / 2]);
}

/// `cargo test --release -p counter-net --test load -- --ignored --nocapture thirty` prints the
/// figures. `LOAD_SECONDS` sets another time. Gossip remembers each message for one minute and its
/// sender's score for two. After that memory does not grow at all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; run it in release"]
async fn thirty_seconds_under_load() {
    let seconds =
        std::env::var("LOAD_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(30);
    for with_deaf_peer in [false, true] {
        let (reports, times) = run(1_000, Duration::from_secs(seconds), with_deaf_peer).await;
        let growth_max = if seconds >= 300 { 2 } else { 16 };
        assert!(growth(&reports) < growth_max * 1024, "{reports:?}");
        assert!(
            times[times.len() / 2] < Duration::from_millis(50) && reports.len() >= 40,
            "{:?}",
            times[times.len() / 2]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests start it as a process of its own"]
async fn loaded_node() {
    let setting = |name: &str| std::env::var(name).ok();
    let (Some(cluster), Some(peers)) = (setting("LOAD_CLUSTER"), setting("LOAD_PEERS")) else {
        return;
    };
    let builder =
        peers.split_whitespace().fold(alone(&cluster, "sin"), |builder, peer| builder.peer(peer));
    let node = builder.start().await.expect("starts");
    println!("listens {}", address(&node));
    let count: usize =
        setting("LOAD_COUNTERS").and_then(|count| count.parse().ok()).expect("a number");
    let counters: Vec<Counter> =
        (0..count).map(|at| node.counter(&format!("hot-{at}")).expect("a counter")).collect();
    let (mut changes, back) = (
        node.subscribe(Interest::Counter("there".into())),
        node.counter("back").expect("a counter"),
    );
    // It ends when its input does, which is when its test ends.
    let mut ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    let (began, mut added, mut reported, mut read_max) =
        (Instant::now(), 0, Instant::now(), Duration::ZERO);
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    loop {
        tokio::select! {
            _ = &mut ended => return,
            change = changes.next() => {
                assert!(change.is_some(), "the node runs");
                let behind = node.view("there").total - back.total();
                if let Ok(behind @ 1..) = u64::try_from(behind) {
                    back.add(behind).expect("added");
                }
            }
            _ = ticks.tick() => {
                let due = began.elapsed().as_micros() as u64 * ADDS_PER_SECOND / 1_000_000;
                for at in added..due {
                    counters[at as usize % count].add(1).expect("added");
                }
                added = due;
                let read = Instant::now();
                let _shown = counters[added as usize % count].total();
                read_max = read_max.max(read.elapsed());
                if reported.elapsed() >= REPORT_INTERVAL {
                    println!("report {} {added} {}", rss_kib(), read_max.as_micros());
                    (reported, read_max) = (Instant::now(), Duration::ZERO);
                }
            }
        }
    }
}

fn rss_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
