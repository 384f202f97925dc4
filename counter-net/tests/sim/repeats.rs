//! Clients send their adds again, at any node, through crashes and partitions. Each add counts
//! once.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_net::sim::{Link, Sim, SimConfig};

use crate::{number, seeds_or_one};

const REGIONS: [&str; 3] = ["ord", "fra", "sin"];
const LIMIT: Duration = Duration::from_secs(120);
const CLIENTS: u64 = 4;

/// The adds that clients have sent so far. Each has an amount of its own.
#[derive(Default)]
struct Clients {
    sent: BTreeMap<String, i64>,
    last: [u64; CLIENTS as usize],
}

impl Clients {
    /// An add of a client: a new one, or one that was sent before.
    fn any(&mut self, dice: &mut fastrand::Rng) -> (String, i64) {
        if dice.bool() && !self.sent.is_empty() {
            let (id, amount) = self.sent.iter().nth(dice.usize(..self.sent.len())).unwrap();
            return (id.clone(), *amount);
        }
        let client = dice.usize(..self.last.len());
        self.last[client] += 1;
        let number = self.last[client];
        let id = if dice.u8(..4) == 0 {
            format!("single {client} {number}")
        } else {
            format!("tab {client}:{number}")
        };
        // Odd amounts, so that a missing add and a double one seldom cancel out. Some amounts are
        // equal.
        let amount = if dice.bool() { 1 } else { dice.i64(-400..400) * 2 + 1 };
        self.sent.insert(id.clone(), amount);
        (id, amount)
    }
}

fn story(seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed ^ 0x0ce0_0ce0);
    let link = if dice.bool() { Link::lossy(0.2) } else { Link::loopback() };
    let mut sim = Sim::new(SimConfig { seed, link, retirement: true, ..SimConfig::default() });
    let nodes: Vec<usize> = REGIONS.iter().map(|region| sim.start(region)).collect();
    sim.connect_all();
    let mut clients = Clients::default();
    for _ in 0..50 {
        let host = nodes[dice.usize(..nodes.len())];
        match dice.u8(..16) {
            0..=9 => {
                let (id, amount) = clients.any(&mut dice);
                sim.add_once(host, &id, "once", amount);
            }
            10 | 11 => sim.crash(host),
            12 | 13 => sim.restart(host, true),
            14 => sim.cut(
                &[host],
                &nodes.iter().copied().filter(|node| *node != host).collect::<Vec<_>>(),
            ),
            _ => sim.heal(),
        }
        let pause = [1, 60, 3_000][dice.usize(..3)];
        sim.run_for(Duration::from_millis(dice.u64(..=pause)));
    }
    sim.heal();
    nodes.iter().for_each(|node| sim.restart(*node, true));
    let replay = format!(
        "replay: SIM_SEED={seed} cargo test -p counter-net --features sim --test sim repeats"
    );
    sim.run_until_converged(LIMIT)
        .unwrap_or_else(|failure| panic!("seed {seed}: {failure}\n{replay}"));
    // Everything is sent again, and so is what a crash took. Clients do that until they are
    // answered.
    for (id, amount) in &clients.sent {
        sim.add_once(nodes[dice.usize(..nodes.len())], id, "once", *amount)
            .expect("the node is up and the id is not too old");
    }
    sim.run_until_converged(LIMIT)
        .unwrap_or_else(|failure| panic!("seed {seed}: {failure}\n{replay}"));
    // Copies that earlier incarnations applied are taken back when those are absorbed.
    let until = sim.now() + LIMIT;
    while !(sim.is_converged()
        && nodes
            .iter()
            .all(|node| sim.map(*node).is_some_and(|map| map.replicas().count() == nodes.len())))
    {
        assert!(sim.now() < until, "seed {seed}: not all ended incarnations are folded\n{replay}");
        sim.run_for(Duration::from_millis(100));
    }
    let expected: i128 = clients.sent.values().map(|amount| i128::from(*amount)).sum();
    for node in nodes {
        assert_eq!(sim.total(node, "once"), expected, "seed {seed}, node {node}\n{replay}");
    }
}

#[test]
fn repeated_adds_count_once() {
    seeds_or_one(0..300).for_each(story);
}

/// `SIM_SEEDS` sets the number of seeds, 5,000 by default: `cargo test --release … --test sim --
/// --ignored repeats`.
#[test]
#[ignore = "takes minutes; run it in release"]
fn repeated_adds_count_once_in_thousands_of_stories() {
    let count = number("SIM_SEEDS").unwrap_or(5_000);
    seeds_or_one(1_000_000..1_000_000 + count).for_each(story);
}
