//! An add with an id counts once when it is sent again: to its replica, to its next incarnation,
//! and to a replica that holds its state or meets it later.

use std::collections::BTreeMap;

use counter_core::{
    AddOutcome, CounterMap, DEDUP_ENTRIES_MAX, Delta, Replica, ReplicaId, Staging, VersionVector,
    WriteError,
};

const NOTHING: VersionVector = VersionVector::new();

fn replica(node: u64, incarnation: u64) -> Replica {
    Replica::new(ReplicaId::new(node, incarnation << 32), "ord").unwrap()
}

/// Everything that `to` lacks, over the wire.
fn send(from: &Replica, to: &mut Replica) {
    let delta = from.map().delta_since(&to.map().version_vector());
    to.join_delta(Delta::decode(&delta.encode()).unwrap()).unwrap();
}

/// The next incarnation of a node, from its disk.
fn next_incarnation(replica: &Replica) -> Replica {
    let id = replica.id();
    let mut disk = CounterMap::new();
    disk.join_delta(&Delta::decode(&replica.map().encode()).unwrap()).unwrap();
    Replica::with_map(ReplicaId::new(id.node, id.incarnation + (1 << 32)), replica.region(), disk)
        .unwrap()
}

fn claim_earlier(replica: &mut Replica) {
    let id = replica.id();
    let earlier: Vec<ReplicaId> =
        replica.map().replicas().filter(|other| other.node == id.node && *other < id).collect();
    for ended in earlier {
        replica.claim(ended);
    }
}

/// Absorbs the earlier incarnations of its node.
fn absorb(replica: &mut Replica) {
    claim_earlier(replica);
    if let Some(mut work) = replica.absorb_round(None) {
        replica.absorb(&mut work, usize::MAX).unwrap();
    }
}

#[test]
fn repeat_counts_once_here_after_restart_and_elsewhere() {
    let (mut ord, mut fra) = (replica(1, 1), replica(2, 1));
    for id in ["tab:1", "order 17"] {
        assert_eq!(ord.add_once(id, "clicks", 3), Ok(AddOutcome::Applied));
        assert_eq!(ord.add_once(id, "clicks", 3), Ok(AddOutcome::Repeated));
    }
    let mut ord = next_incarnation(&ord);
    send(&ord, &mut fra);
    for id in ["tab:1", "order 17"] {
        assert_eq!(
            (ord.add_once(id, "clicks", 3), fra.add_once(id, "clicks", 3)),
            (Ok(AddOutcome::Repeated), Ok(AddOutcome::Repeated))
        );
        assert_eq!(
            ord.add_once(id, "likes", -9),
            Ok(AddOutcome::Repeated),
            "an id names one add, whatever comes with it"
        );
    }
    assert_eq!((ord.total("clicks"), fra.total("clicks"), fra.total("likes")), (6, 6, 0));
}

#[test]
fn client_ids_come_in_any_order_from_anywhere() {
    let (mut ord, mut fra) = (replica(1, 1), replica(2, 1));
    let mut random = fastrand::Rng::with_seed(7);
    let mut sequences: Vec<u64> = (0..1_500).chain([u64::MAX, u64::MAX - 8, 1 << 40]).collect();
    random.shuffle(&mut sequences);
    for sequence in &sequences {
        assert_eq!(
            ord.add_once(&format!("order:{sequence}"), "clicks", 1),
            Ok(AddOutcome::Applied),
            "{sequence}"
        );
    }
    send(&ord, &mut fra);
    for sequence in &sequences {
        let id = format!("order:{sequence}");
        assert_eq!(
            [ord.add_once(&id, "clicks", 1), fra.add_once(&id, "clicks", 1)],
            [Ok(AddOutcome::Repeated); 2],
            "{sequence}"
        );
    }
    assert_eq!((ord.total("clicks"), fra.total("clicks")), (1_503, 1_503));
}

#[test]
fn hundreds_of_repeats_elsewhere_count_once_after_meeting() {
    let (mut low, mut high) = (replica(1, 1), replica(2, 1));
    let ids: Vec<(String, i64)> =
        (0..500).map(|number| (format!("c:{number}"), number % 7 + 1)).collect();
    for (id, amount) in &ids {
        low.add_once(id, "clicks", *amount).unwrap();
    }
    for (id, amount) in &ids {
        high.add_once(id, "clicks", *amount).unwrap();
    }
    send(&low, &mut high);
    send(&high, &mut low);
    let sum: i64 = ids.iter().map(|(_, amount)| amount).sum();
    assert_eq!((low.total("clicks"), high.total("clicks")), (sum.into(), sum.into()));
}

#[test]
fn refused_add_may_be_sent_again() {
    let mut ord = replica(1, 1);
    assert_eq!(ord.add_once("", "clicks", 1), Err(WriteError::IdOutOfRange));
    assert_eq!(ord.add_once(&"x".repeat(65), "clicks", 1), Err(WriteError::IdOutOfRange));
    for amount in [0, (1 << 32) + 1, i64::MIN] {
        assert_eq!(ord.add_once("one", "clicks", amount), Err(WriteError::AmountOutOfRange));
    }
    assert_eq!(ord.add_once("one", "", 1), Err(WriteError::NameOutOfRange));
    assert_eq!(ord.total("clicks"), 0);
    assert_eq!(
        ord.add_once("one", "clicks", -5),
        Ok(AddOutcome::Applied),
        "what was refused may be sent again"
    );
}

#[test]
fn greater_of_two_appliers_takes_back() {
    let (mut low, mut high, mut third) = (replica(1, 1), replica(2, 1), replica(3, 1));
    for (id, amount) in [("tab:1", 3), ("one", -7)] {
        low.add_once(id, "clicks", amount).unwrap();
        high.add_once(id, "clicks", amount).unwrap();
    }
    send(&high, &mut low);
    assert_eq!(low.total("clicks"), -8, "the lesser one waits for the greater");
    send(&low, &mut high);
    assert_eq!(high.total("clicks"), -4);
    assert!(high.has_pending(), "the next flush tells of it");
    assert_eq!(high.flush().changed.len(), 1);
    send(&high, &mut low);
    send(&low, &mut third);
    send(&low, &mut high);
    assert_eq!([&low, &high, &third].map(|replica| replica.total("clicks")), [-4; 3]);
    assert_eq!(third.add_once("one", "clicks", -7), Ok(AddOutcome::Repeated));
}

#[test]
fn next_incarnation_takes_back_for_its_node() {
    let (mut low, mut high) = (replica(1, 1), replica(2, 1));
    high.add_once("tab:1", "clicks", 3).unwrap();
    low.add_once("tab:1", "clicks", 3).unwrap();
    let mut high = next_incarnation(&high);
    send(&low, &mut high);
    assert_eq!(high.total("clicks"), 6, "not before it absorbs what it takes back");
    absorb(&mut high);
    send(&high, &mut low);
    assert_eq!((low.total("clicks"), high.total("clicks")), (3, 3));
    // Once more from the disk, with everything anew: nothing is taken back twice.
    let mut again = next_incarnation(&high);
    absorb(&mut again);
    send(&low, &mut again);
    let mut fresh = replica(3, 9);
    send(&low, &mut fresh);
    assert_eq!((again.total("clicks"), fresh.total("clicks")), (3, 3));
}

/// The last incarnation of a node took back the add of the one before, and only the taking-back
/// reached the others.
#[test]
fn taking_back_travels_with_its_copy() {
    let (mut low, mut high, mut other) = (replica(1, 1), replica(2, 1), replica(3, 1));
    low.add_once("tab:1", "clicks", 3).unwrap();
    high.add_once("tab:1", "clicks", 3).unwrap();
    let mut high = next_incarnation(&high);
    send(&low, &mut high);
    send(&low, &mut other);
    other.join_delta(high.map().delta_of(high.id(), 0).unwrap()).unwrap();
    assert_eq!(other.total("clicks"), 3);
}

#[test]
fn copy_of_a_lost_replica_may_be_applied_again() {
    let (mut low, mut high, mut other) = (replica(1, 1), replica(2, 1), replica(3, 1));
    low.add_once("tab:1", "clicks", 3).unwrap();
    high.add_once("tab:1", "clicks", 3).unwrap();
    high.join_delta(low.map().delta_of(low.id(), 0).unwrap()).unwrap();
    // The lesser and the greater replica are gone with their memories before the third has heard of
    // the lesser.
    other.join_delta(high.map().delta_of(high.id(), 0).unwrap()).unwrap();
    assert_eq!(
        (other.total("clicks"), other.add_once("tab:1", "clicks", 3)),
        (0, Ok(AddOutcome::Applied))
    );
    assert_eq!(
        (other.total("clicks"), other.add_once("tab:1", "clicks", 3)),
        (3, Ok(AddOutcome::Repeated))
    );
    // It was not gone after all.
    send(&low, &mut other);
    assert_eq!(other.total("clicks"), 3);
}

/// Retires an incarnation for good, with everybody else agreed.
fn retire(successor: &mut Replica, incarnation: ReplicaId) {
    successor.claim(incarnation);
    let mut work = successor.absorb_round(None).unwrap();
    successor.absorb(&mut work, usize::MAX).unwrap();
    successor.fold(&mut work).unwrap();
    while successor.rebase(usize::MAX) > 0 {}
}

#[test]
fn successor_knows_absorbed_ids() {
    let mut ord = replica(1, 1);
    ord.add_once("tab:7", "clicks", 1).unwrap();
    ord.add_once("tab:5", "clicks", 1).unwrap();
    ord.add_once("one", "clicks", 1).unwrap();
    let (earlier, mut ord) = (ord.id(), next_incarnation(&ord));
    ord.add_once("tab:8", "clicks", 1).unwrap();
    retire(&mut ord, earlier);
    assert_eq!(ord.map().replicas().collect::<Vec<_>>(), [ord.id()]);
    let mut other = replica(0, 1);
    send(&ord, &mut other);
    let answers = ["tab:7", "tab:5", "tab:8", "one", "tab:6"]
        .map(|id| other.add_once(id, "likes", 1).unwrap());
    assert_eq!(
        answers,
        [
            AddOutcome::Repeated,
            AddOutcome::Repeated,
            AddOutcome::Repeated,
            AddOutcome::Repeated,
            AddOutcome::Applied
        ]
    );
    send(&other, &mut ord);
    assert_eq!(
        (ord.total("clicks"), ord.total("likes")),
        (4, 1),
        "what was carried on is no second copy"
    );
}

#[test]
fn successor_takes_back_for_a_lost_node() {
    let (mut low, mut high, mut other) = (replica(1, 1), replica(9, 1), replica(2, 1));
    low.add_once("tab:1", "clicks", 3).unwrap();
    high.add_once("tab:1", "clicks", 3).unwrap();
    send(&high, &mut other);
    send(&low, &mut other);
    assert_eq!(other.total("clicks"), 6, "its own node is gone for good");
    retire(&mut other, high.id());
    send(&other, &mut low);
    send(&low, &mut other);
    assert_eq!((low.total("clicks"), other.total("clicks")), (3, 3));
}

#[test]
fn receivers_forget_as_the_writer_does() {
    let mut ord = replica(1, 1);
    let (mut each, mut late) = (replica(2, 1), replica(3, 1));
    for at in 0..DEDUP_ENTRIES_MAX + 500 {
        ord.add_once(&format!("client {at}:1"), "clicks", 1).unwrap();
        ord.add_once(&format!("single {at}"), "clicks", 1).unwrap();
        // A client that was forgotten comes back.
        if at == DEDUP_ENTRIES_MAX + 200 {
            ord.add_once("client 3:2", "clicks", 1).unwrap();
        }
        if at % 7 == 0 {
            send(&ord, &mut each);
        }
        if at == DEDUP_ENTRIES_MAX - 50 {
            send(&ord, &mut late);
        }
    }
    send(&ord, &mut each);
    send(&ord, &mut late);
    let mut pulled = CounterMap::new();
    pull(&ord, &mut pulled, 3_000);
    let expected = CounterMap::clone(ord.map()).state_hash();
    for mut map in [each.map().clone(), late.map().clone(), pulled.clone()] {
        assert_eq!(map.delta_of(ord.id(), 0), ord.map().delta_of(ord.id(), 0));
        assert_eq!(map.entry_count(), 2 * DEDUP_ENTRIES_MAX + 501);
        let mut only = CounterMap::new();
        only.join_delta(&map.delta_of(ord.id(), 0).unwrap()).unwrap();
        assert_eq!((only.state_hash(), map.state_hash()), (expected, map.clone().state_hash()));
    }
    // The oldest entries are gone, on all replicas alike. What is left is that they were applied.
    assert_eq!(each.add_once("single 1", "clicks", 1), Ok(AddOutcome::Applied));
    assert_eq!(each.add_once("single 900", "clicks", 1), Ok(AddOutcome::Repeated));
    assert_eq!(each.add_once("client 1:1", "clicks", 1), Ok(AddOutcome::Repeated));
}

/// Pulls in pages.
fn pull(from: &Replica, to: &mut CounterMap, bytes_max: usize) {
    let (mut staging, mut cursor, mut pages) = (Staging::new(usize::MAX), None, 0);
    let mut have = to.version_vector();
    loop {
        let page = from.map().page_since(&have, None, cursor.as_ref(), bytes_max);
        page.delta.spans().for_each(|span| have.raise(span.replica, span.upto));
        let bytes = page.delta.encode();
        assert!(bytes.len() <= bytes_max, "{} bytes", bytes.len());
        to.join_delta(&staging.push(Delta::decode(&bytes).unwrap()).unwrap()).unwrap();
        pages += 1;
        assert!(pages < 5_000, "a pull has an end");
        cursor = page.next;
        if cursor.is_none() {
            return;
        }
    }
}

#[test]
fn flush_with_dedup_entries_is_never_cut() {
    let mut ord = replica(1, 1);
    let mut fra = replica(2, 1);
    send(&ord, &mut fra);
    (0..100).for_each(|at| ord.add(&format!("counter {at}"), 1).unwrap());
    ord.add_once("tab:1", "clicks", 1).unwrap();
    let span = ord.flush().span.unwrap();
    let delta = ord.map().delta_of(ord.id(), span.after).unwrap();
    assert_eq!((span.after, delta.clone().split(300).len()), (1, 1));
    assert_eq!(ord.flush().span, None);
}

/// The bytes of a click with an id in a delta: docs/protocol.md.
#[test]
fn click_with_id_takes_under_60_bytes() {
    let mut ord = replica(1, 1);
    let client = "k3j9x0qz81ab";
    for sequence in 1..=200 {
        let after = ord.version();
        ord.add_once(&format!("{client}:{sequence}"), "clicks", 1).unwrap();
        let bytes = ord.map().delta_of(ord.id(), after).unwrap().encode();
        assert!(bytes.len() <= 59, "click {sequence}: {} bytes", bytes.len());
        assert_eq!(Delta::decode(&bytes).unwrap().encode(), bytes);
    }
}

struct World {
    rng: fastrand::Rng,
    nodes: Vec<Replica>,
    /// Deltas on the way, with their receivers.
    net: Vec<(usize, Delta)>,
    applied: BTreeMap<String, i64>,
}

impl World {
    fn step(&mut self) {
        let at = self.rng.usize(..self.nodes.len());
        match self.rng.u8(..16) {
            0..=5 => self.add(at),
            6..=9 => {
                let to = self.rng.usize(..self.nodes.len());
                let node = &self.nodes[at];
                let known =
                    if self.rng.bool() { self.nodes[to].map().version_vector() } else { NOTHING };
                let delta = if self.rng.bool() {
                    node.map().delta_since(&known)
                } else {
                    own_news(node, known.get(node.id()))
                };
                self.net.push((to, delta));
            }
            10..=13 if !self.net.is_empty() => {
                let which = self.rng.usize(..self.net.len());
                let (to, delta) = if self.rng.u8(..4) == 0 {
                    self.net[which].clone()
                } else {
                    self.net.swap_remove(which)
                };
                self.nodes[to].join_delta(delta).unwrap();
            }
            14 => self.nodes[at] = next_incarnation(&self.nodes[at]),
            _ => {
                let mut map = CounterMap::clone(self.nodes[at].map());
                let to = self.rng.usize(..self.nodes.len());
                pull(&self.nodes[to], &mut map, 400);
                let delta = map.delta_since(&self.nodes[at].map().version_vector());
                self.nodes[at].join_delta(delta).unwrap();
            }
        }
    }

    /// One of a few ids, so that many are repeated. Each has its own amount and counter.
    fn add(&mut self, at: usize) {
        let number = self.rng.u64(..40);
        let id = if number < 30 {
            format!("tab {}:{}", number % 3, number / 3)
        } else {
            format!("single {number}")
        };
        let amount = number as i64 * 2 - 41;
        let counter = ["clicks", "likes"][number as usize % 2];
        if self.rng.u8(..4) == 0 {
            self.nodes[at].add("plain", 1).unwrap();
            *self.applied.entry("plain".into()).or_default() += 1;
        }
        if self.nodes[at].add_once(&id, counter, amount).unwrap() == AddOutcome::Applied {
            self.applied.insert(id, amount);
        }
        if self.rng.bool() {
            self.nodes[at].flush();
        }
    }

    /// Everyone hears of everyone until nothing changes any more.
    fn settle(&mut self) {
        for _ in 0..6 {
            for from in 0..self.nodes.len() {
                self.nodes[from].flush();
                for to in 0..self.nodes.len() {
                    let delta =
                        self.nodes[from].map().delta_since(&self.nodes[to].map().version_vector());
                    self.nodes[to].join_delta(delta).unwrap();
                }
            }
        }
    }
}

fn own_news(node: &Replica, after: u64) -> Delta {
    node.map().delta_of(node.id(), after).unwrap_or_default()
}

/// Restarts keep the disk here. The simulator in counter-net covers what a crash destroys.
#[test]
fn every_id_counts_once_after_all_meet() {
    for seed in 0..600 {
        let nodes = (0..4).map(|node| replica(node, 1)).collect();
        let mut world = World {
            rng: fastrand::Rng::with_seed(seed),
            nodes,
            net: Vec::new(),
            applied: BTreeMap::new(),
        };
        (0..120).for_each(|_| world.step());
        // A replaced incarnation loses its unflushed adds. Adds by name are not part of this test.
        world.settle();
        world.nodes.iter_mut().for_each(claim_earlier);
        world.settle();
        world.nodes.iter_mut().for_each(absorb);
        world.settle();
        let expected: i128 = world
            .applied
            .iter()
            .filter(|(id, _)| *id != "plain")
            .map(|(_, amount)| i128::from(*amount))
            .sum();
        let hash = world.nodes[0].state_hash();
        for node in &mut world.nodes {
            assert_eq!(node.total("clicks") + node.total("likes"), expected, "seed {seed}");
            assert_eq!(node.state_hash(), hash, "seed {seed}");
            let mut rebuilt = CounterMap::new();
            rebuilt.join_delta(&Delta::decode(&node.map().encode()).unwrap()).unwrap();
            let mut joined = CounterMap::new();
            joined.join(node.map());
            assert_eq!((rebuilt.state_hash(), joined.state_hash()), (hash, hash), "seed {seed}");
        }
    }
}

/// Three bytes for the version and the amount, two for the client's sequence: up to 2,000,000
/// changes of a writer and 16,000 of a client.
#[test]
fn click_with_page_or_uuid_id_takes_63_bytes_at_most() {
    let mut ord = replica(1, 1);
    let clicks = ord.counter("clicks").unwrap();
    for _ in 0..20_000 {
        clicks.add(100).unwrap();
        ord.flush();
    }
    let mut bytes = |id: &str, amount| {
        let after = ord.version();
        assert_eq!(ord.add_once(id, "clicks", amount), Ok(AddOutcome::Applied), "{id}");
        ord.map().delta_of(ord.id(), after).unwrap().encode().len()
    };
    assert_eq!(
        [1, 2, 3].map(|click| bytes(&format!("0f3a9x0qzk3j:{}", 16_000 + click), 1)),
        [53, 56, 56],
        "from the second number on, the versions of the adds come along"
    );
    assert_eq!(bytes("67e55044-10b1-426f-9247-bb680e5fe0c8", 1), 57);
    // Unequal amounts side by side: eight numbers share an entry.
    let mixed: Vec<usize> = (1..=16)
        .map(|number| bytes(&format!("9x0qzk3j0f3a:{}", 400 + number), number % 7 + 1))
        .collect();
    assert_eq!(mixed.iter().max(), Some(&63));
}
