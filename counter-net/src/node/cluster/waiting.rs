//! Waiting for copies and for versions. The driver resolves these futures, through the node's table
//! of waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

use super::token::Token;
use crate::protocol::{Copies, Input, Waited};
use crate::shared::Shared;

/// An add is not known to be on the wanted number of replicas. It *is* counted, and the node keeps
/// sending it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotReplicated {
    /// Too few acknowledged it in time.
    Few {
        /// Replicas known to hold it, this one included.
        held: usize,
        /// Replicas that had to hold it.
        wanted: usize,
        /// Replicas that count, this one included.
        enrolled: usize,
    },
    /// 65,536 waits are open already, so no replica was asked.
    Busy,
    /// The node stopped.
    Stopped,
}

impl fmt::Display for NotReplicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Few { held, wanted, enrolled } => {
                write!(
                    f,
                    "{held} of {enrolled} replicas were known to hold the add in time, not the \
                     requested {wanted}; it is counted and still being sent. Start the absent \
                     replicas again, or retire those that will not come back \
                     (`Node::incarnations` lists them)"
                )
            }
            Self::Busy => f.write_str(
                "too many waits for copies are open; the add is counted and still being sent",
            ),
            Self::Stopped => f.write_str(
                "the node stopped before the copies were known; the add is counted, and was \
                 handed over if the shutdown was clean",
            ),
        }
    }
}

impl std::error::Error for NotReplicated {}

/// This node does not hold everything that a token has seen.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotReached {
    /// The time ran out before the node had caught up.
    Behind {
        /// Writers with missing versions.
        writers: usize,
        /// Missing versions. A version is one change of one counter by one writer.
        versions: u64,
    },
    /// Too many waits are open, or their tokens are too large. The call did not wait.
    Busy,
    /// The node stopped.
    Stopped,
}

impl fmt::Display for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind { writers, versions } => {
                write!(f, "this node is behind: it lacks {versions} versions of {writers} writers")
            }
            Self::Busy => f.write_str("too many waits for this node to catch up are open"),
            Self::Stopped => f.write_str("the node stopped before it had caught up"),
        }
    }
}

impl std::error::Error for NotReached {}

/// Resolves once the wanted number of replicas hold everything added before; see
/// [`Counter::add_replicated`](crate::Counter::add_replicated).
///
/// Cancel safe: dropping it undoes nothing, and ends the questions to other replicas.
#[derive(Debug)]
#[must_use = "it tells whether enough replicas hold the add"]
pub struct Replicated(Wait);

impl Future for Replicated {
    type Output = Result<(), NotReplicated>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(context)) {
            Some(Waited::Reached) => Ok(()),
            Some(Waited::Few { held, wanted, enrolled }) => {
                Err(NotReplicated::Few { held, wanted, enrolled })
            }
            Some(Waited::TooMany | Waited::Behind { .. }) => Err(NotReplicated::Busy),
            None => Err(NotReplicated::Stopped),
        })
    }
}

/// One wait. Resolves to `None` if the node stopped.
struct Wait {
    shared: Arc<Shared>,
    id: u64,
    answer: oneshot::Receiver<Waited>,
}

impl Future for Wait {
    type Output = Option<Waited>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(Result::ok)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.shared.waiting.withdraw(self.id) {
            self.shared.wakes.waits.notify_one();
        }
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Shared {
    fn begin_wait(self: &Arc<Self>, input: impl FnOnce(u64) -> Input) -> Wait {
        let (id, answer) = self.waiting.begin(input);
        self.wakes.waits.notify_one();
        Wait { shared: Arc::clone(self), id, answer }
    }

    pub(in crate::node) fn replicated(
        self: &Arc<Self>,
        copies: Copies,
        within: Duration,
    ) -> Replicated {
        Replicated(self.begin_wait(|id| Input::AwaitCopies { id, copies, within }))
    }

    /// Waits until this node holds the token.
    pub(in crate::node) async fn reach(
        self: &Arc<Self>,
        token: &Token,
        within: Duration,
    ) -> Result<(), NotReached> {
        if self.holds(token) {
            return Ok(());
        }
        let versions = token.versions().clone();
        match self.begin_wait(|id| Input::AwaitVersions { id, versions, within }).await {
            Some(Waited::Reached) => Ok(()),
            Some(Waited::Behind { writers, versions }) => {
                Err(NotReached::Behind { writers, versions })
            }
            Some(Waited::TooMany | Waited::Few { .. }) => Err(NotReached::Busy),
            None => Err(NotReached::Stopped),
        }
    }

    /// A token for the present state of all writers, or of one counter's writers. Pending adds are
    /// flushed first, which gives them a version.
    pub(in crate::node) fn token(&self, counter: Option<&str>) -> Token {
        let mut state = self.write();
        if state.replica.has_pending() {
            let flushed = state.replica.flush();
            self.subscribers
                .state_changed(flushed.changed.iter().map(|key| state.replica.map().name_of(*key)));
            self.state_changed();
            self.wakes.local.notify_one();
        }
        let map = state.replica.map();
        let Some(counter) = counter else { return Token::new(map.version_vector()) };
        let cells = |(region, _): (&str, i128)| {
            map.pn_counter(counter, region).cells().map(|(writer, _)| writer).collect::<Vec<_>>()
        };
        let writers = map.regions(counter).flat_map(cells).chain([state.replica.id()]);
        Token::new(writers.map(|writer| (writer, map.seen_of(writer))).collect())
    }

    /// Returns true if this node holds the token now.
    pub(in crate::node) fn holds(&self, token: &Token) -> bool {
        let state = self.read();
        let map = state.replica.map();
        token.iter().all(|(writer, version)| map.counted_up_to(writer) >= version)
    }
}
