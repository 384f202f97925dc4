//! Real processes with data directories, killed at random moments: every acknowledged click is there, none counts twice.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::eventually;
use support::http::counter;
use support::process::{Node, Runtime, cluster, command};

/// Kills of one node or of all three; with `COUNTER_KILLS` as many as it says.
const KILLS: u64 = 30;

fn serve(runtime: &Runtime, cluster: &str, directory: &Path) -> Node {
    let mut command: Command = command(runtime);
    let region = directory.file_name().and_then(|name| name.to_str()).unwrap();
    command.args(["--cluster", cluster, "--region", region, "--discover", "local", "--http", "127.0.0.1:0", "--data-dir"]).arg(directory);
    Node::spawn(command)
}

/// What the adders know.
#[derive(Default)]
struct Tally {
    tried: AtomicU64,
    acknowledged: AtomicU64,
    over: AtomicBool,
}

impl Tally {
    /// Adds to the node whose address stands in `http` until it is over; a node that was just killed refuses.
    fn keep_adding(&self, http: &Mutex<String>) {
        while !self.over.load(Ordering::Relaxed) {
            let http = http.lock().unwrap().clone();
            self.tried.fetch_add(1, Ordering::Relaxed);
            if try_add(&http).is_ok_and(|acknowledged| acknowledged) {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// One click; whether it was acknowledged, where the node lived long enough to say so.
fn try_add(http: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(http)?;
    let body = "{\"amount\":1}";
    let head = format!("POST /api/counters/clicks/add HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn no_acknowledged_click_is_lost_or_doubled_by_kills_of_one_node_or_all() {
    let kills = std::env::var("COUNTER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let (runtime, cluster, tally) = (Runtime::new(), cluster(), Tally::default());
    let directories = ["ord", "fra", "sin"].map(|region| runtime.path().join(region));
    let mut nodes: Vec<Option<Node>> = directories.iter().map(|directory| Some(serve(&runtime, &cluster, directory))).collect();
    let addresses: Vec<Mutex<String>> = nodes.iter().map(|node| Mutex::new(node.as_ref().unwrap().http.clone())).collect();
    std::thread::scope(|threads| {
        addresses.iter().for_each(|http| drop(threads.spawn(|| tally.keep_adding(http))));
        let mut killed = 0;
        while killed < kills {
            // The moment is what is drawn at random; nothing is waited for.
            std::thread::sleep(Duration::from_millis(rand(200)));
            let victims = if rand(10) == 0 {
                0..3
            } else {
                let one = rand(3) as usize;
                one..one + 1
            };
            // Dropping a node kills it as `kill -9` does.
            victims.clone().for_each(|at| nodes[at] = None);
            for at in victims {
                let node = serve(&runtime, &cluster, &directories[at]);
                *addresses[at].lock().unwrap() = node.http.clone();
                nodes[at] = Some(node);
                killed += 1;
            }
        }
        tally.over.store(true, Ordering::Relaxed);
    });
    let (acknowledged, tried) = (tally.acknowledged.into_inner(), tally.tried.into_inner());
    let total = eventually("all nodes agree", Duration::from_secs(30), || {
        let seen: Vec<_> = nodes.iter().flatten().map(|node| counter(&node.http, "clicks")).collect();
        let same = seen.iter().all(|one| one["state_hash"] == seen[0]["state_hash"]);
        if same { Ok(seen[0]["total"].as_u64().unwrap()) } else { Err(format!("{seen:?}")) }
    });
    println!("{kills} kills, {acknowledged} acknowledged, {total} counted, {tried} tried");
    assert!((acknowledged..=tried).contains(&total), "{acknowledged} acknowledged, {total} counted, {tried} tried");
    assert!(acknowledged > 0);
}

fn rand(below: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % below
}
