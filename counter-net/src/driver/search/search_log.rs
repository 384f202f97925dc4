//! Log lines about peers that are reached or not. Few are written, however often peers change.

use std::time::Duration;

use libp2p::Multiaddr;

use crate::driver::address_book::{DialFailure, PeerNews};

/// The most log lines about changes of peers in each [`LOG_INTERVAL`].
const LOG_LINES_MAX: usize = 12;
const LOG_INTERVAL: Duration = Duration::from_secs(300);

/// What is logged of the search, and how much of it lately.
#[derive(Debug)]
pub(super) struct SearchLog {
    budget: LogBudget,
    /// When the next caller with another key is logged.
    next_caller_line: Duration,
    /// Fingerprints of this node's cluster keys, the preferred key's first.
    key_fingerprints: Vec<String>,
}

impl SearchLog {
    pub(super) fn new(key_fingerprints: Vec<String>) -> Self {
        Self { budget: LogBudget::default(), next_caller_line: Duration::ZERO, key_fingerprints }
    }

    pub(super) fn reached(&mut self, peer: &str, now: Duration) {
        if self.budget.take(now) {
            tracing::info!("peer {peer} is reached again");
        }
    }

    pub(super) fn unreached(&mut self, news: &PeerNews, now: Duration) {
        if !self.budget.take(now) {
            return;
        }
        match news {
            PeerNews::Unreached { peer, cause } => {
                tracing::warn!("cannot join {peer}: {}; retrying", self.in_words(cause))
            }
            PeerNews::NoneReached { addresses, last, cause } => tracing::warn!(
                "no node answered at {addresses} discovered addresses; best attempt {last}: {}; \
                 retrying",
                self.in_words(cause)
            ),
        }
    }

    /// Logs a caller with another cluster key, at most once in [`LOG_INTERVAL`].
    pub(super) fn foreign_caller(&mut self, from: &Multiaddr, now: Duration) {
        if now >= self.next_caller_line {
            self.next_caller_line = now + LOG_INTERVAL;
            tracing::warn!(
                "refused a connection from {from}: different cluster key; {}",
                self.own_fingerprints()
            );
        }
    }

    /// The cause of a failed dial, with the remedy if it is a key.
    pub(super) fn in_words(&self, cause: &DialFailure) -> String {
        match cause {
            DialFailure::WrongKey if self.key_fingerprints.is_empty() => {
                "the far end has a cluster key, and this node has none: set the same cluster key \
                 on every node"
                    .to_owned()
            }
            DialFailure::WrongKey => format!(
                "{cause}: set the same cluster key on every node; {}",
                self.own_fingerprints()
            ),
            _ => cause.to_string(),
        }
    }

    fn own_fingerprints(&self) -> String {
        match self.key_fingerprints.as_slice() {
            [] => "this node has no key".to_owned(),
            [one] => format!("this node's key has fingerprint {one}"),
            several => format!("this node's keys have fingerprints {}", several.join(", ")),
        }
    }
}

/// Keeps the log short when peers come and go without end.
#[derive(Debug, Default)]
struct LogBudget {
    since: Duration,
    written: usize,
    left_out: usize,
}

impl LogBudget {
    /// Returns true if one more line may be written at `now`.
    fn take(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.since) >= LOG_INTERVAL {
            if self.left_out > 0 {
                tracing::warn!(
                    "{} more changes of peers were not logged; `Node::members` and \
                     `NodeInfo::trouble` are current",
                    self.left_out
                );
            }
            *self = Self { since: now, ..Self::default() };
        }
        let room = self.written < LOG_LINES_MAX;
        if room {
            self.written += 1;
        } else {
            self.left_out += 1;
        }
        room
    }
}
