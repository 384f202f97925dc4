//! One simulated node: a replica, its machine, and a clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use counter_core::{CounterMap, REPLICAS_MAX, Replica, ReplicaId};

use super::config::SimConfig;
use super::cost::Cost;
use crate::protocol::{NodeId, Replicator};

#[derive(Debug)]
pub(super) struct Host {
    pub node: NodeId,
    pub region: String,
    /// Which incarnation this is.
    pub incarnation: u64,
    /// Who writes, or wrote last.
    writer: ReplicaId,
    /// Whether an incarnation with a disk claims the one before it.
    retires: bool,
    /// `None` while it is down.
    pub alive: Option<Alive>,
    /// What a restart with the disk finds.
    pub disk: Option<CounterMap>,
    /// What the last commit wrote, where commits are the story's to make.
    pub committed: Option<CounterMap>,
    clock: Clock,
    /// How long it takes over each input.
    pub slowness: Duration,
    pub busy_until: Duration,
    pub viewers: u64,
    /// It takes in everything and says nothing.
    pub is_mute: bool,
    pub cost: Cost,
}

pub(super) struct Alive {
    pub replica: Replica,
    pub machine: Replicator,
    /// Requests that it has to answer, by the id they have here: who asked, in which incarnation,
    /// under which id, over which connection.
    pub inbound: BTreeMap<u64, (usize, u64, u64, u64)>,
    pub last_inbound: u64,
    /// When it is woken, at the earliest scheduled.
    pub wake_at: Option<Duration>,
    /// Whom it dials. They are candidates until they are connected or have failed.
    pub dialling: BTreeSet<usize>,
    /// Discovery has answered.
    pub is_sure: bool,
}

impl std::fmt::Debug for Alive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alive({})", self.replica.id())
    }
}

/// A monotonic clock that started some other day and runs at its own rate.
#[derive(Debug)]
struct Clock {
    /// What it showed at `since` in world time.
    base: Duration,
    since: Duration,
    rate: f64,
}

impl Host {
    pub(super) fn new(index: usize, region: &str, rng: &mut fastrand::Rng) -> Self {
        let clock = Clock {
            base: Duration::from_millis(rng.u64(..1_000_000_000)),
            since: Duration::ZERO,
            rate: 1.0,
        };
        Self {
            node: NodeId(mixed(index as u64 + 1)),
            region: region.to_owned(),
            incarnation: 0,
            writer: ReplicaId::default(),
            retires: false,
            alive: None,
            disk: None,
            committed: None,
            clock,
            slowness: Duration::ZERO,
            busy_until: Duration::ZERO,
            viewers: 0,
            is_mute: false,
            cost: Cost::default(),
        }
    }

    /// The replica of the incarnation that it incarnations or lived last.
    pub(super) fn replica_id(&self) -> ReplicaId {
        self.writer
    }

    pub(super) fn set_writer(&mut self, writer: ReplicaId) {
        self.writer = writer;
    }

    pub(super) fn set_retires(&mut self, retires: bool) {
        self.retires = retires;
    }

    /// A new incarnation: a new writer, with or without what the last one had on its disk.
    pub(super) fn boot(&mut self, config: &SimConfig, with_disk: bool, seed: u64, now: Duration) {
        self.incarnation += 1;
        let map = self
            .disk
            .take()
            .filter(|_| with_disk)
            .unwrap_or_default()
            .bounded(config.counters_max, REPLICAS_MAX)
            .with_dedup_max(config.dedup_max);
        let on_disk = map.version_vector();
        self.committed = self.committed.take().map(|_| map.clone());
        let before = self.writer;
        let is_named = config.named && !with_disk;
        let incarnation = match (self.retires, is_named) {
            (false, _) => self.incarnation,
            (true, false) => ReplicaId::new(0, before.incarnation).follows().incarnation,
            (true, true) => number_by_clock(before, seed),
        };
        self.writer = ReplicaId::new(self.node.0, incarnation);
        let Ok(mut replica) = Replica::with_map(self.writer, &self.region, map) else { return };
        if self.retires && with_disk && before.incarnation > 0 {
            // All that the directory knows of, as the driver does: the latest may have left no more
            // than its number.
            let earlier: Vec<ReplicaId> = replica
                .map()
                .replicas()
                .filter(|incarnation| {
                    incarnation.node == before.node && *incarnation != self.writer
                })
                .collect();
            earlier.into_iter().chain([before]).for_each(|incarnation| {
                replica.claim(incarnation);
            });
        }
        let mut machine = Replicator::new(config.protocol.clone(), &replica, seed, self.local(now));
        if is_named && self.retires {
            machine.ask_for_number();
        }
        if self.committed.is_some() {
            machine.follow_store(on_disk);
        }
        self.viewers = 0;
        self.busy_until = now;
        self.alive = Some(Alive {
            replica,
            machine,
            inbound: BTreeMap::new(),
            last_inbound: 0,
            wake_at: None,
            dialling: BTreeSet::new(),
            is_sure: false,
        });
    }

    /// World time as this node's clock shows it.
    pub(super) fn local(&self, now: Duration) -> Duration {
        self.clock.base + now.saturating_sub(self.clock.since).mul_f64(self.clock.rate)
    }

    /// The first world time at which this node's clock shows `local`.
    pub(super) fn world(&self, local: Duration, now: Duration) -> Duration {
        let ahead = local.saturating_sub(self.local(now));
        // A microsecond more than the exact time: rounding never wakes a node just before its
        // deadline, for ever.
        now + ahead.div_f64(self.clock.rate)
            + if ahead.is_zero() { Duration::ZERO } else { Duration::from_micros(1) }
    }

    pub(super) fn set_clock(&mut self, jump: Duration, rate: f64, now: Duration) {
        self.clock = Clock { base: self.local(now) + jump, since: now, rate };
    }
}

/// The number that a node without a disk draws. In one start of three the clock was set back, so
/// the number may be below that of earlier starts.
fn number_by_clock(before: ReplicaId, seed: u64) -> u64 {
    let (latest, low) = (before.incarnation >> 32, mixed(seed) & u64::from(u32::MAX));
    let upper = if seed.is_multiple_of(3) {
        1 + (seed >> 16) % latest.max(1)
    } else {
        latest + 1 + (seed >> 16) % 2
    };
    upper << 32 | low
}

/// Spreads small numbers over all bits (splitmix64's last step), as hashes of keys are.
pub(super) fn mixed(index: u64) -> u64 {
    let mut x = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
