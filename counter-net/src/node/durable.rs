//! Adds that wait for the disk.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::shared::Shared;
use crate::store::{NotDurable, Ticket};

/// Resolves once everything that was added before it was made is on the disk, or at once on a node
/// without a data directory: there the cluster's memories are the copies.
///
/// Dropping it does not take the add back.
#[derive(Debug)]
#[must_use = "it says whether the add is on the disk"]
pub struct Durable(State);

#[derive(Debug)]
enum State {
    Waiting(Ticket),
    Known(Result<(), NotDurable>),
}

impl Future for Durable {
    type Output = Result<(), NotDurable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.0 {
            State::Known(answer) => answer.clone(),
            State::Waiting(ticket) => {
                ready!(Pin::new(ticket).poll(context)).unwrap_or(Err(NotDurable::Stopped))
            }
        };
        self.0 = State::Known(answer.clone());
        Poll::Ready(answer)
    }
}

impl Shared {
    /// A ticket for everything added until now.
    pub(super) fn durable(&self) -> Durable {
        Durable(match self.commits.get() {
            Some(commits) => State::Waiting(commits.ticket()),
            None if self.gate.is_stopped() => State::Known(Err(NotDurable::Stopped)),
            None => State::Known(Ok(())),
        })
    }
}
