//! Replicas with a past: 100,000 resets, or 100,000 counters that were made and removed, before the
//! timed work. All traces have been taken back, so the work should cost what it costs fresh
//! replicas.

use counter_core::{Cleanup, Delta, ProvenVersions, Replica, Version, VersionVector};

use super::change::changes;
use super::{ChangeRounds, nanoseconds};
use crate::contender::OursNode;
use crate::sample::Sample;
use crate::shape::{Shape, Values};

/// Counters that are alive at a time, in the past and in the timed work.
const ALIVE: usize = 1_000;
/// The keys that a replica looks at in one step of the clean-up.
const KEYS_MAX: usize = 2_000;
/// Joins of one round.
const JOINS: usize = 20;

/// What two replicas have been through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Nothing: they are new.
    Fresh,
    /// This many resets, of each living counter in turn.
    Resets(usize),
    /// This many counters made and removed.
    Removals(usize),
}

/// Two replicas after a past, with the counters of the timed work. Both have added to each.
#[derive(Debug)]
pub struct AfterPast {
    changes: ChangeRounds<OursNode>,
    /// The heap that both replicas take, in bytes.
    pub heap: u64,
    /// The encoded size of one replica's state.
    pub bytes: usize,
}

impl AfterPast {
    /// Lives through `past`, and takes all traces back.
    pub fn new(past: Past) -> Self {
        let mut made = None;
        let heap = allocation_counter::measure(|| made = Some(Pair::new(past)));
        let [sender, receiver] = made.expect("made").nodes.map(|node| OursNode::of(node.replica));
        let bytes = sender.map().encode().len();
        let heap = heap.bytes_current.max(0) as u64;
        Self { changes: changes(ALIVE, sender, receiver), heap, bytes }
    }

    /// One round of changes: the time to produce one, and to apply it.
    pub fn round(&mut self) -> (Sample, Sample) {
        self.changes.round()
    }

    /// One round of joins of two maps that differ in every counter.
    pub fn join(&mut self) -> Sample {
        let before = self.changes.receiver().map().clone();
        let (_, applied) = self.changes.round();
        let theirs = self.changes.sender().map();
        let mut copies: Vec<_> = (0..JOINS).map(|_| before.clone()).collect();
        let mut cells = 0;
        let time = nanoseconds(|| {
            copies.iter_mut().for_each(|copy| cells += copy.join(theirs).cells());
        });
        let totals = |name: &String| copies[0].total(name) == theirs.total(name);
        let right = applied.right && cells == JOINS * ALIVE && names().iter().all(totals);
        Sample { nanoseconds: time / JOINS as f64, right }
    }
}

fn names() -> Vec<String> {
    Shape::new(Values::Formula, ALIVE, 1).names
}

/// One replica, its clean-up, and the own version that the other holds.
#[derive(Debug)]
struct Aged {
    replica: Replica,
    work: Cleanup,
    sent: Version,
}

/// Two replicas that hear each other after each step.
#[derive(Debug)]
struct Pair {
    nodes: [Aged; 2],
}

impl Pair {
    fn new(past: Past) -> Self {
        let node = |writer| {
            let replica = OursNode::new(writer).into_replica();
            Aged { replica, work: Cleanup::default(), sent: 0 }
        };
        let mut pair = Self { nodes: [node(0), node(1)] };
        match past {
            Past::Fresh => {}
            Past::Resets(count) => (0..count / ALIVE).for_each(|_| pair.reset_all(&names())),
            Past::Removals(count) => {
                (0..count / ALIVE).for_each(|round| pair.make_and_remove(round));
            }
        }
        // The receiver adds and takes it back, so that both are writers and every total is 0.
        for name in names() {
            let replica = &mut pair.nodes[1].replica;
            replica.add(&name, 1).and_then(|()| replica.subtract(&name, 1)).expect("there is room");
        }
        pair.settle();
        assert!(pair.nodes.iter().all(|node| !node.replica.has_traces()), "all traces are gone");
        pair
    }

    fn reset_all(&mut self, names: &[String]) {
        let [adder, _] = &mut self.nodes;
        names.iter().for_each(|name| adder.replica.add(name, 1).expect("there is room"));
        let region = adder.replica.region().to_owned();
        self.exchange();
        let [_, resetter] = &mut self.nodes;
        for name in names {
            let reset = resetter.replica.reset(name, &region).expect("it has not left");
            assert!(reset.is_some(), "there was an add to reset");
        }
        self.settle();
    }

    fn make_and_remove(&mut self, round: usize) {
        let names: Vec<String> =
            (0..ALIVE).map(|at| format!("gone{:08}", round * ALIVE + at)).collect();
        let [adder, _] = &mut self.nodes;
        names.iter().for_each(|name| adder.replica.add(name, 1).expect("there is room"));
        self.exchange();
        let [_, remover] = &mut self.nodes;
        for name in &names {
            assert!(remover.replica.remove(name).expect("it has not left"), "it was there");
        }
        self.settle();
    }

    /// Each sends what it wrote. Returns what each then holds.
    fn exchange(&mut self) -> ProvenVersions {
        let written = |node: &mut Aged| {
            node.replica.flush();
            let delta = node.replica.map().delta_of(node.replica.id(), node.sent);
            node.sent = node.replica.version();
            delta.map(|delta| delta.encode())
        };
        let [one, other] = self.nodes.each_mut().map(written);
        for (node, bytes) in self.nodes.iter_mut().zip([other, one]) {
            let Some(bytes) = bytes else { continue };
            let delta = Delta::decode(&bytes).expect("own bytes");
            let joined = node.replica.join_delta(delta).expect("within its bounds");
            assert!(joined.gaps.is_empty(), "nothing was left out");
        }
        let [one, other] = self.nodes.each_ref().map(|node| node.replica.map().version_vector());
        let by_all: VersionVector =
            one.iter().map(|(id, version)| (id, version.min(other.get(id)))).collect();
        let mut by_any = one;
        by_any.join(&other);
        ProvenVersions { by_all, by_any }
    }

    /// Exchanges and cleans up until nothing changes any more.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 + self.nodes[0].replica.map().key_count() / KEYS_MAX {
            let (shown, mut any) = (self.exchange(), false);
            for Aged { replica, work, .. } in &mut self.nodes {
                any |= replica.clean_up(work, &shown, KEYS_MAX).is_some();
                if replica.has_garbage() {
                    replica.collect_garbage();
                }
            }
            quiet = if any { 0 } else { quiet + 1 };
        }
    }
}
