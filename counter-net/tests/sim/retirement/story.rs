//! Nodes crash, come back, leave and are lost. In the end the state holds only cells of live
//! incarnations.

use std::time::Duration;

use counter_net::sim::{Cost, Failure, Link, Sim, SimConfig};

use crate::{number, seeds_from_first};

const COUNTERS: [&str; 3] = ["clicks", "likes", "votes"];
const S: Duration = Duration::from_secs(1);

fn cluster(seed: u64, nodes: usize, link: Link) -> Sim {
    let mut sim = Sim::new(SimConfig { retirement: true, link, seed, ..SimConfig::default() });
    for at in 0..nodes {
        sim.start(["ord", "fra", "sin", "syd", "gru"][at % 5]);
    }
    sim.connect_all();
    sim
}

/// The most writers that a node holds beyond those that run.
fn extra_writers(sim: &Sim, hosts: &[usize]) -> usize {
    let writers = hosts.iter().filter_map(|&host| sim.map(host)).map(|map| map.replicas().count());
    writers.max().unwrap_or(0).saturating_sub(hosts.len())
}

fn is_clean(sim: &mut Sim, hosts: &[usize]) -> bool {
    extra_writers(sim, hosts) == 0 && sim.is_converged()
}

/// A story of adds, crashes, restarts, leaves and cuts at random moments, followed by a time
/// without faults.
fn story(seed: u64) -> Result<Duration, Failure> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let loss = f64::from(rng.u8(..20)) / 100.0;
    let count = rng.usize(3..=5);
    let mut sim = cluster(seed, count, Link::lossy(loss));
    let mut hosts: Vec<usize> = (0..count).collect();
    sim.run_for(2 * S);
    for _ in 0..rng.usize(5..25) {
        let at = rng.usize(..hosts.len());
        match rng.u8(..10) {
            0..=4 => (0..rng.usize(1..6)).for_each(|_| {
                sim.add(hosts[rng.usize(..hosts.len())], COUNTERS[rng.usize(..3)], rng.i64(1..9))
            }),
            5..=7 => {
                sim.run_for(Duration::from_millis(20));
                sim.crash(hosts[at]);
                sim.run_for(Duration::from_millis(rng.u64(..3000)));
                sim.restart(hosts[at], true);
            }
            8 => {
                if !sim.leave_for_good(hosts[at]) {
                    // It could not hand over everything. The rest lies on its disk, so it has to
                    // come back.
                    sim.restart(hosts[at], true);
                    continue;
                }
                hosts[at] = sim.start("iad");
                sim.connect_all();
            }
            _ => {
                let others: Vec<usize> =
                    hosts.iter().copied().filter(|&host| host != hosts[at]).collect();
                sim.cut(&[hosts[at]], &others);
                sim.run_for(Duration::from_millis(rng.u64(..4000)));
                sim.heal();
            }
        }
        sim.run_for(Duration::from_millis(rng.u64(..2500)));
        sim.verdict()?;
    }
    sim.set_links(Link::lossy(0.0));
    let took = sim.run_until(240 * S, |sim| {
        // On a bad link a leaver may find no successor. An operator retires it.
        sim.retire_absent(hosts[0]);
        is_clean(sim, &hosts)
    })?;
    sim.check()?;
    Ok(took)
}

#[test]
fn ended_incarnations_are_absorbed_exactly() {
    let mut slowest = Duration::ZERO;
    for seed in seeds_from_first(40) {
        match story(seed) {
            Ok(took) => slowest = slowest.max(took),
            Err(failure) => panic!("COUNTER_FIRST={seed} COUNTER_SEEDS=1: {failure}"),
        }
    }
    println!(
        "{} stories: at most {slowest:?} of peace until only the living have cells",
        seeds_from_first(40).count()
    );
}

#[test]
fn leaver_without_a_disk_is_absorbed() {
    let mut sim = cluster(1, 3, Link::loopback());
    sim.run_for(2 * S);
    (0..3).for_each(|host| sim.add(host, "clicks", 5));
    sim.leave_for_good(1);
    let took = sim.run_until(30 * S, |sim| is_clean(sim, &[0, 2])).expect("folded");
    println!("folded {took:?} after the leave");
    assert_eq!((sim.total(0, "clicks"), sim.total(2, "clicks")), (15, 15));
}

#[test]
fn lost_node_stays_enrolled_until_retired() {
    let mut sim = cluster(2, 3, Link::loopback());
    sim.run_for(2 * S);
    (0..3).for_each(|host| sim.add(host, "clicks", 5));
    sim.run_for(2 * S);
    sim.crash(1);
    assert!(!sim.retire(0, 1), "its presence has not ended yet");
    sim.run_for(120 * S);
    assert_eq!(extra_writers(&sim, &[0, 2]), 1, "nobody claims it without an operator");
    assert!(sim.retire(0, 1));
    sim.run_until(30 * S, |sim| is_clean(sim, &[0, 2])).expect("folded");
    assert_eq!((sim.total(0, "clicks"), sim.total(2, "clicks")), (15, 15));
}

#[test]
fn fold_waits_for_an_absent_replica() {
    let mut sim = cluster(3, 4, Link::loopback());
    sim.run_for(2 * S);
    (0..4).for_each(|host| sim.add(host, "clicks", 5));
    sim.run_for(2 * S);
    sim.crash(3);
    sim.crash(1);
    sim.restart(1, true);
    sim.run_for(60 * S);
    assert_eq!(
        extra_writers(&sim, &[0, 1, 2, 3]),
        1,
        "the earlier incarnation of node 1 is kept for node 3"
    );
    sim.restart(3, true);
    sim.run_until(30 * S, |sim| is_clean(sim, &[0, 1, 2, 3])).expect("folded");
    assert!((0..4).all(|host| sim.total(host, "clicks") == 20));
}

#[test]
fn year_of_restarts_leaves_a_small_state() {
    let restarts = number("COUNTER_RESTARTS").unwrap_or(200) as usize;
    let mut sim = cluster(4, 5, Link::loopback());
    sim.run_for(2 * S);
    let mut added = 0;
    for restart in 0..restarts {
        sim.add(restart % 5, COUNTERS[restart % 3], 1);
        added += 1;
        sim.run_for(Duration::from_millis(20));
        sim.crash(restart % 5);
        sim.run_for(Duration::from_millis(200));
        sim.restart(restart % 5, true);
        sim.run_for(Duration::from_millis(if restart % 5 == 4 { 8000 } else { 1000 }));
        sim.verdict().expect("no wrong number");
    }
    let hosts = [0, 1, 2, 3, 4];
    let took = sim.run_until(120 * S, |sim| is_clean(sim, &hosts)).expect("clean");
    let bytes = sim.map(0).expect("up").encode().len();
    let mut fresh = cluster(5, 5, Link::loopback());
    fresh.run_for(2 * S);
    (0..restarts).for_each(|restart| fresh.add(restart % 5, COUNTERS[restart % 3], 1));
    fresh.run_until(60 * S, |sim| sim.is_converged()).expect("converged");
    let fresh_bytes = fresh.map(0).expect("up").encode().len();
    println!(
        "{restarts} restarts: {bytes} bytes of state after {took:?} of peace, {fresh_bytes} in a fresh cluster with the same totals"
    );
    assert!(bytes <= 2 * fresh_bytes);
    let total: i128 = COUNTERS.iter().map(|counter| sim.total(2, counter)).sum();
    assert_eq!(total, added);
    assert!(sim.cost().bytes() > 0);
}

/// Lets time run, and records the traffic of every node in each second.
fn record_seconds(sim: &mut Sim, count: u64, sent: &mut Vec<Cost>) {
    for _ in 0..count {
        let before: Vec<Cost> = (0..NODES).map(|host| sim.cost_of(host)).collect();
        sim.run_for(S);
        sent.extend((0..NODES).map(|host| sim.cost_of(host).since(&before[host])));
    }
}

const NODES: usize = 10;

/// The mean of a node and second, and the most of one node in one second.
fn mean_and_most(sent: &[Cost], of: impl Fn(&Cost) -> u64) -> (u64, u64) {
    let seconds = (sent.len() / NODES) as u64;
    (
        sent.iter().map(&of).sum::<u64>() / NODES as u64 / seconds,
        sent.iter().map(&of).max().unwrap_or(0),
    )
}

/// Phoenix's tracker took 20 minutes to calm down after a rolling restart (phoenix_pubsub #135).
#[test]
fn rolling_restart_raises_no_storm() {
    let counters = number("COUNTER_KEYS").unwrap_or(100) as usize;
    let mut sim = cluster(7, NODES, Link::wide());
    (0..NODES).for_each(|host| sim.add_many(host, (0..counters).map(|at| format!("counter-{at}"))));
    sim.run_for(40 * S);
    let (mut idle, mut roll) = (Vec::new(), Vec::new());
    record_seconds(&mut sim, 60, &mut idle);
    for host in 0..NODES {
        sim.add(host, "clicks", 1);
        record_seconds(&mut sim, 1, &mut roll);
        sim.crash(host);
        record_seconds(&mut sim, 1, &mut roll);
        sim.restart(host, true);
        record_seconds(&mut sim, 4, &mut roll);
    }
    let hosts: Vec<usize> = (0..NODES).collect();
    let mut calm = 0;
    while !is_clean(&mut sim, &hosts) {
        record_seconds(&mut sim, 1, &mut roll);
        calm += 1;
        assert!(calm < 60, "{} writers too many", extra_writers(&sim, &hosts));
    }
    sim.check().expect("exact");
    let state = sim.map(0).expect("up").encode().len() as u64;
    let messages = |cost: &Cost| cost.gossip_messages + cost.requests;
    let [idle_bytes, idle_messages] =
        [mean_and_most(&idle, Cost::bytes), mean_and_most(&idle, messages)];
    let [bytes, sent] = [mean_and_most(&roll, Cost::bytes), mean_and_most(&roll, messages)];
    let (took, whole) = (roll.len() / NODES, bytes.0 * (roll.len() / NODES) as u64);
    println!(
        "10 nodes, {counters} counters each, a state of {state} bytes: roll of {took} s, clean {calm} s after the last start; each node and second \
         {} bytes and {} messages (idle {} and {}), at most {} bytes and {} messages; {whole} bytes a node in all, {} for each restart",
        bytes.0,
        sent.0,
        idle_bytes.0,
        idle_messages.0,
        bytes.1,
        sent.1,
        whole / NODES as u64
    );
    // A restart moves the cells of one node twice, once absorbed and once rebased. A node passes
    // each on over a mesh of degree 6.
    assert!(whole < (30_000 + 250 * counters as u64) * NODES as u64, "{whole} bytes a node");
    assert!(
        bytes.1 < 6 * 256_000 + 100_000 && sent.1 < 120,
        "{} bytes, {} messages in a second",
        bytes.1,
        sent.1
    );
    assert!(calm < 10, "{calm} s until it is calm again");
}
