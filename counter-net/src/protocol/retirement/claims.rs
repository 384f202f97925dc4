//! Decides when this node claims an incarnation that left, or whose claimants have ended.
//!
//! Any synced member that covers a leaver's last statement may claim. To avoid many claims, the
//! first of the live members claims at once and the others give it time. A claim that comes anyway
//! costs 16 bytes in a record until the fold.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::ReplicaId;

/// How long the other members leave a claim to the first one. Each waits up to twice as long, at
/// random.
const TURN: Duration = Duration::from_secs(1);

/// The incarnations that wait to be claimed.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// When this node may claim each.
    open: BTreeMap<ReplicaId, Duration>,
}

impl Claims {
    /// Replaces the incarnations that wait. New ones wait for one to two turns: `later`, from 0 to
    /// 1, is drawn at random.
    pub(super) fn wait_for(&mut self, incarnations: Vec<ReplicaId>, later: f64, now: Duration) {
        let since = |incarnation: &ReplicaId| {
            self.open.get(incarnation).copied().unwrap_or(now + TURN.mul_f64(1.0 + later))
        };
        self.open = incarnations
            .into_iter()
            .map(|incarnation| (incarnation, since(&incarnation)))
            .collect();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The incarnations that this node may claim now: all of them if it `is_first`.
    pub(super) fn due(&self, is_first: bool, now: Duration) -> Vec<ReplicaId> {
        self.open
            .iter()
            .filter(|(_, from)| is_first || **from <= now)
            .map(|(incarnation, _)| *incarnation)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_wait_their_turn() {
        let (incarnation, mut claims) = (ReplicaId::new(1, 1), Claims::default());
        claims.wait_for(vec![incarnation], 0.5, Duration::ZERO);
        assert_eq!(
            (claims.due(true, Duration::ZERO), claims.due(false, TURN)),
            (vec![incarnation], vec![])
        );
        claims.wait_for(vec![incarnation], 0.9, TURN);
        assert_eq!(claims.due(false, TURN.mul_f64(1.5)), [incarnation]);
        claims.wait_for(vec![], 0.0, TURN);
        assert!(claims.is_empty());
    }
}
