//! Hands events to nodes, and turns the nodes' outputs into events.

use std::rc::Rc;
use std::time::Duration;

use super::Sim;
use crate::protocol::{Acceptance, Input, MESSAGE_BYTES_MAX, NodeId, Notice, Output};
use crate::sim::Failure;
use crate::sim::network::Event;

/// How long a request takes to fail.
const FAIL_AFTER: Duration = Duration::from_millis(500);
/// How many changed keys are compared with the truth at each step.
const KEYS_CHECKED_MAX: usize = 32;

impl Sim {
    /// Lets the next event happen.
    pub(super) fn step(&mut self) {
        let Some((at, event)) = self.queue.pop() else { return };
        self.now = self.now.max(at);
        if let Some(until) = self.busy(&event) {
            return self.queue.push(until, event);
        }
        match event {
            Event::Wake { host, incarnation } => self.on_wake(host, incarnation),
            Event::Gossip { from, to, message, again } => self.on_gossip(from, to, message, again),
            Event::Request { from, incarnation, to, id, payload, epoch } => {
                self.on_request((from, incarnation, id, epoch), to, &payload)
            }
            Event::Response { from, to, incarnation, id, payload, epoch } => {
                if self.links.epoch(from, to) == Some(epoch) && self.is_current(to, incarnation) {
                    self.hosts[to].cost.received_bytes += payload.len() as u64;
                    let peer = self.hosts[from].node;
                    self.hand(to, Input::Response { peer, id, payload: payload.to_vec() }, None);
                }
            }
            Event::Failed { host, incarnation, peer, id } if self.is_current(host, incarnation) => {
                let peer = self.hosts[peer].node;
                self.hand(host, Input::RequestFailed { peer, id }, None);
            }
            Event::Failed { .. } => {}
            Event::Discovered { host, incarnation } if self.is_current(host, incarnation) => {
                self.on_discovered(host)
            }
            Event::Dialled { from, incarnation, to, tries }
                if self.is_current(from, incarnation) =>
            {
                self.on_dialled(from, to, tries)
            }
            Event::Connected { from, incarnation, to, tries }
                if self.is_current(from, incarnation) =>
            {
                self.on_connected(from, to, tries)
            }
            Event::DialFailed { from, incarnation, to, tries }
                if self.is_current(from, incarnation) =>
            {
                self.on_dial_failed(from, to, tries)
            }
            Event::Discovered { .. }
            | Event::Dialled { .. }
            | Event::Connected { .. }
            | Event::DialFailed { .. } => {}
            Event::Lost { a, b, epoch } => self.on_lost(a, b, epoch),
            Event::Disconnect { a, b, epoch } => self.on_disconnect(a, b, epoch),
        }
    }

    /// True if a node is up, in the incarnation that an event is meant for.
    fn is_current(&self, host: usize, incarnation: u64) -> bool {
        self.hosts[host].incarnation == incarnation && self.hosts[host].alive.is_some()
    }

    /// Until when the receiver of an event is still busy with an earlier one.
    fn busy(&self, event: &Event) -> Option<Duration> {
        let host = match event {
            Event::Wake { host, .. } | Event::Failed { host, .. } => *host,
            Event::Gossip { to, .. } | Event::Request { to, .. } | Event::Response { to, .. } => {
                *to
            }
            Event::Discovered { .. }
            | Event::Dialled { .. }
            | Event::Connected { .. }
            | Event::DialFailed { .. } => return None,
            Event::Lost { .. } | Event::Disconnect { .. } => return None,
        };
        Some(self.hosts[host].busy_until).filter(|until| *until > self.now)
    }

    fn on_wake(&mut self, host: usize, incarnation: u64) {
        if !self.is_current(host, incarnation) {
            return;
        }
        let due = self.hosts[host]
            .alive
            .as_ref()
            .and_then(|alive| alive.wake_at)
            .is_some_and(|at| at <= self.now);
        if due {
            if let Some(alive) = self.hosts[host].alive.as_mut() {
                alive.wake_at = None;
            }
            self.hand(host, Input::Timer, None);
        }
    }

    fn on_gossip(&mut self, from: usize, to: usize, id: u64, again: bool) {
        let Some(message) = self.mesh.get(id) else { return };
        let (signer, payload) = (message.signer, message.payload.clone());
        if self.hosts[to].alive.is_some() {
            self.hosts[to].cost.received_bytes += payload.len() as u64;
            if again {
                self.hand(to, Input::Gossip { token: 0, signer, payload: payload.to_vec() }, None);
            } else if self.mesh.first_at(id, to) {
                self.hand(
                    to,
                    Input::Gossip { token: id, signer, payload: payload.to_vec() },
                    Some(from),
                );
            } else {
                self.hosts[to].cost.gossip_repeats += 1;
            }
        }
        self.mesh.land(id);
    }

    /// A copy goes to a node that has had the message.
    fn repeated(&mut self, to: usize, bytes: u64) {
        if self.hosts[to].alive.is_some() {
            self.hosts[to].cost.received_bytes += bytes;
            self.hosts[to].cost.gossip_repeats += 1;
        }
    }

    fn on_request(
        &mut self,
        (from, incarnation, id, epoch): (usize, u64, u64, u64),
        to: usize,
        payload: &Rc<Vec<u8>>,
    ) {
        if self.links.epoch(from, to) != Some(epoch) {
            return;
        }
        let peer = self.hosts[from].node;
        self.hosts[to].cost.received_bytes += payload.len() as u64;
        let Some(alive) = self.hosts[to].alive.as_mut() else { return };
        alive.last_inbound += 1;
        let here = alive.last_inbound;
        alive.inbound.insert(here, (from, incarnation, id, epoch));
        self.hand(to, Input::Request { peer, id: here, payload: payload.to_vec() }, None);
    }

    /// Hands a node an input and carries out its outputs. `from` is the peer that passed a gossip
    /// message on.
    pub(in crate::sim) fn hand(&mut self, host: usize, input: Input, from: Option<usize>) {
        self.expire(host);
        self.drop_expired_buckets(host);
        let now = self.now;
        let local = self.hosts[host].local(now);
        let slowness = self.hosts[host].slowness;
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        let before = alive.replica.version();
        alive.machine.handle(&mut alive.replica, input, local);
        let outputs: Vec<Output> = std::iter::from_fn(|| alive.machine.poll_output()).collect();
        if let Some(ledger) = self.ledger.as_mut() {
            for output in &outputs {
                if let Output::Notify(Notice::Renumbered { from, replica }) = output {
                    ledger.renumbered(host, *from, *replica);
                }
            }
        }
        if alive.replica.version() != before && !self.config.unwatched {
            self.truth.flushed(&alive.replica);
            if alive.replica.has_traces() {
                self.truth.note_shed(&alive.replica);
            }
        }
        self.look(host);
        self.hosts[host].busy_until = now + slowness;
        self.steps += 1;
        for output in outputs {
            self.act(host, output, from);
        }
        self.rewake(host);
        self.commit_at_once(host);
    }

    /// Has the ledger of a story look at a node.
    pub(super) fn look(&mut self, host: usize) {
        let Some(alive) = self.hosts[host].alive.as_ref() else { return };
        if let Some(ledger) = self.ledger.as_mut()
            && let Err(failure) = ledger.look(host, &alive.replica, alive.machine.is_synced())
        {
            self.fail(failure);
        }
    }

    /// Schedules the node's next deadline.
    pub(super) fn rewake(&mut self, host: usize) {
        let Some(deadline) =
            self.hosts[host].alive.as_ref().and_then(|alive| alive.machine.poll_timeout())
        else {
            return;
        };
        let (at, incarnation) =
            (self.hosts[host].world(deadline, self.now), self.hosts[host].incarnation);
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        if alive.wake_at.is_none_or(|wake_at| at < wake_at) {
            alive.wake_at = Some(at);
            self.queue.push(at, Event::Wake { host, incarnation });
        }
    }

    fn act(&mut self, host: usize, output: Output, from: Option<usize>) {
        match output {
            Output::Publish { .. }
            | Output::Validated { .. }
            | Output::Request { .. }
            | Output::Respond { .. }
                if self.hosts[host].is_mute => {}
            Output::Publish { payload } => self.publish(host, payload),
            Output::Validated { token, acceptance } => {
                if let (Acceptance::Accept, Some(from)) = (acceptance, from) {
                    self.spread(host, token, Some(from));
                }
            }
            Output::Request { peer, id, payload } => self.send_request(host, peer, id, payload),
            Output::Respond { peer: _, id, payload } => self.send_response(host, id, payload),
            Output::Dial { node, addresses } => self.dial_member(host, node, &addresses),
            Output::Notify(notice) => self.notice(host, notice),
            Output::Penalise { .. } if self.config.unwatched => {}
            Output::Penalise { peer, reason } => {
                self.fail(Failure::BadOutput(format!("{host} blames {peer}: {reason:?}")))
            }
        }
    }

    fn notice(&mut self, host: usize, notice: Notice) {
        match notice {
            Notice::Changed { .. } if self.config.retirement => self.watch(host),
            Notice::Changed { keys } => {
                let Some(alive) = self.hosts[host].alive.as_ref() else { return };
                let map = alive.replica.map();
                let check = |key: &counter_core::KeyId| {
                    let (counter, region) = map.name_of(*key);
                    self.truth.check_bound(map, counter, region)
                };
                if let Err(failure) = keys.iter().take(KEYS_CHECKED_MAX).try_for_each(check) {
                    self.fail(failure);
                }
            }
            Notice::Alarm(alarm) => {
                self.fail(Failure::BadOutput(format!("{host} at {:?}: {alarm:?}", self.now)))
            }
            Notice::Waited { id, how } => drop(self.waited.insert(id, how)),
            Notice::Renumbered { replica, .. } => self.hosts[host].set_writer(replica),
            Notice::Renewed { replica, .. } => self.hosts[host].set_writer(replica),
            Notice::MembersChanged
            | Notice::StatusChanged
            | Notice::SecondProcess
            | Notice::EarlierRelease { .. } => {}
        }
    }

    /// Compares all totals of a node with the truth. Cells say nothing once incarnations are
    /// absorbed: they are not one writer's own any more.
    fn watch(&mut self, host: usize) {
        if self.config.unwatched {
            return;
        }
        let Some(alive) = self.hosts[host].alive.as_ref() else { return };
        if let Err(failure) = self.truth.watch(&alive.replica, alive.machine.is_synced()) {
            self.fail(failure);
        }
    }

    fn publish(&mut self, host: usize, payload: Vec<u8>) {
        let bytes_max = self.config.protocol.payload_bytes_max;
        if payload.len() > bytes_max || !self.payloads.insert(xxhash_rust::xxh3::xxh3_128(&payload))
        {
            self.fail(Failure::BadOutput(format!(
                "{host} published {} bytes, or the same bytes twice",
                payload.len()
            )));
        }
        let id = self.mesh.publish(host, self.hosts[host].node, payload);
        self.spread(host, id, None);
        self.mesh.sweep(id);
    }

    /// Passes a message on to the mesh.
    fn spread(&mut self, host: usize, id: u64, from: Option<usize>) {
        let Some(bytes) = self.mesh.get(id).map(|message| message.payload.len() as u64) else {
            return;
        };
        for to in self.mesh.of(host).into_iter().filter(|to| Some(*to) != from) {
            self.hosts[host].cost.gossip_messages += 1;
            self.hosts[host].cost.gossip_bytes += bytes;
            let (loss, duplication) =
                (self.link(host, to).gossip_loss, self.link(host, to).duplication);
            if self.links.is_cut(host, to) || self.rng.f64() < loss {
                continue;
            }
            for again in [false, true] {
                if again && self.rng.f64() >= duplication {
                    continue;
                }
                let at = self.now + self.latency(host, to) * if again { 4 } else { 1 };
                if !again && self.mesh.has_had(id, to) {
                    // It only counts. In a large cluster most copies are such.
                    self.repeated(to, bytes);
                    continue;
                }
                self.mesh.launch(id);
                self.queue.push(at, Event::Gossip { from: host, to, message: id, again });
            }
        }
    }

    fn index_of(&self, node: NodeId) -> Option<usize> {
        self.by_node.get(&node).copied()
    }

    fn send_request(&mut self, host: usize, peer: NodeId, id: u64, payload: Vec<u8>) {
        let incarnation = self.hosts[host].incarnation;
        let Some(to) = self.index_of(peer) else { return };
        if payload.len() > MESSAGE_BYTES_MAX {
            self.fail(Failure::BadOutput(format!(
                "{host} sent a request of {} bytes",
                payload.len()
            )));
        }
        self.hosts[host].cost.requests += 1;
        self.hosts[host].cost.request_bytes += payload.len() as u64;
        let failing = self.rng.f64() < self.link(host, to).request_loss;
        match self.links.epoch(host, to) {
            Some(epoch) if !failing => {
                if !self.links.is_cut(host, to) {
                    let at = self.now + self.latency(host, to);
                    self.queue.push(
                        at,
                        Event::Request {
                            from: host,
                            incarnation,
                            to,
                            id,
                            payload: Rc::new(payload),
                            epoch,
                        },
                    );
                }
            }
            _ => self
                .queue
                .push(self.now + FAIL_AFTER, Event::Failed { host, incarnation, peer: to, id }),
        }
    }

    fn send_response(&mut self, host: usize, here: u64, payload: Vec<u8>) {
        let Some((to, incarnation, id, epoch)) =
            self.hosts[host].alive.as_mut().and_then(|alive| alive.inbound.remove(&here))
        else {
            return self
                .fail(Failure::BadOutput(format!("{host} answered {here}, which nobody asked")));
        };
        if payload.len() > MESSAGE_BYTES_MAX {
            self.fail(Failure::BadOutput(format!(
                "{host} sent an answer of {} bytes",
                payload.len()
            )));
        }
        self.hosts[host].cost.requests += 1;
        self.hosts[host].cost.request_bytes += payload.len() as u64;
        if !self.links.is_cut(host, to) {
            let at = self.now + self.latency(host, to);
            self.queue.push(
                at,
                Event::Response {
                    from: host,
                    to,
                    incarnation,
                    id,
                    payload: Rc::new(payload),
                    epoch,
                },
            );
        }
    }
}
