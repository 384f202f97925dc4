//! This node leaves for good: it writes a last statement and waits until a member covers it.

use std::time::Duration;

use counter_core::{Flushed, Replica, ReplicaId, VersionVector};

use super::successor::ASKED_A_STEP;
use crate::protocol::input::NodeId;
use crate::protocol::output::{Notice, Refusal};
use crate::protocol::replicator::{Replicator, Timer};

/// Time between two looks whether a member covers the last statement.
const LEAVE_INTERVAL: Duration = Duration::from_millis(100);

impl Replicator {
    /// This replica leaves for good, and another is to be its successor.
    pub(crate) fn want_leave(&mut self, replica: &mut Replica) {
        self.retirement.leave.want(self.now);
        self.timers.set(Timer::Retire, self.now);
        self.state_leave(replica);
    }

    /// Writes the last statement once this node is synced and every connected peer is recorded, or
    /// the time for that has passed.
    fn state_leave(&mut self, replica: &mut Replica) {
        let known = |peer: NodeId| {
            let entry = self.members.get(peer);
            entry.is_some_and(|entry| replica.map().seen_of(entry.replica) > 0)
        };
        let all_known =
            self.peers.iter().all(|(peer, source)| source.failures() > 0 || known(peer));
        if !self.retirement.leave.is_due(self.is_synced(), all_known, self.now) {
            return;
        }
        self.flush(replica);
        replica.leave();
        self.retirement.leave.state(replica.map().version_vector());
        self.publish_own(replica, &Flushed::default());
        self.out.notify(Notice::Changed { keys: Vec::new() });
        for peer in self.peers.nodes().collect::<Vec<_>>() {
            self.tell(replica, peer);
        }
    }

    /// Asks members again and again until one was shown to cover the last statement.
    pub(super) fn pursue_leave(&mut self, replica: &mut Replica) {
        if !self.retirement.leave.is_wanted() || self.retirement.leave.is_over() {
            return;
        }
        self.timers.set(Timer::Retire, self.now + LEAVE_INTERVAL);
        if !self.retirement.leave.has_stated() {
            return self.state_leave(replica);
        }
        let mut peers: Vec<NodeId> =
            self.peers.nodes().filter(|peer| self.may_succeed(replica, *peer)).collect();
        self.rng.shuffle(&mut peers);
        for peer in peers.into_iter().take(ASKED_A_STEP) {
            if !self.awaits(peer, |asked| asked.tells_digest()) {
                self.ask_digest(replica, peer);
            }
        }
    }

    /// True if a connected peer may succeed this leaver: it is live, named by the last statement,
    /// and does not leave itself.
    pub(crate) fn may_succeed(&self, replica: &Replica, peer: NodeId) -> bool {
        self.members.get(peer).is_some_and(|entry| {
            entry.is_live()
                && self.retirement.leave.serves(entry.replica)
                && !replica.map().has_left(entry.replica)
        })
    }

    /// True if the leave is over. `None` if this node does not leave for good.
    pub(crate) fn has_left_for_good(&self, replica: &Replica) -> Option<bool> {
        let leave = &self.retirement.leave;
        let nobody = || {
            leave.has_stated() && !self.peers.nodes().any(|peer| self.may_succeed(replica, peer))
        };
        leave.is_wanted().then(|| leave.is_over() || replica.map().is_ended(self.own) || nobody())
    }

    /// True once the last statement is written. Nobody would take what is written afterwards.
    pub(crate) fn has_stated_leave(&self) -> bool {
        self.retirement.leave.has_stated()
    }

    /// How many of the versions in `held` this node does not promise to keep, by writer. These are
    /// not committed, or the last statement of this leaver does not name them. O(writers log
    /// writers).
    pub(crate) fn not_promised(&self, held: &VersionVector) -> VersionVector {
        let mut behind = self.commits.behind(held);
        if let Some(stated) = self.retirement.leave.stated() {
            for (writer, version) in held.iter() {
                behind.raise(writer, version.saturating_sub(stated.get(writer)));
            }
        }
        behind
    }

    /// After its last statement, a leaver serves only the replicas that it names.
    ///
    /// # Errors
    /// `NotRecorded`.
    pub(crate) fn serves(&self, requester: ReplicaId) -> Result<(), Refusal> {
        if self.retirement.leave.serves(requester) { Ok(()) } else { Err(Refusal::NotRecorded) }
    }
}
