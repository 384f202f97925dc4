//! The ids of the latest adds of this process, so that an add that is sent again over a new connection counts once.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Adds remembered; the oldest goes first. About 1.5 MB at the most.
const REMEMBERED_MAX: usize = 65_536;

/// Remembers adds by a keyed 64-bit hash of counter and id: two different adds share one with a chance of 1 in 10^14.
///
/// This covers one node while it runs. That another node, or this one after a restart, knows the id too is the node's own matter.
#[derive(Default)]
pub(crate) struct Repeats {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    adds: HashSet<u64>,
    /// The same adds, the oldest first.
    order: VecDeque<u64>,
}

impl Repeats {
    /// Runs `apply` unless an add with this counter and id was applied before. Two at the same time run one after the other.
    ///
    /// # Errors
    ///
    /// Those of `apply`; the add is then not remembered, and may be sent again.
    ///
    /// # Complexity
    ///
    /// One short exclusive lock and a hash look-up.
    pub(crate) fn once<E>(&self, counter: &str, id: &str, apply: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let add = self.hasher.hash_one((counter, id));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.adds.contains(&add) {
            return Ok(());
        }
        apply()?;
        if known.order.len() >= REMEMBERED_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.adds.remove(&oldest);
        }
        known.adds.insert(add);
        known.order.push_back(add);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(repeats: &Repeats, counter: &str, id: &str) -> usize {
        let mut applied = 0;
        let _outcome: Result<(), ()> = repeats.once(counter, id, || {
            applied += 1;
            Ok(())
        });
        applied
    }

    #[test]
    fn an_add_is_applied_once_for_its_counter_and_id() {
        let repeats = Repeats::default();
        assert_eq!(
            [count(&repeats, "a", "1"), count(&repeats, "a", "1"), count(&repeats, "b", "1"), count(&repeats, "a", "2")],
            [1, 0, 1, 1]
        );
    }

    #[test]
    fn a_refused_add_may_be_sent_again() {
        let repeats = Repeats::default();
        assert!(repeats.once("a", "1", || Err(())).is_err());
        assert_eq!(count(&repeats, "a", "1"), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let repeats = Repeats::default();
        for id in 0..=REMEMBERED_MAX {
            count(&repeats, "a", &id.to_string());
        }
        assert_eq!(repeats.known.lock().unwrap().adds.len(), REMEMBERED_MAX);
        assert_eq!([count(&repeats, "a", "0"), count(&repeats, "a", &REMEMBERED_MAX.to_string())], [1, 0]);
    }
}
