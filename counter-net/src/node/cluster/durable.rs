//! Waiting for the disk.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::shared::Shared;
use crate::store::{NotDurable, Ticket};

/// Resolves once everything added before is on this node's disk; see
/// [`Counter::add_durable`](crate::Counter::add_durable).
///
/// Resolves at once on a node without a data directory, where the cluster's memories are the
/// copies. Cancel safe: dropping it undoes nothing, and the commit happens all the same. Polled
/// again after its end, it returns the same answer.
#[derive(Debug)]
#[must_use = "it tells whether the add is on the disk"]
pub struct Durable(CommitState);

#[derive(Debug)]
enum CommitState {
    Waiting(Ticket),
    Known(Result<(), NotDurable>),
}

impl Future for Durable {
    type Output = Result<(), NotDurable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.0 {
            CommitState::Known(answer) => answer.clone(),
            CommitState::Waiting(ticket) => {
                ready!(Pin::new(ticket).poll(context)).unwrap_or(Err(NotDurable::Stopped))
            }
        };
        self.0 = CommitState::Known(answer.clone());
        Poll::Ready(answer)
    }
}

impl Shared {
    /// Waits for everything added until now.
    pub(in crate::node) fn durable(&self) -> Durable {
        Durable(match self.commits.get() {
            Some(commits) => CommitState::Waiting(commits.ticket()),
            None if self.gate.is_stopped() => CommitState::Known(Err(NotDurable::Stopped)),
            None => CommitState::Known(Ok(())),
        })
    }
}
