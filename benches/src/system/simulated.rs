//! Whole clusters in the simulator: the real replicator in virtual time, over links between
//! continents. The figures are the same on every machine.

use std::time::Duration;

use counter_net::sim::{Failure, Link, Sim, SimConfig};

use super::{MeasureFailure, Measured, Quantiles};

/// The longest virtual time until a cluster must agree.
const AGREED_WITHIN: Duration = Duration::from_secs(120);

/// How long a cluster rests after it has formed. After that it only sends what an idle one does.
const REST: Duration = Duration::from_secs(40);

/// The costs of a cluster of one size.
#[derive(Clone, Debug)]
pub struct Size {
    /// From an add at one node until the last node has it.
    pub clicks: Quantiles,
    /// Payload bytes of such a click, for each node.
    pub click_bytes: f64,
    /// Payload bytes a second of each idle node.
    pub idle_bytes: f64,
    /// From the start of one more node until it is synced.
    pub fresh: Duration,
}

fn failure(failure: Failure) -> MeasureFailure {
    MeasureFailure(format!("wrong: {failure:?}"))
}

/// A cluster of `nodes` nodes in up to 32 regions, once all have met and agree, and have rested.
fn formed(nodes: usize, seed: u64, link: Link, rest: Duration) -> Measured<Sim> {
    let mut sim = Sim::new(SimConfig { seed, link, ..SimConfig::default() });
    (0..nodes).for_each(|at| {
        sim.start(&format!("r{:02}", at % 32));
    });
    sim.connect_all();
    sim.run_until(AGREED_WITHIN, |sim| {
        sim.is_all_synced() && sim.is_converged() && sim.presence_is_right()
    })
    .map_err(failure)?;
    // Every node adds once, so that every digest is full.
    (0..nodes).for_each(|node| sim.add(node, "clicks", 1));
    sim.run_until_converged(AGREED_WITHIN).map_err(failure)?;
    sim.run_for(rest);
    Ok(sim)
}

/// Measures a cluster of `nodes` nodes. The bytes of a click are the mean of `clicks` clicks.
///
/// # Errors
/// A cluster that does not agree within two minutes of its time, or a total that differs from plain
/// integers.
pub fn cluster_of(nodes: usize, clicks: usize) -> Measured<Size> {
    const IDLE: Duration = Duration::from_secs(30);
    let mut sim = formed(nodes, 11, Link::wide(), REST)?;
    let each = |bytes: u64| bytes as f64 / nodes as f64;
    let before = sim.cost();
    sim.run_for(IDLE);
    let idle_bytes = each(sim.cost().since(&before).bytes()) / IDLE.as_secs_f64();
    let (before, mut took) = (sim.cost(), Vec::new());
    for click in 0..clicks {
        sim.add(click % nodes, "clicks", 1);
        took.push(sim.run_until_converged(AGREED_WITHIN).map_err(failure)?);
    }
    let idle_meanwhile = idle_bytes * took.iter().sum::<Duration>().as_secs_f64();
    let click_bytes = (each(sim.cost().since(&before).bytes()) - idle_meanwhile) / clicks as f64;
    let fresh = sim.start("new");
    sim.connect_all();
    let fresh = sim
        .run_until(AGREED_WITHIN, |sim| {
            sim.machine(fresh).is_some_and(|machine| machine.is_synced())
        })
        .map_err(failure)?;
    Ok(Size { clicks: Quantiles::new(took), click_bytes, idle_bytes, fresh })
}

/// The times of `clicks` single clicks until all of ten nodes have them, on lossy links: this share
/// of gossip is lost, half that share arrives twice, and a quarter of that share of requests fails.
///
/// # Errors
/// As [`cluster_of`].
pub fn clicks_under_loss(share: f64, clicks: usize) -> Measured<Quantiles> {
    let mut sim = formed(10, 12, Link::wide(), REST)?;
    sim.set_links(Link::lossy(share));
    let mut times = Vec::with_capacity(clicks);
    for click in 0..clicks {
        sim.add(click % 10, "clicks", 1);
        times.push(sim.run_until_converged(AGREED_WITHIN).map_err(failure)?);
        sim.run_for(Duration::from_millis(137));
    }
    Ok(Quantiles::new(times))
}

/// The nodes of the largest cluster.
pub const MANY: usize = 800;
/// The time of each message in the largest cluster.
pub const MANY_LATENCY: Duration = Duration::from_millis(80);
/// The share of gossip and of requests that the largest cluster loses.
pub const MANY_LOSS: f64 = 0.05;

/// The times of `clicks` single clicks, each at another node, until all of [`MANY`] nodes have
/// them. Each message takes [`MANY_LATENCY`], or is lost. Nothing is lost while the cluster forms,
/// which would only take longer.
///
/// # Errors
/// As [`cluster_of`].
pub fn clicks_at_many(clicks: usize) -> Measured<Quantiles> {
    let link = Link::apart(2 * MANY_LATENCY);
    let mut sim = formed(MANY, 13, link.clone(), Duration::ZERO)?;
    sim.set_links(Link { gossip_loss: MANY_LOSS, request_loss: MANY_LOSS, ..link });
    let mut times = Vec::with_capacity(clicks);
    for click in 0..clicks {
        // A step that meets every node before it meets one twice.
        sim.add(click * 7 % MANY, "clicks", 1);
        times.push(sim.run_until(AGREED_WITHIN, Sim::is_converged).map_err(failure)?);
    }
    // Comparing all nodes with plain integers takes longer than a click, so it is done once.
    sim.check().map_err(failure)?;
    Ok(Quantiles::new(times))
}

/// The times from the end of a partition until all of ten nodes agree. Two halves are apart for a
/// minute, with clicks on both sides. Each run has its own seed.
///
/// # Errors
/// As [`cluster_of`].
pub fn healed_partitions(runs: u64) -> Measured<Quantiles> {
    let mut times = Vec::new();
    for seed in 0..runs {
        let mut sim = formed(10, 100 + seed, Link::wide(), REST)?;
        sim.cut(&[0, 1, 2, 3, 4], &[5, 6, 7, 8, 9]);
        for _ in 0..60 {
            (0..10).for_each(|node| sim.add(node, "clicks", 1));
            sim.run_for(Duration::from_secs(1));
        }
        sim.heal();
        times.push(sim.run_until_converged(AGREED_WITHIN).map_err(failure)?);
        if (0..10).any(|node| sim.total(node, "clicks") != 610) {
            return Err(MeasureFailure(
                "wrong: after a partition a node does not show every click".into(),
            ));
        }
    }
    Ok(Quantiles::new(times))
}
