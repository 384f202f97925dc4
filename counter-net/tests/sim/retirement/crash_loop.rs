//! A node with many counters crashes again and again, each time before it has absorbed its last
//! incarnation.

use std::time::Duration;

use counter_net::sim::{Link, Sim, SimConfig};

use crate::number;

const RESTARTS: usize = 24;

/// Bytes of the state that a node holds.
fn bytes(sim: &Sim) -> usize {
    sim.map(0).unwrap().encode().len()
}

/// Unfinished work stays within one absorption, however many restarts there are.
#[test]
fn crash_loop_does_not_grow_the_state() {
    // The default takes seconds in a debug build. Try COUNTER_KEYS=20000 by hand.
    let counters = number("COUNTER_KEYS").unwrap_or(2_000);
    let mut sim = Sim::new(SimConfig {
        unwatched: true,
        retirement: true,
        link: Link::loopback(),
        seed: 1,
        ..SimConfig::default()
    });
    let nodes: Vec<usize> = (0..3).map(|_| sim.start("ord")).collect();
    sim.connect_all();
    sim.run_for(Duration::from_secs(2));
    (0..counters).for_each(|at| assert!(sim.add_raw(nodes[2], &format!("counter number {at}"), 1)));
    sim.run_for(Duration::from_secs(5));
    let fresh = bytes(&sim);
    // Absorbing all counters takes longer than this.
    let every = Duration::from_micros(200 * counters);
    let mut most = [0; 2];
    for at in 0..RESTARTS {
        sim.crash(nodes[2]);
        sim.run_for(Duration::from_millis(200));
        sim.restart(nodes[2], true);
        sim.run_for(every);
        most[2 * at / RESTARTS] = most[2 * at / RESTARTS].max(bytes(&sim));
    }
    let times = most.map(|most| most as f64 / fresh as f64);
    println!(
        "{counters} counters in {fresh} B: at most {:.1} times that in {RESTARTS} restarts, {times:.1?} by halves",
        times[0].max(times[1])
    );
    // Each restart adds a record and its claims.
    assert!(most[1] <= most[0] + RESTARTS * 150, "{most:?}");
    let clean = |sim: &mut Sim| {
        sim.map(0).is_some_and(|map| map.replicas().count() == 3 && !map.is_rebasing())
    };
    let took = sim.run_until(Duration::from_secs(600), clean).unwrap();
    println!("clean after {took:?}, {} B", bytes(&sim));
    assert!(bytes(&sim) <= fresh * 6 / 5);
}
