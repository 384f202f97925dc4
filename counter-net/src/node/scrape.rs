//! A scrape of the metrics, in the Prometheus text format: what was counted as it happened, and
//! what the state says at this moment.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::shared::{Label, Shared, State};

type Labels = [(&'static str, String); 2];

/// What may keep a node from others, as `trouble`'s label.
const TROUBLES: [&str; 5] = ["key", "other_cluster", "unreachable", "silent", "discovery"];

impl Shared {
    /// Everything, as Prometheus reads it. Linear in members and replicas.
    pub(crate) fn metrics_text(&self) -> String {
        let mut page = Page(Registry::with_prefix("counter"));
        page.driver(self);
        page.store(self);
        let state = self.read();
        page.state(&state);
        page.replicator(&state);
        page.members(self, &state);
        page.incarnations(&state);
        drop(state);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _infallible = encode(&mut text, &page.0);
        text
    }
}

/// One scrape: a registry that lives as long as its rendering.
struct Page(Registry);

impl Page {
    fn driver(&mut self, shared: &Shared) {
        let metrics = &shared.metrics;
        self.count("adds", "Adds and subtractions taken by this node", metrics.adds());
        self.0.register(
            "publish_failed",
            "Gossip messages that did not go out, by reason; anti-entropy delivers what they held",
            metrics.publish_failed.clone(),
        );
        self.0.register(
            "rejected_connections",
            "Connections and streams refused before the protocol, by reason",
            metrics.rejected.clone(),
        );
        self.0.register(
            "dials_failed",
            "Dials that reached nobody of this cluster",
            metrics.dials_failed.clone(),
        );
        self.0.register(
            "peers_cut",
            "Peers cut off because they broke the protocol's rules",
            metrics.peers_cut.clone(),
        );
        self.0.register(
            "peers_lost",
            "Peers given up because they fell silent: a cable, a partition, a process that hangs",
            metrics.peers_lost.clone(),
        );
        self.0.register(
            "alarms",
            "Things that must not happen and did; each is in the log",
            metrics.alarms.clone(),
        );
        self.gauge(
            "peers",
            "Peers connected that speak this cluster's protocol",
            shared.peers.load(Ordering::Relaxed),
        );
        self.troubles(shared);
        self.gauge(
            "ready",
            "1 while this node may serve",
            usize::from(shared.read().replicator.readiness().is_ok()),
        );
        self.gauge("viewers", "Viewers of this node", shared.viewer_count() as usize);
        self.gauge("subscribers", "Open subscriptions", shared.subscribers.count());
        self.gauge(
            "synced",
            "1 once this node has caught up with its cluster",
            usize::from(shared.read().replicator.is_synced()),
        );
    }

    /// Nothing where no data directory is set.
    fn store(&mut self, shared: &Shared) {
        let (Some(commits), Some((path, load_time))) = (shared.commits.get(), shared.stored.get())
        else {
            return;
        };
        let figures = commits.figures();
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        self.count(
            "store_commits",
            "Commits to the data directory, one fsync each",
            read(&figures.commits),
        );
        self.count(
            "store_commits_failed",
            "Commits that the disk did not take; adds are refused until one succeeds",
            read(&figures.failures),
        );
        self.count(
            "store_written_bytes",
            "Bytes of deltas and checkpoints written",
            read(&figures.bytes),
        );
        self.count(
            "store_checkpoints",
            "Checkpoints that came into force",
            read(&figures.checkpoints),
        );
        self.gauge(
            "store_failing",
            "1 while the data directory cannot be written",
            usize::from(commits.is_failing()),
        );
        let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
        self.gauge(
            "store_file_bytes",
            "Size of the data directory's file",
            usize::try_from(bytes).unwrap_or(usize::MAX),
        );
        let load = Gauge::<f64, AtomicU64>::default();
        load.set(load_time.as_secs_f64());
        self.0.register(
            "store_load_seconds",
            "What opening, checking and loading the data directory took at the start",
            load,
        );
    }

    fn incarnations(&mut self, state: &State) {
        let (stats, map) = (state.replicator.stats(), state.replica.map());
        self.gauge(
            "replicas_enrolled",
            "Replicas that count for retirement, live or not",
            map.enrolled().count(),
        );
        self.gauge(
            "incarnations_ended",
            "Incarnations that ended, by what this node knows, and are not folded yet",
            stats.incarnations_ended,
        );
        self.count(
            "incarnations_folded",
            "Incarnations that this node took over and folded",
            stats.incarnations_folded,
        );
        self.count(
            "retirement_bytes",
            "Bytes of cells that taking over incarnations cost each peer, about",
            stats.retirement_bytes,
        );
        self.count(
            "retirement_stalled",
            "Steps of a successor that found no room in a cell (2^62)",
            stats.retirement_stalled,
        );
        self.count(
            "renewals",
            "Times that this node went on as a new writer while it ran",
            stats.renewals,
        );
        let waits = state.replicator.waits_for(&state.replica).is_some();
        self.gauge(
            "folding_held_up",
            "1 while this node waits for a replica before it may fold; `members` names it",
            usize::from(waits),
        );
    }

    fn state(&mut self, state: &State) {
        let map = state.replica.map();
        self.gauge("counters", "Counters held", map.counter_count());
        self.gauge(
            "counters_max",
            "Counters that may be made; where as many are held, new ones are refused",
            map.counters_max(),
        );
        self.gauge("cells", "Cells held", map.cell_count());
        self.gauge("replicas", "Replicas known, live or not", map.replicas().len());
    }

    fn replicator(&mut self, state: &State) {
        let stats = state.replicator.stats();
        let bytes = Family::<Labels, Counter>::default();
        for (direction, kinds) in [("in", &stats.bytes_in), ("out", &stats.bytes_out)] {
            for (kind, count) in kinds {
                bytes
                    .get_or_create(&[
                        ("direction", direction.to_owned()),
                        ("kind", kind.label().to_owned()),
                    ])
                    .inc_by(*count);
            }
        }
        self.0.register(
            "payload_bytes",
            "Bytes of payload by direction and kind; gossip counts once, however many peers it goes to",
            bytes,
        );
        let rejected = Family::<Label, Counter>::default();
        for (reason, count) in &stats.refused {
            rejected.get_or_create(&[("reason", reason.label().to_owned())]).inc_by(*count);
        }
        self.0.register("rejected_input", "Messages refused by the protocol, by reason", rejected);
        self.count("cells_joined", "Cells that joins changed", stats.cells_joined);
        self.count("flushes", "Flushes that wrote a version", stats.flushes);
        self.count("rounds", "Rounds of anti-entropy begun", stats.rounds);
        self.count("pulls", "Pulls begun", stats.pulls);
        self.count("pulls_failed", "Pulls that ended before their last page", stats.pulls_failed);
        self.count("gaps", "Deltas that arrived beyond a gap", stats.gaps);
        self.count(
            "divergences",
            "Equal version vectors with unequal state hashes",
            stats.divergences,
        );
        self.count("conflicts", "Cells of equal version and unequal content", stats.conflicts);
        let depth = Family::<Label, Gauge>::default();
        let queues = [
            ("gap_entries", stats.gap_entries),
            ("gap_bytes", stats.gap_bytes),
            ("pulls", stats.pulls_in_flight),
            ("waits", stats.waits),
            ("staged_cells", stats.staged_cells),
        ];
        for (queue, length) in queues {
            depth.get_or_create(&[("queue", queue.to_owned())]).set(signed(length));
        }
        self.0.register("queue_depth", "What waits now, by queue", depth);
    }

    fn members(&mut self, shared: &Shared, state: &State) {
        let (live, lag) = (Family::<Label, Gauge>::default(), Family::<Labels, Gauge>::default());
        let (cells, time) = (
            Family::<Labels, Gauge>::default(),
            Family::<Labels, Gauge<f64, AtomicU64>>::default(),
        );
        for member in state.replicator.members(&state.replica, shared.now()) {
            let standing = if member.live {
                "live"
            } else if member.left {
                "left"
            } else {
                "gone"
            };
            live.get_or_create(&[("standing", standing.to_owned())]).inc();
            if let Some(behind) = member.lag.filter(|_| member.live) {
                let labels = [("replica", member.replica.to_string()), ("region", member.region)];
                lag.get_or_create(&labels)
                    .set(i64::try_from(behind.versions_behind).unwrap_or(i64::MAX));
                cells.get_or_create(&labels).set(signed(behind.cells_behind));
                time.get_or_create(&labels).set(behind.time_behind.as_secs_f64());
            }
        }
        self.0.register("members", "Members of the cluster by standing, this node included", live);
        self.0.register(
            "member_lag_versions",
            "Versions that this node holds and the live member did not when last heard",
            lag,
        );
        self.0.register(
            "member_lag_cells",
            "Cells that the live member lacked when last heard, at most 10,000",
            cells,
        );
        self.0.register(
            "member_lag_seconds",
            "How long this node had held the first thing that the live member lacked, when last heard",
            time,
        );
    }

    fn count(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    fn troubles(&mut self, shared: &Shared) {
        let troubles = Family::<Label, Gauge>::default();
        for cause in TROUBLES {
            troubles.get_or_create(&[("cause", cause.to_owned())]).set(0);
        }
        for trouble in shared.troubles() {
            troubles.get_or_create(&[("cause", trouble.cause.to_owned())]).set(1);
        }
        self.0.register(
            "trouble",
            "1 while something keeps this node from others, by cause",
            troubles,
        );
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) {
        let gauge: Gauge = Gauge::default();
        gauge.set(signed(value));
        self.0.register(name, help, gauge);
    }
}

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
