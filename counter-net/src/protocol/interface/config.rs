//! The settings of the protocol. Each says what a larger and a smaller value cost.

use std::time::Duration;

/// The largest request or response that a replicator produces or reads, in bytes. The transport's
/// limit must not be below it.
pub const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Settings of one [`Replicator`](crate::protocol::Replicator). The defaults suit a cluster of up
/// to about 1,000 nodes.
#[derive(Clone, Debug)]
pub struct ProtocolConfig {
    /// The release that members see, up to 64 bytes. A longer one is truncated.
    pub release: String,
    /// True if the operator names peers. A node that reaches none of them is never synced.
    pub peers_named: bool,
    /// How long a node waits for peers that neither answer nor fail, and for a discovery that does
    /// not answer, before it serves what it has. 10 s. More delays a node whose peers hang. Less
    /// shows totals that lack a slow region's adds.
    pub ready_within: Duration,
    /// While at most this many members are live, a node dials each of them that it is not connected
    /// to. In larger clusters it dials only those between itself and the nearest connected peer
    /// before it on the ring of ids. 64. More finds dead members sooner and costs connections.
    pub dial_all_max: usize,
    /// A member is not dialled for this long after it introduced itself. 2 s, because it is
    /// probably about to connect. Less opens two connections to one member more often.
    pub dial_patience: Duration,
    /// The least time between two states that members are asked to confirm. 500 ms. Less detects
    /// sooner that all have a change. Each further state costs about 1 kB.
    pub confirm_interval: Duration,
    /// Under load, the average time between two flushes. 5 ms. More saves messages, less saves
    /// latency. After a pause up to four flushes go out at once.
    pub flush_interval: Duration,
    /// Time between two rounds of anti-entropy with one random peer, varied by 20 %. 1 s. Less
    /// repairs lost gossip sooner and costs about 300 bytes a round where nothing differs.
    pub anti_entropy_interval: Duration,
    /// Time between two announcements of an unchanged node. 30 s, and longer in proportion in a
    /// cluster of more than 300 nodes. Less sends more messages to every node.
    pub heartbeat_interval: Duration,
    /// How long an announcement stays valid. 90 s, which is three heartbeats, and it grows with
    /// them. Must be above two heartbeats.
    pub announcement_ttl: Duration,
    /// The least time between two announcements of a changing node. 100 ms. Less shows viewers
    /// sooner and sends more messages to every node.
    pub announce_interval: Duration,
    /// The longest time between a lost connection and the announced suspicion. 300 ms. Each peer
    /// draws its delay at random, so that one of many announces the suspicion first.
    pub suspicion_delay: Duration,
    /// How long a suspected node has to answer before its presence ends. 2.5 s. Less removes dead
    /// nodes sooner, and makes presence flicker on bad links.
    pub suspicion_timeout: Duration,
    /// How long a delta beyond a gap waits for its predecessor before the gap is pulled. 10 ms,
    /// enough for gossip that only arrives out of order.
    pub gap_patience: Duration,
    /// How long a request may stay unanswered before it counts as failed. 10 s. A driver that gives
    /// up sooner reports the failure itself.
    pub request_timeout: Duration,
    /// The least time between two full pulls from one peer because states diverged. 60 s.
    pub repair_interval: Duration,
    /// The largest gossip payload, in bytes: the transport's limit less 1 KiB. Must be the same on
    /// every node. 63 KiB.
    pub payload_bytes_max: usize,
    /// The largest page of cells in an answer, in bytes. 256 KiB. More is faster over long links
    /// and holds more memory.
    pub page_bytes_max: usize,
    /// How many bytes of cells the first answer to a new peer may carry. 64 KiB. Beyond that it
    /// carries only a digest, and the cells are pulled from several peers.
    pub ask_bytes_max: usize,
    /// How many peers this node pulls from at once. 4.
    pub pulls_max: usize,
    /// How many cells and dedup entries one pull may hold until its writer's last page. 17,000,000,
    /// more than one writer can have at the node's `counters_max` of 2,000,000. A writer that has
    /// more is refused.
    pub staging_cells_max: usize,
    /// How fast a replica takes over ended incarnations, in bytes per second to each peer. 256 kB.
    /// More finishes sooner. Less leaves more room for other traffic.
    pub absorption_bytes_per_s: u64,
    /// How long a node that leaves for good waits until one member holds all that it held. 5 s. If
    /// none does by then, the node stops anyway, and is forgotten once one does. More suits slower
    /// links. Must be shorter than the supervisor's kill timeout.
    pub leave_within: Duration,
    /// How many deltas may wait beyond gaps. 1,024. Further ones are dropped and pulled later.
    pub gap_entries_max: usize,
    /// How many bytes of deltas may wait beyond gaps. 4 MiB. Further ones are dropped and pulled
    /// later.
    pub gap_bytes_max: usize,
    /// How many nodes are remembered as members. 4,096. A newcomer beyond that is counted and not
    /// listed.
    pub members_max: usize,
    /// How many callers may wait for copies or versions at a time. 65,536, about 100 bytes each.
    /// Further ones are refused.
    pub waits_max: usize,
    /// How many versions all these callers together may wait for. 1,000,000, 24 bytes each. A wait
    /// beyond that is refused.
    pub waits_lacking_max: usize,
    /// The most replicas that the digest in one message names. Must be the same on every node.
    /// 32,768. A longer digest goes in parts, and a peer that sends a longer part is cut off. Less
    /// makes more messages.
    pub digest_replicas_max: usize,
    /// The most replicas remembered of one peer's digest, over all of its parts. 131,072, which is
    /// more than a state holds, 24 bytes each. A longer digest is counted and dropped, and nobody
    /// is cut off.
    pub heard_replicas_max: usize,
    /// The least number of writers whose digest is compared in buckets. 128, a digest of 2 to 3 kB.
    /// Less costs more in hashes and second messages than it saves.
    pub bucketed_min: usize,
}

impl Default for ProtocolConfig {
    fn default() -> Self {
        Self {
            release: String::new(),
            peers_named: false,
            ready_within: Duration::from_secs(10),
            dial_all_max: 64,
            dial_patience: Duration::from_secs(2),
            confirm_interval: Duration::from_millis(500),
            flush_interval: Duration::from_millis(5),
            anti_entropy_interval: Duration::from_secs(1),
            heartbeat_interval: Duration::from_secs(30),
            announcement_ttl: Duration::from_secs(90),
            announce_interval: Duration::from_millis(100),
            suspicion_delay: Duration::from_millis(300),
            suspicion_timeout: Duration::from_millis(2500),
            gap_patience: Duration::from_millis(10),
            request_timeout: Duration::from_secs(10),
            repair_interval: Duration::from_secs(60),
            payload_bytes_max: 63 * 1024,
            page_bytes_max: 256 * 1024,
            ask_bytes_max: 64 * 1024,
            pulls_max: 4,
            staging_cells_max: 17_000_000,
            absorption_bytes_per_s: 256_000,
            leave_within: Duration::from_secs(5),
            gap_entries_max: 1024,
            gap_bytes_max: 4 * 1024 * 1024,
            members_max: 4096,
            waits_max: 65_536,
            waits_lacking_max: 1_000_000,
            digest_replicas_max: 32_768,
            heard_replicas_max: 131_072,
            bucketed_min: 128,
        }
    }
}
