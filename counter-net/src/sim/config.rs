//! Settings of a simulated cluster and of its links.

use std::time::Duration;

use counter_core::{COUNTERS_MAX, DEDUP_ENTRIES_MAX};

use crate::protocol::ProtocolConfig;

/// Settings of a [`Sim`](crate::sim::Sim).
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The seed of everything random.
    pub seed: u64,
    /// Settings of the protocol, the same on every node.
    pub protocol: ProtocolConfig,
    /// Every link that [`Sim::set_link`](crate::sim::Sim::set_link) does not set.
    pub link: Link,
    /// The number of peers that a node passes gossip on to: gossipsub's mesh degree. An edge of the
    /// mesh carries gossip in both directions.
    pub mesh_degree: usize,
    /// The number of peers that a node dials in a large cluster. About as many dial it.
    pub dials: usize,
    /// Round trips from a dial to the first message over the connection: TCP, the private network's
    /// nonces, Noise, Yamux.
    pub handshake: u32,
    /// How long discovery takes to answer a node that was started.
    pub discovery: Duration,
    /// How long a dial takes to fail if nothing answers it, as across a cut.
    pub dial_timeout: Duration,
    /// How long a cut must last before both ends notice that their connection is gone.
    pub lost_after: Duration,
    /// The longest time from a heal until both ends are connected again.
    pub reconnect_after: Duration,
    /// True if a start with a disk claims the incarnation before it, as real nodes do. Cells are
    /// then not one writer's own any more. So totals are compared with the truth and not cells, and
    /// a test must not reset or subtract.
    pub retirement: bool,
    /// True if nodes have names. A start without a disk is then a new incarnation of the same node,
    /// with a number from a clock that may have been set back.
    pub named: bool,
    /// Dedup entries of each kind that are kept for each writer.
    pub dedup_max: usize,
    /// The most counters that a node makes. A join takes twice as many.
    pub counters_max: usize,
    /// How long counters live, by the prefix of their names. The truth does not know of their end.
    pub expiry: Vec<(String, Duration)>,
    /// True if nodes drop the expired buckets of windows.
    pub windows: bool,
    /// True if nothing is compared with the truth, and blaming a peer is no failure. The test
    /// states itself what nodes must show.
    pub unwatched: bool,
}

/// A link between two nodes: how long messages take, and how many get lost.
#[derive(Clone, Debug)]
pub struct Link {
    /// How long a message takes.
    pub latency: Latency,
    /// The share of gossip messages that are lost, 0 to 1.
    pub gossip_loss: f64,
    /// The share of gossip messages that arrive a second time, later, and pass the mesh's own
    /// filter of duplicates.
    pub duplication: f64,
    /// The share of requests that fail.
    pub request_loss: f64,
}

/// The distribution of a link's latency. Nine messages in ten take between `least` and `typical`,
/// the tenth up to `most`, so messages overtake each other.
#[derive(Copy, Clone, Debug)]
pub struct Latency {
    /// The time of the fastest message.
    pub least: Duration,
    /// The time that nine messages in ten stay within.
    pub typical: Duration,
    /// The time of the slowest message.
    pub most: Duration,
}

impl Latency {
    pub(super) fn sample(&self, rng: &mut fastrand::Rng) -> Duration {
        let (from, to) =
            if rng.u8(..10) < 9 { (self.least, self.typical) } else { (self.typical, self.most) };
        from + to.saturating_sub(from).mul_f64(rng.f64())
    }
}

impl Link {
    /// A perfect link within one machine: 50 to 200 microseconds, nothing lost.
    pub fn loopback() -> Self {
        let latency = Latency {
            least: Duration::from_micros(50),
            typical: Duration::from_micros(150),
            most: Duration::from_micros(200),
        };
        Self { latency, gossip_loss: 0.0, duplication: 0.0, request_loss: 0.0 }
    }

    /// A perfect link of this round trip: every message takes half of it.
    pub fn apart(round_trip: Duration) -> Self {
        let each_way = round_trip / 2;
        let latency = Latency { least: each_way, typical: each_way, most: each_way };
        Self { latency, ..Self::loopback() }
    }

    /// A good link between continents: 20 to 160 ms, stragglers up to 400 ms, nothing lost.
    pub fn wide() -> Self {
        let latency = Latency {
            least: Duration::from_millis(20),
            typical: Duration::from_millis(160),
            most: Duration::from_millis(400),
        };
        Self { latency, ..Self::loopback() }
    }

    /// A bad link between continents. It loses this share of gossip, duplicates half that share,
    /// and fails a quarter of that share of requests.
    pub fn lossy(share: f64) -> Self {
        Self {
            gossip_loss: share,
            duplication: share / 2.0,
            request_loss: share / 4.0,
            ..Self::wide()
        }
    }
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            protocol: ProtocolConfig::default(),
            link: Link::wide(),
            mesh_degree: 6,
            dials: 6,
            handshake: 4,
            discovery: Duration::ZERO,
            dial_timeout: Duration::from_secs(2),
            lost_after: Duration::from_secs(10),
            reconnect_after: Duration::from_secs(1),
            retirement: false,
            named: false,
            dedup_max: DEDUP_ENTRIES_MAX,
            counters_max: COUNTERS_MAX,
            expiry: Vec::new(),
            windows: false,
            unwatched: false,
        }
    }
}

/// Bounds so small that a page or a payload holds a few cells only.
pub(super) fn cramped(dice: &mut fastrand::Rng) -> ProtocolConfig {
    ProtocolConfig {
        payload_bytes_max: dice.usize(250..1000),
        page_bytes_max: dice.usize(200..1000),
        ask_bytes_max: dice.usize(100..1000),
        pulls_max: dice.usize(1..4),
        ..ProtocolConfig::default()
    }
}
