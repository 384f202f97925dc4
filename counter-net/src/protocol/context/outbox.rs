//! The queue of outputs, and the counts.

use std::collections::VecDeque;

use counter_core::KeyId;
use serde::Serialize;

use crate::protocol::interface::{
    Acceptance, Alarm, Counted, MessageKind, NodeId, Notice, Output, Refusal, Sizes, Stats,
};
use crate::protocol::wire::{self, GossipMessage, Sequence};

/// The queue of outputs. It counts each output that is pushed. Each input adds a bounded number,
/// and the driver drains the queue after each input.
///
/// Invariant: no two requests have the same id, and no two published payloads are equal.
#[derive(Default, Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    stats: Stats,
    /// The number of the last request.
    last_id: u64,
    sequence: Sequence,
}

impl Outbox {
    pub(crate) fn pop(&mut self) -> Option<Output> {
        let output = self.queue.pop_front();
        self.stats.outputs = self.queue.len();
        output
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn push(&mut self, output: Output) {
        self.queue.push_back(output);
        self.stats.outputs = self.queue.len();
    }

    pub(crate) fn publish(&mut self, kind: MessageKind, payload: Vec<u8>) {
        self.stats.count_out(kind, payload.len());
        self.push(Output::Publish { payload });
    }

    /// Publishes an envelope. One that is longer than `bytes_max` is dropped.
    pub(crate) fn publish_envelope(
        &mut self,
        kind: MessageKind,
        gossip: GossipMessage,
        bytes_max: usize,
    ) {
        let payload = self.sequence.seal(gossip);
        if payload.len() <= bytes_max {
            self.publish(kind, payload);
        }
    }

    /// Sends a request and returns its id.
    pub(crate) fn request<T: Serialize>(
        &mut self,
        peer: NodeId,
        kind: MessageKind,
        request: &T,
    ) -> u64 {
        let payload = wire::encode(request);
        self.last_id += 1;
        self.stats.count_out(kind, payload.len());
        self.push(Output::Request { peer, id: self.last_id, payload });
        self.last_id
    }

    pub(crate) fn respond<T: Serialize>(
        &mut self,
        peer: NodeId,
        id: u64,
        kind: MessageKind,
        response: &T,
    ) {
        let payload = wire::encode(response);
        self.stats.count_out(kind, payload.len());
        self.push(Output::Respond { peer, id, payload });
    }

    pub(crate) fn validated(&mut self, token: u64, acceptance: Acceptance) {
        self.push(Output::Validated { token, acceptance });
    }

    pub(crate) fn dial(&mut self, node: NodeId, addresses: Vec<Vec<u8>>) {
        self.push(Output::Dial { node, addresses });
    }

    pub(crate) fn notify(&mut self, notice: Notice) {
        self.push(Output::Notify(notice));
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) {
        self.notify(Notice::Alarm(alarm));
    }

    /// Raises an alarm if a bound of this node stopped a pull.
    pub(crate) fn alarm_if_join_refused(&mut self, reason: Refusal) {
        if reason == Refusal::JoinRefused {
            let cause = "a replica has more cells than this node takes of one; they were dropped, \
                         the state is unchanged: raise counters_max";
            self.alarm(Alarm::JoinRefused { cause: cause.to_owned() });
        }
    }

    pub(crate) fn changed(&mut self, mut keys: Vec<KeyId>) {
        if !keys.is_empty() {
            keys.sort_unstable();
            keys.dedup();
            self.notify(Notice::Changed { keys });
        }
    }

    /// Counts an event.
    pub(crate) fn count(&mut self, event: Counted) {
        self.stats.count(event, 1);
    }

    /// Counts an event that happened several times.
    pub(crate) fn count_many(&mut self, event: Counted, times: usize) {
        self.stats.count(event, times as u64);
    }

    /// Counts a message that came in.
    pub(crate) fn count_in(&mut self, kind: MessageKind, bytes: usize) {
        self.stats.count_in(kind, bytes);
    }

    /// Counts a refusal that is nobody's fault.
    pub(crate) fn count_refusal(&mut self, reason: Refusal) {
        self.stats.refuse(reason);
    }

    /// Notes how many incarnations have ended and are not folded yet.
    pub(crate) fn set_ended(&mut self, incarnations: usize) {
        self.stats.incarnations_ended = incarnations;
    }

    /// Notes how long the queues of the machines are.
    pub(crate) fn set_sizes(&mut self, sizes: Sizes) {
        self.stats.set_sizes(sizes);
    }

    /// The counts so far.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Counts a refusal, and blames the peer if no honest release sends such a message.
    pub(crate) fn refuse(&mut self, peer: NodeId, reason: Refusal) {
        self.stats.refuse(reason);
        if matches!(
            reason,
            Refusal::Malformed
                | Refusal::TooLarge
                | Refusal::ForgedWriter
                | Refusal::DigestTooLong
                | Refusal::BadPage
        ) {
            self.push(Output::Penalise { peer, reason });
        }
    }
}
