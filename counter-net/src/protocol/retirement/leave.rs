//! This replica's own leave for good, as a state of three stages.
//!
//! Invariant: after its last statement a leaver writes nothing, and serves no replica that the
//! statement does not name. So every member whose vector covers the statement knows all replicas
//! that hold anything of the leaver, and any such member may claim it. No successor is named, so a
//! hung peer holds nobody up.

use std::time::Duration;

use counter_core::{ReplicaId, VersionVector};

/// The longest delay of the last statement for a connected peer that is not recorded yet. The
/// statement would not name it.
const UNKNOWN_PEER_PATIENCE: Duration = Duration::from_millis(500);
/// The longest delay of the last statement for this node's own start. A node that is not synced yet
/// may know a single peer, and if that one hangs, nobody else may cover the statement.
const UNSYNCED_PATIENCE: Duration = Duration::from_secs(2);

/// A replica's own leave.
#[derive(Debug, Default)]
pub(super) struct Leave {
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    /// It stays, or the next incarnation of its process continues its cells.
    #[default]
    Stays,
    /// The last statement is due.
    Wanted { since: Duration },
    /// The last statement is written, and names `held`.
    Stated { held: VersionVector, is_covered: bool, is_claimed: bool },
}

impl Leave {
    pub(super) fn want(&mut self, now: Duration) {
        if let Stage::Stays = self.stage {
            self.stage = Stage::Wanted { since: now };
        }
    }

    /// True if the last statement is to be written now. `all_known`: every connected peer is
    /// recorded.
    pub(super) fn is_due(&self, is_synced: bool, all_known: bool, now: Duration) -> bool {
        let Stage::Wanted { since } = self.stage else { return false };
        (is_synced || now >= since + UNSYNCED_PATIENCE)
            && (all_known || now >= since + UNKNOWN_PEER_PATIENCE)
    }

    /// The last statement is written, and names these versions.
    pub(super) fn state(&mut self, held: VersionVector) {
        self.stage = Stage::Stated { held, is_covered: false, is_claimed: false };
    }

    pub(super) fn is_wanted(&self) -> bool {
        !matches!(self.stage, Stage::Stays)
    }

    /// The versions that the last statement names, once it is written.
    pub(super) fn stated(&self) -> Option<&VersionVector> {
        match &self.stage {
            Stage::Stated { held, .. } => Some(held),
            _ => None,
        }
    }

    pub(super) fn has_stated(&self) -> bool {
        matches!(self.stage, Stage::Stated { .. })
    }

    /// True if a requester may be served. After the last statement only the replicas that it names
    /// may be.
    pub(super) fn serves(&self, requester: ReplicaId) -> bool {
        match &self.stage {
            Stage::Stated { held, .. } => held.get(requester) > 0,
            _ => true,
        }
    }

    /// A member that stays has shown a digest. `is_folded` returns true for writers that no longer
    /// matter.
    pub(super) fn shown(&mut self, digest: &VersionVector, is_folded: impl Fn(ReplicaId) -> bool) {
        if let Stage::Stated { held, is_covered, .. } = &mut self.stage {
            *is_covered |= held
                .iter()
                .all(|(writer, version)| digest.get(writer) >= version || is_folded(writer));
        }
    }

    /// A member says that this replica was claimed: by a member that covers the last statement, or
    /// on an operator's word.
    pub(super) fn claimed(&mut self) {
        if let Stage::Stated { is_claimed, .. } = &mut self.stage {
            *is_claimed = true;
        }
    }

    /// True if nothing is left to do: a member covers the last statement, or this replica was
    /// claimed and nobody takes anything of it any more.
    pub(super) fn is_over(&self) -> bool {
        match self.stage {
            Stage::Stated { is_covered, is_claimed, .. } => is_covered || is_claimed,
            _ => false,
        }
    }

    /// True if a member was shown to cover the last statement.
    pub(super) fn is_covered(&self) -> bool {
        matches!(self.stage, Stage::Stated { is_covered: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(entries: &[(u64, u64)]) -> VersionVector {
        entries.iter().map(|(node, version)| (ReplicaId::new(*node, 1), *version)).collect()
    }

    #[test]
    fn statement_waits_for_unknown_peers() {
        let mut leave = Leave::default();
        assert!(!leave.is_due(true, true, Duration::ZERO));
        leave.want(Duration::ZERO);
        assert!(leave.is_due(true, true, Duration::ZERO));
        assert!(!leave.is_due(true, false, Duration::ZERO));
        assert!(leave.is_due(true, false, UNKNOWN_PEER_PATIENCE));
    }

    #[test]
    fn statement_waits_for_the_sync() {
        let mut leave = Leave::default();
        leave.want(Duration::ZERO);
        assert!(!leave.is_due(false, true, UNKNOWN_PEER_PATIENCE));
        assert!(leave.is_due(false, true, UNSYNCED_PATIENCE));
    }

    #[test]
    fn covering_member_ends_the_leave() {
        let mut leave = Leave::default();
        leave.want(Duration::ZERO);
        leave.state(vector(&[(1, 5), (2, 3)]));
        assert!(leave.serves(ReplicaId::new(2, 1)) && !leave.serves(ReplicaId::new(3, 1)));
        leave.shown(&vector(&[(1, 5), (2, 2)]), |_| false);
        assert!(!leave.is_covered());
        leave.shown(&vector(&[(1, 5)]), |writer| writer.node == 2);
        assert!(leave.is_covered());
    }
}
