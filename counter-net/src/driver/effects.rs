//! What the replicator wants done: publish, ask, answer, judge, cut off, tell the node's readers.

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::gossipsub::{MessageAcceptance, PublishError};

use super::engine::Driver;
use crate::config::{CUT_FOR, CUT_MAX, GOSSIP_PAYLOAD_BYTES_MAX};
use crate::protocol::{Alarm, Input, Notice, Output, Refusal, Verdict};

/// The score of a peer that was cut off: below every threshold of gossip.
const CUT_SCORE: f64 = -1_000.0;

impl Driver {
    /// Does one thing; what comes of it at once is the next input.
    pub(super) fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Publish { payload } => self.publish(payload),
            Output::Verdict { token, verdict } => self.judge(token, verdict),
            Output::Request { peer, id, payload } => match self.contacts.peer_of(peer) {
                Some(to) => {
                    let request = self.swarm.behaviour_mut().pull.send_request(&to, payload);
                    self.asked.insert(request, (peer, id));
                }
                None => return Some(Input::RequestFailed { peer, id }),
            },
            Output::Respond { id, payload, .. } => {
                if let Some(channel) = self.owed.remove(&id) {
                    // The asker may be gone by now: then the answer goes nowhere, and it asks again
                    // when it is back.
                    let _gone = self.swarm.behaviour_mut().pull.send_response(channel, payload);
                }
            }
            Output::Dial { node, addresses } => self.probe(node, &addresses),
            Output::Notify(notice) => self.tell(notice),
            Output::Penalise { peer, reason } => {
                if let Some(peer) = self.contacts.peer_of(peer) {
                    self.cut_off(peer, reason);
                }
            }
        }
        None
    }

    /// A publish that fails loses nothing: the cells are in the state, and whoever lacks them finds
    /// out by the next span or digest.
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
                tracing::warn!(%error, "a gossip message was not published");
            }
        }
    }

    fn judge(&mut self, token: u64, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        if let Some((message, from)) = self.unjudged.remove(&token) {
            // False where the message has left the cache meanwhile: there is nothing to pass on
            // then.
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
                tracing::info!(%from, %replica, "members know a later start of this node than its clock gives: it goes on above that");
                shared.state_changed();
                shared.subscribers.presence_changed();
            }
            Notice::Renewed { replica } => {
                tracing::warn!(
                    %replica,
                    "this node's replica was retired by a member, or another process writes as it: the node goes on as a new replica; what it had \
                     added is counted as far as the others had it"
                );
                // The next incarnation from this directory claims this one, whatever else of it
                // gets there.
                shared
                    .commits
                    .get()
                    .into_iter()
                    .for_each(|commits| commits.goes_on_as(replica.incarnation));
                shared.state_changed();
                shared.subscribers.presence_changed();
            }
            Notice::SecondProcess => self.is_second = true,
            Notice::EarlierRelease { peer } => {
                let peer = self.contacts.peer_of(peer).map(tracing::field::display);
                tracing::warn!(
                    peer,
                    "a peer runs an earlier release, which may not read everything that this node writes: it may show lower totals \
                     until it is upgraded; nothing is lost"
                );
            }
            Notice::MembersChanged => shared.subscribers.presence_changed(),
            Notice::Synced => {
                let synced = shared.read().replicator.is_synced();
                // The incarnations before this one are claimed now.
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
        self.shared.metrics.alarmed();
        tracing::error!(?alarm, "replication alarm");
    }

    /// Closes the connections to a peer that broke the rules, and refuses new ones for a while.
    pub(super) fn cut_off(&mut self, peer: PeerId, reason: Refusal) {
        tracing::warn!(%peer, reason = reason.label(), "a peer broke the protocol's rules and is cut off");
        self.shared.metrics.peer_cut();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.gossip.set_application_score(&peer, CUT_SCORE);
        behaviour.cut.block_peer(peer);
        self.book.forget(peer);
        self.cut.push_back((self.shared.now() + CUT_FOR, peer));
        while self.cut.len() > CUT_MAX {
            self.take_back(Duration::MAX);
        }
    }

    /// Lets the longest cut peer come back, if its time is over at `now`.
    pub(super) fn take_back(&mut self, now: Duration) -> bool {
        let Some((_, peer)) = self.cut.front().copied().filter(|(until, _)| *until <= now) else {
            return false;
        };
        self.cut.pop_front();
        if self.cut.iter().all(|(_, other)| *other != peer) {
            self.swarm.behaviour_mut().cut.unblock_peer(peer);
        }
        true
    }
}
