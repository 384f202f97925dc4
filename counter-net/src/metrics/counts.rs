//! Events that the driver and the counters count as they happen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of adds. Threads spread over them, because every add is counted.
const STRIPES: usize = 16;

#[derive(Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

/// The stripe of the next thread that adds.
static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

/// Counts of events since the node's start. The replicator keeps its own counts.
#[derive(Default)]
pub(crate) struct EventCounts {
    adds: [Stripe; STRIPES],
    publish_failed: ByReason,
    rejected: ByReason,
    dials_failed: AtomicU64,
    peers_cut: AtomicU64,
    peers_lost: AtomicU64,
    alarms: AtomicU64,
}

/// One count for each reason that has occurred.
#[derive(Default)]
struct ByReason(Mutex<BTreeMap<&'static str, u64>>);

impl ByReason {
    fn count(&self, reason: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    fn read(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The counts of [`EventCounts`] at one moment.
pub(super) struct EventTotals {
    pub(super) adds: u64,
    pub(super) publish_failed: BTreeMap<&'static str, u64>,
    pub(super) rejected: BTreeMap<&'static str, u64>,
    pub(super) dials_failed: u64,
    pub(super) peers_cut: u64,
    pub(super) peers_lost: u64,
    pub(super) alarms: u64,
}

impl EventCounts {
    /// One add or subtraction was taken.
    pub(crate) fn added(&self) {
        self.added_many(1);
    }

    /// Counts `adds` adds.
    pub(crate) fn added_many(&self, adds: usize) {
        STRIPE.with(|stripe| self.adds[*stripe].0.fetch_add(adds as u64, Ordering::Relaxed));
    }

    /// A gossip message did not reach some or all peers. Anti-entropy delivers its content.
    pub(crate) fn publish_failed(&self, reason: &'static str) {
        self.publish_failed.count(reason);
    }

    /// The driver refused a connection or message before the replicator saw it.
    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejected.count(reason);
    }

    /// A dial reached no node of this cluster.
    pub(crate) fn dial_failed(&self) {
        self.dials_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A peer broke the protocol's rules and was cut off.
    pub(crate) fn peer_cut(&self) {
        self.peers_cut.fetch_add(1, Ordering::Relaxed);
    }

    /// A peer fell silent and was given up.
    pub(crate) fn peer_lost(&self) {
        self.peers_lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Something happened that must not; the log says what.
    pub(crate) fn alarmed(&self) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads every count.
    pub(super) fn read(&self) -> EventTotals {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        EventTotals {
            adds: self.adds.iter().map(|stripe| read(&stripe.0)).sum(),
            publish_failed: self.publish_failed.read(),
            rejected: self.rejected.read(),
            dials_failed: read(&self.dials_failed),
            peers_cut: read(&self.peers_cut),
            peers_lost: read(&self.peers_lost),
            alarms: read(&self.alarms),
        }
    }
}
