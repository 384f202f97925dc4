//! The log of a node while most of its peers are dead and one has another key: few lines, each with
//! the true cause.

use std::fs::File;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::far::{KEY, Recipe, apart, none_failed, round_trips, run_among_others};
use crate::support::network::apart::{Apart, GOSSIP_PORT, place, replace};
use crate::support::network::distance::multiaddr;
use crate::support::process::{Node, Runtime, cluster};

/// The limit of log lines in 30 seconds, and also in five minutes with COUNTER_LOG_SECONDS=300.
const LINES_MAX: usize = 20;
const SECONDS: u64 = 30;
/// The number of dead addresses behind the DNS name, and their network.
const DEAD_BEHIND_NAME: u8 = 200;
const DEAD_NETWORK: &str = "127.2.0.";

#[test]
fn bad_peers_cost_few_log_lines() {
    let _among = run_among_others();
    apart("log::bad_peers_cost_few_log_lines", || {
        let seconds = std::env::var("COUNTER_LOG_SECONDS")
            .ok()
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(SECONDS);
        let dead: String = (1..=DEAD_BEHIND_NAME)
            .map(|last| format!("{DEAD_NETWORK}{last} dead.test\n"))
            .collect();
        replace("/etc/hosts", &format!("127.0.0.1 localhost\n{dead}")).unwrap();
        let round_trips = round_trips(&[0, 200]);
        // In the case without distance the stranger is not delayed. All delayed addresses are
        // equally far.
        let apart = Apart::new(round_trips.iter().max().copied().unwrap_or_default() / 2).unwrap();
        let (runtime, mut cases, mut failures) = (Runtime::new(), Vec::new(), Vec::new());
        for (case, round_trip) in round_trips.into_iter().enumerate() {
            if !round_trip.is_zero() {
                apart.remove(place(10 * case)).unwrap();
            }
            cases.push((NodeWithBadPeers::start(&runtime, 10 * case), round_trip));
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        // A fixed time, because the log lines in it are the measurement.
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        for (case, round_trip) in &cases {
            let lines = case.lines();
            println!("{round_trip:?}: {} lines in {seconds} s; the first ones:", lines.len());
            lines
                .iter()
                .take(LINES_MAX)
                .for_each(|line| println!("    {}", line.chars().take(300).collect::<String>()));
            failures
                .extend(case.judge(&lines).into_iter().map(|why| format!("{round_trip:?}: {why}")));
        }
        none_failed(&failures);
    });
}

/// A node with three dead peers and one that has another key.
struct NodeWithBadPeers {
    log: std::path::PathBuf,
    dead: [String; 3],
    _nodes: [Node; 2],
}

impl NodeWithBadPeers {
    /// Uses four addresses from number `first` on. The peer with another key has the first one.
    fn start(runtime: &Runtime, first: usize) -> Self {
        let (stranger, dead) = (place(first), [1, 2, 3].map(|at| place(first + at)));
        let cluster = cluster();
        let other = Recipe::new(&cluster, "fra")
            .key("a key of somebody else")
            .discover("none")
            .listen(stranger)
            .start(runtime);
        let addresses = dead.iter().chain([&stranger]).map(|address| multiaddr(*address));
        let recipe =
            Recipe::new(&cluster, "ord").key(KEY).discover(&format!("dns:dead.test:{GOSSIP_PORT}"));
        let recipe = addresses.fold(recipe, |recipe, address| recipe.peer(&address));
        let (mut command, log) =
            (recipe.command(runtime), runtime.path().join(format!("{first}.log")));
        command.env_remove("RUST_LOG").env("NO_COLOR", "1").stderr(File::create(&log).unwrap());
        Self {
            log,
            dead: dead.map(|address| address.ip().to_string()),
            _nodes: [other, Node::spawn(command)],
        }
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log).unwrap().lines().map(str::to_owned).collect()
    }

    fn judge(&self, lines: &[String]) -> Vec<String> {
        let mut failures = Vec::new();
        if lines.len() >= LINES_MAX {
            failures.push(format!("{} lines, and fewer than {LINES_MAX} are allowed", lines.len()));
        }
        let has = |word: &str| lines.iter().any(|line| line.to_lowercase().contains(word));
        for (word, whose) in [("refused", "the dead peers"), ("key", "the peer with another key")] {
            if !has(word) {
                failures.push(format!("no line says {word:?} of {whose}"));
            }
        }
        let names_dead = |line: &&String| {
            line.contains(DEAD_NETWORK) || self.dead.iter().any(|dead| names(line, dead))
        };
        if let Some(line) = lines.iter().filter(names_dead).find(|line| line.contains("key")) {
            failures.push(format!("a line blames the key for a dead peer: {line}"));
        }
        failures
    }
}

/// True if a line names this address, and not a longer one.
fn names(line: &str, address: &str) -> bool {
    line.match_indices(address)
        .any(|(at, _)| !line[at + address.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

#[test]
fn longer_path_is_not_found() {
    let address = Ipv4Addr::new(127, 1, 0, 1).to_string();
    assert!(names("/ip4/127.1.0.1/tcp/1", &address) && names("at 127.1.0.1", &address));
    assert!(!names("/ip4/127.1.0.11/tcp/1", &address));
}
