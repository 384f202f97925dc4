//! Reads a node's counts and state at each scrape, as a Prometheus collector.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::shared::{NodeState, Shared};

/// The values of `trouble`'s label.
const TROUBLES: [&str; 5] = ["key", "other_cluster", "unreachable", "silent", "discovery"];

type Labels<L, const N: usize> = [(&'static str, L); N];

const NO_LABELS: Labels<&str, 0> = [];

/// The metrics of one node. It yields nothing once the node's last handle is gone.
///
/// Every label comes from a fixed set or names a node. The part of a replica id that changes with
/// each start is never a label, so restarts add no series.
#[derive(Debug)]
pub(crate) struct NodeCollector(Weak<Shared>);

impl NodeCollector {
    /// Adds the node's metrics to `registry`, each named `counter_…`.
    pub(crate) fn register(node: &Arc<Shared>, registry: &mut Registry) {
        registry
            .sub_registry_with_prefix("counter")
            .register_collector(Box::new(Self(Arc::downgrade(node))));
    }
}

impl Collector for NodeCollector {
    /// Linear in members and replicas. Holds the state's shared lock for most of it.
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let mut scrape = Scrape(encoder);
        scrape.node(&shared)?;
        scrape.driver(&shared)?;
        scrape.store(&shared)?;
        let state = shared.read();
        scrape.state(&state)?;
        scrape.replicator(&state)?;
        scrape.members(&shared, &state)?;
        scrape.incarnations(&state)
    }
}

/// One scrape.
struct Scrape<'a>(DescriptorEncoder<'a>);

impl Scrape<'_> {
    fn node(&mut self, shared: &Shared) -> fmt::Result {
        let identity = &shared.identity;
        let labels = [
            ("node", node_label(shared.replica().node)),
            ("name", identity.name().to_owned()),
            ("region", identity.region.clone()),
            ("release", identity.release.clone()),
        ];
        let help = "Always 1; the node's number, its name or peer id, its region and its release.";
        self.0.encode_descriptor("node", help, None, MetricType::Info)?.encode_info(&labels)
    }

    fn driver(&mut self, shared: &Shared) -> fmt::Result {
        let counts = shared.metrics.read();
        self.count("adds", "Adds and subtractions taken by this node.", counts.adds)?;
        self.counts(
            "publish_failed",
            "Gossip messages that did not go out, by reason; anti-entropy delivers their content.",
            counts.publish_failed.into_iter().map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        self.counts(
            "rejected_connections",
            "Connections and streams refused before the protocol, by reason.",
            counts.rejected.into_iter().map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        self.count(
            "dials_failed",
            "Dials that reached no node of this cluster.",
            counts.dials_failed,
        )?;
        self.count(
            "peers_cut",
            "Peers cut off because they broke the protocol's rules.",
            counts.peers_cut,
        )?;
        self.count(
            "peers_lost",
            "Peers given up because they fell silent: a cable, a partition, a hung process.",
            counts.peers_lost,
        )?;
        self.count(
            "alarms",
            "Events that must not happen and did; each is in the log.",
            counts.alarms,
        )?;
        self.gauge(
            "peers",
            "Connected peers that speak this cluster's protocol.",
            shared.peers.load(Ordering::Relaxed),
        )?;
        let troubles = shared.troubles();
        self.gauges(
            "trouble",
            "1 while something keeps this node from others, by cause.",
            TROUBLES.map(|cause| {
                let is_there = troubles.iter().any(|trouble| trouble.cause == cause);
                ([("cause", cause)], i64::from(is_there))
            }),
        )?;
        let (is_ready, is_synced) = {
            let state = shared.read();
            (state.replicator.readiness().is_ok(), state.replicator.is_synced())
        };
        self.gauge("ready", "1 while this node may serve.", usize::from(is_ready))?;
        self.gauge("viewers", "Viewers of this node.", shared.viewer_count() as usize)?;
        self.gauge("subscribers", "Open subscriptions.", shared.subscribers.count())?;
        self.gauge(
            "synced",
            "1 once this node has caught up with its cluster.",
            usize::from(is_synced),
        )
    }

    /// Writes nothing for a node without a data directory.
    fn store(&mut self, shared: &Shared) -> fmt::Result {
        let (Some(commits), Some((path, load_time))) = (shared.commits.get(), shared.stored.get())
        else {
            return Ok(());
        };
        let figures = commits.figures();
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        self.count(
            "store_commits",
            "Commits to the data directory, one fsync each.",
            read(&figures.commits),
        )?;
        self.count(
            "store_commits_failed",
            "Commits that failed; adds are refused until one succeeds.",
            read(&figures.failures),
        )?;
        self.count(
            "store_written_bytes",
            "Bytes of deltas and checkpoints written.",
            read(&figures.bytes),
        )?;
        self.count(
            "store_checkpoints",
            "Checkpoints that came into force.",
            read(&figures.checkpoints),
        )?;
        self.gauge(
            "store_failing",
            "1 while the data directory cannot be written.",
            usize::from(commits.is_failing()),
        )?;
        let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
        self.gauge(
            "store_file_bytes",
            "Size of the data directory's file.",
            usize::try_from(bytes).unwrap_or(usize::MAX),
        )?;
        self.gauges(
            "store_load_seconds",
            "Time that opening, checking and loading the data directory took at the start.",
            [(NO_LABELS, load_time.as_secs_f64())],
        )
    }

    fn state(&mut self, state: &NodeState) -> fmt::Result {
        let map = state.replica.map();
        self.gauge("counters", "Counters held.", map.counter_count())?;
        self.gauge(
            "counters_max",
            "Counters that may be made; a node that holds as many refuses new ones.",
            map.counters_max(),
        )?;
        self.gauge("cells", "Cells held.", map.cell_count())?;
        self.gauge(
            "tombstones",
            "Dropped cells whose removal some replica has not confirmed.",
            map.tombstone_count(),
        )?;
        self.gauge("replicas", "Replicas known, live or not.", map.replicas().len())
    }

    fn replicator(&mut self, state: &NodeState) -> fmt::Result {
        let stats = state.replicator.stats();
        let directions = [("in", &stats.bytes_in), ("out", &stats.bytes_out)];
        self.counts(
            "payload_bytes",
            "Bytes of payload by direction and kind; gossip to many peers counts once.",
            directions.into_iter().flat_map(|(direction, kinds)| {
                kinds.iter().map(move |(kind, bytes)| {
                    ([("direction", direction), ("kind", kind.label())], *bytes)
                })
            }),
        )?;
        self.counts(
            "rejected_input",
            "Messages refused by the protocol, by reason.",
            stats.refused.iter().map(|(reason, count)| ([("reason", reason.label())], *count)),
        )?;
        self.count("cells_joined", "Cells that joins changed.", stats.cells_joined)?;
        self.count("flushes", "Flushes that wrote a version.", stats.flushes)?;
        self.count("rounds", "Rounds of anti-entropy begun.", stats.rounds)?;
        self.count("pulls", "Pulls begun.", stats.pulls)?;
        self.count("pulls_failed", "Pulls that ended before their last page.", stats.pulls_failed)?;
        self.count("gaps", "Deltas that arrived beyond a gap.", stats.gaps)?;
        self.count(
            "divergences",
            "Equal version vectors with unequal state hashes.",
            stats.divergences,
        )?;
        self.count("conflicts", "Cells of equal version and unequal content.", stats.conflicts)?;
        let queues = [
            ("gap_entries", stats.gap_entries),
            ("gap_bytes", stats.gap_bytes),
            ("pulls", stats.pulls_in_flight),
            ("waits", stats.waits),
            ("staged_cells", stats.staged_cells),
        ];
        self.gauges(
            "queue_depth",
            "Entries waiting now, by queue.",
            queues.map(|(queue, length)| ([("queue", queue)], signed(length))),
        )
    }

    fn members(&mut self, shared: &Shared, state: &NodeState) -> fmt::Result {
        let members = state.replicator.members(&state.replica, shared.now());
        let [mut live, mut left, mut gone] = [0, 0, 0];
        for member in &members {
            *match (member.live, member.left) {
                (true, _) => &mut live,
                (false, true) => &mut left,
                (false, false) => &mut gone,
            } += 1;
        }
        self.gauges(
            "members",
            "Members of the cluster by standing, this node included.",
            [("live", live), ("left", left), ("gone", gone)]
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(standing, count)| ([("standing", standing)], count)),
        )?;
        let lags: Vec<_> = members
            .into_iter()
            .filter(|member| member.live)
            .filter_map(|member| {
                let node = node_label(member.replica.node);
                Some(([("node", node), ("region", member.region)], member.lag?))
            })
            .collect();
        self.gauges(
            "member_lag_versions",
            "Versions that the live member lacked when last heard.",
            lags.iter().map(|(labels, lag)| {
                (labels.clone(), i64::try_from(lag.versions_behind).unwrap_or(i64::MAX))
            }),
        )?;
        self.gauges(
            "member_lag_cells",
            "Cells that the live member lacked when last heard, at most 10,000.",
            lags.iter().map(|(labels, lag)| (labels.clone(), signed(lag.cells_behind))),
        )?;
        self.gauges(
            "member_lag_seconds",
            "Age of the first change that the live member lacked when last heard.",
            lags.iter().map(|(labels, lag)| (labels.clone(), lag.time_behind.as_secs_f64())),
        )
    }

    fn incarnations(&mut self, state: &NodeState) -> fmt::Result {
        let (stats, map) = (state.replicator.stats(), state.replica.map());
        self.gauge(
            "replicas_enrolled",
            "Replicas that count for retirement, live or not.",
            map.enrolled().count(),
        )?;
        self.gauge(
            "incarnations_ended",
            "Incarnations that this node knows to have ended and that are not folded yet.",
            stats.incarnations_ended,
        )?;
        self.count(
            "incarnations_folded",
            "Incarnations that this node took over and folded.",
            stats.incarnations_folded,
        )?;
        self.count(
            "retirement_bytes",
            "Bytes of cells that taking over incarnations cost each peer, about.",
            stats.retirement_bytes,
        )?;
        self.count(
            "retirement_stalled",
            "Steps of a successor that found no room in a cell (2^62).",
            stats.retirement_stalled,
        )?;
        self.count(
            "renewals",
            "Times that this node went on as a new writer while it ran.",
            stats.renewals,
        )?;
        let waits = state.replicator.waits_for(&state.replica).is_some();
        self.gauge(
            "folding_held_up",
            "1 while this node waits for a replica before it may fold; `Node::incarnations` names \
             it.",
            usize::from(waits),
        )
    }

    fn count(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counts(name, help, [(NO_LABELS, value)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        self.gauges(name, help, [(NO_LABELS, signed(value))])
    }

    /// A family of counters. Writes nothing if it has no sample.
    fn counts<L: EncodeLabelValue, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<L, N>, impl EncodeCounterValue)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        samples.try_for_each(|(labels, value)| match N {
            0 => family.encode_counter::<NoLabelSet, _, u64>(&value, None),
            _ => family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None),
        })
    }

    /// A family of gauges. Writes nothing if it has no sample.
    fn gauges<L: EncodeLabelValue, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<L, N>, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        samples.try_for_each(|(labels, value)| match N {
            0 => family.encode_gauge(&value),
            _ => family.encode_family(&labels)?.encode_gauge(&value),
        })
    }
}

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A node's number as replica ids show it: their first half, which survives a restart.
fn node_label(node: u64) -> String {
    format!("{node:016x}")
}
