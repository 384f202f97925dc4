//! The outputs, in the order in which they arose. Each is counted as it is put in.

use std::collections::VecDeque;

use counter_core::KeyId;
use serde::Serialize;

use crate::protocol::input::NodeId;
use crate::protocol::output::{Alarm, Notice, Output, Refusal, Verdict};
use crate::protocol::stats::{Kind, Stats};
use crate::protocol::wire;

/// The queue of outputs. Each input adds a bounded number, and the driver drains it after each
/// input.
#[derive(Default, Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    pub(crate) stats: Stats,
    last_id: u64,
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

    pub(crate) fn publish(&mut self, kind: Kind, payload: Vec<u8>) {
        self.stats.count_out(kind, payload.len());
        self.push(Output::Publish { payload });
    }

    /// Sends a request and returns its id.
    pub(crate) fn request<T: Serialize>(&mut self, peer: NodeId, kind: Kind, request: &T) -> u64 {
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
        kind: Kind,
        response: &T,
    ) {
        let payload = wire::encode(response);
        self.stats.count_out(kind, payload.len());
        self.push(Output::Respond { peer, id, payload });
    }

    pub(crate) fn verdict(&mut self, token: u64, verdict: Verdict) {
        self.push(Output::Verdict { token, verdict });
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
    pub(crate) fn alarm_of(&mut self, reason: Refusal) {
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
