//! Adds that wait for the disk.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::shared::Shared;
use crate::store::{Commits, NotDurable, Ticket};

/// Resolves once everything that was added before it was made is on the disk, or at once on a node without a data directory: there the cluster's
/// memories are the copies.
///
/// Dropping it does not take the add back.
#[derive(Debug)]
#[must_use = "it says whether the add is on the disk"]
pub struct Durable(Option<Ticket>);

impl Durable {
    pub(super) fn new(ticket: Option<Ticket>) -> Self {
        Self(ticket)
    }
}

impl Future for Durable {
    type Output = Result<(), NotDurable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(ticket) = self.0.as_mut() else { return Poll::Ready(Ok(())) };
        let answer = ready!(Pin::new(ticket).poll(context));
        self.0 = None;
        Poll::Ready(answer.unwrap_or(Err(NotDurable::Stopped)))
    }
}

impl Shared {
    /// A ticket for everything added until now.
    pub(super) fn durable(&self) -> Durable {
        Durable::new(self.commits.get().map(Commits::ticket))
    }

    /// False while the store cannot be written.
    pub(super) fn takes_adds(&self) -> bool {
        self.commits.get().is_none_or(|commits| !commits.is_failing())
    }
}
