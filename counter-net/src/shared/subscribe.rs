//! Subscriptions. Each holds a small set of changes since its last poll, so a slow subscriber costs
//! little and blocks no other.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures::Stream;

/// The most changed counters that one subscription names, about 1 MB. Beyond that it reports only
/// that any counter may have changed.
const CHANGED_COUNTERS_MAX: usize = 4_096;

/// The counters whose changes a subscription reports; see
/// [`Node::subscribe`](crate::Node::subscribe).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interest {
    /// Every counter.
    All,
    /// The counter with this name.
    Counter(String),
    /// Every counter whose name has this prefix.
    Prefix(String),
}

impl Interest {
    fn covers(&self, counter: &str) -> bool {
        match self {
            Self::All => true,
            Self::Counter(name) => name == counter,
            Self::Prefix(prefix) => counter.starts_with(prefix.as_str()),
        }
    }
}

/// The changes since the stream was last polled. It names what changed and carries no values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The changed counters of interest, each with its changed regions.
    pub counters: BTreeMap<String, BTreeSet<String>>,
    /// True if more than 4,096 counters changed. `counters` is then empty, and any may have
    /// changed.
    pub overflowed: bool,
    /// True if viewers or nodes of a region came or went, this node became synced, or its trouble
    /// in reaching others began or ended.
    pub presence_changed: bool,
    /// True if the state hash changed, perhaps through a counter that is not of interest.
    pub state_hash_changed: bool,
}

impl Change {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn note(&mut self, counter: &str, region: &str) {
        if self.overflowed {
            return;
        }
        if let Some(regions) = self.counters.get_mut(counter) {
            if !regions.contains(region) {
                regions.insert(region.to_owned());
            }
        } else if self.counters.len() < CHANGED_COUNTERS_MAX {
            self.counters.insert(counter.to_owned(), BTreeSet::from([region.to_owned()]));
        } else {
            self.counters.clear();
            self.overflowed = true;
        }
    }
}

/// A stream of coalesced [`Change`]s; see [`Node::subscribe`](crate::Node::subscribe).
///
/// It ends when the node stops. Dropping it unsubscribes. Cancel safe: a dropped `next()` loses no
/// change.
pub struct Changes {
    slot: Arc<SubscriberSlot>,
}

struct SubscriberSlot {
    interest: Interest,
    pending: Mutex<PendingChanges>,
}

#[derive(Default)]
struct PendingChanges {
    change: Change,
    waker: Option<Waker>,
    closed: bool,
}

impl SubscriberSlot {
    fn pending(&self) -> MutexGuard<'_, PendingChanges> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `note`, then wakes the subscriber outside of the lock.
    fn update(&self, note: impl FnOnce(&mut PendingChanges)) {
        let waker = {
            let mut pending = self.pending();
            note(&mut pending);
            if pending.change.is_empty() && !pending.closed { None } else { pending.waker.take() }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Stream for Changes {
    type Item = Change;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change>> {
        let mut pending = self.slot.pending();
        if !pending.change.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut pending.change)));
        }
        if pending.closed {
            return Poll::Ready(None);
        }
        pending.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("interest", &self.slot.interest).finish_non_exhaustive()
    }
}

/// Every subscriber of one node.
#[derive(Default)]
pub(crate) struct Subscribers {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    open: Vec<Weak<SubscriberSlot>>,
    closed: bool,
}

impl Subscribers {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribe(&self, interest: Interest) -> Changes {
        let mut slots = self.slots();
        let pending =
            Mutex::new(PendingChanges { closed: slots.closed, ..PendingChanges::default() });
        let slot = Arc::new(SubscriberSlot { interest, pending });
        slots.open.retain(|slot| slot.strong_count() > 0);
        slots.open.push(Arc::downgrade(&slot));
        Changes { slot }
    }

    /// Notes changed keys, as (counter, region), for every subscriber. All learn that the state
    /// hash changed.
    pub(crate) fn state_changed<'a>(&self, keys: impl Iterator<Item = (&'a str, &'a str)> + Clone) {
        self.for_each(|slot| {
            slot.update(|pending| {
                pending.change.state_hash_changed = true;
                let is_bucket = |counter: &str| counter.starts_with(char::is_control);
                for (counter, region) in keys
                    .clone()
                    .filter(|(counter, _)| slot.interest.covers(counter) && !is_bucket(counter))
                {
                    pending.change.note(counter, region);
                }
            });
        });
    }

    pub(crate) fn presence_changed(&self) {
        self.for_each(|slot| slot.update(|pending| pending.change.presence_changed = true));
    }

    /// Ends every stream, and any later one at once.
    pub(crate) fn close(&self) {
        self.slots().closed = true;
        self.for_each(|slot| slot.update(|pending| pending.closed = true));
    }

    pub(crate) fn any(&self) -> bool {
        self.slots().open.iter().any(|slot| slot.strong_count() > 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.slots().open.iter().filter(|slot| slot.strong_count() > 0).count()
    }

    fn for_each(&self, mut tell: impl FnMut(&SubscriberSlot)) {
        let open: Vec<Arc<SubscriberSlot>> =
            self.slots().open.iter().filter_map(Weak::upgrade).collect();
        for slot in open {
            tell(&slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    fn next(changes: &mut Changes) -> Option<Option<Change>> {
        changes.next().now_or_never()
    }

    #[test]
    fn changes_between_two_polls_are_one() {
        let subscribers = Subscribers::default();
        let mut changes = subscribers.subscribe(Interest::All);
        subscribers.state_changed([("a", "ord")].into_iter());
        subscribers.state_changed([("a", "fra"), ("b", "ord")].into_iter());
        subscribers.presence_changed();
        let change = next(&mut changes).flatten().expect("a change is ready");
        assert_eq!(change.counters["a"].len(), 2);
        assert!(
            change.counters.contains_key("b")
                && change.presence_changed
                && change.state_hash_changed
        );
        assert_eq!(next(&mut changes), None, "nothing is left");
    }

    #[test]
    fn another_counter_only_moves_the_hash() {
        let subscribers = Subscribers::default();
        let mut changes = subscribers.subscribe(Interest::Prefix("page:".into()));
        subscribers.state_changed([("other", "ord")].into_iter());
        let change = next(&mut changes).flatten().expect("a change is ready");
        assert!(change.counters.is_empty() && change.state_hash_changed && !change.overflowed);
    }

    #[test]
    fn a_slow_subscriber_is_bounded() {
        let subscribers = Subscribers::default();
        let mut changes = subscribers.subscribe(Interest::All);
        let names: Vec<String> = (0..=CHANGED_COUNTERS_MAX).map(|n| n.to_string()).collect();
        subscribers.state_changed(names.iter().map(|name| (name.as_str(), "ord")));
        let change = next(&mut changes).flatten().expect("a change is ready");
        assert!(change.overflowed && change.counters.is_empty());
    }

    #[test]
    fn streams_end_with_the_node() {
        let subscribers = Subscribers::default();
        let mut changes = subscribers.subscribe(Interest::All);
        subscribers.presence_changed();
        subscribers.close();
        assert!(next(&mut changes).flatten().is_some(), "what was pending is still delivered");
        assert_eq!(next(&mut changes), Some(None));
        assert_eq!(next(&mut subscribers.subscribe(Interest::All)), Some(None));
    }
}
