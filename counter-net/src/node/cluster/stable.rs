//! Totals that every enrolled replica is known to hold.

use std::time::Duration;

use super::token::Token;
use crate::shared::Shared;

/// A counter's total at a state that every enrolled replica holds; see
/// [`Counter::stable_total`](crate::Counter::stable_total).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StableTotal {
    /// The total at that state.
    pub total: i128,
    /// That state, over all counters. Every replica enrolled then holds it
    /// ([`Node::holds`](crate::Node::holds)).
    pub token: Token,
    /// Time since this node's state moved on from it, exact to about 100 ms. Zero if everything
    /// that this node holds is stable.
    pub age: Duration,
}

impl Shared {
    pub(in crate::node) fn stable_total(&self, counter: &str) -> Option<StableTotal> {
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
