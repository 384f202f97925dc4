//! Stopping: sends the last adds and the good-bye, then closes every connection.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use libp2p::PeerId;
use tokio::time::{Instant, timeout_at};

use super::Driver;
use crate::config::FAREWELL_MAX;
use crate::protocol::Input;

/// How long the network runs on after the last message. libp2p does not report when a queued
/// message has been sent.
const LINGER: Duration = Duration::from_millis(20);

impl Driver {
    pub(super) async fn farewell(&mut self) {
        let asked = self.shared.for_good.load(Ordering::Relaxed);
        // The next incarnation continues from a directory. Without one, another node takes over.
        let for_good = asked || self.shared.commits.get().is_none();
        let leave_within = self.shared.read().replicator.config().leave_within;
        let end = Instant::now() + if for_good { leave_within } else { FAREWELL_MAX };
        // Every add that returned Ok is in the flush that follows.
        self.shared.gate.stop();
        self.shared.read().replica.hand_over();
        self.feed(Input::LocalChange);
        self.feed(Input::Leave { for_good });
        while !self.is_drained() && Instant::now() < end {
            let timer = self
                .next_timer
                .map_or(end, |timer| Instant::from_std(self.shared.origin + timer))
                .min(end);
            match timeout_at(timer, self.swarm.select_next_some()).await {
                Ok(event) => self.on_event(event),
                Err(_) => self.feed(Input::Timer),
            }
        }
        if for_good && !self.is_drained() {
            let incarnation = self.shared.replica();
            tracing::warn!(
                "left without a confirmed successor. Counts that other nodes hold are safe. If \
                 `members` still lists {incarnation}, retire it elsewhere"
            );
        }
        self.run_network_until((Instant::now() + LINGER).min(end)).await;
        self.close_connections(end).await;
    }

    fn is_drained(&self) -> bool {
        let state = self.shared.read();
        state.replicator.is_drained(&state.replica)
    }

    async fn run_network_until(&mut self, end: Instant) {
        while let Ok(event) = timeout_at(end, self.swarm.select_next_some()).await {
            self.on_event(event);
        }
    }

    async fn close_connections(&mut self, end: Instant) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _gone = self.swarm.disconnect_peer_id(peer);
        }
        while self.swarm.connected_peers().next().is_some() {
            if timeout_at(end, self.swarm.select_next_some()).await.is_err() {
                return;
            }
        }
    }
}
