//! What a simulated cluster is made of.

use std::time::Duration;

use counter_core::{COUNTERS_MAX, DEDUP_ENTRIES_MAX};

use crate::protocol::ProtocolConfig;

/// Settings of a [`Sim`](crate::sim::Sim).
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Decides everything random.
    pub seed: u64,
    /// The protocol's settings, the same on every node.
    pub protocol: ProtocolConfig,
    /// Every link, unless [`Sim::set_link`](crate::sim::Sim::set_link) says otherwise.
    pub link: Link,
    /// To how many peers a node passes gossip on: gossipsub's mesh degree. A mesh edge goes both
    /// ways.
    pub mesh_degree: usize,
    /// To how many peers a node connects by itself, where there are more; with those that connect
    /// to it, about twice as many.
    pub dials: usize,
    /// Round trips from a dial to the first message over the connection: TCP, the private network's
    /// nonces, Noise, Yamux.
    pub handshake: u32,
    /// How long discovery takes to answer. A node that was started finds nobody before.
    pub discovery: Duration,
    /// How long a dial that nothing answers, as across a cut, takes to fail.
    pub dial_timeout: Duration,
    /// How long a cut must last until both ends notice that the connection is gone.
    pub lost_after: Duration,
    /// How long after a heal, at most, both ends are connected again.
    pub reconnect_after: Duration,
    /// Whether an incarnation with a disk claims the one before it, as real nodes do. Then cells
    /// are not one writer's own any more, so totals are held against the truth instead of cells,
    /// and a story has to do without resets and subtractions.
    pub retirement: bool,
    /// Whether nodes have names: a start without a disk is an incarnation of the same node, under a
    /// number from a clock that may have been set back.
    pub named: bool,
    /// Dedup entries of a kind that are kept of each writer.
    pub dedup_max: usize,
    /// How many counters a node makes. A join takes twice as many.
    pub counters_max: usize,
    /// The plain oracle does not look, and blame is not a failure: the story states what must be
    /// shown.
    pub unwatched: bool,
}

/// How messages fare between two nodes.
#[derive(Clone, Debug)]
pub struct Link {
    /// How long they take.
    pub latency: Latency,
    /// Share of gossip messages that are lost, 0 to 1.
    pub gossip_loss: f64,
    /// Share of gossip messages that arrive a second time, later, past the mesh's own duplicate
    /// filter.
    pub duplication: f64,
    /// Share of requests that fail.
    pub request_loss: f64,
}

/// A distribution: nine in ten messages take between `least` and `typical`, one in ten up to
/// `most`, so that messages overtake each other.
#[derive(Copy, Clone, Debug)]
pub struct Latency {
    /// The fastest message.
    pub least: Duration,
    /// The slowest of the fastest nine in ten.
    pub typical: Duration,
    /// The slowest.
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

    /// Every message takes half of this round trip, nothing is lost.
    pub fn apart(round_trip: Duration) -> Self {
        let each_way = round_trip / 2;
        let latency = Latency { least: each_way, typical: each_way, most: each_way };
        Self { latency, ..Self::loopback() }
    }

    /// A good link between continents: 20 to 160 ms, with stragglers up to 400 ms, nothing lost.
    pub fn wide() -> Self {
        let latency = Latency {
            least: Duration::from_millis(20),
            typical: Duration::from_millis(160),
            most: Duration::from_millis(400),
        };
        Self { latency, ..Self::loopback() }
    }

    /// A bad link: like `wide`, and this share of gossip is lost, half as much duplicated, and a
    /// quarter of it of requests fails.
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
            unwatched: false,
        }
    }
}
