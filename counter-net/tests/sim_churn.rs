//! Incarnations that end while the cluster changes: leaves, newcomers, hung peers. Each story
//! states what every node must show.
#![cfg(feature = "sim")]

use std::time::Duration;

use counter_net::sim::{Link, Sim, SimConfig};

const MS: fn(u64) -> Duration = Duration::from_millis;
/// How long a leaving process may take: what a node's default is.
const LEAVE: Duration = Duration::from_secs(5);

fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first = number("COUNTER_FIRST").unwrap_or(0);
    first..first + number("COUNTER_SEEDS").unwrap_or(usual)
}

fn world(seed: u64, nodes: usize, link: Link) -> Sim {
    let mut sim = Sim::new(SimConfig {
        unwatched: true,
        retirement: true,
        link,
        seed,
        ..SimConfig::default()
    });
    for _ in 0..nodes {
        sim.start("ord");
    }
    sim.connect_all();
    sim.run_for(MS(3000));
    sim
}

/// Enough counters at node 0 that a newcomer needs more than the first answer.
fn fill(sim: &mut Sim) {
    let mut names = fastrand::Rng::with_seed(9);
    for _ in 0..4_000 {
        let name = format!("{:016x}{:016x}", names.u64(..), names.u64(..));
        sim.add_raw(0, &name, 1);
    }
    sim.run_for(MS(5000));
}

/// A node leaves while a newcomer has reached nobody else: the newcomer must not absorb what it
/// cannot judge.
fn newcomer_meets_only_the_leaver(seed: u64) {
    let link = if seed.is_multiple_of(2) { Link::wide() } else { Link::loopback() };
    let mut sim = world(seed, 2, link);
    fill(&mut sim);
    let mut dice = fastrand::Rng::with_seed(seed);
    sim.add_raw(1, "clicks", 5);
    sim.run_for(MS(3000));
    assert_eq!(sim.reset_raw(0, "clicks", "ord"), 5);
    sim.run_for(MS(3000));
    assert_eq!((sim.total(0, "clicks"), sim.total(1, "clicks")), (0, 0));
    let fresh = sim.start("ord");
    sim.connect(fresh, 1);
    sim.run_for(MS(dice.u64(1..400)));
    sim.leave_within(1, MS(500));
    sim.run_for(MS(1000));
    sim.connect(fresh, 0);
    sim.run_for(MS(60_000));
    assert_eq!(
        (sim.total(0, "clicks"), sim.total(fresh, "clicks")),
        (0, 0),
        "seed {seed}: the reset is undone"
    );
    assert_eq!(
        sim.map(0).unwrap().replicas().count(),
        2,
        "seed {seed}: the leaver is not forgotten"
    );
}

#[test]
fn leave_to_a_newcomer_undoes_no_reset() {
    seeds(20).for_each(newcomer_meets_only_the_leaver);
}

#[test]
fn leaves_in_a_row_lose_no_add() {
    for seed in seeds(6) {
        let link = if seed.is_multiple_of(2) { Link::wide() } else { Link::loopback() };
        let mut sim = world(seed, 2, link);
        fill(&mut sim);
        let mut dice = fastrand::Rng::with_seed(seed);
        // The second leaver is at work on what the first one left.
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
        let fresh = sim.start("ord");
        sim.connect(fresh, 1);
        sim.run_for(MS(dice.u64(1..400)));
        sim.leave_within(1, MS(500));
        sim.run_for(MS(1000));
        sim.connect(fresh, 0);
        sim.run_for(MS(120_000));
        let shown = (sim.map(0).unwrap().total_of_all(), sim.map(fresh).unwrap().total_of_all());
        assert_eq!(shown, (before, before), "seed {seed}");
        assert_eq!(
            sim.map(0).unwrap().replicas().count(),
            2,
            "seed {seed}: a leaver is not forgotten"
        );
    }
}

#[test]
fn hung_peer_holds_no_leaver_up() {
    let link = Link::loopback();
    let mut sim = Sim::new(SimConfig {
        unwatched: true,
        retirement: true,
        link,
        seed: 3,
        lost_after: MS(5000),
        ..SimConfig::default()
    });
    (0..4).for_each(|_| {
        sim.start("ord");
    });
    sim.connect_all();
    sim.run_for(MS(3000));
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
fn every_leave_over_wide_links_ends_the_enrolment() {
    for seed in seeds(3) {
        let mut sim = world(seed, 5, Link::wide());
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
fn two_that_leave_at_once_leave_nothing_behind() {
    for seed in seeds(40) {
        let mut sim = world(seed, 4, Link::wide());
        (0..4).for_each(|host| {
            sim.add_raw(host, "k", 7);
        });
        // With nothing but the last statements under way.
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

/// A node whose disk takes nothing more goes on, is killed, and starts again as it was on the disk.
#[test]
fn reset_after_a_restart_from_a_lagging_disk_clears_all_it_saw() {
    for seed in seeds(10) {
        let mut sim = world(seed, 4, Link::loopback());
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

/// The successor's own disk lags: it must not fold what it would not remember.
#[test]
fn successor_folds_only_what_its_disk_holds() {
    for seed in seeds(10) {
        let mut sim = world(seed, 3, Link::loopback());
        (0..3).for_each(|host| {
            sim.add_raw(host, "clicks", 5 + host as u64);
        });
        sim.run_for(MS(3000));
        [0, 1].into_iter().for_each(|host| sim.commit(host));
        sim.leave_within(2, LEAVE);
        // Only one of the two commits: whichever is the successor.
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

/// The word that an incarnation has ended must outlive the node that an operator gave it to.
#[test]
fn retirement_outlives_a_node_that_crashes_at_once() {
    for seed in seeds(40) {
        let mut sim = world(seed, 4, Link::loopback());
        (0..4).for_each(|host| assert!(sim.add_raw(host, "clicks", 1)));
        sim.run_for(MS(2000));
        sim.crash(3);
        // Its presence has to end first.
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

/// A node's disk lags while another joins; both crash, and the node comes back alone from its last
/// commit. What it had let out meanwhile counts.
#[test]
fn what_a_node_lets_out_before_a_commit_is_not_lost() {
    for (seed, link) in [(1, Link::loopback()), (2, Link::wide())] {
        for commits in [false, true] {
            let mut sim = Sim::new(SimConfig {
                unwatched: true,
                retirement: true,
                link: link.clone(),
                seed,
                ..SimConfig::default()
            });
            let first = sim.start("ord");
            sim.run_for(MS(3000));
            // From here on its disk holds this, until the next commit.
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
