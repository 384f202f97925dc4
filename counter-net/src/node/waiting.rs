//! Waiting for copies and for versions: futures that the driver answers, which ask through the
//! node's table of waits.

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

/// An add that is not known to be on as many replicas as were asked for. It *is* counted, and
/// travels on its own.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotReplicated {
    /// The time is over.
    Few {
        /// Replicas known to hold it, this one included.
        held: usize,
        /// How many were to hold it.
        wanted: usize,
        /// Replicas that count, this one included.
        enrolled: usize,
    },
    /// Too many wait already (65,536): nobody was asked.
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
                    "in time {held} of {enrolled} replicas were known to hold the add, {wanted} were wanted; it is counted and travels on. \
                     `members` names those that are missing: start them again, or `retire` those that will not come back"
                )
            }
            Self::Busy => f.write_str("too many wait for copies already; the add is counted and travels on"),
            Self::Stopped => f.write_str(
                "the node stopped before the copies were known; the add is counted, and was handed over if the shutdown was clean",
            ),
        }
    }
}

impl std::error::Error for NotReplicated {}

/// A node that does not hold what a token asks for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotReached {
    /// The time is over, and this much is not here.
    Behind {
        /// Writers of whom something is lacking.
        writers: usize,
        /// Versions that are lacking. A version is one change of one counter by one writer.
        versions: u64,
    },
    /// Too many wait already, or the tokens waited for are too large: nothing was waited for.
    Busy,
    /// The node stopped.
    Stopped,
}

impl fmt::Display for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind { writers, versions } => {
                write!(
                    f,
                    "this node is behind: {versions} versions of {writers} writers are not here yet"
                )
            }
            Self::Busy => f.write_str("too many wait for this node to catch up already"),
            Self::Stopped => f.write_str("the node stopped before it had caught up"),
        }
    }
}

impl std::error::Error for NotReached {}

/// Resolves when as many replicas as were asked for hold everything that was added to the node
/// before it was made; see [`crate::Counter::add_replicated`].
///
/// Dropping it takes nothing back and ends the asking.
#[derive(Debug)]
#[must_use = "it says on how many replicas the add is"]
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

/// One wait: `None` where the node stopped.
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

    pub(super) fn replicated(self: &Arc<Self>, copies: Copies, within: Duration) -> Replicated {
        Replicated(self.begin_wait(|id| Input::AwaitCopies { id, copies, within }))
    }

    /// Waits until this node holds the token; at once where it does.
    pub(super) async fn reach(
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

    /// What this node holds now, of all writers or of those of one counter; what is pending is
    /// flushed first and gets its version so.
    pub(super) fn token(&self, counter: Option<&str>) -> Token {
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

    /// Whether this node holds the token now.
    pub(super) fn holds(&self, token: &Token) -> bool {
        let state = self.read();
        let map = state.replica.map();
        token.iter().all(|(writer, version)| map.counted_up_to(writer) >= version)
    }
}
