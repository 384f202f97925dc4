//! A handle to one counter: adds that are one atomic operation, reads that include them at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use counter_core::{CounterHandle, Once, ReplicaId};

use super::durable::Durable;
use super::stable::StableTotal;
use super::token::Token;
use super::waiting::{NotReached, Replicated};
use crate::error::AddError;
use crate::protocol::Copies;
use crate::shared::Shared;

/// One named counter of a node. Cheap to clone, `Send + Sync`; add from as many threads as you
/// like.
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

    /// Adds `amount` to this node's region. It is in every read of this node at once, and on its
    /// way to the others within `flush_interval`.
    ///
    /// # Errors
    ///
    /// An amount of more than 2^32, one that this writer's cell has no room for (2^62 in all), or a
    /// data directory that cannot be written at the moment. Nothing was added.
    ///
    /// [`AddError::Stopped`] after the node has stopped. Nothing was added, except at the very
    /// moment of the stop: such an add may be counted all the same.
    ///
    /// # Complexity
    ///
    /// One atomic operation; wakes the driver only when it is the first since the last flush.
    pub fn add(&self, amount: u64) -> Result<(), AddError> {
        self.shared.gate.pass(|| self.handle.add(amount)).inspect(|()| self.shared.metrics.added())
    }

    /// Adds as [`Counter::add`] does, at once, and returns what resolves when the add is on this
    /// node's disk.
    ///
    /// Many that wait share one write: with 64 tasks waiting, each waits about as long as one
    /// alone.
    ///
    /// # Errors
    ///
    /// As for [`Counter::add`]; nothing was added. The future's error means that the add was
    /// applied and is not known to be on the disk.
    pub fn add_durable(&self, amount: u64) -> Result<Durable, AddError> {
        self.add(amount)?;
        Ok(self.durable())
    }

    /// Adds `amount` (subtracts below zero), within ±2^32 and not 0, unless an add with this id was
    /// applied before: by this node, in this incarnation or an earlier one with the same data
    /// directory, or by another node whose state is held here.
    ///
    /// An id is `<client>:<sequence>`, or any other 1 to 64 bytes. A client numbers its adds 1, 2,
    /// 3 and so on, without gaps, over all counters; they may arrive in another order. An id names
    /// one add: sent again with another amount or for another counter, it is still a repeat. Of
    /// each node's adds the latest 10,000 ([`DEDUP_ENTRIES_MAX`](crate::DEDUP_ENTRIES_MAX)) other
    /// ids are remembered, and as many times eight numbers of a client
    /// ([`ID_CHUNK`](crate::ID_CHUNK): 0 to 7, 8 to 15, …); the oldest go first. Another id that
    /// was forgotten counts again. A client's number never does: the answer is then
    /// [`Once::Repeated`], or [`Once::CannotTell`], after which the add is to be counted as done.
    /// That holds for the first [`CLIENTS_MAX`](crate::CLIENTS_MAX) clients; later ones are
    /// remembered as other ids are. Amount and memory are one change, on the disk and to the
    /// others.
    ///
    /// An add that was applied on two nodes that did not know of each other counts twice until they
    /// meet; then one of them takes it back: the one with the greater [`ReplicaId`], or, where one
    /// has ended, its successor once it absorbs that one. A reset in between, which saw both,
    /// leaves the counter lower by that one amount.
    ///
    /// After [`Once::Repeated`] await [`Counter::durable`] just as after [`Once::Applied`]: the
    /// first one may still be on its way to the disk.
    ///
    /// # Errors
    ///
    /// An id that is empty or too long; and as for [`Counter::add`]. Nothing was added.
    ///
    /// # Complexity
    ///
    /// A short exclusive lock on the node's state; a look at each replica that holds remembered
    /// ids.
    ///
    /// ```no_run
    /// # async fn example(likes: counter_net::Counter) -> Result<(), Box<dyn std::error::Error>> {
    /// likes.add_once("order-service:17", 1)?;
    /// likes.durable().await?; // send it again until this is reached, to any node
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_once(&self, id: &str, amount: i64) -> Result<Once, AddError> {
        let mut state = self.shared.write();
        // Under the lock, which the last flush takes after it has closed the gate.
        self.shared.gate.check()?;
        let once = state.replica.add_once(id, &self.name, amount)?;
        drop(state);
        if once == Once::Applied {
            self.shared.metrics.added();
            self.shared.wakes.local.notify_one();
        }
        Ok(once)
    }

    /// Resolves when everything added to this counter here before the call is on this node's disk;
    /// at once without a data directory.
    ///
    /// Fails with [`NotDurable::Stopped`](crate::NotDurable::Stopped) if the node has stopped
    /// before.
    pub fn durable(&self) -> Durable {
        self.handle.hand_over();
        self.shared.durable()
    }

    /// Adds as [`Counter::add`] does, at once, and returns what resolves when so many replicas hold
    /// the add, this one included.
    ///
    /// The node asks the others at once and brings them the cells along: about one round trip to
    /// the slowest of those that are needed. Many that wait share the questions. Which replicas
    /// count: every one that is known, reachable or not, but for earlier incarnations of a node
    /// that has come back and for those that said they leave. A replica that crashed for good keeps
    /// [`Copies::All`] from being reached; [`Copies::Majority`] and [`Copies::Nodes`] do without
    /// it. Holding is in memory; await [`Counter::durable`] too for this node's disk.
    ///
    /// # Errors
    ///
    /// As for [`Counter::add`]; nothing was added. The future's error,
    /// [`NotReplicated`](crate::NotReplicated), means that the add *is* counted and travels on, and
    /// says how many were known to hold it when `within` was over. Do not add again for it.
    pub fn add_replicated(
        &self,
        amount: u64,
        copies: Copies,
        within: Duration,
    ) -> Result<Replicated, AddError> {
        self.add(amount)?;
        Ok(self.replicated(copies, within))
    }

    /// Resolves when so many replicas hold everything added to this counter here before the call;
    /// see [`Counter::add_replicated`].
    pub fn replicated(&self, copies: Copies, within: Duration) -> Replicated {
        self.handle.hand_over();
        self.shared.replicated(copies, within)
    }

    /// A token for what this node shows of this counter now, its own adds until now included: a
    /// node that holds it shows no less of this counter.
    ///
    /// Names only the counter's writers and this node. Hand it to the client with the answer;
    /// [`Token::join`] it to the one that the client came with.
    pub fn token(&self) -> Token {
        self.handle.hand_over();
        self.shared.token(Some(&self.name))
    }

    /// The total once this node holds what the token has seen: never less than its session has
    /// written or read of this counter, resets apart.
    ///
    /// # Errors
    ///
    /// [`NotReached`] when `within` is over first; [`Counter::total`] says what is there. Cancel
    /// safe.
    pub async fn total_at(&self, token: &Token, within: Duration) -> Result<i128, NotReached> {
        self.shared.reach(token, within).await?;
        Ok(self.total())
    }

    /// The total at the latest state of this node that *every* enrolled replica was shown to hold,
    /// with that state's token: what was counted so far and no crash of any one of them, or of all
    /// but one, takes away. Never waits.
    ///
    /// The first call begins to watch the counter, and its answer is `None`; so is every one until
    /// a state since then is known to be everywhere. In peace that takes a round trip, and what is
    /// added is stable within a second or so. A replica out of reach holds it back, then
    /// [`StableTotal::age`] grows: until it is back, has left, or is
    /// [retired](crate::Node::retire). Each answer's state is later than the one before it. Which
    /// replicas count is said at [`Counter::add_replicated`]; one that joins later may show less
    /// until it is synced, and a subtraction or a reset since then makes others show less, too.
    ///
    /// # Complexity
    ///
    /// A short exclusive lock, linear in the replicas. A counter is watched until nobody has asked
    /// for 60 s, 1,024 at most: the one not asked about for longest makes room, and begins anew.
    /// While any is watched and the state moves: a snapshot every 100 ms, of which 9 are kept at 24
    /// bytes a replica and a watched counter each, and every 250 ms a question to up to 8 peers, of
    /// about 100 bytes and a digest (16 bytes a replica).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use counter_net::{Discovery, Node};
    /// # let node = Node::builder().cluster("docs-stable").discover(Discovery::None).start().await?;
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

    /// Takes `amount` away in this node's region; the counter may go below zero. Otherwise as
    /// [`Counter::add`].
    ///
    /// # Errors
    ///
    /// As for [`Counter::add`]; nothing was taken away.
    pub fn subtract(&self, amount: u64) -> Result<(), AddError> {
        self.shared
            .gate
            .pass(|| self.handle.subtract(amount))
            .inspect(|()| self.shared.metrics.added())
    }

    /// The sum over all regions, as far as this node knows, with its own adds up to this moment.
    ///
    /// # Complexity
    ///
    /// Linear in the counter's replicas.
    pub fn total(&self) -> i128 {
        self.shared.read().replica.total(&self.name)
    }

    /// The value of each region that has one, in order of their names.
    pub fn by_region(&self) -> BTreeMap<String, i128> {
        super::view::values_by_region(&self.shared.read(), &self.name)
    }

    /// What each replica (one incarnation of one node) has added, less what was reset, by region
    /// and replica.
    pub fn by_replica(&self) -> BTreeMap<String, Vec<(ReplicaId, i128)>> {
        let state = self.shared.read();
        let map = state.replica.map();
        map.regions(&self.name)
            .map(|(region, _)| (region.to_owned(), map.by_replica(&self.name, region)))
            .collect()
    }

    /// Sets every region of the counter back by exactly what this node has seen; adds made
    /// elsewhere at the same time stay.
    ///
    /// # Errors
    ///
    /// [`AddError::NotCaughtUp`] until this node is [synced](crate::Node::synced), and on a copied
    /// data directory until a member has answered; [`AddError::Stopped`] after the node has
    /// stopped: nothing was reset. Else, where a region's part cannot be written; the regions
    /// before it, in order of their names, are reset, and repeating the call is safe.
    pub fn reset(&self) -> Result<(), AddError> {
        let mut state = self.shared.write();
        if self.shared.gate.is_stopped() {
            return Err(AddError::Stopped);
        }
        // It would clear half of what there is, perhaps in terms that the others have given up.
        if self.shared.behind.load(Ordering::Relaxed) || !state.replicator.is_synced() {
            return Err(AddError::NotCaughtUp);
        }
        let flushed = state.replica.flush();
        let regions: Vec<String> =
            state.replica.map().regions(&self.name).map(|(region, _)| region.to_owned()).collect();
        let outcome =
            regions.iter().try_for_each(|region| state.replica.reset(&self.name, region).map(drop));
        // The replicator tells of what it flushes itself; this flush was ours.
        let flushed = flushed.changed.iter().map(|key| state.replica.map().name_of(*key));
        self.shared.subscribers.state_changed(
            flushed.chain(regions.iter().map(|region| (&*self.name, region.as_str()))),
        );
        drop(state);
        self.shared.state_changed();
        self.shared.wakes.local.notify_one();
        Ok(outcome?)
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter").field("name", &self.name).finish_non_exhaustive()
    }
}
