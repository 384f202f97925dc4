//! Turns network events into inputs: connections, gossip, pulls, identities, pings.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use libp2p::core::ConnectedPoint;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError, ListenError, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, TransportError, allow_block_list, gossipsub, identify, mdns, ping,
    request_response,
};

use super::Driver;
use crate::config::LOST_AFTER;
use crate::driver::address_book::{AddressOrigin, DialFailure, DialTarget, is_wrong_key};
use crate::driver::listening::in_order;
use crate::driver::sessions::{IncomingRequest, ProcessOrder};
use crate::network::{BehaviourEvent, TOO_LONG, node_id};
use crate::protocol::{Acceptance, Input, MESSAGE_BYTES_MAX, Output, Refusal, refusal};

impl Driver {
    pub(in crate::driver) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Pull(event)) => self.on_pull(event),
            SwarmEvent::Behaviour(BehaviourEvent::Peers(event)) => self.on_introduction(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                let addresses = found
                    .into_iter()
                    .map(|(peer, address)| address.with_p2p(peer).unwrap_or_else(|kept| kept));
                self.book.found(addresses, AddressOrigin::Multicast, self.shared.now());
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                self.on_listeners_changed()
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint)
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.processes.closed(connection_id);
                if num_established == 0 {
                    self.on_disconnected(peer_id);
                }
                self.judge_deferred();
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failed(connection_id, &error)
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                self.on_arrival_failed(&error, &send_back_addr)
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let dialled = self.in_flight.dial_ended(connection);
        tracing::debug!(%peer, remote = %endpoint.get_remote_address(), "connected");
        self.book.connected(peer, dialled.as_ref());
        self.sessions.connected(peer, self.shared.now());
        self.processes.connected(connection, peer, self.shared.now());
    }

    fn on_disconnected(&mut self, peer: PeerId) {
        tracing::debug!(%peer, "disconnected");
        self.book.disconnected(peer, self.shared.now());
        // The search counts the peer as a candidate again before the replicator hears that it is
        // gone, because it may come back.
        self.tell_search();
        if let Some(node) = self.sessions.disconnected(&peer) {
            self.count_peers();
            self.feed(Input::PeerDown { peer: node });
        }
    }

    /// The far end has shown that it speaks this cluster's protocol. The replicator pulls from it
    /// at once, because gossip's first heartbeat may be a second away.
    fn on_spoke(&mut self, peer: PeerId) {
        if let Some(node) = self.sessions.spoke(peer) {
            self.count_peers();
            // The replicator waits for the peer before the search stops counting it.
            self.feed(Input::PeerUp { peer: node });
            self.on_reached(peer);
            self.ask_for_introduction(peer);
        }
    }

    fn count_peers(&self) {
        self.shared.peers.store(self.sessions.up_count(), std::sync::atomic::Ordering::Relaxed);
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                self.on_heard(&propagation_source);
                // Signed messages always name their author; the validation is strict.
                let signer = node_id(&message.source.unwrap_or(propagation_source));
                let token = self.in_flight.judge(message_id, propagation_source);
                if !self.processes.is_one(&propagation_source) {
                    // A second process may have sent it. Requests bring the same changes.
                    return drop(
                        self.perform(Output::Validated { token, acceptance: Acceptance::Ignore }),
                    );
                }
                self.feed(Input::Gossip { token, signer, payload: message.data });
            }
            gossipsub::Event::Subscribed { peer_id, topic } if topic == self.names.topic.hash() => {
                self.on_spoke(peer_id)
            }
            gossipsub::Event::SlowPeer { .. } => self.shared.metrics.publish_failed("slow_peer"),
            _ => {}
        }
    }

    fn on_pull(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        use request_response::{Event, Message};
        match event {
            Event::Message {
                peer,
                connection_id: connection,
                message: Message::Request { request, channel, .. },
            } => {
                if request.len() > MESSAGE_BYTES_MAX {
                    return self.cut_oversized(peer);
                }
                self.on_request(IncomingRequest { peer, connection, request, channel });
            }
            Event::Message {
                peer,
                connection_id,
                message: Message::Response { request_id, response },
            } => {
                self.on_heard(&peer);
                if let Some((peer, id)) = self.in_flight.answered(request_id) {
                    let input = match self.processes.order(connection_id) {
                        ProcessOrder::Only => Input::Response { peer, id, payload: response },
                        ProcessOrder::Unsure | ProcessOrder::Second => {
                            Input::RequestFailed { peer, id }
                        }
                    };
                    self.feed(input);
                }
            }
            Event::OutboundFailure { request_id, error, peer, .. } => {
                if let Some((node, id)) = self.in_flight.answered(request_id) {
                    self.feed(Input::RequestFailed { peer: node, id });
                }
                if let request_response::OutboundFailure::Io(error) = &error
                    && is_oversized(error)
                {
                    self.cut_oversized(peer);
                }
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    /// Hands a request to the replicator if it comes from the first process under the peer's
    /// identity. Defers it while that is not known, and refuses a second process.
    fn on_request(&mut self, asked: IncomingRequest) {
        match self.processes.order(asked.connection) {
            ProcessOrder::Only => {}
            ProcessOrder::Unsure => return self.processes.defer(asked),
            ProcessOrder::Second => {
                if self.processes.take_news(asked.connection) {
                    tracing::warn!(
                        peer = %asked.peer,
                        "a second process uses this peer's identity (cloned disk?); its requests \
                         are refused and it stops"
                    );
                    self.shared.metrics.rejected("second_process");
                }
                // The asker may be gone by now.
                let _gone = self
                    .swarm
                    .behaviour_mut()
                    .pull
                    .send_response(asked.channel, refusal(Refusal::SecondProcess));
                return;
            }
        }
        self.on_heard(&asked.peer);
        self.on_spoke(asked.peer);
        // A peer that is not up has no number yet. Its request is dropped, and it asks again.
        let Some(node) = self.sessions.node_of(&asked.peer) else { return };
        let id = self.in_flight.owe(asked.channel);
        self.feed(Input::Request { peer: node, id, payload: asked.request });
    }

    /// Judges deferred requests again, after more was learned of a process.
    fn judge_deferred(&mut self) {
        self.processes.take_deferred().into_iter().for_each(|asked| self.on_request(asked));
    }

    fn cut_oversized(&mut self, peer: PeerId) {
        self.shared.metrics.rejected("oversized_pull");
        self.cut_off(peer, Refusal::TooLarge);
    }

    /// Disconnects a node of another cluster. Remembers where one of this cluster listens, for when
    /// the connection is lost.
    fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, connection_id } = event else { return };
        self.processes.identified(connection_id, &info.agent_version, self.shared.now());
        self.judge_deferred();
        if info.protocol_version != self.names.family {
            tracing::warn!(
                peer = %peer_id,
                theirs = %bounded(&info.protocol_version),
                ours = %self.names.family,
                "disconnected a node of another cluster; check addresses and cluster names"
            );
            self.shared.metrics.rejected("other_cluster");
            self.book.note_foreign(peer_id, &bounded(&info.protocol_version));
            self.follow_trouble();
            let _gone = self.swarm.disconnect_peer_id(peer_id);
            return;
        }
        self.book.learned(peer_id, info.listen_addrs);
        if info.protocols.contains(&self.names.pull) {
            self.on_spoke(peer_id);
        }
        if self.sessions.node_of(&peer_id).is_some() {
            self.on_reached(peer_id);
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(_) => {
                self.processes.answered(event.connection, self.shared.now());
                self.judge_deferred();
                self.sessions.answered_ping(&event.peer);
                self.on_heard(&event.peer);
                if let Some(node) = self.sessions.node_of(&event.peer) {
                    self.feed(Input::PeerHeard { peer: node });
                }
            }
            // A peer without the ping protocol is not dead.
            Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                tracing::debug!(peer = %event.peer, %error, "a connection is dead");
                self.swarm.close_connection(event.connection);
            }
        }
    }

    fn on_heard(&mut self, peer: &PeerId) {
        if let Some(node) = self.sessions.heard(peer, self.shared.now()) {
            self.feed(Input::PeerHeard { peer: node });
        }
    }

    /// Suspects peers that fell silent, and gives them up later. A pulled cable or a hung process
    /// sends no other sign.
    fn give_up_lost(&mut self, now: Duration) {
        for node in self.sessions.fell_silent(now) {
            self.feed(Input::PeerSilent { peer: node });
        }
        for peer in self.sessions.lost(now) {
            tracing::warn!(
                %peer,
                "no message for {} s: connection closed, redialling",
                LOST_AFTER.as_secs()
            );
            self.shared.metrics.peer_lost();
            // At once, because unsent bytes may delay the closing of its connection.
            self.on_disconnected(peer);
            let _gone = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn on_dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            // It is connected or being dialled already.
            if let Some(target @ DialTarget::Peer(peer)) = self.in_flight.dial_ended(connection) {
                let connected = self.swarm.is_connected(&peer);
                if connected {
                    self.book.connected(peer, None);
                } else {
                    // Another dial of it has begun.
                    let _no_news = self.book.failed(
                        &target,
                        DialFailure::Other(error.to_string()),
                        self.shared.now(),
                    );
                }
                return;
            }
        }
        let cause = DialFailure::of(error);
        if !matches!(cause, DialFailure::Own | DialFailure::Stranger) {
            self.shared.metrics.dial_failed();
        }
        tracing::debug!(%error, "dial failed");
        if let Some(target) = self.in_flight.dial_ended(connection) {
            // This node answers at a peer's address: it took over the port.
            let is_taken_over = cause == DialFailure::Own && matches!(target, DialTarget::Peer(_));
            self.on_unreached(&target, if is_taken_over { DialFailure::Stranger } else { cause });
        }
    }

    fn on_arrival_failed(&mut self, error: &ListenError, from: &Multiaddr) {
        match error {
            ListenError::Denied { .. } if self.isolated => {}
            ListenError::Denied { cause }
                if cause.downcast_ref::<allow_block_list::Blocked>().is_some() =>
            {
                self.shared.metrics.rejected("cut_off")
            }
            ListenError::Denied { .. } => self.shared.metrics.rejected("connection_limit"),
            ListenError::Transport(error) => {
                let wrong_key =
                    matches!(error, TransportError::Other(error) if is_wrong_key(error));
                self.shared.metrics.rejected(if wrong_key { "wrong_key" } else { "handshake" });
                if wrong_key {
                    self.search.log_foreign_caller(from, self.shared.now());
                }
                tracing::debug!(
                    %from, %error,
                    "an incoming connection completed no handshake: a stranger, or another \
                     cluster key"
                );
            }
            _ => {}
        }
    }

    /// Dials every address that is due.
    pub(super) fn dial_due(&mut self) {
        if self.isolated {
            return;
        }
        let now = self.shared.now();
        for (target, addresses) in self.book.take_due(now, self.sessions.up_count()) {
            let options: DialOpts = match (&target, addresses.into_iter()) {
                (DialTarget::Peer(peer), addresses) => DialOpts::peer_id(*peer)
                    .addresses(addresses.collect())
                    .allocate_new_port()
                    .build(),
                (DialTarget::Place(address), _) => {
                    DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build()
                }
            };
            let connection = options.connection_id();
            self.in_flight.dialling(connection, target.clone());
            if let Err(error) = self.swarm.dial(options) {
                self.on_dial_failed(connection, &error);
            }
        }
    }

    /// Handles lost peers, silent strangers, and peers whose cut is over. `late` means that this
    /// node was held up, so messages of its peers may still be unread.
    pub(super) fn sweep(&mut self, now: Duration, late: bool) {
        if !late {
            self.give_up_lost(now);
        }
        for peer in self.sessions.strangers(now) {
            self.shared.metrics.rejected("silent_stranger");
            let _gone = self.swarm.disconnect_peer_id(peer);
        }
        let released = self.cut_peers.take_due(now);
        self.let_back_in(released);
        self.ask_in_turn(now);
    }

    /// An interface came or went. The members hear where this node listens now.
    pub(super) fn on_listeners_changed(&mut self) {
        let own = *self.swarm.local_peer_id();
        let listened: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        let addresses: Vec<Multiaddr> = in_order(listened)
            .into_iter()
            .map(|address| address.with_p2p(own).unwrap_or_else(|kept| kept))
            .collect();
        *self.shared.listen.write().unwrap_or_else(PoisonError::into_inner) =
            addresses.iter().map(Multiaddr::to_string).collect();
        self.feed(Input::Listening(addresses.iter().map(Multiaddr::to_vec).collect()));
    }
}

fn is_oversized(error: &io::Error) -> bool {
    error.kind() == TOO_LONG
}

/// Makes a stranger's text safe for the log: short and on one line.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
