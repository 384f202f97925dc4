//! The cost of removed counters and resets, while they are under way and afterwards: heap, bytes of
//! the state, time. The full figures: `cargo test --release -p counter-core --test
//! cost -- --ignored --nocapture --test-threads 1 removal`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use counter_core::{Cleanup, Delta, ProvenVersions, Replica, ReplicaId, Version, VersionVector};

/// Counters that are alive at a time.
const ALIVE: usize = 1_000;
/// Counters made, and removed, between two exchanges.
const ROUND: usize = 500;
/// The keys that a replica looks at in one step of the clean-up.
const KEYS_MAX: usize = 2_000;

struct Node {
    replica: Replica,
    work: Cleanup,
    /// The own version that the others hold.
    sent: Version,
}

/// Replicas that hear each other after each round, and some that are enrolled and never answer.
struct Cluster {
    nodes: Vec<Node>,
    /// What each of those who never answer last held.
    away: Vec<VersionVector>,
}

fn name(at: usize) -> String {
    format!("visits of user {at:08}")
}

impl Cluster {
    fn new(here: usize, away: usize) -> Self {
        let regions = ["fra", "ord", "syd"];
        let make = |number: usize| {
            let id = ReplicaId::new(number as u64 + 1, 1);
            let replica = Replica::new(id, regions[number % 3]).unwrap();
            Node { replica, work: Cleanup::default(), sent: 0 }
        };
        let mut nodes: Vec<Node> = (0..here + away).map(make).collect();
        let births: Vec<Delta> = nodes
            .iter()
            .map(|node| node.replica.map().delta_since(&VersionVector::new()))
            .collect();
        for node in &mut nodes {
            births.iter().for_each(|birth| drop(node.replica.join_delta(birth.clone()).unwrap()));
            node.sent = node.replica.version();
        }
        let away = nodes.split_off(here);
        let away = away.iter().map(|node| node.replica.map().version_vector()).collect();
        Self { nodes, away }
    }

    fn add(&mut self, at: usize, name: &str) {
        self.nodes[at].replica.add(name, 1).unwrap();
    }

    /// Everybody sends what it wrote, and then its digest.
    fn exchange(&mut self) -> ProvenVersions {
        let deltas: Vec<(usize, Vec<u8>)> = (0..)
            .zip(&mut self.nodes)
            .filter_map(|(from, Node { replica, sent, .. })| {
                replica.flush();
                let delta = replica.map().delta_of(replica.id(), *sent)?;
                *sent = replica.version();
                Some((from, delta.encode()))
            })
            .collect();
        for (from, bytes) in deltas {
            for (at, node) in self.nodes.iter_mut().enumerate().filter(|(at, _)| *at != from) {
                let joined = node.replica.join_delta(Delta::decode(&bytes).unwrap()).unwrap();
                assert!(joined.gaps.is_empty(), "{at}");
            }
        }
        let mut by_any = VersionVector::new();
        let held: Vec<VersionVector> = self
            .nodes
            .iter()
            .map(|node| node.replica.map().version_vector())
            .chain(self.away.iter().cloned())
            .collect();
        held.iter().for_each(|held| by_any.join(held));
        let least = |id| held.iter().map(|held| held.get(id)).min().unwrap_or(0);
        ProvenVersions { by_all: by_any.iter().map(|(id, _)| (id, least(id))).collect(), by_any }
    }

    /// One exchange and one step of the clean-up. Returns whether something was done.
    fn round(&mut self) -> bool {
        let (shown, mut any) = (self.exchange(), false);
        for Node { replica, work, .. } in &mut self.nodes {
            any |= replica.clean_up(work, &shown, KEYS_MAX).is_some();
            if replica.has_garbage() {
                replica.collect_garbage();
            }
        }
        any
    }

    fn versions(&self) -> Vec<Version> {
        self.nodes.iter().map(|node| node.replica.version()).collect()
    }

    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 + self.nodes[0].replica.map().key_count() / KEYS_MAX {
            // While a replica is away, traces wait, and each pass over them takes many steps.
            let versions = self.versions();
            let any = self.round();
            let is_new = if self.away.is_empty() { any } else { versions != self.versions() };
            quiet = if is_new { 0 } else { quiet + 1 };
        }
    }

    /// Makes and removes `removed` counters, with `ALIVE` alive at a time, and leaves those. Each
    /// counter has `writers` writers, and the next replica removes it.
    fn churn(&mut self, removed: usize, writers: usize) {
        let (here, mut alive) = (self.nodes.len(), VecDeque::new());
        for at in 0..removed + ALIVE {
            (0..writers).for_each(|writer| self.add((at + writer) % here, &name(at)));
            alive.push_back(at);
            if at % ROUND == ROUND - 1 {
                self.round();
                while alive.len() > ALIVE {
                    let gone = alive.pop_front().unwrap();
                    let by = if writers == 1 && self.away.len() == 1 { gone } else { gone + 1 };
                    assert!(self.nodes[by % here].replica.remove(&name(gone)).unwrap());
                }
            }
        }
    }

    /// A cluster with the same counters of the same writers that never removed one.
    fn fresh(&self, first: usize, writers: usize) -> Self {
        let mut fresh = Self::new(self.nodes.len(), self.away.len());
        for at in first..first + ALIVE {
            (0..writers).for_each(|writer| fresh.add((at + writer) % self.nodes.len(), &name(at)));
        }
        fresh.settle();
        fresh
    }

    fn bytes(&self) -> usize {
        self.nodes[0].replica.map().encode().len()
    }
}

/// Runs `make`, and returns what it made with the heap that this takes.
fn heap_of<T>(make: impl FnOnce() -> T) -> (T, usize, usize) {
    let mut made = None;
    let heap = allocation_counter::measure(|| made = Some(make()));
    (made.unwrap(), heap.bytes_current as usize, heap.bytes_max as usize)
}

/// The time that this thread has had a processor, to some milliseconds. It does not depend on the
/// load of the machine.
fn busy() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split_whitespace().next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// The resident memory of the process in KiB; 0 where there is no /proc.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn churn_leaves_nothing(replicas: usize, writers: usize, removed: usize) {
    let (before, mut took) = (resident(), Duration::ZERO);
    let (mut used, heap, heap_max) = heap_of(|| {
        let mut cluster = Cluster::new(replicas, 0);
        let start = busy();
        cluster.churn(removed, writers);
        cluster.settle();
        took = busy() - start;
        cluster
    });
    let resident = resident().saturating_sub(before);
    let (fresh, fresh_heap, _) = heap_of(|| used.fresh(removed, writers));
    let keys = |cluster: &Cluster| cluster.nodes[0].replica.map().key_count();
    let (dead, state) = (keys(&used), used.bytes());
    let collected = allocation_counter::measure(|| {
        used.nodes.iter_mut().for_each(|node| node.replica.collect_garbage());
    });
    let least = (heap as i64 + collected.bytes_current) as usize;
    println!(
        "{replicas} replicas, {writers} writers a name, {removed} removed: heap {heap} of all \
         (most {heap_max}, {least} after the last collect_garbage, fresh {fresh_heap}), state {} \
         bytes (fresh {}), keys {} (fresh {}), resident +{resident} KiB, {:.2} us a removed name",
        state,
        fresh.bytes(),
        dead,
        keys(&fresh),
        took.as_secs_f64() * 1e6 / removed as f64,
    );
    for node in &used.nodes {
        let map = node.replica.map();
        assert!(!node.replica.has_traces());
        assert_eq!((map.cell_count(), map.tombstone_count()), (ALIVE * writers, 0));
        assert_eq!(map.total_of_all(), (ALIVE * writers) as i128);
    }
    // A writer that forgot tombstones says so, and its versions are longer.
    assert!((used.bytes() as f64) < 1.01 * fresh.bytes() as f64 + 24.0 * replicas as f64);
    // Up to 1,024 dead keys wait for others, and vectors have room for those under way.
    assert!((heap as f64) < 2.0 * fresh_heap as f64, "{heap} {fresh_heap}");
    assert!((least as f64) < 1.5 * fresh_heap as f64, "{least} {fresh_heap}");
}

#[test]
fn heap_after_removals_is_that_of_a_fresh_map() {
    churn_leaves_nothing(2, 1, 200_000);
    churn_leaves_nothing(3, 2, 50_000);
}

#[test]
#[ignore = "minutes: the full figures"]
fn heap_after_ten_million_removals_is_that_of_a_fresh_map() {
    churn_leaves_nothing(2, 1, 10_000_000);
    churn_leaves_nothing(3, 1, 10_000_000);
    churn_leaves_nothing(3, 2, 10_000_000);
}

/// The heap of a removed counter at one replica, and its bytes in the state, while an enrolled
/// replica does not answer.
fn removed_while_away(replicas: usize, writers: usize, removed: usize) -> (f64, f64) {
    let start = busy();
    let (cluster, heap, _) = heap_of(|| {
        let mut cluster = Cluster::new(replicas, 1);
        cluster.churn(removed, writers);
        cluster.settle();
        cluster
    });
    let took = busy() - start;
    let (fresh, fresh_heap, _) = heap_of(|| cluster.fresh(removed, writers));
    let each = |used: usize, fresh: usize| (used as f64 - fresh as f64) / removed as f64;
    let heap = each(heap, fresh_heap) / replicas as f64;
    let bytes = each(cluster.bytes(), fresh.bytes());
    let map = cluster.nodes[0].replica.map();
    println!(
        "{replicas} replicas and one away, {writers} writers a name, {removed} removed: heap \
         {heap:.1} a name at each replica, state {bytes:.1} bytes, {} cells and {} tombstones and \
         {} keys, {:.2} us a removed name",
        map.cell_count(),
        map.tombstone_count(),
        map.key_count(),
        took.as_secs_f64() * 1e6 / removed as f64,
    );
    (heap, bytes)
}

#[test]
fn removal_while_a_replica_is_away_costs_its_name_and_few_bytes() {
    let named = (name(0).len() + "fra".len() + 1) as f64;
    let (heap, bytes) = removed_while_away(1, 1, 100_000);
    assert!(heap < named + 40.0, "{heap}");
    assert!(bytes < named + 10.0, "{bytes}");
}

#[test]
#[ignore = "a minute: the full figures"]
fn million_removals_while_a_replica_is_away() {
    let named = (name(0).len() + "fra".len() + 1) as f64;
    for (replicas, writers, removed) in
        [(2, 2, 25_000), (2, 2, 100_000), (1, 1, 1_000_000), (2, 1, 1_000_000)]
    {
        let (heap, _) = removed_while_away(replicas, writers, removed);
        assert!(writers > 1 || heap < named + 40.0, "{heap}");
    }
}

#[test]
#[ignore = "a measurement: the longest pauses"]
fn longest_pauses() {
    let names = 2_000_000;
    let mut cluster = Cluster::new(1, 0);
    cluster.nodes[0].replica = Replica::with_map(
        ReplicaId::new(1, 1),
        "fra",
        counter_core::CounterMap::with_bounds(names, 10),
    )
    .unwrap();
    (0..names).for_each(|at| cluster.add(0, &name(at)));
    cluster.settle();
    for at in (0..names).step_by(2) {
        cluster.nodes[0].replica.remove(&name(at)).unwrap();
    }
    cluster.settle();
    let replica = &mut cluster.nodes[0].replica;
    assert_eq!((replica.map().cell_count(), replica.map().key_count()), (names / 2, names));
    let start = busy();
    replica.collect_garbage();
    println!("collect_garbage with {0} live and {0} dead keys: {1:?}", names / 2, busy() - start);
    assert_eq!(replica.map().key_count(), names / 2);
    for writers in [3, 36] {
        let mut cluster = Cluster::new(writers, 0);
        for at in 0..KEYS_MAX {
            (0..writers).for_each(|writer| cluster.add(writer, &name(at)));
        }
        cluster.settle();
        for at in 0..KEYS_MAX {
            cluster.nodes[0].replica.remove(&name(at)).unwrap();
        }
        let mut times: Vec<Duration> = Vec::new();
        while cluster.nodes[0].replica.map().cell_count() > 0
            || cluster.nodes.iter().any(|node| node.replica.has_traces())
        {
            let shown = cluster.exchange();
            for Node { replica, work, .. } in &mut cluster.nodes {
                let start = Instant::now();
                replica.clean_up(work, &shown, KEYS_MAX);
                times.push(start.elapsed());
            }
        }
        println!(
            "clean_up of {KEYS_MAX} keys with {writers} writers: {:?} at most, {:?} each, {} calls",
            times.iter().max().unwrap(),
            times.iter().sum::<Duration>() / times.len() as u32,
            times.len()
        );
    }
}

/// The least of some times.
fn least(times: usize, mut run: impl FnMut() -> Duration) -> f64 {
    (0..times).map(|_| run()).min().unwrap_or_default().as_secs_f64()
}

/// Seconds to produce 1,000 changes, to apply them, and to join them as a map.
fn seconds(cluster: &mut Cluster, names: &[String]) -> [f64; 3] {
    let [sender, receiver] = cluster.nodes.as_mut_slice() else { panic!("two replicas") };
    let (mut apply, mut join) = (f64::MAX, f64::MAX);
    let produce = least(20, || {
        let before = receiver.replica.map().clone();
        let start = Instant::now();
        let changes: Vec<Vec<u8>> = names
            .iter()
            .map(|name| {
                sender.replica.add(name, 1).unwrap();
                let span = sender.replica.flush().span.unwrap();
                sender.replica.map().delta_of(span.replica, span.after).unwrap().encode()
            })
            .collect();
        let produced = (start.elapsed(), Instant::now());
        for bytes in &changes {
            receiver.replica.join_delta(Delta::decode(bytes).unwrap()).unwrap();
        }
        apply = apply.min(produced.1.elapsed().as_secs_f64());
        join = join.min(least(3, || {
            let mut copy = before.clone();
            let start = Instant::now();
            assert_eq!(copy.join(sender.replica.map()).cells(), names.len());
            start.elapsed()
        }));
        produced.0
    });
    [produce, apply, join]
}

#[test]
#[ignore = "a measurement: times as ratios"]
fn replicas_with_a_past_are_as_fast_as_fresh_ones() {
    let names: Vec<String> = (0..ALIVE).map(|at| name(90_000_000 + at)).collect();
    let make = |removals: usize, resets: usize| {
        let mut cluster = Cluster::new(2, 0);
        for at in 0..removals {
            cluster.add(0, &name(at));
            if at % ALIVE == ALIVE - 1 {
                cluster.exchange();
                for gone in at + 1 - ALIVE..=at {
                    cluster.nodes[1].replica.remove(&name(gone)).unwrap();
                }
                cluster.settle();
            }
        }
        for _ in 0..resets / ALIVE {
            names.iter().for_each(|name| cluster.add(0, name));
            cluster.exchange();
            names.iter().for_each(|name| {
                assert!(cluster.nodes[1].replica.reset(name, "fra").unwrap().is_some());
            });
            cluster.settle();
        }
        for at in [0, 1] {
            names.iter().for_each(|name| cluster.add(at, name));
        }
        cluster.settle();
        assert!(cluster.nodes.iter().all(|node| !node.replica.has_traces()));
        let times = seconds(&mut cluster, &names);
        (times, (cluster.bytes(), cluster.nodes[0].replica.map().cell_count()))
    };
    let fresh = make(0, 0);
    for (past, (used, bytes)) in [("removals", make(100_000, 0)), ("resets", make(0, 100_000))] {
        println!("after 100,000 {past}: {bytes:?} bytes and cells, fresh {:?}", fresh.1);
        for (work, (used, fresh)) in
            ["produce", "apply", "join"].iter().zip(used.iter().zip(fresh.0))
        {
            println!(
                "{work} after 100,000 {past}: {:.3} times that of fresh replicas",
                used / fresh
            );
            assert!(*used < 1.3 * fresh, "{work} {past}: {used} {fresh}");
        }
    }
}
