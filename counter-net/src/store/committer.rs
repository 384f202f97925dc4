//! Group commit on its own thread. An idle store commits at once; otherwise all waiting changes
//! share one fsync.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use counter_core::{Cursor, Delta, DeltaPage, ReplicaId, VersionVector};
use tokio::sync::oneshot;

use super::checkpoint::{Checkpoint, PAGE_BYTES_MAX, Weight};
use super::error::{NotDurable, StoreError};
use super::log::{Batch, Log, MetaChange};

/// The wait after a failed write.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// After a commit, the next one waits for the same callers to add again. The wait is the commit's
/// duration divided by this.
const GATHER_DIVISOR: u32 = 4;
/// The longest such wait, for disks that take long.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// Resolves once everything added before the ticket was drawn is committed.
pub(crate) type Ticket = oneshot::Receiver<Result<(), NotDurable>>;

/// The state to store.
pub(crate) trait CommitSource: Send + 'static {
    /// Flushes pending adds, and returns everything that `stored` lacks.
    fn changes_since(&mut self, stored: &VersionVector) -> Delta;
    /// A page of the whole state.
    fn page(
        &mut self,
        have: &VersionVector,
        only: &[ReplicaId],
        cursor: Option<&Cursor>,
        bytes_max: usize,
    ) -> DeltaPage;
    /// Every writer held.
    fn writers(&mut self) -> Vec<ReplicaId>;
    /// The log now holds these changes.
    fn committed(&mut self, _changes: &Delta) {}
    /// A commit failed.
    fn fails(&mut self, error: &StoreError);
    /// A commit succeeded after one that failed.
    fn works(&mut self);
}

/// A handle to the commit thread. Dropping the last one ends the thread after a last commit.
#[derive(Clone, Debug)]
pub(crate) struct Commits(Arc<CommitThread>);

#[derive(Debug)]
struct CommitThread {
    mailbox: Arc<Mailbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The state shared by the handles and the commit thread.
#[derive(Debug, Default)]
struct Mailbox {
    waiting: Mutex<CommitWaits>,
    wake_up: Condvar,
    /// True if a wake-up was requested since the thread last looked. Further requests then need no
    /// lock.
    wake_requested: AtomicBool,
    failing: AtomicBool,
    figures: Figures,
}

/// Totals since the start.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Commits, each with one fsync.
    pub(crate) commits: AtomicU64,
    /// Failed commits.
    pub(crate) failures: AtomicU64,
    /// Bytes of deltas and pages.
    pub(crate) bytes: AtomicU64,
    /// Checkpoints that came into force.
    pub(crate) checkpoints: AtomicU64,
}

impl Figures {
    fn count(&self, batch: &Batch) {
        let bytes = [&batch.delta, &batch.page].into_iter().flatten().map(Vec::len).sum::<usize>();
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.checkpoints.fetch_add(u64::from(batch.end_checkpoint), Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct CommitWaits {
    tickets: Vec<oneshot::Sender<Result<(), NotDurable>>>,
    /// The number of tickets that wakes the thread. Out of reach while the thread works, because it
    /// looks before it sleeps.
    wake_at: usize,
    changed: bool,
    /// Changes of the node's own record, kept until a commit has written them.
    meta_change: MetaChange,
    stop: bool,
    /// The thread has ended and answers no more tickets.
    over: bool,
}

impl Mailbox {
    fn waiting(&self) -> MutexGuard<'_, CommitWaits> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a wake-up or this many tickets, for at most `time` if given.
    fn wait<'a>(
        &'a self,
        mut waiting: MutexGuard<'a, CommitWaits>,
        wake_at: usize,
        time: Option<Duration>,
    ) -> MutexGuard<'a, CommitWaits> {
        waiting.wake_at = wake_at;
        let mut waiting = match time {
            Some(time) => {
                self.wake_up.wait_timeout(waiting, time).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.wake_up.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        };
        waiting.wake_at = usize::MAX;
        waiting
    }
}

impl Commits {
    /// Starts the thread. `stored` and `weight` describe the log's contents. A change without a
    /// ticket is committed within `commit_interval`.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn start(
        source: impl CommitSource,
        log: impl Log,
        (stored, weight): (VersionVector, Weight),
        commit_interval: Duration,
    ) -> std::io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let mut committer = Committer {
            mailbox: Arc::clone(&mailbox),
            source,
            log,
            stored,
            commit_interval,
            last: None,
            answered: 0,
            gather: Duration::ZERO,
            checkpoint: None,
            weight,
        };
        let thread = std::thread::Builder::new()
            .name("counter-commit".to_owned())
            .spawn(move || committer.run())?;
        Ok(Self(Arc::new(CommitThread { mailbox, thread: Mutex::new(Some(thread)) })))
    }

    /// Reports a change without a ticket. One atomic operation if the thread knows already.
    pub(crate) fn changed(&self) {
        let mailbox = &self.0.mailbox;
        if !mailbox.wake_requested.swap(true, Ordering::AcqRel) {
            mailbox.waiting().changed = true;
            mailbox.wake_up.notify_one();
        }
    }

    /// The node continues as a later incarnation. The next commit writes that.
    pub(crate) fn continues_as(&self, incarnation: u64) {
        self.change_meta(|meta| meta.incarnation = Some(incarnation));
    }

    /// The incarnations of this copy's original are settled.
    pub(crate) fn settled(&self) {
        self.change_meta(|meta| meta.is_settled = true);
    }

    /// Another process has this node's identity. The next commit writes that.
    pub(crate) fn gives_way(&self) {
        self.change_meta(|meta| meta.gives_way = true);
    }

    fn change_meta(&self, change: impl FnOnce(&mut MetaChange)) {
        let mut waiting = self.0.mailbox.waiting();
        change(&mut waiting.meta_change);
        waiting.changed = true;
        self.0.mailbox.wake_up.notify_one();
    }

    /// Draws a ticket for everything added before.
    pub(crate) fn ticket(&self) -> Ticket {
        let (reply, ticket) = oneshot::channel();
        let mut waiting = self.0.mailbox.waiting();
        match waiting.over {
            true => drop(reply.send(Err(NotDurable::Stopped))),
            false => waiting.tickets.push(reply),
        }
        let wakes = waiting.tickets.len() >= waiting.wake_at;
        // Without the lock, or the thread would wake only to wait for it.
        drop(waiting);
        if wakes {
            self.0.mailbox.wake_up.notify_one();
        }
        ticket
    }

    /// Returns true if the last write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.0.mailbox.failing.load(Ordering::Relaxed)
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.0.mailbox.figures
    }

    /// Stops like [`stop`](Self::stop), without waiting.
    pub(crate) fn finish(&self) {
        self.0.mailbox.waiting().stop = true;
        self.0.mailbox.wake_up.notify_one();
    }

    /// Makes a last commit, ends the thread and closes the file. Blocks until then. May be
    /// repeated.
    pub(crate) fn stop(&self) {
        self.0.stop();
    }
}

impl CommitThread {
    fn stop(&self) {
        self.mailbox.waiting().stop = true;
        self.mailbox.wake_up.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread has closed the file too.
        let _ended = thread
            .filter(|thread| thread.thread().id() != std::thread::current().id())
            .map(JoinHandle::join);
    }
}

impl Drop for CommitThread {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Committer<S, L> {
    mailbox: Arc<Mailbox>,
    log: L,
    /// Dropped after the log, because it keeps the directory locked.
    source: S,
    /// The versions that the log holds.
    stored: VersionVector,
    commit_interval: Duration,
    /// The end of the last commit, its answers included.
    last: Option<Instant>,
    /// The tickets that the last commit with tickets answered. As many are likely to come again.
    answered: usize,
    /// How long after the last commit the next one waits for as many tickets.
    gather: Duration,
    checkpoint: Option<Checkpoint>,
    weight: Weight,
}

/// Answers all open tickets when the thread ends, even by a panic.
struct CommitterGuard(Arc<Mailbox>);

impl Drop for CommitterGuard {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.over = true;
        waiting.tickets.drain(..).for_each(|reply| drop(reply.send(Err(NotDurable::Stopped))));
    }
}

impl<S: CommitSource, L: Log> Committer<S, L> {
    fn run(&mut self) {
        let _ending = CommitterGuard(Arc::clone(&self.mailbox));
        loop {
            let (tickets, stop) = self.next();
            let start = Instant::now();
            let outcome = self.commit();
            self.gather = (start.elapsed() / GATHER_DIVISOR).min(GATHER_MAX);
            self.note(outcome.as_ref().err());
            let answer = outcome.map_err(|error| NotDurable::Store(error.cause()));
            if !tickets.is_empty() {
                self.answered = tickets.len();
            }
            // A waiting future may have been dropped.
            tickets.into_iter().for_each(|reply| drop(reply.send(answer.clone())));
            self.last = Some(Instant::now());
            if stop {
                return;
            }
        }
    }

    /// Waits for work, and takes the tickets *before* the state is read. So the state contains what
    /// they wait for.
    ///
    /// Callers that add in a loop come back a moment after their answer. The first of them waits
    /// that moment for the rest. Otherwise they would split into two halves, and each would wait
    /// for the other's commit.
    fn next(&self) -> (Vec<oneshot::Sender<Result<(), NotDurable>>>, bool) {
        let mut waiting = self.mailbox.waiting();
        loop {
            let mut wake_at = 1;
            let time = if self.mailbox.failing.load(Ordering::Relaxed) {
                if waiting.stop { None } else { Some(self.until(RETRY_INTERVAL)) }
            } else if waiting.stop {
                None
            } else if !waiting.tickets.is_empty() {
                wake_at = self.answered;
                (waiting.tickets.len() < wake_at).then(|| self.until(self.gather))
            } else if waiting.changed || self.checkpoint.is_some() || self.log.has_leftovers() {
                Some(self.until(self.commit_interval))
            } else {
                waiting = self.mailbox.wait(waiting, wake_at, None);
                continue;
            };
            match time.filter(|time| !time.is_zero()) {
                Some(time) => waiting = self.mailbox.wait(waiting, wake_at, Some(time)),
                None => break,
            }
        }
        waiting.changed = false;
        self.mailbox.wake_requested.store(false, Ordering::Release);
        (std::mem::take(&mut waiting.tickets), waiting.stop)
    }

    /// The rest of an interval since the last commit.
    fn until(&self, interval: Duration) -> Duration {
        self.last.map_or(Duration::ZERO, |last| interval.saturating_sub(last.elapsed()))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        if self.checkpoint.is_none() && self.weight.wants_checkpoint() {
            batch.begin_checkpoint = true;
            self.checkpoint = Some(Checkpoint::new(self.source.writers()));
            self.weight.checkpoint_began();
        }
        let delta = self.source.changes_since(&self.stored);
        batch.delta = (!delta.is_empty()).then(|| delta.encode());
        let page = self.next_page(&mut batch);
        batch.meta_change = self.mailbox.waiting().meta_change;
        if batch.is_empty() && !self.log.has_leftovers() {
            return Ok(());
        }
        if let Err(error) = self.log.commit(&batch) {
            self.mailbox.figures.failures.fetch_add(1, Ordering::Relaxed);
            self.give_up_checkpoint();
            return Err(error);
        }
        self.mailbox.figures.count(&batch);
        self.written(batch.meta_change);
        self.source.committed(&delta);
        delta.spans().for_each(|span| self.stored.raise(span.replica, span.upto));
        self.weight.appended(batch.delta.as_ref().map_or(0, Vec::len));
        self.turn_page(page, batch.page.as_ref().map_or(0, Vec::len));
        Ok(())
    }

    /// Clears the written record. Changes made meanwhile stay for the next commit.
    fn written(&self, change: MetaChange) {
        let mut waiting = self.mailbox.waiting();
        if waiting.meta_change == change {
            waiting.meta_change = MetaChange::default();
        }
    }

    fn next_page(&mut self, batch: &mut Batch) -> Option<DeltaPage> {
        let (have, only, cursor) = self.checkpoint.as_ref()?.wanted();
        let page = self.source.page(&have, only, cursor, PAGE_BYTES_MAX);
        batch.page = Some(page.delta.encode());
        batch.end_checkpoint = page.next.is_none();
        Some(page)
    }

    fn turn_page(&mut self, page: Option<DeltaPage>, bytes: usize) {
        let (Some(page), Some(checkpoint)) = (page, self.checkpoint.as_mut()) else { return };
        if let Some(bytes) = checkpoint.written(&page, bytes) {
            self.weight.checkpoint_ended(bytes);
            self.checkpoint = None;
        }
    }

    /// Gives up the checkpoint after a failed commit, which may have lost its pages. The next one
    /// begins once the log has grown again.
    fn give_up_checkpoint(&mut self) {
        self.checkpoint = None;
    }

    /// Reports failures to the state, and logs when they begin and end.
    fn note(&mut self, error: Option<&StoreError>) {
        let failed = self.mailbox.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) => {
                self.source.fails(error);
                if !failed {
                    tracing::error!(
                        "{error}. Adds are refused meanwhile; retrying every {} ms",
                        RETRY_INTERVAL.as_millis()
                    );
                }
            }
            None if failed => {
                self.source.works();
                tracing::info!("the store can be written again; adds are taken");
            }
            None => {}
        }
    }
}
