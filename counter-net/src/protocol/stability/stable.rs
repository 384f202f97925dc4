//! Stable totals and lags: takes snapshots, asks peers for digests, and compares.

use std::time::Duration;

use counter_core::{Replica, ReplicaId, VersionVector};

use super::snapshots::Stable;
use crate::protocol::context::Timer;
use crate::protocol::input::NodeId;
use crate::protocol::membership::{LAG_CELLS_MAX, Lag, Shortfall};
use crate::protocol::replicator::Replicator;

/// The most peers asked at a time.
const QUESTIONS_MAX: usize = 8;
/// The longest time between two looks while a counter is watched.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl Replicator {
    /// A counter's total at the latest state of this replica that every enrolled replica is known
    /// to hold, with that state's version vector.
    ///
    /// The first call begins to watch the counter. The watch ends once nobody has asked for 60 s.
    /// At most 1,024 counters are watched, and a further one displaces the one not asked about for
    /// the longest time. Returns `None` until a state since the first call is known to be
    /// everywhere. That takes a round trip to the slowest replica, or as long as an enrolled
    /// replica is out of reach. Each answer's state is later than the one before it. Feed
    /// [`Input::Timer`](crate::protocol::Input::Timer) afterwards if
    /// [`poll_timeout`](Self::poll_timeout) has changed.
    ///
    /// # Complexity
    /// O(writers). The first call for a counter takes a snapshot, O(writers + replicas of the
    /// watched counters). While counters are watched and the state moves, a snapshot is taken every
    /// 100 ms at most, and 9 are kept (24 bytes a writer and a watched counter each). Every 250 ms
    /// up to 8 peers are asked for their digests. That costs about 100 bytes each if they hold the
    /// same, else their digest.
    pub fn stable_total(
        &mut self,
        replica: &Replica,
        counter: &str,
        now: Duration,
    ) -> Option<Stable> {
        self.ctx.now = self.ctx.now.max(now);
        if self.snapshots.watch(replica.map(), counter, self.ctx.now) {
            self.ctx.timers.set_by(Timer::Stable, self.ctx.now);
        }
        self.snapshots.settle(&self.others(replica));
        self.snapshots.stable(counter, self.ctx.now)
    }

    /// Every enrolled replica but this one, ascending.
    fn others(&self, replica: &Replica) -> Vec<ReplicaId> {
        self.members
            .enrolled(replica.map())
            .into_iter()
            .filter(|incarnation| *incarnation != self.ctx.own)
            .collect()
    }

    /// Takes a snapshot if the state has moved and the last one is old enough.
    pub(crate) fn snapshot_if_due(&mut self, replica: &Replica) {
        self.snapshots.look(replica.map(), self.moved(replica), self.ctx.now);
        if self.snapshots.is_watched()
            && let Some(due) = self.snapshots.due()
        {
            self.ctx.timers.set_by(Timer::Stable, due);
        }
    }

    /// Asks replicas that lack the latest snapshot for digests.
    pub(crate) fn on_stable(&mut self, replica: &mut Replica) {
        self.snapshots.unwatch(self.ctx.now);
        if !self.snapshots.is_watched() || self.leaving {
            return;
        }
        self.snapshot_if_due(replica);
        let others = self.others(replica);
        let without = self.snapshots.without_latest(&others);
        self.snapshots.settle(&others);
        let mut again = self.ctx.now + LOOK_INTERVAL;
        if !without.is_empty() {
            if self.ctx.now >= self.snapshots.next_question() {
                self.snapshots.asked(self.ctx.now);
                self.ask_some(replica, &without);
            }
            again = self.snapshots.next_question();
        }
        self.ctx.timers.set_by(Timer::Stable, again);
    }

    fn ask_some(&mut self, replica: &mut Replica, without: &[ReplicaId]) {
        let at_hand = |incarnation: &ReplicaId| {
            let node = NodeId(incarnation.node);
            let answers = self
                .peers
                .get(node)
                .is_some_and(|source| source.has_answered() && !source.rests(self.ctx.now));
            (answers && !self.awaits(node, |asked| asked.tells_digest())).then_some(node)
        };
        let mut peers: Vec<NodeId> = without.iter().filter_map(at_hand).collect();
        self.ctx.rng.shuffle(&mut peers);
        for peer in peers.into_iter().take(QUESTIONS_MAX) {
            self.compare(replica, peer);
        }
    }

    /// How far a member is from this node, which holds `seen`. `None` before anything was heard of
    /// it.
    pub(crate) fn lag(
        &self,
        replica: &Replica,
        node: NodeId,
        seen: &VersionVector,
        now: Duration,
    ) -> Option<Lag> {
        if let lag @ Some(_) = self.peers.lag(node, seen, now) {
            return lag;
        }
        let (digest, heard) = self.confirmations.covered_by(node)?;
        let lacks = self.shortfall(replica, digest);
        let versions =
            seen.iter().map(|(writer, version)| version.saturating_sub(digest.get(writer)));
        Some(Lag {
            cells_behind: lacks.cells,
            time_behind: lacks.time,
            versions_behind: versions.fold(0, u64::saturating_add),
            versions_ahead: 0,
            heard: now.saturating_sub(heard),
        })
    }

    /// How far the sender of a digest is behind this node.
    pub(crate) fn shortfall(&self, replica: &Replica, digest: &VersionVector) -> Shortfall {
        if replica
            .map()
            .version_vector()
            .iter()
            .all(|(writer, version)| digest.get(writer) >= version)
        {
            return Shortfall::default();
        }
        Shortfall {
            cells: replica.map().cells_since(digest, LAG_CELLS_MAX),
            time: self.snapshots.behind_for(digest, self.ctx.now),
        }
    }
}
