//! Nodes with names and without disks. The cluster heals after kills, however many processes end at
//! once.
//!
//! By hand: `COUNTER_KILLS=1000 cargo test --release -p counter-net --no-default-features
//! --features sim --test sim named_cluster -- --nocapture`.

use std::time::Duration;

use counter_net::protocol::{Copies, Waited};
use counter_net::sim::{Link, Sim, SimConfig};

use crate::number;

const MS: fn(u64) -> Duration = Duration::from_millis;
const NODES: usize = 3;
const COUNTERS: usize = 20;
/// The largest entry of a digest: an id, and a version of up to 2^35.
const ENTRY_BYTES: usize = 16 + 5;

fn cluster(seed: u64) -> Sim {
    let link = Link::wide();
    let mut sim = Sim::new(SimConfig {
        unwatched: true,
        retirement: true,
        named: true,
        link,
        seed,
        ..SimConfig::default()
    });
    for region in ["ord", "fra", "sin"] {
        sim.start(region);
    }
    sim.connect_all();
    sim.run_for(MS(5000));
    sim
}

fn bytes(sim: &Sim) -> u64 {
    (0..NODES).map(|host| sim.cost_of(host).received_bytes).sum()
}

/// The most replicas that any node knows.
fn replicas(sim: &Sim) -> usize {
    (0..NODES).filter_map(|host| sim.map(host)).map(|map| map.replicas().count()).max().unwrap_or(0)
}

fn cells(sim: &Sim, host: usize) -> usize {
    sim.map(host).map_or(0, |map| map.cell_count())
}

#[test]
fn named_cluster_heals_after_kills() {
    let kills = number("COUNTER_KILLS").unwrap_or(100) as usize;
    let seed = number("COUNTER_SEED").unwrap_or(1);
    let (mut sim, mut dice) = (cluster(seed), fastrand::Rng::with_seed(seed));
    let (before, began) = (bytes(&sim), sim.now());
    sim.run_for(MS(60_000));
    let idle = (bytes(&sim) - before) as f64 / (sim.now() - began).as_secs_f64();
    let (before, began) = (bytes(&sim), sim.now());
    let (mut killed, mut at_once, mut known) = (0, [0; NODES + 1], 0);
    while killed < kills {
        for _ in 0..dice.usize(1..4) {
            let (host, counter) = (dice.usize(..NODES), dice.usize(..COUNTERS));
            sim.add_raw(host, &format!("counter {counter}"), 1);
        }
        sim.run_for(MS(dice.u64(0..3000)));
        let mut victims: Vec<usize> = (0..NODES).collect();
        dice.shuffle(&mut victims);
        victims.truncate([1, 1, 1, 1, 1, 1, 1, 2, 2, 3][dice.usize(..10)]);
        at_once[victims.len()] += 1;
        for &victim in &victims {
            sim.crash(victim);
            killed += 1;
        }
        sim.run_for(MS(dice.u64(0..3000)));
        for victim in victims {
            sim.restart(victim, false);
            sim.run_for(MS(dice.u64(0..200)));
        }
        sim.run_for(MS(dice.u64(0..3000)));
        known = known.max(replicas(&sim));
        assert_eq!(sim.verdict(), Ok(()));
    }
    let under_churn = (sim.now() - began).as_secs_f64();
    sim.run_for(MS(120_000));
    let spent = (bytes(&sim) - before) as f64 - idle * (sim.now() - began).as_secs_f64();
    let each = spent / killed as f64 / NODES as f64;
    println!(
        "{killed} kills in {under_churn:.0} s ({at_once:?} of none, one, two, three at once): at most {known} replicas known, {each:.0} bytes for each node and \
         restart, beside {idle:.0} a second at rest"
    );
    let totals: Vec<Vec<i128>> = (0..NODES)
        .map(|host| {
            (0..COUNTERS).map(|counter| sim.total(host, &format!("counter {counter}"))).collect()
        })
        .collect();
    assert!(totals.iter().all(|other| *other == totals[0]), "{totals:?}");
    for host in 0..NODES {
        assert_eq!(sim.map(host).unwrap().replicas().count(), NODES, "node {host}");
        assert!(
            cells(&sim, host) <= NODES * COUNTERS,
            "node {host} has {} cells",
            cells(&sim, host)
        );
        assert_eq!(sim.waits_for(host), None);
        assert!(sim.missing(host).is_empty());
        sim.add_raw(host, "counter 0", 1);
        let waiting = sim.await_copies(host, Copies::Majority, MS(5000));
        sim.run_for(MS(6000));
        assert_eq!(sim.waited(waiting), Some(Waited::Reached));
        sim.stable_total(host, "counter 0");
        sim.run_for(MS(5000));
        assert!(sim.stable_total(host, "counter 0").is_some());
    }
    assert!(replicas(&sim) * ENTRY_BYTES < 1000);
    assert!(each <= 10_000.0, "{each} bytes a node and restart");
}
