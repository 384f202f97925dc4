//! Removals while disks lag behind.

use std::time::Duration;

use counter_net::sim::{Link, Sim, SimConfig};

use crate::seeds_from_first;

const MS: fn(u64) -> Duration = Duration::from_millis;
const NODES: usize = 3;

/// One node's disk never gets the removal. The node crashes after all others have dropped every
/// trace that they may, and comes back from its disk.
#[test]
fn removal_outlives_a_lagging_disk() {
    for seed in seeds_from_first(12) {
        let link = if seed.is_multiple_of(2) { Link::wide() } else { Link::loopback() };
        let mut sim = Sim::new(SimConfig {
            unwatched: true,
            retirement: true,
            link,
            seed,
            ..SimConfig::default()
        });
        (0..NODES).for_each(|_| {
            sim.start("ord");
        });
        sim.connect_all();
        sim.run_for(MS(3000));
        (0..NODES).for_each(|host| assert!(sim.add_raw(host, "clicks", 5)));
        sim.run_for(MS(3000));
        (0..NODES).for_each(|host| sim.commit(host));
        // The node that removes, or another one.
        let lags = seed as usize % NODES;
        assert!(sim.remove_raw(0, "clicks"));
        for _ in 0..100 {
            sim.run_for(MS(200));
            (0..NODES).filter(|host| *host != lags).for_each(|host| sim.commit(host));
        }
        sim.crash(lags);
        sim.restart(lags, true);
        for _ in 0..200 {
            sim.run_for(MS(250));
            (0..NODES).for_each(|host| sim.commit(host));
        }
        for host in 0..NODES {
            let map = sim.map(host).unwrap();
            assert_eq!(
                (map.total("clicks"), map.cell_count()),
                (0, 0),
                "seed {seed}: node {host}, while the disk of {lags} lags"
            );
        }
    }
}
