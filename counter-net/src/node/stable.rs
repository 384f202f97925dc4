//! Totals that every enrolled replica has, as far as this node was shown.

use std::time::Duration;

use super::token::Token;
use crate::shared::Shared;

/// A counter's total at the latest state of this node that every enrolled replica was shown to
/// hold; see [`crate::Counter::stable_total`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StableTotal {
    /// The total at that state.
    pub total: i128,
    /// That state, of all counters: whoever was enrolled then holds it ([`crate::Node::holds`]) and
    /// shows it.
    pub token: Token,
    /// How long ago this node's state moved on from there, to about 100 ms; zero where all that
    /// this node holds is stable.
    pub age: Duration,
}

impl Shared {
    pub(super) fn stable_total(&self, counter: &str) -> Option<StableTotal> {
        let mut guard = self.write();
        let state = &mut *guard;
        let due = state.replicator.poll_timeout();
        let stable = state.replicator.stable_total(&state.replica, counter, self.now());
        let is_sooner = state.replicator.poll_timeout() != due;
        drop(guard);
        if is_sooner {
            self.wakes.local.notify_one();
        }
        stable.map(|stable| StableTotal {
            total: stable.total,
            token: Token::new(stable.versions),
            age: stable.age,
        })
    }
}
