//! Lists of counters against a sorted map, and what a list of 1,000,000 names costs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use counter_core::{CounterMap, Largest, Replica, ReplicaId, VersionVector};
use proptest::prelude::*;

fn id(node: u64) -> ReplicaId {
    ReplicaId::new(node, 1)
}

/// All pages of a prefix.
fn listed(replica: &Replica, prefix: &str, max: usize) -> Vec<(String, i128)> {
    let (mut all, mut after) = (Vec::new(), Some(String::new()));
    while let Some(name) = after {
        let page = replica.counters_after(prefix, &name, max);
        assert!(page.counters.len() <= max);
        all.extend(page.counters.into_iter().map(|(name, total)| (name.to_owned(), total)));
        after = page.next.map(str::to_owned);
    }
    all
}

#[derive(Clone, Debug)]
enum Act {
    Add(String, u64),
    Subtract(String, u64),
    Reset(String),
    /// Makes a handle and adds nothing.
    Open(String),
    Flush,
    /// Joins these names, which another replica has written.
    Join(Vec<String>),
    List,
}

fn name() -> impl Strategy<Value = String> {
    "(likes:)?[ab<&é\u{10000}]{1,3}"
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (name(), 1..9u64).prop_map(|(name, amount)| Act::Add(name, amount)),
        1 => (name(), 1..9u64).prop_map(|(name, amount)| Act::Subtract(name, amount)),
        1 => name().prop_map(Act::Reset),
        1 => name().prop_map(Act::Open),
        1 => Just(Act::Flush),
        1 => prop::collection::vec(name(), 1..40).prop_map(Act::Join),
        1 => Just(Act::List),
    ]
}

proptest! {
    #[test]
    fn lists_are_those_of_a_sorted_map(
        acts in prop::collection::vec(act(), 1..60),
        prefix in "(likes:|like|a|é|x)?",
        after in "(likes:)?[ab]?",
        max in 1..9usize,
    ) {
        let mut here = Replica::new(id(1), "ord").unwrap();
        let mut there = Replica::new(id(2), "fra").unwrap();
        let mut oracle: BTreeMap<String, i128> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Add(name, amount) => {
                    here.counter(&name).unwrap().add(amount).unwrap();
                    *oracle.entry(name).or_default() += i128::from(amount);
                }
                Act::Subtract(name, amount) => {
                    here.subtract(&name, amount).unwrap();
                    *oracle.entry(name).or_default() -= i128::from(amount);
                }
                Act::Reset(name) => {
                    for region in ["ord", "fra"] {
                        here.reset(&name, region).unwrap();
                    }
                    oracle.entry(name).and_modify(|total| *total = 0);
                }
                Act::Open(name) => drop(here.counter(&name).unwrap()),
                Act::Flush => drop(here.flush()),
                Act::Join(names) => {
                    for name in names {
                        there.add(&name, 1).unwrap();
                        *oracle.entry(name).or_default() += 1;
                    }
                    there.flush();
                    here.join_delta(there.map().delta_since(&here.map().version_vector())).unwrap();
                }
                Act::List => drop(listed(&here, "", max)),
            }
        }
        let expected: Vec<(String, i128)> = oracle
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(name, total)| (name.clone(), *total))
            .collect();
        prop_assert_eq!(&listed(&here, &prefix, max), &expected);
        let rest = here.counters_after(&prefix, &after, 1_000).counters.len();
        prop_assert_eq!(rest, expected.iter().filter(|(name, _)| *name > after).count());
        let mut largest = Largest::new(max);
        largest.take(&here.counters_after(&prefix, "", 1_000));
        let mut by_total = expected;
        by_total.sort_by_key(|(name, total)| (-total, name.clone()));
        by_total.truncate(max);
        prop_assert_eq!(largest.into_counters(), by_total);
    }
}

#[test]
fn interned_counter_is_listed_with_its_first_add() {
    let mut replica = Replica::new(id(1), "ord").unwrap();
    let clicks = replica.counter("clicks").unwrap();
    assert!(replica.counters_after("", "", 10).counters.is_empty());
    clicks.add(2).unwrap();
    clicks.subtract(2).unwrap();
    assert_eq!(replica.counters_after("", "", 10).counters, [("clicks", 0)]);
    assert!(replica.map().counters_after("", "", 10).counters.is_empty(), "not flushed yet");
    replica.flush();
    assert_eq!(replica.map().counters_after("", "", 10).counters, [("clicks", 0)]);
}

#[test]
fn page_that_leaves_all_out_names_the_next_one() {
    let mut replica = Replica::new(id(1), "ord").unwrap();
    for i in 0..10 {
        replica.counter(&format!("a{i}")).unwrap();
    }
    replica.add("b", 1).unwrap();
    let page = replica.counters_after("", "", 5);
    assert_eq!((page.counters, page.next), (vec![], Some("a4")));
    assert_eq!(replica.counters_after("", "a4", 6).counters, [("b", 1)]);
    assert_eq!(replica.counters_after("", "b", 6), Default::default());
    assert_eq!(replica.counters_after("", "zzz", 6), Default::default());
    assert_eq!(replica.counters_after("", "", 0), Default::default());
}

/// The figures of 1,000,000 names in random order.
#[test]
#[ignore = "a measurement: run it in release, with --ignored --nocapture"]
fn a_million_names() {
    const COUNT: u64 = 1_000_000;
    const STEP: usize = 128;
    let mut numbers: Vec<u64> = (0..COUNT).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut numbers);
    let mut map = CounterMap::new();
    let started = Instant::now();
    for number in &numbers {
        map.add(id(1), &format!("article:{number:07}:likes"), "ord", 1 + number % 1_000).unwrap();
    }
    println!("made by add: {:?}", started.elapsed());
    let timed = |what: &str, step: usize| {
        let map = map.clone();
        let (mut slowest, mut total) = (Duration::ZERO, Duration::ZERO);
        let memory = allocation_counter::measure(|| {
            loop {
                let started = Instant::now();
                let done = map.sort_names(step);
                let took = started.elapsed();
                (slowest, total) = (slowest.max(took), total + took);
                if done {
                    break;
                }
            }
        });
        let bytes = memory.bytes_current as f64 / COUNT as f64;
        println!("sorted {what}: {total:?}, slowest {slowest:?}, {bytes:.1} bytes a name");
        (map, bytes)
    };
    timed("at once", usize::MAX >> 1);
    let (map, bytes) = timed("in steps", STEP);
    assert!(bytes < 10.0);
    let started = Instant::now();
    let page = map.counters_after("", "article:0500000:likes", 100);
    println!("a page of 100: {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_millis(1) && page.counters.len() == 100);
    let started = Instant::now();
    let (mut count, mut after, mut slowest) = (0, Some(""), Duration::ZERO);
    let mut largest = Largest::new(100);
    while let Some(name) = after {
        let started = Instant::now();
        let page = map.counters_after("", name, 256);
        slowest = slowest.max(started.elapsed());
        largest.take(&page);
        count += page.counters.len();
        after = page.next;
    }
    println!("all in pages of 256: {:?}, slowest {slowest:?}", started.elapsed());
    assert_eq!((count as u64, largest.into_counters()[99].1), (COUNT, 1_000));
    assert!(started.elapsed() < Duration::from_secs(2));
    // Names from a peer or a disk come in order.
    let mut joined = CounterMap::new();
    joined.join_delta(&map.delta_since(&VersionVector::new())).unwrap();
    let started = Instant::now();
    while !joined.sort_names(STEP) {}
    println!("sorted in steps after a join: {:?}", started.elapsed());
}
