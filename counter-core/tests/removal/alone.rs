//! One or two replicas whose removals leave nothing.

use counter_core::{Cleanup, CounterMap, ProvenVersions, Replica, ReplicaId, VersionVector};

fn alone() -> (Replica, Cleanup) {
    (Replica::new(ReplicaId::new(1, 1), "ord").unwrap(), Cleanup::default())
}

/// A replica alone takes back all its traces.
fn clean_up(replica: &mut Replica, work: &mut Cleanup) {
    loop {
        let held = replica.map().version_vector();
        let shown = ProvenVersions { by_all: held.clone(), by_any: held };
        if replica.clean_up(work, &shown, 1_000).is_none() {
            return;
        }
    }
}

#[test]
fn handle_works_after_removal_and_never_for_another_counter() {
    let (mut replica, mut work) = alone();
    let kept = replica.counter("kept").unwrap();
    kept.add(5).unwrap();
    for round in 0..10 {
        for at in 0..2_000 {
            replica.add(&format!("{round}:{at}"), 1).unwrap();
        }
        replica.flush();
        for at in 0..2_000 {
            assert!(replica.remove(&format!("{round}:{at}")).unwrap());
        }
        replica.remove("kept").unwrap();
        clean_up(&mut replica, &mut work);
        assert!(replica.has_garbage());
        replica.collect_garbage();
        assert_eq!((replica.map().cell_count(), replica.map().total_of_all()), (0, 0));
        assert!(!replica.map().contains("kept") && replica.map().key_count() == 1);
        kept.add(3).unwrap();
        assert_eq!((replica.total("kept"), replica.total(&format!("{round}:0"))), (3, 0));
        replica.flush();
        assert!(replica.map().contains("kept"));
    }
}

#[test]
fn removed_counter_is_not_listed_and_makes_room() {
    let map = CounterMap::with_bounds(2, 10);
    let mut replica = Replica::with_map(ReplicaId::new(1, 1), "ord", map).unwrap();
    for name in ["a", "b"] {
        replica.add(name, 1).unwrap();
    }
    replica.flush();
    assert!(replica.add("c", 1).is_err());
    assert!(replica.remove("a").unwrap() && !replica.remove("nobody").unwrap());
    let names = |replica: &Replica| {
        let page = replica.map().counters_after("", "", 10);
        page.counters.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&replica), ["b"], "also while its cells are there");
    assert!(!replica.map().contains("a"));
    let mut work = Cleanup::default();
    clean_up(&mut replica, &mut work);
    replica.add("c", 1).unwrap();
    replica.flush();
    assert_eq!(names(&replica), ["b", "c"]);
    assert!(replica.add("a", 1).is_err(), "there are two again");
}

#[test]
fn state_after_many_removals_is_small() {
    let (mut replica, mut work) = alone();
    let mut fresh = Replica::new(ReplicaId::new(1, 1), "ord").unwrap();
    for at in 0..50_000_u32 {
        let name = format!("visits of user {at}");
        replica.add(&name, 1).unwrap();
        replica.flush();
        if let Some(before) = at.checked_sub(1_000) {
            replica.remove(&format!("visits of user {before}")).unwrap();
        }
        if at % 500 == 0 {
            clean_up(&mut replica, &mut work);
            if replica.has_garbage() {
                replica.collect_garbage();
            }
        }
        if at >= 49_000 {
            fresh.add(&name, 1).unwrap();
        }
    }
    clean_up(&mut replica, &mut work);
    fresh.flush();
    let bytes = |replica: &Replica| replica.map().encode().len() as f64;
    assert_eq!(replica.map().cell_count(), 1_000);
    assert!(bytes(&replica) < 1.5 * bytes(&fresh), "{} {}", bytes(&replica), bytes(&fresh));
    assert!(replica.map().key_count() < 4_000);
}

#[test]
fn removed_counter_of_two_writers_does_not_exist_any_more() {
    let (mut ord, _) = alone();
    let mut fra = Replica::new(ReplicaId::new(2, 1), "fra").unwrap();
    for replica in [&mut ord, &mut fra] {
        replica.add("likes", 1).unwrap();
        replica.flush();
    }
    ord.join_delta(fra.map().delta_since(&VersionVector::new())).unwrap();
    let mut work = Cleanup::default();
    ord.remove("likes").unwrap();
    assert!(!ord.map().contains("likes"), "right after it");
    while ord.clean_up(&mut work, &ProvenVersions::default(), 100).is_some() {
        assert!(!ord.map().contains("likes"), "while it cleans up");
    }
    assert!(ord.map().counters_after("", "", 10).counters.is_empty());
    fra.join_delta(ord.map().delta_since(&fra.map().version_vector())).unwrap();
    assert!(!fra.map().contains("likes"), "where it is heard");
    // A handle that somebody asks for makes it anew.
    fra.counter("likes").unwrap();
    assert!(!ord.map().contains("likes"));
}
