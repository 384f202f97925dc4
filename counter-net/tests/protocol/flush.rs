//! Payloads of a flush. After each of them the receiver holds a state that the writer once had.

use std::time::Duration;

use counter_core::{Replica, ReplicaId, Version, VersionVector};
use counter_net::protocol::{Input, NodeId, Notice, Output, ProtocolConfig, Replicator, Search};

const WRITER: ReplicaId = ReplicaId { node: 1, incarnation: 1 };
const COUNTERS: usize = 200;

/// A writer whose flushes fill many payloads, with the value of "clicks" from each of its versions
/// on.
struct Writer {
    replica: Replica,
    machine: Replicator,
    log: Vec<(Version, i128)>,
    now: Duration,
}

impl Writer {
    fn new() -> Self {
        let replica = Replica::new(WRITER, "ord").unwrap();
        let config = ProtocolConfig { payload_bytes_max: 700, ..ProtocolConfig::default() };
        let machine = Replicator::new(config, &replica, 1, Duration::ZERO);
        let mut writer = Self { replica, machine, log: vec![(0, 0)], now: Duration::ZERO };
        writer.hand(Input::PeerUp { peer: NodeId(2) });
        writer
    }

    /// Hands it an input, and returns the gossip that follows.
    fn hand(&mut self, input: Input) -> Vec<Vec<u8>> {
        self.now += Duration::from_secs(1);
        self.machine.handle(&mut self.replica, input, self.now);
        let outputs = std::iter::from_fn(|| self.machine.poll_output());
        outputs
            .filter_map(
                |output| {
                    if let Output::Publish { payload } = output { Some(payload) } else { None }
                },
            )
            .collect()
    }

    /// Adds 1 to each counter, not flushed yet. "clicks" comes first. The names are all different,
    /// so they fill payloads.
    fn add_to_all(&mut self) {
        self.replica.counter("clicks").unwrap().add(1).unwrap();
        for at in 0..COUNTERS {
            let name = format!("{:016x}", (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            self.replica.counter(&name).unwrap().add(1).unwrap();
        }
    }

    fn flush(&mut self) {
        self.replica.flush();
        self.log_clicks();
    }

    fn log_clicks(&mut self) {
        let cells = self.replica.map().pn_counter("clicks", "ord");
        let version = cells.cells().map(|(_, cell)| cell.version).max().unwrap_or(0);
        self.log.push((version, self.replica.map().total("clicks")));
    }

    fn clicks_at(&self, version: Version) -> i128 {
        self.log.iter().rev().find(|(at, _)| *at <= version).map_or(0, |(_, clicks)| *clicks)
    }

    /// Hands the payloads to a fresh node one by one. After each it must show the clicks that the
    /// writer had at its version. Returns how many of them brought new versions.
    fn snapshots_seen_by_a_receiver(&self, payloads: Vec<Vec<u8>>) -> usize {
        let mut other = Replica::new(ReplicaId::new(2, 1), "fra").unwrap();
        let mut machine = Replicator::new(ProtocolConfig::default(), &other, 2, Duration::ZERO);
        machine.handle(&mut other, Input::Search(Search::NOBODY), Duration::ZERO);
        let mut steps = 0;
        for payload in payloads {
            let before = other.map().seen_of(WRITER);
            machine.handle(
                &mut other,
                Input::Gossip { token: 0, signer: NodeId(1), payload },
                Duration::ZERO,
            );
            let seen = other.map().seen_of(WRITER);
            steps += usize::from(seen > before);
            assert_eq!(
                other.map().total("clicks"),
                self.clicks_at(seen),
                "clicks as of version {seen}"
            );
        }
        steps
    }
}

#[test]
fn one_flush_is_cut_into_consecutive_payloads() {
    let mut writer = Writer::new();
    let birth = writer.hand(Input::Timer);
    writer.add_to_all();
    let flush = writer.hand(Input::LocalChange);
    writer.log_clicks();
    assert!(flush.len() > 3, "{} payloads", flush.len());
    let cuts = flush.len();
    assert!(writer.snapshots_seen_by_a_receiver([birth, flush].concat()) >= cuts);
}

/// "clicks" changed in both flushes. A payload that ends before the second change would say that
/// the writer never made the first.
#[test]
fn two_flushes_are_never_cut() {
    let mut writer = Writer::new();
    let birth = writer.hand(Input::Timer);
    writer.add_to_all();
    writer.flush();
    writer.replica.counter("clicks").unwrap().add(1).unwrap();
    writer.flush();
    let flushes = writer.hand(Input::LocalChange);
    writer.snapshots_seen_by_a_receiver([birth, flushes].concat());
    assert!(writer.machine.stats().unpublished > 0, "it is left to pulls");
}

#[test]
fn first_two_flushes_are_never_cut() {
    let mut writer = Writer::new();
    writer.add_to_all();
    writer.flush();
    writer.replica.counter("clicks").unwrap().add(1).unwrap();
    writer.flush();
    let flushes = writer.hand(Input::LocalChange);
    writer.snapshots_seen_by_a_receiver(flushes);
}

#[test]
fn flush_and_reset_are_never_cut() {
    for first_word in [true, false] {
        let mut writer = Writer::new();
        let birth = if first_word { Vec::new() } else { writer.hand(Input::Timer) };
        writer.add_to_all();
        writer.flush();
        writer.replica.reset("clicks", "ord").unwrap();
        writer.log_clicks();
        let flushes = writer.hand(Input::LocalChange);
        writer.snapshots_seen_by_a_receiver([birth, flushes].concat());
    }
}

/// The store must hear of such entries too. Otherwise it would lack a version that this node has
/// promised.
#[test]
fn dedup_entries_alone_are_announced() {
    let mut ended = Replica::new(ReplicaId::new(3, 1 << 32), "ord").unwrap();
    ended.add_once("single", "clicks", 1).unwrap();
    ended.flush();
    let mut successor = Replica::new(WRITER, "ord").unwrap();
    successor.join_delta(ended.map().delta_since(&VersionVector::new())).unwrap();
    successor.claim(ended.id()).unwrap();
    let mut work = successor.absorb_round(None).unwrap();
    successor.absorb(&mut work, 1).unwrap();
    let mut other = Replica::new(ReplicaId::new(2, 1), "fra").unwrap();
    let mut machine = Replicator::new(ProtocolConfig::default(), &other, 2, Duration::ZERO);
    machine.handle(&mut other, Input::Search(Search::NOBODY), Duration::ZERO);
    let mut take = |delta: counter_core::Delta| {
        machine.handle(
            &mut other,
            Input::Gossip { token: 0, signer: NodeId(1), payload: delta.encode() },
            Duration::ZERO,
        );
        let outputs: Vec<Output> = std::iter::from_fn(|| machine.poll_output()).collect();
        outputs.iter().any(|output| matches!(output, Output::Notify(Notice::Changed { .. })))
    };
    assert!(take(successor.map().delta_of(WRITER, 0).unwrap()));
    let before = successor.version();
    successor.absorb(&mut work, 1).unwrap();
    assert!(successor.version() > before && work.absorbed().is_some());
    assert!(take(successor.map().delta_of(WRITER, before).unwrap()));
}
