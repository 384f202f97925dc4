//! One simulated node: a replica, its machine, and a clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use counter_core::{CounterMap, ExpiredBuckets, REPLICAS_MAX, Replica, ReplicaId, VersionVector};

use crate::protocol::{NodeId, Replicator};
use crate::sim::{Cost, SimConfig};

/// A node, up or down.
#[derive(Debug)]
pub(super) struct Host {
    pub node: NodeId,
    pub region: String,
    /// How many times it was started. Events are meant for one start, and void after the next.
    pub incarnation: u64,
    /// The incarnation that it writes as, or wrote as last.
    writer: ReplicaId,
    /// True if a start with a disk claims the incarnation before it.
    retires: bool,
    /// `None` while it is down.
    pub alive: Option<Alive>,
    /// The state that a restart with the disk finds.
    pub disk: Option<CounterMap>,
    /// The state that the last commit wrote, if the test makes the commits.
    pub committed: Option<CounterMap>,
    /// The versions that its disk holds, if its store commits after every input.
    pub on_disk: Option<VersionVector>,
    clock: Clock,
    /// How long it takes over each input.
    pub slowness: Duration,
    /// Until when it is at work on the last input.
    pub busy_until: Duration,
    pub viewers: u64,
    /// It takes in everything and sends nothing.
    pub is_mute: bool,
    pub cost: Cost,
}

/// The parts of a node that is up: its state, its protocol machine, and work that is under way.
pub(super) struct Alive {
    pub replica: Replica,
    pub machine: Replicator,
    /// Requests that it has to answer, by the id they have here. Each names the host that asked,
    /// that host's incarnation, the id of the request there, and the connection.
    pub inbound: BTreeMap<u64, (usize, u64, u64, u64)>,
    pub last_inbound: u64,
    /// The earliest time for which a wake-up is scheduled.
    pub wake_at: Option<Duration>,
    /// The hosts that it dials. They are candidates until they are connected or have failed.
    pub dialling: BTreeSet<usize>,
    /// True if discovery has answered.
    pub is_sure: bool,
    /// How far the own cells of expired buckets are dropped.
    pub expired_buckets: ExpiredBuckets,
    /// When it looks for expired buckets again.
    pub next_sweep: Duration,
}

impl std::fmt::Debug for Alive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alive({})", self.replica.id())
    }
}

/// A monotonic clock with its own origin and its own rate.
#[derive(Debug)]
struct Clock {
    /// The time that it showed at `since` in world time.
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
            on_disk: None,
            clock,
            slowness: Duration::ZERO,
            busy_until: Duration::ZERO,
            viewers: 0,
            is_mute: false,
            cost: Cost::default(),
        }
    }

    /// The incarnation that it runs as, or ran as last.
    pub(super) fn replica_id(&self) -> ReplicaId {
        self.writer
    }

    pub(super) fn set_writer(&mut self, writer: ReplicaId) {
        self.writer = writer;
    }

    pub(super) fn set_retires(&mut self, retires: bool) {
        self.retires = retires;
    }

    /// Starts it as a new writer, with or without the state that is on its disk.
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
            (true, false) => ReplicaId::new(0, before.incarnation).next_incarnation().incarnation,
            (true, true) => number_by_clock(before, seed),
        };
        self.writer = ReplicaId::new(self.node.0, incarnation);
        let Ok(mut replica) = Replica::with_map(self.writer, &self.region, map) else { return };
        replica.set_expiry_rules(config.expiry.iter().cloned());
        if self.retires && with_disk && before.incarnation > 0 {
            // It claims all earlier incarnations that the directory knows of, as the driver does.
            // The latest may have left no more than its number there.
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
        self.on_disk = self.on_disk.take().map(|_| on_disk.clone());
        if self.committed.is_some() || self.on_disk.is_some() {
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
            expired_buckets: ExpiredBuckets::default(),
            next_sweep: now,
        });
    }

    /// World time as this node's clock shows it.
    pub(super) fn local(&self, now: Duration) -> Duration {
        self.clock.base + now.saturating_sub(self.clock.since).mul_f64(self.clock.rate)
    }

    /// The first world time at which this node's clock shows `local`.
    pub(super) fn world(&self, local: Duration, now: Duration) -> Duration {
        let ahead = local.saturating_sub(self.local(now));
        // A microsecond more than the exact time. Otherwise rounding could wake a node just before
        // its deadline, again and again.
        now + ahead.div_f64(self.clock.rate)
            + if ahead.is_zero() { Duration::ZERO } else { Duration::from_micros(1) }
    }

    pub(super) fn set_clock(&mut self, jump: Duration, rate: f64, now: Duration) {
        self.clock = Clock { base: self.local(now) + jump, since: now, rate };
    }
}

/// The incarnation number that a node without a disk draws from its clock. In one start of three
/// the clock was set back, so the number may be below that of earlier starts.
fn number_by_clock(before: ReplicaId, seed: u64) -> u64 {
    let (latest, low) = (before.incarnation >> 32, mixed(seed) & u64::from(u32::MAX));
    let upper = if seed.is_multiple_of(3) {
        1 + (seed >> 16) % latest.max(1)
    } else {
        latest + 1 + (seed >> 16) % 2
    };
    upper << 32 | low
}

/// Spreads a small number over all bits, as a hash of a key would be: the last step of splitmix64.
fn mixed(index: u64) -> u64 {
    let mut x = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
