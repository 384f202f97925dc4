//! W3: the cost to produce, send and apply one change to a state of 100,000 counters.

use super::nanoseconds;
use crate::sample::Sample;
use crate::shape::{Shape, Values};

/// Changes of one round. Contenders that would take minutes for this many make fewer.
pub const CHANGES: usize = 10_000;
/// The step from one changed counter to the next, a prime.
const STEP: usize = 7_919;

/// A replica that sends and takes single changes.
pub trait Changer {
    /// Adds 1, and returns the bytes for the other replicas.
    fn produce(&mut self, counter: &str) -> Vec<u8>;
    /// Applies the bytes of another replica.
    fn apply(&mut self, bytes: &[u8]);
    /// The value of a counter.
    fn value(&self, counter: &str) -> i128;
    /// Takes in everything that `other` holds.
    fn clone_from_node(&mut self, other: &Self);
}

/// Two replicas with the same counters.
#[derive(Debug)]
pub struct ChangeRounds<C> {
    names: Vec<String>,
    sender: C,
    receiver: C,
    each_round: usize,
    sent: i128,
    /// The mean number of bytes of a change.
    pub bytes: f64,
}

/// Two replicas that both hold `counters` counters.
pub fn changes<C: Changer>(counters: usize, sender: C, receiver: C) -> ChangeRounds<C> {
    changes_of(CHANGES, counters, sender, receiver)
}

/// The same, with `each_round` changes a round.
pub fn changes_of<C: Changer>(
    each_round: usize,
    counters: usize,
    mut sender: C,
    mut receiver: C,
) -> ChangeRounds<C> {
    let names = Shape::new(Values::Formula, counters, 1).names;
    names.iter().for_each(|name| drop(sender.produce(name)));
    receiver.clone_from_node(&sender);
    ChangeRounds { names, sender, receiver, each_round, sent: 0, bytes: 0.0 }
}

impl<C: Changer> ChangeRounds<C> {
    /// One round: all changes are produced, then all are applied. Returns both times.
    pub fn round(&mut self) -> (Sample, Sample) {
        let names =
            (0..self.each_round).map(|at| self.names[at * STEP % self.names.len()].as_str());
        let mut sent = Vec::with_capacity(self.each_round);
        let produce = nanoseconds(|| names.for_each(|name| sent.push(self.sender.produce(name))));
        let apply = nanoseconds(|| sent.iter().for_each(|bytes| self.receiver.apply(bytes)));
        self.sent += 1;
        self.bytes = sent.iter().map(Vec::len).sum::<usize>() as f64 / self.each_round as f64;
        let right = self.right();
        let sample = |time: f64| Sample { nanoseconds: time / self.each_round as f64, right };
        (sample(produce), sample(apply))
    }

    /// The replica that makes the changes.
    pub fn sender(&self) -> &C {
        &self.sender
    }

    /// The replica that takes them.
    pub fn receiver(&self) -> &C {
        &self.receiver
    }

    fn right(&self) -> bool {
        let changed =
            (0..self.each_round).step_by(97).map(|at| &self.names[at * STEP % self.names.len()]);
        let times = self.sent * (self.each_round / self.names.len().min(self.each_round)) as i128;
        changed.into_iter().all(|name| {
            self.sender.value(name) == 1 + times && self.receiver.value(name) == 1 + times
        })
    }
}
