//! A node soon knows whether every live member holds what it held a moment ago.

use std::time::Duration;

use counter_net::protocol::MessageKind;
use counter_net::sim::{Failure, Latency, Link, Sim, SimConfig};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// The time within which agreement must be known, at the node that was clicked and at all others.
const KNOWN: Duration = Duration::from_secs(2);

/// A link between continents: 20 to 160 ms each way.
fn far() -> Link {
    let latency = Latency { least: 20 * MS, typical: 160 * MS, most: 160 * MS };
    Link { latency, ..Link::loopback() }
}

fn cluster(seed: u64, nodes: usize, dials: usize, link: Link) -> Sim {
    let mut sim = Sim::new(SimConfig { seed, link, dials, ..SimConfig::default() });
    (0..nodes).for_each(|at| {
        sim.start(&format!("r{at:03}"));
    });
    sim.connect_all();
    sim.run_for(12 * SECOND);
    sim
}

fn nodes(sim: &Sim) -> usize {
    sim.len()
}

/// True if a node knows that all hold everything it holds.
fn knows(sim: &mut Sim, node: usize) -> bool {
    let agreement = sim.agreement(node).expect("up");
    agreement.age == Some(Duration::ZERO)
        && agreement.confirmed == agreement.live
        && agreement.live + 1 == nodes(sim)
}

/// Bytes of these kinds that all nodes handed out. A gossip message counts once.
fn bytes(sim: &Sim, kinds: &[MessageKind]) -> u64 {
    let of = |node: usize| {
        let sent = &sim.machine(node).expect("up").stats().bytes_out;
        kinds.iter().map(|kind| sent.get(kind).copied().unwrap_or(0)).sum::<u64>()
    };
    (0..nodes(sim)).map(of).sum()
}

/// Makes one click. Returns how long it takes until its node knows that all have it, and until all
/// know.
fn click(sim: &mut Sim, node: usize) -> Result<(Duration, Duration), Failure> {
    sim.add(node, "clicks", 1);
    let first = sim.run_until(10 * SECOND, |sim| knows(sim, node))?;
    let rest = sim.run_until(10 * SECOND, |sim| (0..nodes(sim)).all(|node| knows(sim, node)))?;
    Ok((first, first + rest))
}

/// Makes single clicks, and then `clicks_per_s` a second at random nodes for some seconds.
fn known_in_time(name: &str, mut sim: Sim, clicks_per_s: u32, seconds: u32) -> Result<(), Failure> {
    let count = nodes(&sim);
    let before = (sim.cost(), bytes(&sim, &[MessageKind::Confirm]));
    let mut alone = Vec::new();
    for at in 0..2 {
        alone.push(click(&mut sim, (at * 7 + 3) % count)?);
        sim.run_for(3 * SECOND);
    }
    let cost = sim.cost().since(&before.0);
    println!("{name}: agreement on a click is known at its node and at all after {alone:?}");
    println!(
        "{name}: {} bytes of confirmations for each click and node, {} messages",
        (bytes(&sim, &[MessageKind::Confirm]) - before.1) / 2 / count as u64,
        cost.requests / 2 / count as u64
    );
    let mut dice = fastrand::Rng::with_seed(9);
    let (mut oldest, mut sum, mut looks) = (Duration::ZERO, Duration::ZERO, 0);
    let before = (
        bytes(&sim, &[MessageKind::Confirm]),
        bytes(&sim, &[MessageKind::GossipDelta]),
        sim.cost(),
    );
    for at in 0..seconds * clicks_per_s {
        sim.add(dice.usize(..count), "clicks", 1);
        sim.run_for(SECOND / clicks_per_s);
        if at >= 3 * clicks_per_s && at % (clicks_per_s / 8).max(1) == 0 {
            for node in (0..count).step_by(1 + count / 20) {
                let age = sim.agreement(node).expect("up").age.unwrap_or(Duration::MAX);
                (oldest, sum, looks) = (oldest.max(age), sum.saturating_add(age), looks + 1);
            }
        }
    }
    let (confirms, payload) = (
        bytes(&sim, &[MessageKind::Confirm]) - before.0,
        bytes(&sim, &[MessageKind::GossipDelta]) - before.1,
    );
    let cost = sim.cost().since(&before.2);
    println!(
        "{name}: {clicks_per_s} clicks/s: everything older than {oldest:?} is confirmed, on average {:?}; {} bytes/s and {} messages/s a node for confirmations and rounds, {confirms} bytes handed out for {payload} of payload, {cost:?}",
        sum / looks,
        confirms / u64::from(seconds) / count as u64,
        cost.requests / u64::from(seconds) / count as u64,
    );
    for (first, all) in alone {
        assert!(first <= KNOWN && all <= KNOWN, "{first:?} {all:?}");
    }
    assert!(oldest <= KNOWN, "{oldest:?}");
    Ok(())
}

#[test]
fn agreement_of_36_nodes_is_known_within_two_seconds() -> Result<(), Failure> {
    known_in_time("36 nodes", cluster(1, 36, 18, far()), 50, 8)
}

#[test]
fn agreement_at_200_ms_is_known_within_two_seconds() -> Result<(), Failure> {
    known_in_time("3 nodes", cluster(2, 3, 6, Link::apart(200 * MS)), 50, 8)
}

#[test]
fn agreement_of_100_nodes_is_known_within_two_seconds() -> Result<(), Failure> {
    known_in_time("100 nodes", cluster(3, 100, 6, far()), 4, 5)
}

/// The same for 200 nodes under load: `cargo test --release … --test sim -- --ignored --nocapture
/// agreement`.
#[test]
#[ignore = "takes half a minute in release"]
fn agreement_of_200_nodes_is_known_within_two_seconds() -> Result<(), Failure> {
    known_in_time("200 busy nodes", cluster(3, 200, 6, far()), 50, 12)
}

#[test]
fn resting_cluster_sends_no_confirmations() {
    for seed in 0..20 {
        let mut sim = Sim::new(SimConfig { seed, link: far(), ..SimConfig::default() });
        for at in 0..10 {
            sim.start(&format!("r{at:03}"));
            (0..at.min(3)).for_each(|known| sim.connect(at, known));
            sim.run_for(20 * MS);
        }
        sim.run_for(12 * SECOND);
        let before = bytes(&sim, &[MessageKind::Confirm]);
        assert!(before > 0 && (0..10).all(|node| knows(&mut sim, node)), "seed {seed}");
        sim.run_for(30 * SECOND);
        assert_eq!(bytes(&sim, &[MessageKind::Confirm]), before, "seed {seed}");
    }
}
