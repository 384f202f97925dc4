//! This node continues as a new incarnation, because its own was ended.

use counter_core::{Flushed, Replica, ReplicaId};

use super::Retirement;
use crate::protocol::output::Notice;
use crate::protocol::replicator::Replicator;
use crate::protocol::stats::Event;

impl Replicator {
    /// Continues as a new writer. This incarnation was ended by others, another process writes
    /// under its id, or a second process ran above it.
    pub(crate) fn renew(&mut self, replica: &mut Replica) {
        let incarnations = replica
            .map()
            .replicas()
            .filter(|incarnation| incarnation.node == self.ctx.own.node)
            .map(|incarnation| incarnation.incarnation);
        let latest = ReplicaId {
            incarnation: incarnations.fold(self.ctx.own.incarnation, u64::max),
            ..self.ctx.own
        };
        let incarnation = ReplicaId {
            incarnation: latest.follows().incarnation | u64::from(self.ctx.rng.u32(..)),
            ..self.ctx.own
        };
        let (before, is_certain) =
            (self.ctx.own, self.is_below_ended(replica) && !replica.map().is_ended(self.ctx.own));
        let Ok(changed) = replica.renew(incarnation) else { return };
        if is_certain {
            // Nobody else writes as the one before.
            replica.claim(before);
        }
        self.ctx.out.changed(changed);
        self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
        self.ctx.own = incarnation;
        self.members.renew(incarnation);
        self.publisher.renew(replica);
        self.snapshots.start_again();
        self.confirmations.renew(incarnation);
        self.retirement = Retirement::default();
        self.ctx.out.count(Event::Renewal);
        self.ctx.out.notify(Notice::Renewed { replica: incarnation });
        self.publish_own(replica, &Flushed::default());
        self.announce_soon();
        // Nobody knows this incarnation yet. Each peer gets its record with the next question.
        for peer in self.peers.nodes().collect::<Vec<_>>() {
            self.ask_digest(replica, peer);
        }
        self.incarnations_changed(replica);
    }

    /// A member says that the incarnation which asked it has ended. A leaver is done then, and any
    /// other incarnation continues as a new one.
    pub(crate) fn told_ended(&mut self, asker: ReplicaId) {
        if asker == self.ctx.own {
            self.retirement.leave.claimed();
            if !self.leaving {
                self.retirement.want_renewal();
            }
        }
    }

    /// True if a second process ran under this node's identity and has ended. It started later, and
    /// a node's incarnations are folded in order, so this one has to end too.
    pub(crate) fn is_below_ended(&self, replica: &Replica) -> bool {
        let is_later = |other: &ReplicaId| {
            other.node == self.ctx.own.node && other.incarnation > self.ctx.own.incarnation
        };
        replica.map().replicas().filter(is_later).any(|later| replica.map().is_ended(later))
    }
}
