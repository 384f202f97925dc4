//! Isolation on request: the node closes its connections and takes none. Everything else continues.

use std::sync::atomic::Ordering;

use libp2p::PeerId;

use super::Driver;
use crate::network::limits;

impl Driver {
    /// Applies the latest request.
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
                // It may be closed already.
                let _gone = self.swarm.disconnect_peer_id(peer);
            }
            tracing::warn!("isolated on request: adds count here only, until isolation ends");
        } else {
            self.book.retry_all(self.shared.now());
            tracing::warn!("isolation ended: dialling all known nodes");
        }
    }
}
