//! Isolation: while it is asked for, this node has no connection and takes none; everything else of
//! it goes on.

use std::sync::atomic::Ordering;

use libp2p::PeerId;

use super::engine::Driver;
use crate::behaviour::limits;

impl Driver {
    /// Brings the network to what was asked for last.
    pub(super) fn follow_isolation(&mut self) {
        let asked = self.shared.isolated.load(Ordering::Relaxed);
        if asked == self.isolated {
            return;
        }
        self.isolated = asked;
        *self.swarm.behaviour_mut().limits.limits_mut() = limits(asked);
        if asked {
            let connected: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
            for peer in connected {
                // It may have closed by itself.
                let _gone = self.swarm.disconnect_peer_id(peer);
            }
            tracing::warn!("this node is isolated: it counts alone until that is taken back");
        } else {
            self.book.retry_all(self.shared.now());
            tracing::warn!("this node is no longer isolated");
        }
    }
}
