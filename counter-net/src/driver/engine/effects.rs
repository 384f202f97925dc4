//! Carries out the replicator's outputs: publish, ask, answer, judge, cut off, notify readers.

use std::sync::Arc;

use libp2p::PeerId;
use libp2p::gossipsub::{MessageAcceptance, PublishError};

use super::Driver;
use crate::config::{CUT_FOR, GOSSIP_PAYLOAD_BYTES_MAX};
use crate::protocol::{Acceptance, Alarm, Input, Notice, Output, Refusal};

/// The gossip score of a peer that was cut off, below every threshold.
const CUT_SCORE: f64 = -1_000.0;

impl Driver {
    /// Carries out one output. Returns the input that follows at once, if any.
    pub(super) fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Publish { payload } => self.publish(payload),
            Output::Validated { token, acceptance } => self.judge(token, acceptance),
            Output::Request { peer, id, payload } => match self.sessions.peer_of(peer) {
                Some(to) => {
                    let request = self.swarm.behaviour_mut().pull.send_request(&to, payload);
                    self.in_flight.asked(request, peer, id);
                }
                None => return Some(Input::RequestFailed { peer, id }),
            },
            Output::Respond { id, payload, .. } => {
                if let Some(channel) = self.in_flight.take_owed(id) {
                    // The peer may be gone. It asks again when it is back.
                    let _gone = self.swarm.behaviour_mut().pull.send_response(channel, payload);
                }
            }
            Output::Dial { node, addresses } => self.probe(node, &addresses),
            Output::Notify(notice) => self.tell(notice),
            Output::Penalise { peer, reason } => {
                if let Some(peer) = self.sessions.peer_of(peer) {
                    self.cut_off(peer, reason);
                }
            }
        }
        None
    }

    /// A failed publish loses nothing. The cells are in the state, and a peer finds out from the
    /// next span or digest that it lacks them.
    fn publish(&mut self, payload: Vec<u8>) {
        let metrics = &self.shared.metrics;
        if payload.len() > GOSSIP_PAYLOAD_BYTES_MAX {
            metrics.publish_failed("too_large");
            return;
        }
        let topic = self.names.topic.hash();
        match self.swarm.behaviour_mut().gossip.publish(topic, payload) {
            Ok(_) => {}
            Err(PublishError::NoPeersSubscribedToTopic) => metrics.publish_failed("no_peers"),
            Err(PublishError::AllQueuesFull(_)) => metrics.publish_failed("queues_full"),
            Err(PublishError::Duplicate) => metrics.publish_failed("duplicate"),
            Err(error) => {
                metrics.publish_failed("other");
                tracing::warn!(
                    %error,
                    "a gossip message was not published; anti-entropy will deliver its contents"
                );
            }
        }
    }

    fn judge(&mut self, token: u64, acceptance: Acceptance) {
        let acceptance = match acceptance {
            Acceptance::Accept => MessageAcceptance::Accept,
            Acceptance::Ignore => MessageAcceptance::Ignore,
            Acceptance::Reject => MessageAcceptance::Reject,
        };
        if let Some((message, from)) = self.in_flight.take_judged(token) {
            // False if the message has left the cache meanwhile.
            let _known = self
                .swarm
                .behaviour_mut()
                .gossip
                .report_message_validation_result(&message, &from, acceptance);
        }
    }

    fn tell(&mut self, notice: Notice) {
        let shared = Arc::clone(&self.shared);
        match notice {
            Notice::Changed { keys } => {
                shared.state_changed();
                if shared.subscribers.any() {
                    let state = shared.read();
                    shared
                        .subscribers
                        .state_changed(keys.iter().map(|key| state.replica.map().name_of(*key)));
                }
            }
            Notice::Renumbered { from, replica } => {
                tracing::info!(
                    %from, %replica,
                    "this node's clock is behind an earlier start of it; took a higher \
                     incarnation number; nothing is lost"
                );
                shared.state_changed();
                shared.subscribers.presence_changed();
            }
            Notice::Renewed { replica, cause } => {
                tracing::warn!(
                    %replica, %cause,
                    "continues as a new replica; adds that no other node held may be lost"
                );
                // The next incarnation from this directory claims this one in any case.
                shared
                    .commits
                    .get()
                    .into_iter()
                    .for_each(|commits| commits.continues_as(replica.incarnation));
                shared.state_changed();
                shared.subscribers.presence_changed();
            }
            Notice::SecondProcess => self.incarnations.note_first_process(),
            Notice::EarlierRelease { peer } => {
                let peer = self.sessions.peer_of(peer).map(tracing::field::display);
                tracing::warn!(
                    peer,
                    "a peer runs an earlier release, which may not read everything that this node \
                     writes: it may show lower totals until it is upgraded; nothing is lost"
                );
            }
            Notice::MembersChanged => shared.subscribers.presence_changed(),
            Notice::StatusChanged => {
                let synced = shared.read().replicator.is_synced();
                // The sweep claims earlier incarnations, so it runs at once.
                self.next_sweep = shared.now();
                shared.synced.send_if_modified(|told| std::mem::replace(told, synced) != synced);
                let readiness = shared.read().replicator.readiness();
                shared
                    .readiness
                    .send_if_modified(|told| std::mem::replace(told, readiness) != readiness);
                shared.subscribers.presence_changed();
            }
            Notice::Waited { id, how } => shared.waiting.answer(id, how),
            Notice::Alarm(alarm) => self.alarm(&alarm),
        }
    }

    fn alarm(&self, alarm: &Alarm) {
        if !matches!(alarm, Alarm::TombstonesKept { .. }) {
            self.shared.metrics.alarmed();
        }
        match alarm {
            Alarm::TombstonesKept { count, waits_for } => {
                let replica = waits_for.map_or_else(|| "a replica".to_owned(), |id| id.to_string());
                tracing::warn!(
                    "{count} tombstones wait for {replica}; totals are right, memory grows. \
                     Restart or retire it"
                );
            }
            Alarm::OwnAhead { version } => tracing::error!(
                "a member holds version {version} of this replica, which is later than any that \
                 this node wrote; it continues as a new replica. Look for a second process on a \
                 copy of its directory"
            ),
            Alarm::AnotherSelf { replica } => tracing::error!(
                "a later incarnation of this node, {replica}, is announced: two processes run \
                 under one identity (cloned disk?). Stop one of them"
            ),
            Alarm::Diverged { peer } => tracing::error!(
                "this node and {peer} hold the same versions with different contents, which is a \
                 fault of this program; a full pull repairs it. Keep the log and report it"
            ),
            Alarm::Conflict { cells } => tracing::error!(
                "{cells} cells of one version had different contents; all nodes keep the same one \
                 of each. Look for two processes with one identity; if there are none, report it"
            ),
            Alarm::JoinRefused { cause } => tracing::error!(
                "refused changes of a peer: {cause}. This node is not ready until a later pull fits"
            ),
        }
    }

    /// Closes the connections to a peer that broke the rules, and refuses new ones for a while.
    pub(super) fn cut_off(&mut self, peer: PeerId, reason: Refusal) {
        tracing::warn!(%peer, "cut off for {} s: {}", CUT_FOR.as_secs(), reason.label());
        self.shared.metrics.peer_cut();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.gossip.set_application_score(&peer, CUT_SCORE);
        behaviour.cut.block_peer(peer);
        self.book.forget(peer);
        let released = self.cut_peers.add(peer, self.shared.now());
        self.let_back_in(released);
    }

    /// Lets peers connect again.
    pub(super) fn let_back_in(&mut self, peers: Vec<PeerId>) {
        for peer in peers {
            self.swarm.behaviour_mut().cut.unblock_peer(peer);
        }
    }
}
