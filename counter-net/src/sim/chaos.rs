//! A story of faults, drawn from a seed. Tests run thousands of them.

use std::time::Duration;

use super::config::cramped;
use super::{Failure, Link, Sim, SimConfig};
use crate::protocol::ProtocolConfig;

const REGIONS: [&str; 4] = ["ord", "fra", "sin", "syd"];
const COUNTERS: [&str; 3] = ["clicks", "likes", "carts"];
/// The longest that presence may take to become right once states are equal: two suspicions and a
/// few lost messages.
const PRESENCE_LIMIT: Duration = Duration::from_secs(12);

/// A random cluster with random acts and random faults. Then everything is healed, and every number
/// must come out exact.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// The seed of everything random.
    pub seed: u64,
    /// The number of acts and faults.
    pub acts: usize,
    /// The share of gossip that is lost while faults last.
    pub loss: f64,
    /// The longest that the cluster may take to converge once everything is healed.
    pub limit: Duration,
}

impl Chaos {
    /// The usual story of this seed: 60 acts, 20 % loss.
    pub fn new(seed: u64) -> Self {
        Self { seed, acts: 60, loss: 0.2, limit: Duration::from_secs(120) }
    }

    /// Runs the story and heals the cluster. Returns the world as it is then.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn run(&self) -> Result<Sim, Failure> {
        let mut dice = fastrand::Rng::with_seed(self.seed ^ 0xc4a0_5000);
        let link = if dice.bool() {
            Link::lossy(self.loss)
        } else {
            Link { gossip_loss: self.loss, ..Link::loopback() }
        };
        let protocol =
            if dice.bool() { cramped_gaps(&mut dice) } else { ProtocolConfig::default() };
        let mut sim =
            Sim::new(SimConfig { seed: self.seed, link, protocol, ..SimConfig::default() });
        for at in 0..dice.usize(2..=5) {
            sim.start(REGIONS[at % dice.usize(1..=REGIONS.len())]);
        }
        sim.connect_all();
        for at in 0..self.acts {
            self.act(&mut sim, &mut dice);
            let pause = [1, 7, 60, 400, 3000][dice.usize(..5)];
            sim.run_for(Duration::from_millis(dice.u64(..=pause)));
            if at % 8 == 7 { sim.check()? } else { sim.verdict()? }
        }
        self.heal(&mut sim, &mut dice)?;
        Ok(sim)
    }

    fn act(&self, sim: &mut Sim, dice: &mut fastrand::Rng) {
        let count = sim.len();
        let host = dice.usize(..count);
        let counter = COUNTERS[dice.usize(..COUNTERS.len())];
        match dice.u8(..32) {
            0..=11 => sim.add(host, counter, dice.i64(-20..=30)),
            12 => {
                let (from, count) = (dice.usize(..60), dice.usize(..60));
                sim.add_many(host, (from..from + count).map(|at| format!("many-{at}")));
            }
            13 | 14 => (0..dice.usize(..40)).for_each(|_| sim.add(host, counter, 1)),
            15 | 16 => sim.reset(host, counter, REGIONS[dice.usize(..REGIONS.len())]),
            17..=19 => sim.set_viewers(host, dice.u64(..20)),
            20 | 21 => sim.crash(host),
            22 | 23 => sim.restart(host, dice.bool()),
            24 => {
                let others: Vec<usize> = (0..count).filter(|other| *other != host).collect();
                sim.cut(&[host], &others);
            }
            25 => {
                let (one, other): (Vec<usize>, Vec<usize>) = (0..count).partition(|_| dice.bool());
                sim.cut(&one, &other);
            }
            26 => sim.cut_one_way(&[host], &[dice.usize(..count)]),
            27 | 28 => sim.heal(),
            29 => sim.slow_down(host, Duration::from_millis(dice.u64(..30))),
            30 => sim.set_clock(host, Duration::from_millis(dice.u64(..5000)), 0.5 + dice.f64()),
            _ if count < 7 => {
                sim.start(REGIONS[dice.usize(..REGIONS.len())]);
                sim.connect_all();
            }
            _ => sim.leave(host),
        }
    }

    /// Ends all faults and starts every node. State and presence must become right, and the state
    /// must stay so.
    fn heal(&self, sim: &mut Sim, dice: &mut fastrand::Rng) -> Result<(), Failure> {
        sim.heal();
        for host in 0..sim.len() {
            sim.slow_down(host, Duration::ZERO);
            sim.set_clock(host, Duration::ZERO, 1.0);
            sim.restart(host, dice.bool());
        }
        sim.run_until_converged(self.limit)?;
        sim.run_until(PRESENCE_LIMIT, |sim| sim.presence_is_right() && sim.is_all_synced())?;
        sim.check()
    }
}

/// Bounds so small that a few dozen cells fill many pages and payloads, and overflow the store of
/// deltas beyond a gap.
fn cramped_gaps(dice: &mut fastrand::Rng) -> ProtocolConfig {
    let bounds = cramped(dice);
    ProtocolConfig {
        gap_entries_max: dice.usize(1..5),
        gap_bytes_max: dice.usize(200..2000),
        ..bounds
    }
}
