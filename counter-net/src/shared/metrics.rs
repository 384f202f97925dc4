//! What the driver and the handles count as it happens.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

pub(crate) type Label = [(&'static str, String); 1];

/// Adds are counted on the path of every add: in stripes, so that threads do not meet.
const STRIPES: usize = 16;

#[derive(Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

/// Which stripe the next thread gets.
static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

/// What the driver and the handles count as it happens. The replicator's own counts are read from
/// it at a scrape.
#[derive(Default)]
pub(crate) struct Metrics {
    adds: [Stripe; STRIPES],
    pub(crate) publish_failed: Family<Label, Counter>,
    pub(crate) rejected: Family<Label, Counter>,
    pub(crate) dials_failed: Counter,
    pub(crate) peers_cut: Counter,
    pub(crate) peers_lost: Counter,
    pub(crate) alarms: Counter,
}

impl Metrics {
    /// One add or subtraction was taken.
    pub(crate) fn added(&self) {
        STRIPE.with(|stripe| self.adds[*stripe].0.fetch_add(1, Ordering::Relaxed));
    }

    /// A gossip message did not go out to some or all peers; nothing is lost by it.
    pub(crate) fn publish_failed(&self, reason: &'static str) {
        self.publish_failed.get_or_create(&[("reason", reason.to_owned())]).inc();
    }

    /// The driver refused something from the network before it reached the replicator.
    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&[("reason", reason.to_owned())]).inc();
    }

    pub(crate) fn dial_failed(&self) {
        self.dials_failed.inc();
    }

    pub(crate) fn peer_cut(&self) {
        self.peers_cut.inc();
    }

    pub(crate) fn peer_lost(&self) {
        self.peers_lost.inc();
    }

    pub(crate) fn alarmed(&self) {
        self.alarms.inc();
    }

    pub(crate) fn adds(&self) -> u64 {
        self.adds.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}
