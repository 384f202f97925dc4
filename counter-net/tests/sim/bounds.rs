//! A bound refuses only new counters, and existing ones keep counting. No peer is cut off for a
//! long digest.

use std::time::Duration;

use counter_net::sim::{Failure, Link, Sim, SimConfig};

use crate::seeds_from_first;

const S: Duration = Duration::from_secs(1);
const REGIONS: [&str; 4] = ["ord", "fra", "sin", "syd"];

/// A cluster of nodes in different regions, with a bound on the counters that each may make.
fn bounded(seed: u64, nodes: usize, counters_max: usize, link: Link) -> Sim {
    let mut sim = Sim::new(SimConfig { counters_max, link, seed, ..SimConfig::default() });
    for at in 0..nodes {
        sim.start(REGIONS[at % REGIONS.len()]);
    }
    sim.connect_all();
    sim.run_for(3 * S);
    sim
}

/// Makes counters at a node until it refuses, and returns how many. The refusal must name the
/// bound.
fn fill(sim: &mut Sim, host: usize, tries: usize) -> usize {
    for at in 0..tries {
        if let Err(refused) = sim.try_add(host, &format!("{host}-{at}"), 1) {
            assert!(refused.to_string().contains("counters_max"), "{refused}");
            return at;
        }
    }
    tries
}

fn all_ready(sim: &Sim, hosts: &[usize]) -> bool {
    hosts.iter().all(|&host| sim.machine(host).is_some_and(|machine| machine.readiness().is_ok()))
}

/// Two sides make 600 counters each, and 1,000 may be made. Each side stays within its bound.
fn names_on_two_sides(cut: bool) {
    let mut sim = bounded(1, 3, 1_000, Link::wide());
    sim.add(0, "clicks", 1);
    sim.run_for(3 * S);
    if cut {
        sim.cut(&[0], &[1, 2]);
        sim.run_for(11 * S);
    }
    for host in [0, 1] {
        assert_eq!(fill(&mut sim, host, 600), 600);
    }
    sim.run_for(10 * S);
    sim.heal();
    sim.run_until_converged(60 * S).unwrap();
    for _ in 0..10 {
        // Two of the three nodes never added to it before. So an old counter gets new regions.
        (0..3).for_each(|host| sim.try_add(host, "clicks", 1).unwrap());
        sim.run_for(S);
    }
    sim.run_until_converged(60 * S).unwrap();
    assert_eq!([0, 1, 2].map(|host| sim.total(host, "clicks")), [31; 3]);
    assert!(all_ready(&sim, &[0, 1, 2]));
    for host in 0..3 {
        let refused = sim.try_add(host, "one more", 1).unwrap_err().to_string();
        assert!(refused.contains("counters_max"), "{refused}");
    }
    let fresh = sim.start("gru");
    sim.connect_all();
    sim.run_until_converged(60 * S).unwrap();
    assert_eq!((sim.total(fresh, "clicks"), sim.total(fresh, "0-599")), (31, 1));
    assert!(all_ready(&sim, &[0, 1, 2, fresh]));
    assert!(sim.try_add(fresh, "one more", 1).is_err());
    sim.try_add(fresh, "clicks", 1).unwrap();
    sim.run_until_converged(60 * S).unwrap();
}

#[test]
fn names_made_on_two_sides_of_a_cut_join() {
    names_on_two_sides(true);
}

#[test]
fn names_made_at_the_same_time_join() {
    names_on_two_sides(false);
}

/// A cluster is cut in two at random. Nodes make counters up to the bound and try to go beyond it,
/// while old counters keep counting.
fn story_of_names(seed: u64) -> Result<(), Failure> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (count, counters_max) = (rng.usize(2..=5), rng.usize(1..40));
    let link = Link::lossy(f64::from(rng.u8(..20)) / 100.0);
    let mut sim = bounded(seed, count, counters_max, link);
    let old: Vec<String> = (0..rng.usize(1..=counters_max)).map(|at| format!("old-{at}")).collect();
    for name in &old {
        // Only at one node, so each is still new in most regions.
        sim.try_add(0, name, 1).expect("room");
    }
    sim.run_until_converged(60 * S)?;
    for _ in 0..rng.usize(1..4) {
        let side = rng.usize(1..count);
        let mut hosts: Vec<usize> = (0..count).collect();
        rng.shuffle(&mut hosts);
        sim.cut(&hosts[..side], &hosts[side..]);
        sim.run_for(11 * S);
        for part in [&hosts[..side], &hosts[side..]] {
            // Nodes take turns, so that each side as a whole stops at its bound. Counters that the
            // others have not heard of yet would be the same as a cut.
            for &host in part {
                fill(&mut sim, host, rng.usize(..2 * counters_max));
                sim.run_for(5 * S);
            }
        }
        for _ in 0..rng.usize(..20) {
            let (host, name) = (rng.usize(..count), &old[rng.usize(..old.len())]);
            match rng.u8(..8) {
                0 => sim.reset(host, name, REGIONS[rng.usize(..REGIONS.len())]),
                _ => sim.try_add(host, name, rng.i64(1..9)).expect("an old counter"),
            }
            sim.run_for(Duration::from_millis(rng.u64(..500)));
        }
        if rng.bool() {
            let host = rng.usize(..count);
            sim.crash(host);
            sim.restart(host, true);
        }
        sim.heal();
        sim.run_for(Duration::from_millis(rng.u64(..3_000)));
        for host in 0..count {
            sim.try_add(host, &old[rng.usize(..old.len())], 1).expect("an old counter");
        }
        sim.run_until_converged(120 * S)?;
        let hosts: Vec<usize> = (0..count).collect();
        assert!(all_ready(&sim, &hosts), "seed {seed}");
        let made = sim.map(0).map_or(0, |map| map.counter_count());
        assert!(made <= 2 * counters_max, "seed {seed}: {made} of {counters_max}");
        if made >= counters_max {
            assert!(
                (0..count).all(|host| sim.try_add(host, "one more", 1).is_err()),
                "seed {seed}"
            );
        }
    }
    Ok(())
}

#[test]
fn old_counters_go_on_at_the_bound() {
    for seed in seeds_from_first(40) {
        story_of_names(seed)
            .unwrap_or_else(|failure| panic!("COUNTER_FIRST={seed} COUNTER_SEEDS=1: {failure}"));
    }
}

/// A writer has more cells than this node takes of one writer. The bound is the node's own, so the
/// peer that sends the cells is not blamed.
#[test]
fn too_many_cells_of_a_writer_raise_an_alarm() {
    let mut config = SimConfig::default();
    config.protocol.staging_cells_max = 1_000;
    // Pages of few cells, so that one writer fills several.
    config.protocol.page_bytes_max = 4_096;
    config.protocol.ask_bytes_max = 1_024;
    let mut sim = Sim::new(config);
    sim.start("ord");
    sim.add_many(0, (0..2_000).map(|at| format!("c{at}")));
    sim.run_for(S);
    sim.start("fra");
    sim.connect_all();
    sim.run_for(60 * S);
    let failure = sim.verdict().unwrap_err().to_string();
    assert!(failure.contains("JoinRefused") && failure.contains("counters_max"), "{failure}");
    assert!(!sim.machine(1).unwrap().is_synced());
}

/// A cluster that has seen more incarnations than one of its digests names.
fn many_incarnations(
    seed: u64,
    digest_replicas_max: usize,
    incarnations: usize,
    retirement: bool,
) -> Sim {
    let mut config = SimConfig { link: Link::loopback(), seed, retirement, ..SimConfig::default() };
    config.protocol.digest_replicas_max = digest_replicas_max;
    let mut sim = Sim::new(config);
    for _ in 0..2 {
        sim.start("ord");
    }
    sim.connect_all();
    sim.run_for(2 * S);
    for _ in 0..incarnations {
        let node = sim.start("ord");
        sim.connect(0, node);
        sim.connect(1, node);
        sim.run_for(S / 3);
        sim.add(node, "clicks", 1);
        sim.run_for(S / 3);
        sim.crash(node);
    }
    sim
}

#[test]
fn more_incarnations_than_a_digest_names_converge() {
    let mut sim = many_incarnations(1, 64, 70, false);
    sim.run_until_converged(120 * S).unwrap();
    assert_eq!(sim.map(0).unwrap().replicas().count(), 72);
    let fresh = sim.start("ord");
    sim.connect(0, fresh);
    sim.connect(1, fresh);
    sim.run_until_converged(60 * S).unwrap();
    assert!(sim.machine(fresh).unwrap().is_synced());
    assert_eq!([0, 1, fresh].map(|host| sim.total(host, "clicks")), [70; 3]);
    sim.cut(&[0], &[1]);
    sim.add(0, "clicks", 5);
    sim.run_for(20 * S);
    sim.heal();
    sim.run_until_converged(60 * S).unwrap();
    assert_eq!([0, 1, fresh].map(|host| sim.total(host, "clicks")), [75; 3]);
}

/// A part of a digest proves nothing alone. A node that has pulled all that the first part names
/// has not caught up yet.
#[test]
fn synced_newcomer_has_everything() {
    let mut longest = Duration::ZERO;
    for seed in 0..10 {
        let mut sim = many_incarnations(seed, 4, 40, false);
        sim.set_links(Link::wide());
        sim.run_until_converged(120 * S).unwrap();
        let began = sim.now();
        let fresh = sim.start("ord");
        sim.connect(fresh, 0);
        let look =
            |sim: &mut Sim| match sim.machine(fresh).is_some_and(|machine| machine.is_synced()) {
                true => Err(sim.total(fresh, "clicks")),
                false => Ok(()),
            };
        assert_eq!(sim.run_watched(60 * S, look), Err(40), "seed {seed}");
        longest = longest.max(sim.now() - began);
    }
    // A digest has about eleven parts, and a node pulls four writers at a time.
    assert!(longest < 5 * S, "{longest:?}");
}

/// Every message takes 100 or 200 ms, and a digest has eleven parts.
#[test]
fn long_digests_work_at_400_ms() {
    for round_trip in [200, 400].map(Duration::from_millis) {
        let mut sim = many_incarnations(5, 4, 40, false);
        sim.set_links(Link::apart(round_trip));
        sim.run_until_converged(120 * S).unwrap();
        let fresh = sim.start("ord");
        sim.connect(fresh, 0);
        sim.connect(fresh, 1);
        sim.run_until(3 * S + 6 * round_trip, |sim| {
            sim.machine(fresh).is_some_and(|machine| machine.is_synced())
        })
        .unwrap();
        assert_eq!(sim.total(fresh, "clicks"), 40);
        sim.cut(&[0], &[1, fresh]);
        (0..2).for_each(|host| sim.add(host, "clicks", 5));
        sim.run_for(20 * S);
        sim.heal();
        sim.run_until_converged(30 * S).unwrap();
        assert_eq!([0, 1, fresh].map(|host| sim.total(host, "clicks")), [50; 3]);
        let agrees = |sim: &mut Sim| {
            [0, 1, fresh]
                .iter()
                .all(|host| sim.agreement(*host).is_some_and(|all| all.age == Some(Duration::ZERO)))
        };
        sim.run_until(10 * S, agrees).unwrap();
    }
}

#[test]
fn agreement_is_known_with_long_digests() {
    let mut sim = many_incarnations(2, 8, 40, false);
    sim.run_for(120 * S);
    sim.add(0, "clicks", 1);
    sim.run_for(3 * S);
    for host in [0, 1] {
        let agreement = sim.agreement(host).unwrap();
        assert_eq!(
            (agreement.age, agreement.confirmed, agreement.live),
            (Some(Duration::ZERO), 1, 1)
        );
    }
}

/// Absorbing and folding wait for whole digests.
#[test]
fn incarnations_fold_with_long_digests() {
    let mut sim = many_incarnations(3, 2, 40, true);
    sim.set_links(Link::wide());
    sim.run_for(120 * S);
    let is_clean = |sim: &mut Sim| {
        sim.retire_absent(0);
        sim.map(0).is_some_and(|map| map.replicas().count() == 2) && sim.is_converged()
    };
    sim.run_until(600 * S, is_clean).unwrap();
    sim.check().unwrap();
    assert_eq!([0, 1].map(|host| sim.total(host, "clicks")), [40; 2]);
}

/// While somebody watches a stable total, peers are asked four times a second. Each answer is a
/// digest of many parts, which take longer than that to arrive. So not every digest becomes whole.
#[test]
fn frequent_long_digests_arrive() {
    let mut sim = many_incarnations(4, 1, 0, false);
    for _ in 0..30 {
        let node = sim.start("ord");
        sim.connect(0, node);
        sim.connect(1, node);
        sim.run_for(S / 3);
        sim.add(node, "clicks", 1);
        sim.run_for(S / 3);
        // Nobody waits for a node that left, and digests keep naming it.
        sim.leave(node);
    }
    sim.set_links(Link::wide());
    sim.run_until_converged(120 * S).unwrap();
    let mut last = 0;
    for at in 1..=100 {
        sim.add((at % 2) as usize, "clicks", 1);
        sim.run_for(S / 10);
        let stable = sim.stable_total(0, "clicks").map_or(0, |stable| stable.total);
        assert!(stable >= last, "{stable} after {last}");
        last = stable;
    }
    assert!(last > 30 + 50, "{last}");
}

/// Kills, cuts and bad links, with digests of a few replicas each.
fn story_of_incarnations(seed: u64) -> Result<(), Failure> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut config = SimConfig {
        link: Link::lossy(f64::from(rng.u8(..20)) / 100.0),
        seed,
        ..SimConfig::default()
    };
    config.protocol.digest_replicas_max = rng.usize(1..6);
    if seed.is_multiple_of(2) {
        // Just above the number in a story, so that parts on their way block others.
        config.protocol.heard_replicas_max = 64;
    }
    let count = rng.usize(3..=5);
    let mut sim = Sim::new(config);
    for at in 0..count {
        sim.start(REGIONS[at % REGIONS.len()]);
    }
    sim.connect_all();
    sim.run_for(2 * S);
    for _ in 0..rng.usize(10..40) {
        let at = rng.usize(..count);
        match rng.u8(..10) {
            0..=4 => sim.add(at, "clicks", rng.i64(1..9)),
            5 => sim.reset(at, "clicks", REGIONS[rng.usize(..REGIONS.len())]),
            6..=7 => {
                sim.crash(at);
                sim.run_for(Duration::from_millis(rng.u64(..3_000)));
                // Without its disk it is a new writer that knows nothing. Its digest is short, and
                // theirs are long.
                sim.restart(at, rng.bool());
            }
            8 => {
                let others: Vec<usize> = (0..count).filter(|other| *other != at).collect();
                sim.cut(&[at], &others);
                sim.run_for(Duration::from_millis(rng.u64(..15_000)));
                sim.heal();
            }
            _ => sim.add_many(at, (0..rng.usize(1..300)).map(|at| format!("c{at}"))),
        }
        sim.run_for(Duration::from_millis(rng.u64(..2_500)));
        sim.verdict()?;
    }
    sim.set_links(Link::wide());
    sim.run_until_converged(120 * S)?;
    let agrees = |sim: &mut Sim| {
        (0..count)
            .all(|host| sim.agreement(host).is_some_and(|all| all.age == Some(Duration::ZERO)))
    };
    sim.run_until(60 * S, agrees)?;
    Ok(())
}

/// Of two digests on their way one was dropped, together with the rest of its answer. No node was
/// ever synced after that.
#[test]
fn dropped_digest_is_asked_for_again() {
    story_of_incarnations(1869).unwrap();
}

#[test]
fn short_digest_parts_converge_through_churn() {
    for seed in seeds_from_first(40) {
        story_of_incarnations(seed)
            .unwrap_or_else(|failure| panic!("COUNTER_FIRST={seed} COUNTER_SEEDS=1: {failure}"));
    }
}
