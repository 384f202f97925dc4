//! Adding to many counters at once.

use std::fmt;
use std::sync::Arc;

use counter_core::{AddOutcome, BatchAdd, BatchRefused};

use crate::error::AddError;
use crate::node::Node;
use crate::node::cluster::Durable;
use crate::shared::Shared;

/// A batch that was added; see [`Node::add_many`].
#[must_use = "it tells which adds were repeats, and waits for the disk"]
pub struct AddedBatch {
    results: Vec<BatchResult>,
    shared: Arc<Shared>,
}

/// The result of one add of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchResult {
    /// Whether it was added now. Always [`AddOutcome::Applied`] for an add without an id.
    pub outcome: AddOutcome,
    /// The counter's total right after the batch.
    pub total: i128,
    /// The counter's value in this node's region right after the batch.
    pub value: i128,
}

impl AddedBatch {
    /// The results of the adds, in order.
    pub fn results(&self) -> &[BatchResult] {
        &self.results
    }

    /// Resolves once the whole batch is on this node's disk, or at once without a data directory.
    /// One commit writes all of it.
    ///
    /// Await it for repeats too: their first add may not be on the disk yet.
    pub fn durable(&self) -> Durable {
        self.shared.durable()
    }
}

impl fmt::Debug for AddedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddedBatch").field("results", &self.results).finish_non_exhaustive()
    }
}

/// Why a node refused a whole batch. Nothing was added, and no counter was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchError {
    /// The index of the first add that was refused. `None` if the node takes no adds at all.
    pub index: Option<usize>,
    /// The reason.
    pub error: AddError,
}

impl From<AddError> for BatchError {
    fn from(error: AddError) -> Self {
        Self { index: None, error }
    }
}

impl From<BatchRefused> for BatchError {
    fn from(BatchRefused { index, error }: BatchRefused) -> Self {
        match AddError::from(error) {
            AddError::Stopped => AddError::Stopped.into(),
            error => Self { index: Some(index), error },
        }
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "add {index} of the batch: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for BatchError {}

impl Node {
    /// Adds a whole batch in this node's region, or nothing.
    ///
    /// Every add is judged before the first is applied: its name, amount and id, and the room for
    /// it. An add with an id counts once, as for [`Counter::add_once`](crate::Counter::add_once). A
    /// repeat is no error: its result is [`AddOutcome::Repeated`] or [`AddOutcome::CannotTell`],
    /// and the others are added. Counters that do not exist are created. Two adds may have the same
    /// counter, or the same id; the second of two equal ids is a repeat.
    ///
    /// Every read of this node includes the whole batch at once. It may travel to other nodes in
    /// several messages, so they may show a part of it for a moment.
    ///
    /// # Errors
    ///
    /// [`BatchError`] with the index of the first add that was refused. A batch has at most
    /// [`BATCH_ADDS_MAX`](crate::BATCH_ADDS_MAX) adds. Without an index, the node has stopped or
    /// its data directory cannot be written. Nothing was added, and no counter was created.
    ///
    /// # Complexity
    ///
    /// One short exclusive lock for the whole batch: about 0.1 µs an add, and 1 µs with an id.
    /// One flush and one commit follow.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use counter_net::{BatchAdd, Discovery, Node, AddOutcome};
    ///
    /// let node = Node::builder().cluster("docs-batch").discover(Discovery::None).start().await?;
    /// let order = [
    ///     BatchAdd::new("sold:tea", 2).with_id("order:17:tea"),
    ///     BatchAdd::new("stock:tea", -2).with_id("order:17:stock"),
    ///     BatchAdd::new("requests", 1),
    /// ];
    /// let added = node.add_many(&order)?;
    /// assert_eq!(added.results()[1].total, -2);
    /// added.durable().await?;
    ///
    /// let again = node.add_many(&order)?;
    /// assert_eq!(again.results()[0].outcome, AddOutcome::Repeated);
    /// assert_eq!(again.results()[2].total, 2); // it has no id
    ///
    /// let error = node.add_many(&[order[2], BatchAdd::new("", 1)]).unwrap_err();
    /// assert_eq!(error.index, Some(1));
    /// assert_eq!(node.view("requests").total, 2);
    /// # node.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn add_many(&self, adds: &[BatchAdd<'_>]) -> Result<AddedBatch, BatchError> {
        let shared = self.shared();
        let mut state = shared.write();
        // Checked under the lock: the last flush takes it after it has closed the gate.
        shared.gate.check()?;
        let onces = state.replica.add_many(adds)?;
        let (replica, region) = (&state.replica, shared.identity.region.as_str());
        let results: Vec<BatchResult> = adds
            .iter()
            .zip(onces)
            .map(|(add, outcome)| BatchResult {
                outcome,
                total: replica.total(add.counter),
                value: replica.value(add.counter, region),
            })
            .collect();
        drop(state);
        let applied = results.iter().filter(|result| result.outcome == AddOutcome::Applied).count();
        if applied > 0 {
            shared.metrics.added_many(applied);
            shared.wakes.local.notify_one();
        }
        Ok(AddedBatch { results, shared: Arc::clone(shared) })
    }
}
