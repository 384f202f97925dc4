//! Subscriptions: each a small set of what changed since it was last asked, so a slow subscriber
//! costs nothing and blocks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures::Stream;

/// Changed counters that one subscriber remembers; beyond it only "anything may have changed" is
/// kept. About 1 MB at the most.
const CHANGED_COUNTERS_MAX: usize = 4_096;

/// Which changes a subscriber wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interest {
    /// Every counter.
    All,
    /// One counter, by its whole name.
    Counter(String),
    /// Every counter whose name begins so.
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

/// What has changed since the stream was last polled; says where to look, not what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The counters of interest that changed, each with the regions that did.
    pub counters: BTreeMap<String, BTreeSet<String>>,
    /// True when more counters changed than are remembered (4,096): `counters` is then empty and
    /// any of them may have changed.
    pub overflowed: bool,
    /// Somebody came or went: viewers or nodes of some region, or this node became synced, or its
    /// trouble in reaching others began or ended.
    pub presence_changed: bool,
    /// The state hash moved, perhaps by a counter that is not of interest.
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

/// A stream of coalesced [`Change`]s; see [`crate::Node::subscribe`]. Ends when the node stops.
/// Dropping it unsubscribes.
pub struct Changes {
    slot: Arc<Slot>,
}

struct Slot {
    interest: Interest,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    change: Change,
    waker: Option<Waker>,
    closed: bool,
}

impl Slot {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `note` and wakes the subscriber, outside of the lock.
    fn update(&self, note: impl FnOnce(&mut Pending)) {
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
    open: Vec<Weak<Slot>>,
    closed: bool,
}

impl Subscribers {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribe(&self, interest: Interest) -> Changes {
        let mut slots = self.slots();
        let pending = Mutex::new(Pending { closed: slots.closed, ..Pending::default() });
        let slot = Arc::new(Slot { interest, pending });
        slots.open.retain(|slot| slot.strong_count() > 0);
        slots.open.push(Arc::downgrade(&slot));
        Changes { slot }
    }

    /// Tells every subscriber of the changed keys, named by `keys` as (counter, region); all of
    /// them learn that the state hash moved.
    pub(crate) fn state_changed<'a>(&self, keys: impl Iterator<Item = (&'a str, &'a str)> + Clone) {
        self.for_each(|slot| {
            slot.update(|pending| {
                pending.change.state_hash_changed = true;
                for (counter, region) in
                    keys.clone().filter(|(counter, _)| slot.interest.covers(counter))
                {
                    pending.change.note(counter, region);
                }
            });
        });
    }

    pub(crate) fn presence_changed(&self) {
        self.for_each(|slot| slot.update(|pending| pending.change.presence_changed = true));
    }

    /// Ends every stream, and those opened later at once.
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

    fn for_each(&self, mut tell: impl FnMut(&Slot)) {
        let open: Vec<Arc<Slot>> = self.slots().open.iter().filter_map(Weak::upgrade).collect();
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
