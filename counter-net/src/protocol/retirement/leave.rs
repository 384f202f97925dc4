//! This replica's own leave for good, in three stages.
//!
//! The *last statement* of a leaver is a record that names every version that it holds. Invariant:
//! after its last statement a leaver writes nothing, and serves no replica that the statement does
//! not name. So every member whose vector covers the statement knows all replicas that hold
//! anything of the leaver, and any such member may claim it. No successor is named, so a hung peer
//! holds nobody up.

use std::time::Duration;

use counter_core::{CounterMap, ReplicaId, VersionVector};

use crate::protocol::context::{Context, Timer};
use crate::protocol::interface::NodeId;
use crate::protocol::membership::Membership;
use crate::protocol::peers::Peers;

/// How long the last statement waits for the record of a connected peer, so that it can name that
/// peer.
const UNKNOWN_PEER_PATIENCE: Duration = Duration::from_millis(500);
/// How long the last statement waits until this node is synced. An unsynced node may know a single
/// peer, and if that one hangs, nobody else may cover the statement.
const UNSYNCED_PATIENCE: Duration = Duration::from_secs(2);
/// Time between two checks whether a member covers the last statement.
const LEAVE_INTERVAL: Duration = Duration::from_millis(100);

/// A replica's own leave.
#[derive(Debug, Default)]
pub(crate) struct Leave {
    stage: LeaveStage,
}

#[derive(Debug, Default)]
enum LeaveStage {
    /// It stays, or the next incarnation of its process continues its cells.
    #[default]
    Stays,
    /// The last statement is due.
    Wanted { since: Duration },
    /// The last statement is written, and names `held`.
    Stated { held: VersionVector, is_covered: bool, is_claimed: bool },
}

impl Leave {
    /// This replica leaves for good, and another is to be its successor.
    pub(crate) fn want(&mut self, ctx: &mut Context) {
        if let LeaveStage::Stays = self.stage {
            self.stage = LeaveStage::Wanted { since: ctx.now };
        }
        ctx.timers.set(Timer::Retire, ctx.now);
    }

    /// Sets the timer for the next check. Returns false if there is nothing left to wait for.
    pub(crate) fn look_again(&self, ctx: &mut Context) -> bool {
        let goes_on = self.is_wanted() && !self.is_over();
        if goes_on {
            ctx.timers.set(Timer::Retire, ctx.now + LEAVE_INTERVAL);
        }
        goes_on
    }

    /// `all_known` is true if every connected peer is recorded.
    fn is_due(&self, is_synced: bool, all_known: bool, now: Duration) -> bool {
        let LeaveStage::Wanted { since } = self.stage else { return false };
        (is_synced || now >= since + UNSYNCED_PATIENCE)
            && (all_known || now >= since + UNKNOWN_PEER_PATIENCE)
    }

    /// True if the last statement is to be written now: this node is synced and every connected
    /// peer that answers is recorded, or the time for that has passed.
    pub(crate) fn may_write_statement(
        &self,
        ctx: &Context,
        map: &CounterMap,
        peers: &Peers,
        membership: &Membership,
        is_synced: bool,
    ) -> bool {
        let is_recorded =
            |node| membership.replica_of(node).is_some_and(|peer| map.seen_of(peer) > 0);
        let all_known = peers.iter().all(|(node, peer)| peer.failures() > 0 || is_recorded(node));
        self.is_due(is_synced, all_known, ctx.now)
    }

    /// The last statement is written, and names these versions.
    pub(crate) fn set_statement(&mut self, held: VersionVector) {
        self.stage = LeaveStage::Stated { held, is_covered: false, is_claimed: false };
    }

    /// True once this replica leaves for good.
    pub(crate) fn is_wanted(&self) -> bool {
        !matches!(self.stage, LeaveStage::Stays)
    }

    /// The versions that the last statement names, once it is written.
    pub(crate) fn statement(&self) -> Option<&VersionVector> {
        match &self.stage {
            LeaveStage::Stated { held, .. } => Some(held),
            _ => None,
        }
    }

    /// True once the last statement is written. No node takes anything written after it.
    pub(crate) fn has_statement(&self) -> bool {
        matches!(self.stage, LeaveStage::Stated { .. })
    }

    /// True if a requester may be served. After the last statement only the replicas that it names
    /// may be.
    pub(crate) fn serves(&self, requester: ReplicaId) -> bool {
        match &self.stage {
            LeaveStage::Stated { held, .. } => held.get(requester) > 0,
            _ => true,
        }
    }

    /// A member that stays has promised to keep these versions. `is_folded` returns true for
    /// writers that no longer matter.
    pub(crate) fn take_promise(
        &mut self,
        digest: &VersionVector,
        is_folded: impl Fn(ReplicaId) -> bool,
    ) {
        if let LeaveStage::Stated { held, is_covered, .. } = &mut self.stage {
            *is_covered |= held
                .iter()
                .all(|(writer, version)| digest.get(writer) >= version || is_folded(writer));
        }
    }

    /// A member says that this replica was claimed: by a member that covers the last statement, or
    /// at an operator's request.
    pub(crate) fn claimed(&mut self) {
        if let LeaveStage::Stated { is_claimed, .. } = &mut self.stage {
            *is_claimed = true;
        }
    }

    /// True if nothing is left to do: a member covers the last statement, or this replica was
    /// claimed, so no node takes anything of it any more.
    pub(crate) fn is_over(&self) -> bool {
        match self.stage {
            LeaveStage::Stated { is_covered, is_claimed, .. } => is_covered || is_claimed,
            _ => false,
        }
    }

    /// True if a connected peer may succeed this leaver: it is live, named by the last statement,
    /// and does not leave itself.
    pub(crate) fn may_succeed(
        &self,
        map: &CounterMap,
        membership: &Membership,
        peer: NodeId,
    ) -> bool {
        membership.get(peer).is_some_and(|entry| {
            entry.is_live() && self.serves(entry.replica) && !map.has_left(entry.replica)
        })
    }

    /// The peers that may succeed this leaver, ascending.
    pub(crate) fn successors(
        &self,
        map: &CounterMap,
        peers: &Peers,
        membership: &Membership,
    ) -> Vec<NodeId> {
        let mut nodes = peers.nodes();
        nodes.retain(|peer| self.may_succeed(map, membership, *peer));
        nodes
    }

    /// True if a member is known to cover the last statement.
    pub(crate) fn is_covered(&self) -> bool {
        matches!(self.stage, LeaveStage::Stated { is_covered: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::interface::ProtocolConfig;
    use counter_core::Replica;

    fn vector(entries: &[(u64, u64)]) -> VersionVector {
        entries.iter().map(|(node, version)| (ReplicaId::new(*node, 1), *version)).collect()
    }

    fn context() -> Context {
        let replica = Replica::new(ReplicaId::new(1, 1), "ord").expect("a region");
        Context::new(ProtocolConfig::default(), &replica, 1, Duration::ZERO)
    }

    #[test]
    fn statement_waits_for_unknown_peers() {
        let mut leave = Leave::default();
        assert!(!leave.is_due(true, true, Duration::ZERO));
        leave.want(&mut context());
        assert!(leave.is_due(true, true, Duration::ZERO));
        assert!(!leave.is_due(true, false, Duration::ZERO));
        assert!(leave.is_due(true, false, UNKNOWN_PEER_PATIENCE));
    }

    #[test]
    fn statement_waits_for_the_sync() {
        let mut leave = Leave::default();
        leave.want(&mut context());
        assert!(!leave.is_due(false, true, UNKNOWN_PEER_PATIENCE));
        assert!(leave.is_due(false, true, UNSYNCED_PATIENCE));
    }

    #[test]
    fn covering_member_ends_the_leave() {
        let mut leave = Leave::default();
        leave.want(&mut context());
        leave.set_statement(vector(&[(1, 5), (2, 3)]));
        assert!(leave.serves(ReplicaId::new(2, 1)) && !leave.serves(ReplicaId::new(3, 1)));
        leave.take_promise(&vector(&[(1, 5), (2, 2)]), |_| false);
        assert!(!leave.is_covered());
        leave.take_promise(&vector(&[(1, 5)]), |writer| writer.node == 2);
        assert!(leave.is_covered());
    }
}
