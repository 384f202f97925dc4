//! Clusters of many nodes: the time until one knows that all hold a click, and the traffic of idle
//! ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::far::{KEY, PATIENCE, Recipe, apart, none_failed, round_trips, run_alone, status};
use crate::support::eventually;
use crate::support::http::{add, counter};
use crate::support::network::apart::{Apart, bytes_carried, place};
use crate::support::network::distance::multiaddr;
use crate::support::process::{Node, Runtime, cluster};

/// The number of nodes. COUNTER_CROWD=36 gives one in each region, which needs a release build on
/// two cores.
const NODES: usize = 12;
/// The number of peers that each node is given. It learns of the other nodes through them.
const KNOWN: usize = 3;
/// The greatest age of the state that all nodes are known to hold.
const AGE_MAX: Duration = Duration::from_secs(2);
/// The time after which the test fails.
const GIVE_UP: Duration = Duration::from_secs(10);
const CLICKS_HZ: u32 = 20;
/// The time of continuous clicks.
const CLICKED_FOR: Duration = Duration::from_secs(8);
const IDLE_NODES: usize = 10;
const IDLE_BYTES_PER_SECOND_MAX: u64 = 4_000;
/// One interval of announcements.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Nodes that all have each other as live members.
fn crowd(runtime: &Runtime, count: usize) -> Vec<Node> {
    let cluster = cluster();
    let codes = include_str!("../../assets/regions.csv")
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next());
    let start = |(number, region): (usize, &str)| {
        let known =
            (0..KNOWN).filter(|known| *known != number).map(|known| multiaddr(place(known)));
        Recipe::new(&cluster, region).key(KEY).peers(known).listen(place(number)).start(runtime)
    };
    let nodes: Vec<Node> = codes.take(count).enumerate().map(start).collect();
    assert_eq!(nodes.len(), count, "regions");
    for node in &nodes {
        eventually("all are members", PATIENCE, || {
            let status = status(node);
            let live = status["members"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|member| member["live"] == true)
                .count();
            if live == count && status["synced"] == true {
                Ok(())
            } else {
                Err(format!("{live} live, synced {}", status["synced"]))
            }
        });
    }
    nodes
}

/// Waits until each node knows that the others hold its state.
fn all_is_confirmed(nodes: &[Node]) {
    for node in nodes {
        eventually("all is confirmed", PATIENCE, || {
            let agreement = status(node)["agreement"].clone();
            if agreement["age_ms"] == 0 { Ok(()) } else { Err(agreement.to_string()) }
        });
    }
}

/// A node's knowledge of the others, read from its status.
struct KnownByAll {
    /// The regions of members that are not known to hold this node's state.
    behind: Vec<String>,
    /// The age of the newest state that all members are known to hold, if known.
    age: Option<Duration>,
}

impl KnownByAll {
    fn read(status: &Value) -> Self {
        let (members, agreement) =
            (status["members"].as_array().unwrap().iter(), &status["agreement"]);
        let behind = members.filter(|member| member["live"] == true && member["lag_versions"] != 0);
        let mut behind: Vec<String> = behind.map(|member| member["region"].to_string()).collect();
        if agreement["confirmed"] != agreement["of"] || agreement["age_ms"] != 0 {
            behind.push(agreement.to_string());
        }
        Self { behind, age: agreement["age_ms"].as_u64().map(Duration::from_millis) }
    }
}

fn total(node: &Node) -> i64 {
    let counter = counter(&node.http, "clicks");
    counter["total"].as_i64().unwrap_or_else(|| panic!("{counter}"))
}

/// Returns the time from a click until its node knows that all hold it. Checks that they do.
fn one_click(nodes: &[Node], wanted: i64) -> Result<Duration, String> {
    let (clicked, start) = (&nodes[nodes.len() / 2], Instant::now());
    add(&clicked.http, 1);
    let known = loop {
        let known = KnownByAll::read(&status(clicked));
        if known.behind.is_empty() {
            break start.elapsed();
        }
        if start.elapsed() > GIVE_UP {
            return Err(format!(
                "after {GIVE_UP:?} it does not know of {}: {}",
                known.behind.len(),
                known.behind.join(" ")
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let without: Vec<usize> =
        (0..nodes.len()).filter(|number| total(&nodes[*number]) != wanted).collect();
    if !without.is_empty() {
        return Err(format!(
            "after {known:?} it says that all hold its click, and nodes {without:?} do not"
        ));
    }
    if known > AGE_MAX { Err(format!("it knows only after {known:?}")) } else { Ok(known) }
}

/// Clicks at one node continuously. Returns the errors in the others' numbers and in two nodes'
/// knowledge.
fn many_clicks(nodes: &[Node], before: i64) -> Vec<String> {
    let (clicked, stop, start) = (&nodes[1], AtomicBool::new(false), Instant::now());
    // When each click was acknowledged.
    let clicks = std::sync::Mutex::new(Vec::new());
    let (mut failures, mut oldest, mut unknown) = (Vec::new(), Duration::ZERO, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for click in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                add(&clicked.http, 1);
                clicks.lock().unwrap().push(Instant::now());
                std::thread::sleep(
                    (start + click * (Duration::from_secs(1) / CLICKS_HZ))
                        .saturating_duration_since(Instant::now()),
                );
            }
        });
        while start.elapsed() < CLICKED_FOR {
            for (number, node) in nodes.iter().enumerate() {
                let asked = Instant::now();
                let shown = total(node);
                let due = clicks.lock().unwrap().iter().filter(|at| **at + AGE_MAX < asked).count()
                    as i64;
                if shown < before + due && failures.len() < 5 {
                    failures.push(format!(
                        "node {number} shows {shown}, and {} clicks are older than {AGE_MAX:?}",
                        before + due
                    ));
                }
            }
            // After `AGE_MAX` every node must know the age of the state that all hold.
            for node in [&nodes[0], clicked].into_iter().filter(|_| start.elapsed() > AGE_MAX) {
                match KnownByAll::read(&status(node)).age {
                    Some(age) => oldest = oldest.max(age),
                    None => unknown += 1,
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let count = clicks.into_inner().unwrap().len();
    println!(
        "{count} clicks in {:?}: what all hold is at most {oldest:?} old, unknown {unknown} times",
        start.elapsed()
    );
    if oldest > AGE_MAX || unknown > 0 {
        failures.push(format!(
            "what all are known to hold is up to {oldest:?} old, and unknown {unknown} times"
        ));
    }
    if (count as f64) < 0.7 * f64::from(CLICKS_HZ) * CLICKED_FOR.as_secs_f64() {
        failures
            .push(format!("only {count} clicks were made: this machine is too slow for a verdict"));
    }
    failures
}

fn agreement(round_trip: Duration) -> Vec<String> {
    let (apart, runtime) = (Apart::new(round_trip / 2).unwrap(), Runtime::new());
    if !round_trip.is_zero() {
        apart.remove_all().unwrap();
    }
    let start = Instant::now();
    let count =
        std::env::var("COUNTER_CROWD").ok().and_then(|count| count.parse().ok()).unwrap_or(NODES);
    let nodes = crowd(&runtime, count);
    println!("{count} nodes at {round_trip:?} have met after {:?}", start.elapsed());
    all_is_confirmed(&nodes);
    let mut failures = Vec::new();
    for click in 1..=2 {
        let outcome = one_click(&nodes, click);
        println!(
            "{count} nodes at {round_trip:?}, click {click}: known to be everywhere after \
                {outcome:?}"
        );
        failures.extend(outcome.err());
    }
    failures.extend(many_clicks(&nodes, 2));
    failures.into_iter().map(|why| format!("{round_trip:?}: {why}")).collect()
}

#[test]
fn node_soon_knows_that_all_hold_a_click() {
    let _alone = run_alone();
    apart("crowd::node_soon_knows_that_all_hold_a_click", || {
        let failures: Vec<String> =
            round_trips(&[0, 200]).into_iter().flat_map(agreement).collect();
        none_failed(&failures);
    });
}

#[test]
fn idle_nodes_send_little() {
    let _alone = run_alone();
    apart("crowd::idle_nodes_send_little", || {
        let (_apart, runtime) = (Apart::new(Duration::ZERO).unwrap(), Runtime::new());
        let nodes = crowd(&runtime, IDLE_NODES);
        all_is_confirmed(&nodes);
        // Only the nodes are in this network, and they get no requests meanwhile.
        let (start, before) = (Instant::now(), bytes_carried().unwrap());
        std::thread::sleep(IDLE_FOR);
        let bytes = bytes_carried().unwrap() - before;
        let each = (bytes as f64 / start.elapsed().as_secs_f64() / nodes.len() as f64) as u64;
        println!("{IDLE_NODES} idle nodes: each sends {each} bytes a second with all headers");
        assert!(each <= IDLE_BYTES_PER_SECOND_MAX, "{each} bytes a second");
    });
}
