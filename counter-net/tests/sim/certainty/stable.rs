//! Stable totals, which every enrolled replica is known to hold, under loss and partitions. The lag
//! of members is checked too.

use std::time::Duration;

use counter_net::protocol::Stable;
use counter_net::sim::{Failure, Link, Sim, SimConfig};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const NODES: usize = 5;

fn cluster(seed: u64, nodes: usize, link: Link) -> Sim {
    let mut sim = Sim::new(SimConfig { seed, link, ..SimConfig::default() });
    (0..nodes).for_each(|at| {
        sim.start(["ord", "fra", "sin"][at % 3]);
    });
    sim.connect_all();
    sim.run_for(3 * SECOND);
    sim
}

/// True if a node holds all of a stable state. Counters only grow here, so it must show no less.
fn is_at(sim: &Sim, node: usize, counter: &str, stable: &Stable) -> bool {
    let Some(map) = sim.map(node) else { return true };
    stable.versions.iter().all(|(writer, version)| map.counted_up_to(writer) >= version)
        && map.total(counter) >= stable.total
}

/// Adds and reads at random nodes of a cluster that is cut in two again and again. Returns how many
/// reads had an answer.
fn story(seed: u64) -> Result<usize, Failure> {
    let mut sim = cluster(seed, NODES, Link::lossy(0.1));
    let mut dice = fastrand::Rng::with_seed(seed);
    let (mut last, mut answers): (Vec<[Option<Stable>; 2]>, usize) = (vec![[None, None]; NODES], 0);
    for step in 0..400 {
        let (node, counter) = (dice.usize(..NODES), dice.usize(..2));
        sim.add(dice.usize(..NODES), &format!("c{counter}"), 1);
        match step % 200 {
            50 => sim.cut(&[0, 1], &[2, 3, 4]),
            120 => sim.heal(),
            _ => {}
        }
        sim.run_for(dice.u32(..60) * MS);
        let name = format!("c{counter}");
        let Some(stable) = sim.stable_total(node, &name) else { continue };
        answers += 1;
        for other in 0..NODES {
            assert!(
                is_at(&sim, other, &name, &stable),
                "seed {seed}, step {step}: {node} calls {stable:?} stable, and {other} lacks some of it"
            );
        }
        let before = last[node][counter].replace(stable.clone());
        let no_less = |before: Stable| {
            stable.versions.contains(&before.versions) && stable.total >= before.total
        };
        assert!(
            before.is_none_or(no_less),
            "seed {seed}, step {step}: the stable total of {node} went back"
        );
    }
    sim.heal();
    sim.run_until_converged(60 * SECOND)?;
    sim.run_until(60 * SECOND, |sim| {
        let all = |node| (0..2).all(|at| is_all(sim, node, &format!("c{at}")));
        (0..NODES).map(all).collect::<Vec<_>>() == [true; NODES]
    })?;
    Ok(answers)
}

/// True if everything that a node shows is stable there.
fn is_all(sim: &mut Sim, node: usize, counter: &str) -> bool {
    sim.stable_total(node, counter).is_some_and(|stable| {
        stable.total == sim.total(node, counter) && stable.age == Duration::ZERO
    })
}

#[test]
fn stable_total_is_everywhere_and_never_goes_back() -> Result<(), Failure> {
    for seed in 1..=10 {
        let answers = story(seed)?;
        assert!(answers > 100, "seed {seed}: only {answers} of 400 reads had an answer");
    }
    Ok(())
}

/// Nodes crash and come back from their disks as new incarnations. These absorb the old ones, which
/// are then forgotten. No node loses an add that was stable.
fn story_of_incarnations(seed: u64) -> Result<usize, Failure> {
    let mut sim = Sim::new(SimConfig { seed, retirement: true, ..SimConfig::default() });
    (0..4).for_each(|at| {
        sim.start(["ord", "fra", "sin"][at % 3]);
    });
    sim.connect_all();
    sim.run_for(3 * SECOND);
    let mut dice = fastrand::Rng::with_seed(seed);
    let (mut least, mut answers) = ([0; 4], 0);
    for step in 0..240 {
        sim.add(dice.usize(..4), "clicks", 1);
        let down = step / 40 % 4;
        match step % 40 {
            10 => sim.crash(down),
            20 => sim.restart(down, true),
            _ => {}
        }
        sim.run_for(dice.u32(..400) * MS);
        let node = dice.usize(..4);
        let Some(stable) = sim.stable_total(node, "clicks") else { continue };
        for other in 0..4 {
            assert!(
                is_at(&sim, other, "clicks", &stable),
                "seed {seed}, step {step}: {node} calls {stable:?} stable, and {other} lacks some of it"
            );
        }
        assert!(
            stable.total >= least[node] || (10..20).contains(&(step % 40)),
            "seed {seed}, step {step}: the stable total of {node} went back"
        );
        (least[node], answers) = (stable.total, answers + 1);
    }
    sim.run_until_converged(60 * SECOND)?;
    sim.run_until(120 * SECOND, |sim| {
        (0..4).map(|node| is_all(sim, node, "clicks")).collect::<Vec<_>>() == [true; 4]
    })?;
    Ok(answers)
}

#[test]
fn stable_total_survives_ended_incarnations() -> Result<(), Failure> {
    for seed in 1..=8 {
        let answers = story_of_incarnations(seed)?;
        assert!(answers > 60, "seed {seed}: only {answers} of 240 reads had an answer");
    }
    Ok(())
}

#[test]
fn stable_total_follows_within_two_seconds() -> Result<(), Failure> {
    let mut sim = cluster(1, NODES, Link::wide());
    assert_eq!(sim.stable_total(0, "clicks"), None, "the first call begins the watch");
    for add in 1..=20 {
        sim.add(add % NODES, "clicks", 1);
        let took = sim.run_until(5 * SECOND, |sim| is_all(sim, 0, "clicks"))?;
        assert!(took < 2 * SECOND, "add {add} was stable after {took:?}");
    }
    Ok(())
}

#[test]
fn unreachable_replica_holds_stable_total_back() -> Result<(), Failure> {
    let mut sim = cluster(2, 3, Link::loopback());
    sim.add(0, "clicks", 1);
    sim.run_until(5 * SECOND, |sim| is_all(sim, 0, "clicks"))?;
    sim.crash(2);
    sim.add(0, "clicks", 1);
    sim.run_for(30 * SECOND);
    let held_back = sim.stable_total(0, "clicks").expect("a stable total stays");
    assert_eq!((held_back.total, sim.total(0, "clicks")), (1, 2));
    assert!(held_back.age >= 29 * SECOND, "{:?}", held_back.age);
    sim.restart(2, false);
    sim.run_until(10 * SECOND, |sim| is_all(sim, 0, "clicks"))?;
    sim.leave(2);
    sim.run_for(SECOND);
    sim.add(0, "clicks", 1);
    sim.run_until(10 * SECOND, |sim| is_all(sim, 0, "clicks"))?;
    Ok(())
}

#[test]
fn watch_costs_nothing_once_it_is_over() {
    let sent = |asks: bool| {
        let mut sim = cluster(3, NODES, Link::loopback());
        (0..200).for_each(|_| {
            sim.add(0, "clicks", 1);
            sim.run_for(50 * MS);
            asks.then(|| sim.stable_total(0, "clicks"));
        });
        let (in_work, bytes) = (sim.cost().bytes(), |sim: &Sim| sim.cost().bytes());
        // The watch ends a minute after the last question. Then both send equally much.
        sim.run_for(65 * SECOND);
        let before = bytes(&sim);
        sim.run_for(60 * SECOND);
        (in_work, bytes(&sim) - before)
    };
    let (with, without) = (sent(true), sent(false));
    println!(
        "10 s of 20 adds a second on {NODES} nodes: {} bytes with a watch, {} without; a minute at rest: {} and {}",
        with.0, without.0, with.1, without.1
    );
    assert!(with.0 < without.0 + 10 * 4 * (NODES as u64 - 1) * 1_000, "{with:?} {without:?}");
    assert!(with.1 < without.1 * 11 / 10, "{with:?} {without:?}");
}

#[test]
fn lag_shows_missing_cells_and_since_when() {
    let slow = Link { gossip_loss: 1.0, ..Link::wide() };
    let mut sim = cluster(6, 2, slow);
    (0..3).for_each(|counter| sim.add(0, &format!("c{counter}"), 1));
    let added = sim.now();
    let other = sim.machine(1).expect("it is up").node();
    let mut met = None;
    while sim.now() - added < 20 * SECOND && met.is_none() {
        sim.run_for(MS);
        let lag = sim
            .members(0)
            .iter()
            .find(|member| member.replica.node == other.0)
            .and_then(|member| member.lag);
        met = lag.filter(|lag| lag.cells_behind > 0).map(|lag| (lag, sim.now() - added));
    }
    let (lag, since) = met.expect("without gossip a round finds the other behind");
    assert_eq!(lag.cells_behind, 3);
    assert!(
        lag.time_behind > Duration::ZERO && lag.time_behind <= since + MS,
        "{lag:?} after {since:?}"
    );
    sim.run_for(20 * SECOND);
    let lag = sim
        .members(0)
        .iter()
        .find(|member| member.replica.node == other.0)
        .and_then(|member| member.lag)
        .expect("it is connected");
    assert_eq!((lag.cells_behind, lag.time_behind), (0, Duration::ZERO));
}
