//! Nodes with viewers are killed, stopped and started in any order. Seconds later, every page shows
//! exactly the present viewers and nodes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::far::{PATIENCE, Recipe, apart, none_failed, round_trips, run_among_others};
use crate::support::http::{connect, counter};
use crate::support::network::apart::{Apart, place};
use crate::support::network::distance::multiaddr;
use crate::support::process::{Node, Runtime, cluster, signal};

/// The time from the last act until every node must be right.
const WITHIN: Duration = Duration::from_secs(6);
/// The number of stories at each distance, unless COUNTER_STORIES is set.
const STORIES: u64 = 3;
const ACTS: usize = 8;
/// Two nodes share a region.
const REGIONS: [&str; 5] = ["ord", "ord", "fra", "sin", "syd"];

/// An open WebSocket. Its few messages stay unread.
struct StoryViewer(#[allow(dead_code)] TcpStream);

impl StoryViewer {
    fn open(node: &Node) -> Self {
        let mut stream = connect(&node.http);
        let upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: \
            websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        Self(stream)
    }
}

/// A running node with its viewers.
struct LiveNode {
    node: Node,
    region: String,
    viewers: Vec<StoryViewer>,
}

/// Nodes in namespaces of their own, all equally far from each other.
struct StoryWorld {
    apart: Apart,
    runtime: Runtime,
    cluster: String,
    live: BTreeMap<usize, LiveNode>,
    /// Stopping nodes, which may still run.
    leaving: BTreeMap<usize, Node>,
}

/// Viewers and nodes of each region that has any.
type ShownPresence = BTreeMap<String, (u64, u64)>;

impl StoryWorld {
    fn new(round_trip: Duration) -> Self {
        let apart = Apart::new(round_trip / 2).unwrap();
        Self {
            apart,
            runtime: Runtime::new(),
            cluster: cluster(),
            live: BTreeMap::new(),
            leaving: BTreeMap::new(),
        }
    }

    fn start(
        &mut self,
        number: usize,
        region: &str,
        viewers: usize,
        recipe: impl Fn(Recipe) -> Recipe,
    ) {
        if let Some(mut before) = self.leaving.remove(&number) {
            before.end();
        }
        self.apart.remove(place(number)).unwrap();
        let node =
            recipe(Recipe::new(&self.cluster, region).listen(place(number)).ping_interval(120))
                .start(&self.runtime);
        let viewers = (0..viewers).map(|_| StoryViewer::open(&node)).collect();
        self.live.insert(number, LiveNode { node, region: region.to_owned(), viewers });
    }

    fn kill(&mut self, number: usize) {
        self.apart.bring_back(place(number)).unwrap();
        self.live.remove(&number).unwrap().node.kill();
    }

    fn stop(&mut self, number: usize) {
        self.apart.bring_back(place(number)).unwrap();
        let LiveNode { node, .. } = self.live.remove(&number).unwrap();
        signal(node.id(), "TERM");
        self.leaving.insert(number, node);
    }

    fn truth(&self) -> ShownPresence {
        let mut truth = ShownPresence::new();
        for live in self.live.values() {
            let (viewers, nodes) = truth.entry(live.region.clone()).or_default();
            *viewers += live.viewers.len() as u64;
            *nodes += 1;
        }
        truth
    }

    /// The time until every node was right, or the numbers of the wrong ones.
    fn until_right(&self, within: Duration) -> Result<Duration, String> {
        let (start, truth) = (Instant::now(), self.truth());
        loop {
            let shown = self
                .live
                .iter()
                .map(|(number, live)| (number, presence(&counter(&live.node.http, "clicks"))));
            let wrong: Vec<_> = shown.filter(|(_, shown)| *shown != truth).collect();
            if wrong.is_empty() {
                return Ok(start.elapsed());
            }
            if start.elapsed() > within {
                return Err(format!(
                    "(viewers, nodes) should be {truth:?} after {within:?}, and nodes show \
                        {wrong:?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn presence(counter: &Value) -> ShownPresence {
    let regions = counter["regions"].as_object().unwrap_or_else(|| panic!("{counter}"));
    let shown = regions.iter().map(|(region, shown)| {
        let number = |name: &str| shown[name].as_u64().unwrap_or_else(|| panic!("{counter}"));
        (region.clone(), (number("connected"), number("nodes")))
    });
    shown.filter(|(_, shown)| *shown != (0, 0)).collect()
}

/// Five nodes that name each other, and random acts. Every other story has data directories.
fn story(seed: u64, round_trip: Duration) -> Result<Duration, String> {
    let (mut random, mut world) = (fastrand::Rng::with_seed(seed), StoryWorld::new(round_trip));
    let peers: Vec<String> = (0..REGIONS.len()).map(|number| multiaddr(place(number))).collect();
    let directories = world.runtime.path().join("data");
    let start = |world: &mut StoryWorld, number: usize, viewers: usize| {
        let others = peers
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number)
            .map(|(_, address)| address.clone());
        let others: Vec<String> = others.collect();
        let directory = directories.join(number.to_string());
        world.start(number, REGIONS[number], viewers, |recipe| {
            let recipe = recipe.peers(others.clone());
            if seed.is_multiple_of(2) { recipe.directory(&directory) } else { recipe }
        });
    };
    for number in 0..REGIONS.len() {
        start(&mut world, number, random.usize(0..4));
    }
    world.until_right(PATIENCE).map_err(|seen| format!("before the first act: {seen}"))?;
    let mut acts = Vec::new();
    for _ in 0..ACTS {
        std::thread::sleep(Duration::from_millis(random.u64(0..1_500)));
        let number = random.usize(0..REGIONS.len());
        acts.push(
            match (world.live.contains_key(&number), world.live.len() > 2 && random.bool()) {
                (true, true) if random.bool() => {
                    world.stop(number);
                    format!("stop {number}")
                }
                (true, true) => {
                    world.kill(number);
                    format!("kill {number}")
                }
                (true, false) => {
                    world.kill(number);
                    start(&mut world, number, random.usize(0..4));
                    format!("replace {number}")
                }
                (false, _) => {
                    start(&mut world, number, random.usize(0..4));
                    format!("start {number}")
                }
            },
        );
    }
    world.until_right(WITHIN).map_err(|seen| format!("after {acts:?}: {seen}"))
}

fn stories(round_trip: Duration) {
    let count = std::env::var("COUNTER_STORIES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(STORIES);
    let (mut failures, mut took) = (Vec::new(), Vec::new());
    for seed in 1..=count {
        match story(seed, round_trip) {
            Ok(time) => took.push(time),
            Err(why) => failures.push(format!("seed {seed}, {round_trip:?}: {why}")),
        }
    }
    println!(
        "{} of {count} stories right at {round_trip:?}, at the latest after {:?}",
        took.len(),
        took.iter().max()
    );
    none_failed(&failures);
}

#[test]
fn presence_is_right_after_any_story_nearby() {
    let _among = run_among_others();
    apart("stories::presence_is_right_after_any_story_nearby", || stories(Duration::ZERO));
}

#[test]
fn presence_is_right_after_any_story_far_apart() {
    let _among = run_among_others();
    apart("stories::presence_is_right_after_any_story_far_apart", || {
        round_trips(&[200]).into_iter().for_each(stories)
    });
}

/// The new nodes have other addresses and other identities.
#[test]
fn killed_nodes_leave_no_viewers() {
    let _among = run_among_others();
    apart("stories::killed_nodes_leave_no_viewers", || {
        let mut failures = Vec::new();
        // Without a wait, timing decides whether a ghost stays, so this case runs three times.
        let waits = [false, false, false, true];
        for (round_trip, waits) in
            round_trips(&[0, 200]).into_iter().flat_map(|one| waits.map(|waits| (one, waits)))
        {
            let mut world = StoryWorld::new(round_trip);
            let regions = ["ord", "fra", "sin"];
            let start = |world: &mut StoryWorld, number: usize| {
                world.start(number, regions[number % 3], 5, |recipe| recipe.discover("local"));
            };
            (0..3).for_each(|number| start(&mut world, number));
            let met = world.until_right(PATIENCE).unwrap();
            for number in 0..3 {
                world.kill(number);
                start(&mut world, number + 3);
                if waits {
                    world.live[&(number + 3)].node.until_ready();
                }
            }
            let outcome = world.until_right(WITHIN);
            println!(
                "three replaced at {round_trip:?}, each when the last was ready: {waits}; met \
                    after {met:?}, right again after {outcome:?}"
            );
            failures.extend(outcome.err().map(|why| format!("{round_trip:?}, {waits}: {why}")));
        }
        none_failed(&failures);
    });
}
