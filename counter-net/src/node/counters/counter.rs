//! The public handle to one counter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use counter_core::{AddOutcome, CounterHandle, ReplicaId};

use crate::error::AddError;
use crate::node::cluster::Durable;
use crate::node::cluster::StableTotal;
use crate::node::cluster::Token;
use crate::node::cluster::{NotReached, Replicated};
use crate::protocol::Copies;
use crate::shared::Shared;

/// A handle to one named counter of a node.
///
/// Cheap to clone, and usable from any number of threads.
#[derive(Clone)]
pub struct Counter {
    name: Arc<str>,
    handle: CounterHandle,
    shared: Arc<Shared>,
}

impl Counter {
    pub(super) fn open(shared: Arc<Shared>, name: &str) -> Result<Self, AddError> {
        let handle = shared.write().replica.counter(name)?;
        Ok(Self { name: name.into(), handle, shared })
    }

    /// The counter's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds `amount` in this node's region.
    ///
    /// Every read of this node includes it at once. It is sent to the others within
    /// `flush_interval`.
    ///
    /// # Errors
    ///
    /// If the amount is more than 2^32, this writer's cell has no room for it (2^62 in all), the
    /// data directory cannot be written at present, or the node has stopped. Nothing was added.
    ///
    /// [`AddError::MaybeAdded`] if the node stopped during the add, which may then count.
    ///
    /// # Complexity
    ///
    /// One atomic operation. Only the first add after a flush wakes the driver.
    pub fn add(&self, amount: u64) -> Result<(), AddError> {
        self.shared.gate.pass(|| self.handle.add(amount)).inspect(|()| self.shared.metrics.added())
    }

    /// Adds like [`Counter::add`], and returns a future that resolves once the add is on this
    /// node's disk.
    ///
    /// Concurrent waits share one write: 64 tasks each wait about as long as one alone.
    ///
    /// # Errors
    ///
    /// As for [`Counter::add`]. If the future fails, the add is counted and may not be on the disk.
    pub fn add_durable(&self, amount: u64) -> Result<Durable, AddError> {
        self.add(amount)?;
        Ok(self.durable())
    }

    /// Adds `amount` unless an add with this id was applied before. A negative amount subtracts.
    ///
    /// The amount is within ±2^32 and not 0. An earlier add is known here if this node applied it,
    /// in this incarnation or in an earlier one with the same data directory, or if it has arrived
    /// from another node. The amount and its id are one change, both on disk and to the other
    /// nodes.
    ///
    /// # Ids
    ///
    /// An id is `<client>:<sequence>`, or any other 1 to 64 bytes. A client numbers its adds 1, 2,
    /// 3 and so on, without gaps, over all counters; they may arrive in any order. An id names one
    /// add: with another amount or for another counter it is still a repeat.
    ///
    /// Each node's adds are remembered in two tables of 10,000 entries
    /// ([`DEDUP_ENTRIES_MAX`](crate::DEDUP_ENTRIES_MAX)), from which the oldest go first. One holds
    /// groups of eight numbers of a client ([`ID_CHUNK`](crate::ID_CHUNK): 0 to 7, 8 to 15, …), the
    /// other holds other ids. A forgotten id of the second kind counts again. A client's number
    /// never does: the answer is then [`AddOutcome::Repeated`] or [`AddOutcome::CannotTell`]; treat
    /// both as done. This holds for the first [`CLIENTS_MAX`](crate::CLIENTS_MAX) clients. Ids of
    /// later clients are remembered like other ids.
    ///
    /// An add that two nodes applied before they met counts twice until they meet. Then one of them
    /// takes it back: the one with the greater [`ReplicaId`], or the successor of an ended one when
    /// it absorbs it. If a reset saw both in between, the counter ends lower by that amount.
    ///
    /// After [`AddOutcome::Repeated`] await [`Counter::durable`] as after [`AddOutcome::Applied`]:
    /// the first add may not be on the disk yet.
    ///
    /// # Errors
    ///
    /// If the id is empty or too long, or as for [`Counter::add`], but never
    /// [`AddError::MaybeAdded`]. Nothing was added.
    ///
    /// # Complexity
    ///
    /// A short exclusive lock on the node's state, and a look at each replica with remembered ids.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(likes: counter_net::Counter) -> Result<(), Box<dyn std::error::Error>> {
    /// likes.add_once("order-service:17", 1)?;
    /// likes.durable().await?; // send it again, to any node, until this is reached
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_once(&self, id: &str, amount: i64) -> Result<AddOutcome, AddError> {
        let mut state = self.shared.write();
        // Checked under the lock: the last flush takes it after it has closed the gate.
        self.shared.gate.check()?;
        let once = state.replica.add_once(id, &self.name, amount)?;
        drop(state);
        if once == AddOutcome::Applied {
            self.shared.metrics.added();
            self.shared.wakes.local.notify_one();
        }
        Ok(once)
    }

    /// Resolves once everything added here before the call is on this node's disk, or at once
    /// without a data directory.
    ///
    /// # Errors
    ///
    /// The future fails with [`NotDurable::Store`](crate::NotDurable::Store) if the commit failed;
    /// the node retries it. It fails with [`NotDurable::Stopped`](crate::NotDurable::Stopped) if
    /// the node stopped first. The adds count in any case.
    pub fn durable(&self) -> Durable {
        self.handle.hand_over();
        self.shared.durable()
    }

    /// Adds like [`Counter::add`], and returns a future that resolves once `copies` replicas hold
    /// the add, this one included.
    ///
    /// The node sends the cells to the others and asks for an acknowledgement. That takes about one
    /// round trip to the slowest replica needed, and concurrent waits share the messages.
    ///
    /// Every known replica counts, reachable or not, except earlier incarnations of a node that has
    /// come back and replicas that announced that they leave. A replica that crashed for good makes
    /// [`Copies::All`] impossible; [`Copies::Majority`] and [`Copies::Nodes`] do without it. A
    /// replica holds the add in memory; await [`Counter::durable`] too for this node's disk.
    ///
    /// # Errors
    ///
    /// As for [`Counter::add`]. An error of the future,
    /// [`NotReplicated`](crate::NotReplicated), means that the add *is* counted and is still being
    /// sent. It reports how many replicas were known to hold the add after `within`. Do not add
    /// again.
    pub fn add_replicated(
        &self,
        amount: u64,
        copies: Copies,
        within: Duration,
    ) -> Result<Replicated, AddError> {
        self.add(amount)?;
        Ok(self.replicated(copies, within))
    }

    /// Resolves once `copies` replicas hold everything added here before the call; see
    /// [`Counter::add_replicated`].
    ///
    /// # Errors
    ///
    /// As for [`Node::replicated`](crate::Node::replicated).
    pub fn replicated(&self, copies: Copies, within: Duration) -> Replicated {
        self.handle.hand_over();
        self.shared.replicated(copies, within)
    }

    /// Returns a token for this node's present state of this counter, its own adds included. A node
    /// that holds the token shows no less.
    ///
    /// It names only the counter's writers and this node. Hand it to the client with the answer,
    /// joined ([`Token::join`]) with the client's earlier one. Flushes pending adds first, which
    /// gives them a version.
    ///
    /// # Complexity
    ///
    /// Linear in the counter's cells and the pending adds, under a short exclusive lock.
    pub fn token(&self) -> Token {
        self.handle.hand_over();
        self.shared.token(Some(&self.name))
    }

    /// Returns the total once this node holds everything that the token has seen.
    ///
    /// Apart from resets, that is never less than the token's session has written or read of this
    /// counter. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`NotReached::Behind`] after `within`, [`NotReached::Busy`] at once if too many waits are
    /// open, [`NotReached::Stopped`] if the node stopped first. [`Counter::total`] then returns an
    /// older total.
    pub async fn total_at(&self, token: &Token, within: Duration) -> Result<i128, NotReached> {
        self.shared.reach(token, within).await?;
        Ok(self.total())
    }

    /// Returns the total at the latest state that *every* enrolled replica is known to hold, with
    /// that state's token. Never waits.
    ///
    /// The adds in that total survive a crash of all replicas but one. The first call begins to
    /// watch the counter; calls return `None` until a state since then is known to be everywhere.
    /// With all replicas in reach that takes a round trip, and an add is stable within about a
    /// second. A replica out of reach holds the state back, and [`StableTotal::age`] grows, until
    /// the replica is back, leaves, or is [retired](crate::Node::retire). Each answer's state is
    /// later than the one before. [`Counter::add_replicated`] says which replicas count. One that
    /// joins later may show less until it is synced, and so may any after a subtraction or a reset.
    ///
    /// # Complexity
    ///
    /// A short exclusive lock, linear in the replicas. A watch ends once no call has asked for the
    /// counter for 60 s. At most 1,024 counters are watched; a further one replaces the one asked
    /// for least recently. While any is watched and the state changes, the node takes a snapshot
    /// every 100 ms, keeps 9 of them at 24 bytes per replica and watched counter, and every 250 ms
    /// sends up to 8 peers about 100 bytes and a digest (16 bytes per replica).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use counter_net::{Discovery, Node};
    /// # let node =
    /// #     Node::builder().cluster("docs-stable").discover(Discovery::None).start().await?;
    /// let sold = node.counter("sold")?;
    /// sold.add(3)?;
    /// while sold.stable_total().is_none_or(|stable| stable.total < 3) {
    ///     tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    /// }
    /// # node.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn stable_total(&self) -> Option<StableTotal> {
        self.shared.stable_total(&self.name)
    }

    /// Subtracts `amount` in this node's region, otherwise like [`Counter::add`]. The counter may
    /// go below zero.
    ///
    /// # Errors
    ///
    /// As for [`Counter::add`].
    pub fn subtract(&self, amount: u64) -> Result<(), AddError> {
        self.shared
            .gate
            .pass(|| self.handle.subtract(amount))
            .inspect(|()| self.shared.metrics.added())
    }

    /// Returns the sum over all regions that this node knows, its own adds included.
    ///
    /// # Complexity
    ///
    /// A short shared lock and a hash look-up.
    pub fn total(&self) -> i128 {
        self.shared.read().replica.total(&self.name)
    }

    /// Returns the value of each region that has one.
    ///
    /// # Complexity
    ///
    /// Linear in the counter's regions, under a short shared lock.
    pub fn by_region(&self) -> BTreeMap<String, i128> {
        super::view::values_by_region(&self.shared.read(), &self.name)
    }

    /// Returns each replica's part of the counter by region: its adds minus resets.
    ///
    /// # Complexity
    ///
    /// Linear in the counter's cells, under a short shared lock.
    pub fn by_replica(&self) -> BTreeMap<String, Vec<(ReplicaId, i128)>> {
        let state = self.shared.read();
        let map = state.replica.map();
        map.regions(&self.name)
            .map(|(region, _)| (region.to_owned(), map.by_replica(&self.name, region)))
            .collect()
    }

    /// Resets every region of the counter by the value that this node has seen. Concurrent adds
    /// elsewhere survive.
    ///
    /// Flushes pending adds of all counters first.
    ///
    /// # Errors
    ///
    /// [`AddError::NotCaughtUp`] until this node is [synced](crate::Node::synced), and on a copied
    /// data directory until a member has answered. [`AddError::Stopped`] after the node has
    /// stopped. In both cases nothing was reset.
    ///
    /// Another error means that a region's part could not be written. The regions before it, in
    /// order of their names, are reset. Repeating the call is safe.
    ///
    /// # Complexity
    ///
    /// Linear in the counter's cells and the pending adds, under a short exclusive lock.
    pub fn reset(&self) -> Result<(), AddError> {
        super::clearing::reset(&self.shared, &self.name).map(drop)
    }

    /// Removes the counter; see [`Node::remove`](crate::Node::remove). This handle keeps working:
    /// an add after the removal creates the counter again.
    ///
    /// # Errors
    ///
    /// As for [`Node::remove`](crate::Node::remove).
    ///
    /// # Complexity
    ///
    /// As for [`Node::remove`](crate::Node::remove).
    pub fn remove(&self) -> Result<bool, AddError> {
        super::clearing::remove(&self.shared, &self.name)
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter").field("name", &self.name).finish_non_exhaustive()
    }
}
