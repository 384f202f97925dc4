//! Incarnations end while the cluster changes: leaves, newcomers, hung peers, lagging disks. Each
//! test states what every node must show.

use std::time::Duration;

use counter_net::sim::{Link, Sim, SimConfig};

use crate::seeds_from_first;

const MS: fn(u64) -> Duration = Duration::from_millis;
/// The longest that a leaving process may take: a node's default.
const LEAVE: Duration = Duration::from_secs(5);

fn config(seed: u64, link: Link) -> SimConfig {
    SimConfig { unwatched: true, retirement: true, link, seed, ..SimConfig::default() }
}

/// A cluster of nodes that have met.
fn cluster(config: SimConfig, nodes: usize) -> Sim {
    let mut sim = Sim::new(config);
    for _ in 0..nodes {
        sim.start("ord");
    }
    sim.connect_all();
    sim.run_for(MS(3000));
    sim
}

/// Links between continents for even seeds, and within one machine for odd ones.
fn near_or_far(seed: u64) -> Link {
    if seed.is_multiple_of(2) { Link::wide() } else { Link::loopback() }
}

/// Makes so many counters at node 0 that a newcomer needs more than the first answer.
fn fill(sim: &mut Sim) {
    let mut names = fastrand::Rng::with_seed(9);
    for _ in 0..4_000 {
        let name = format!("{:016x}{:016x}", names.u64(..), names.u64(..));
        sim.add_raw(0, &name, 1);
    }
    sim.run_for(MS(5000));
}

/// Node 1 leaves while a newcomer has reached nobody else. The newcomer meets node 0 a second
/// later. Returns the newcomer, once that much more time has passed.
fn leave_to_a_newcomer(sim: &mut Sim, dice: &mut fastrand::Rng, more: Duration) -> usize {
    let fresh = sim.start("ord");
    sim.connect(fresh, 1);
    sim.run_for(MS(dice.u64(1..400)));
    sim.leave_within(1, MS(500));
    sim.run_for(MS(1000));
    sim.connect(fresh, 0);
    sim.run_for(more);
    assert_eq!(sim.map(0).unwrap().replicas().count(), 2, "a leaver is not forgotten");
    fresh
}

/// The newcomer must not absorb an incarnation that it cannot judge.
fn newcomer_meets_only_the_leaver(seed: u64) {
    let mut sim = cluster(config(seed, near_or_far(seed)), 2);
    fill(&mut sim);
    let mut dice = fastrand::Rng::with_seed(seed);
    sim.add_raw(1, "clicks", 5);
    sim.run_for(MS(3000));
    assert_eq!(sim.reset_raw(0, "clicks", "ord"), 5);
    sim.run_for(MS(3000));
    assert_eq!((sim.total(0, "clicks"), sim.total(1, "clicks")), (0, 0));
    println!("seed {seed}");
    let fresh = leave_to_a_newcomer(&mut sim, &mut dice, MS(60_000));
    let shown = (sim.total(0, "clicks"), sim.total(fresh, "clicks"));
    assert_eq!(shown, (0, 0), "the reset is undone");
}

#[test]
fn leave_to_a_newcomer_undoes_no_reset() {
    seeds_from_first(20).for_each(newcomer_meets_only_the_leaver);
}

#[test]
fn leaves_in_a_row_lose_no_add() {
    for seed in seeds_from_first(6) {
        println!("seed {seed}");
        let mut sim = cluster(config(seed, near_or_far(seed)), 2);
        fill(&mut sim);
        let mut dice = fastrand::Rng::with_seed(seed);
        // The second leaver is still absorbing the first one.
        let earlier = sim.start("ord");
        sim.connect_all();
        sim.run_for(MS(3000));
        sim.add_raw(earlier, "clicks", 7);
        (0..4_000).for_each(|key| {
            sim.add_raw(earlier, &format!("page {key}"), 1);
        });
        sim.run_for(MS(5000));
        let before = sim.map(0).unwrap().total_of_all();
        assert_eq!(before, sim.map(1).unwrap().total_of_all());
        sim.leave_within(earlier, MS(500));
        let fresh = leave_to_a_newcomer(&mut sim, &mut dice, MS(120_000));
        let shown = (sim.map(0).unwrap().total_of_all(), sim.map(fresh).unwrap().total_of_all());
        assert_eq!(shown, (before, before));
    }
}

#[test]
fn hung_peer_delays_no_leave() {
    let lost_after = MS(5000);
    let mut sim = cluster(SimConfig { lost_after, ..config(3, Link::loopback()) }, 4);
    sim.add_raw(3, "k", 7);
    sim.run_for(MS(1000));
    sim.cut(&[2], &[0, 1, 3]);
    sim.run_for(MS(1000));
    let leaver = sim.writer_of(3);
    let took = sim.leave_within(3, LEAVE);
    assert!(took < MS(1000), "{took:?}");
    sim.heal();
    sim.run_for(MS(60_000));
    for host in 0..3 {
        let map = sim.map(host).unwrap();
        assert_eq!((map.seen_of(leaver), map.replicas().count(), map.total("k")), (0, 3, 7));
    }
}

#[test]
fn leavers_over_wide_links_are_folded() {
    for seed in seeds_from_first(3) {
        let mut sim = cluster(config(seed, Link::wide()), 5);
        sim.run_for(MS(2000));
        let mut up: Vec<usize> = (0..5).collect();
        let mut longest = Duration::ZERO;
        for _ in 0..4 {
            for at in 0..5 {
                let node = sim.start("ord");
                up.iter().for_each(|other| sim.connect(node, *other));
                sim.run_for(MS(5000));
                sim.add_raw(up[at], "k", 1);
                sim.run_for(MS(2000));
                longest = longest.max(sim.leave_within(up[at], LEAVE));
                up[at] = node;
            }
        }
        sim.run_for(MS(120_000));
        for host in up {
            let map = sim.map(host).unwrap();
            assert_eq!(
                (map.enrolled().count(), map.replicas().count(), map.total("k")),
                (5, 5, 20),
                "seed {seed}"
            );
        }
        println!("seed {seed}: the longest leave took {longest:?}");
        assert!(longest < MS(3000), "{longest:?}");
    }
}

#[test]
fn simultaneous_leaves_leave_nothing_behind() {
    for seed in seeds_from_first(40) {
        let mut sim = cluster(config(seed, Link::wide()), 4);
        (0..4).for_each(|host| {
            sim.add_raw(host, "k", 7);
        });
        // Only the last statements are on their way.
        let mut dice = fastrand::Rng::with_seed(seed);
        sim.begin_leave(2);
        sim.run_for(MS(dice.u64(..600)));
        sim.begin_leave(3);
        let (mut left, began) = ([false; 2], sim.now());
        while left != [true; 2] {
            sim.run_for(MS(5));
            for (at, host) in [2, 3].into_iter().enumerate() {
                if !left[at] && (sim.is_drained(host) || sim.now() > began + LEAVE) {
                    left[at] = true;
                    sim.crash(host);
                }
            }
        }
        sim.run_for(MS(60_000));
        for host in [0, 1] {
            let map = sim.map(host).unwrap();
            assert_eq!((map.replicas().count(), map.total("k")), (2, 28), "seed {seed}");
        }
    }
}

/// A node's disk stops taking commits. The node keeps running, is killed, and starts again from the
/// last commit.
#[test]
fn reset_after_a_lagging_restart_clears_all_it_saw() {
    for seed in seeds_from_first(10) {
        let mut sim = cluster(config(seed, Link::loopback()), 4);
        (0..4).for_each(|host| {
            sim.add_raw(host, "clicks", 5 + host as u64);
        });
        sim.run_for(MS(3000));
        sim.commit(2);
        sim.leave_within(3, LEAVE);
        sim.run_for(MS(20_000));
        sim.crash(2);
        sim.cut(&[2], &[0, 1]);
        sim.restart(2, true);
        sim.run_for(MS(100));
        assert_eq!(sim.reset_raw(2, "clicks", "ord"), 26, "seed {seed}");
        sim.commit(2);
        sim.heal();
        let mut dice = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            sim.run_for(MS(dice.u64(..500)));
            sim.commit(2);
        }
        for host in 0..3 {
            let map = sim.map(host).unwrap();
            assert_eq!(
                (map.total("clicks"), map.replicas().count()),
                (0, 3),
                "seed {seed} node {host}"
            );
        }
    }
}

/// The successor's own disk lags. It must not fold cells that it would not remember after a crash.
#[test]
fn successor_folds_only_what_its_disk_holds() {
    for seed in seeds_from_first(10) {
        let mut sim = cluster(config(seed, Link::loopback()), 3);
        (0..3).for_each(|host| {
            sim.add_raw(host, "clicks", 5 + host as u64);
        });
        sim.run_for(MS(3000));
        [0, 1].into_iter().for_each(|host| sim.commit(host));
        sim.leave_within(2, LEAVE);
        // Only one of the two commits from here on. Either may be the successor.
        let (lags, other) = if seed.is_multiple_of(2) { (0, 1) } else { (1, 0) };
        for _ in 0..100 {
            sim.run_for(MS(200));
            sim.commit(other);
        }
        sim.crash(lags);
        sim.cut(&[0], &[1]);
        sim.restart(lags, true);
        sim.run_for(MS(100));
        assert_eq!(sim.reset_raw(lags, "clicks", "ord"), 18, "seed {seed}");
        sim.heal();
        for _ in 0..400 {
            sim.run_for(MS(250));
            [0, 1].into_iter().for_each(|host| sim.commit(host));
        }
        for host in 0..2 {
            let map = sim.map(host).unwrap();
            assert_eq!(
                (map.total("clicks"), map.replicas().count()),
                (0, 2),
                "seed {seed} node {host}"
            );
        }
    }
}

/// An operator retires an incarnation at a node that crashes soon after. The retirement must not be
/// lost.
#[test]
fn retirement_outlives_a_crash() {
    for seed in seeds_from_first(40) {
        let mut sim = cluster(config(seed, Link::loopback()), 4);
        (0..4).for_each(|host| assert!(sim.add_raw(host, "clicks", 1)));
        sim.run_for(MS(2000));
        sim.crash(3);
        // First its presence has to end.
        sim.run_for(MS(20_000));
        assert!(sim.retire(1, 3), "seed {seed}");
        let mut dice = fastrand::Rng::with_seed(seed);
        sim.run_for(MS(dice.u64(..1000)));
        sim.crash(1);
        sim.run_for(MS(dice.u64(..1500)));
        sim.restart(1, true);
        sim.run_for(MS(60_000));
        for host in 0..3 {
            let map = sim.map(host).unwrap();
            assert_eq!(
                (map.total("clicks"), map.replicas().count()),
                (4, 3),
                "seed {seed} node {host}"
            );
        }
    }
}

/// A node's disk lags while another node joins. Both crash, and the first comes back alone from its
/// last commit. The adds that it had sent out meanwhile still count.
#[test]
fn uncommitted_adds_that_were_sent_are_kept() {
    for (seed, link) in [(1, Link::loopback()), (2, Link::wide())] {
        for commits in [false, true] {
            let mut sim = cluster(config(seed, link.clone()), 1);
            let first = 0;
            // From here on its disk holds this state, until the next commit.
            sim.commit(first);
            let second = sim.start("ord");
            sim.connect_all();
            sim.run_for(MS(3000));
            if commits {
                sim.commit(first);
            }
            sim.add_raw(first, "clicks", 5);
            sim.run_for(MS(3000));
            let shown = sim.total(second, "clicks");
            assert!(shown == 5 || !commits, "seed {seed}: {shown}");
            sim.crash(second);
            sim.crash(first);
            sim.restart(first, true);
            sim.run_for(MS(20_000));
            sim.restart(second, true);
            sim.connect_all();
            sim.run_for(MS(20_000));
            sim.commit(first);
            sim.run_for(MS(20_000));
            assert_eq!(
                (sim.total(first, "clicks"), sim.total(second, "clicks")),
                (shown, shown),
                "seed {seed}, commits: {commits}"
            );
        }
    }
}
