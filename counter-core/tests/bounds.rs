//! The bounds of adds and maps, what is refused at them, and that no thread's add is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use counter_core::{
    AMOUNT_MAX, Amounts, CELL_MAX, CounterMap, JoinError, NAME_BYTES_MAX, REPLICAS_MAX, Replica,
    ReplicaId, VersionVector, WriteError,
};

const ME: ReplicaId = ReplicaId::new(1, 1);
const OTHER: ReplicaId = ReplicaId::new(2, 1);

#[test]
fn amounts_are_one_to_two_to_the_32() {
    let mut map = CounterMap::new();
    let mut replica = Replica::new(ME, "ord").unwrap();
    let handle = replica.counter("clicks").unwrap();
    for amount in [0, AMOUNT_MAX + 1, u64::MAX] {
        assert_eq!(map.add(ME, "clicks", "ord", amount), Err(WriteError::AmountOutOfRange));
        assert_eq!(map.subtract(ME, "clicks", "ord", amount), Err(WriteError::AmountOutOfRange));
        assert_eq!(handle.add(amount), Err(WriteError::AmountOutOfRange));
        assert_eq!(handle.subtract(amount), Err(WriteError::AmountOutOfRange));
        assert_eq!(replica.add("clicks", amount), Err(WriteError::AmountOutOfRange));
    }
    assert_eq!(
        (map, replica.has_pending(), replica.total("clicks")),
        (CounterMap::new(), false, 0)
    );
    handle.add(AMOUNT_MAX).unwrap();
    assert_eq!(replica.total("clicks"), 1 << 32);
}

#[test]
fn names_have_1_to_128_bytes_and_no_control_characters() {
    let mut map = CounterMap::new();
    let (longest, too_long) = ("n".repeat(NAME_BYTES_MAX), "n".repeat(NAME_BYTES_MAX + 1));
    let mut replica = Replica::new(ME, "ord").unwrap();
    for name in ["", &too_long, "a\nb", "\0", "\u{7f}", "\u{85}"] {
        assert_eq!(map.add(ME, name, "ord", 1), Err(WriteError::NameOutOfRange));
        assert_eq!(map.subtract(ME, "clicks", name, 1), Err(WriteError::NameOutOfRange));
        assert_eq!(map.intern(name, "ord"), Err(WriteError::NameOutOfRange));
        assert_eq!(map.set_region(ME, name), Err(WriteError::NameOutOfRange));
        assert_eq!(Replica::new(ME, name).err(), Some(WriteError::NameOutOfRange));
        assert_eq!(replica.counter(name).err(), Some(WriteError::NameOutOfRange));
        assert_eq!(replica.add(name, 1), Err(WriteError::NameOutOfRange));
        assert_eq!(replica.subtract(name, 1), Err(WriteError::NameOutOfRange));
        assert_eq!(replica.add_once("id:1", name, 1), Err(WriteError::NameOutOfRange));
    }
    assert_eq!((map, replica.has_pending()), (CounterMap::new(), false));
    let mut map = CounterMap::new();
    map.add(ME, &longest, &longest, 1).unwrap();
    map.add(ME, "a name with spaces, é and 🦀", "ord", 1).unwrap();
    let mut other = CounterMap::new();
    let bytes = map.delta_since(&VersionVector::new()).encode();
    other.join_delta(&counter_core::Delta::decode(&bytes).unwrap()).unwrap();
    assert_eq!(other, map);
}

#[test]
fn counters_max_refuses_adds_and_its_double_a_delta() {
    let mut small = CounterMap::with_bounds(2, 2);
    small.add(ME, "a", "ord", 1).unwrap();
    small.add(ME, "b", "ord", 1).unwrap();
    assert_eq!(small.add(ME, "c", "ord", 1), Err(WriteError::TooManyCounters));
    small.add(ME, "a", "ord", 1).unwrap();
    small.add(ME, "a", "fra", 1).expect("a counter that exists, in a region that is new");
    let hash = small.state_hash();
    let mut other = CounterMap::new();
    other.add(OTHER, "a", "ord", 1).unwrap();
    let fits = other.delta_since(&VersionVector::new());
    for counter in ["c", "d", "e"] {
        other.add(OTHER, counter, "ord", 1).unwrap();
    }
    assert_eq!(
        small.join_delta(&other.delta_since(&VersionVector::new())),
        Err(JoinError::TooManyCounters)
    );
    assert_eq!((small.state_hash(), small.seen_of(OTHER), small.counter_count()), (hash, 0, 2));
    small.join_delta(&fits).unwrap();
    let mut third = CounterMap::new();
    third.add(ReplicaId::new(3, 1), "a", "ord", 1).unwrap();
    assert_eq!(
        small.join_delta(&third.delta_since(&VersionVector::new())),
        Err(JoinError::TooManyReplicas)
    );
    assert_eq!(small.total("a"), 4);
}

#[test]
fn amount_that_does_not_fit_makes_no_cell() {
    let mut map = CounterMap::new();
    let key = map.intern("clicks", "ord").unwrap();
    assert_eq!(
        map.change_key(ME, key, Amounts { increments: CELL_MAX + 1, decrements: 0 }),
        Err(WriteError::CellFull)
    );
    assert_eq!(
        (map.cell_count(), map.seen_of(ME), map.state_hash()),
        (0, 0, CounterMap::new().state_hash())
    );
}

/// A loaded map in which `ME` has `amount` already.
fn with_amount(amount: u64) -> CounterMap {
    let mut map = CounterMap::new();
    let key = map.intern("clicks", "ord").unwrap();
    map.change_key(ME, key, Amounts { increments: amount, decrements: 0 }).unwrap();
    map
}

#[test]
fn full_cell_refuses_adds_and_counts_none() {
    let mut replica = Replica::with_map(ME, "ord", with_amount(CELL_MAX)).unwrap();
    let handle = replica.counter("clicks").unwrap();
    assert_eq!(handle.add(5), Err(WriteError::CellFull));
    assert_eq!(replica.add("clicks", 5), Err(WriteError::CellFull));
    handle.subtract(3).unwrap();
    replica.flush();
    assert_eq!(replica.total("clicks"), i128::from(CELL_MAX) - 3);
}

#[test]
fn full_cell_refuses_every_thread() {
    let mut replica = Replica::with_map(ME, "ord", with_amount(CELL_MAX)).unwrap();
    let handle = replica.counter("clicks").unwrap();
    let other = replica.counter("likes").unwrap();
    // At the same time, so that they may get lanes after the cell was full.
    let results = [(); 8].map(|()| {
        let (handle, other) = (handle.clone(), other.clone());
        std::thread::spawn(move || {
            (0..20_000).try_for_each(|_| other.add(1)).and_then(|()| handle.add(5))
        })
    });
    let results = results.map(|thread| thread.join().unwrap());
    assert_eq!(results, [Err(WriteError::CellFull); 8]);
    replica.flush();
    assert_eq!((replica.total("likes"), replica.total("clicks")), (160_000, i128::from(CELL_MAX)));
    assert!(!replica.has_pending());
}

#[test]
fn cell_that_fills_up_loses_no_accepted_add() {
    // The most that adds in both ways may leave pending, on the fullest cell that still takes adds.
    let start = CELL_MAX - (1 << 60) - (1 << 34);
    let mut replica = Replica::with_map(ME, "ord", with_amount(start)).unwrap();
    let handle = replica.counter("clicks").unwrap();
    let mut expected = u128::from(start);
    let mut refusals = Vec::new();
    for _ in 0..8 {
        while handle.add(AMOUNT_MAX).map_err(|error| refusals.push(error)).is_ok() {
            expected += u128::from(AMOUNT_MAX);
        }
        while replica.add("clicks", AMOUNT_MAX).map_err(|error| refusals.push(error)).is_ok() {
            expected += u128::from(AMOUNT_MAX);
        }
        assert_eq!(replica.total("clicks"), expected as i128);
        replica.flush();
        assert_eq!(replica.map().total("clicks"), expected as i128, "what was let in was written");
    }
    assert_eq!(refusals.first(), Some(&WriteError::NotFlushed));
    assert_eq!(refusals.last(), Some(&WriteError::CellFull));
    assert!(expected <= u128::from(CELL_MAX));
    handle.subtract(1).unwrap();
}

#[test]
fn adds_of_64_threads_all_count() {
    let mut replica = Replica::new(ME, "ord").unwrap();
    let handles = ["clicks", "likes"].map(|counter| replica.counter(counter).unwrap());
    std::thread::scope(|threads| {
        for at in 0..64 {
            let handle = handles[at % 2].clone();
            threads.spawn(move || {
                (0..1_000).for_each(|_| handle.add(3).and_then(|()| handle.subtract(1)).unwrap())
            });
        }
        // Flushes between the adds.
        (0..200).for_each(|_| drop(replica.flush()));
    });
    replica.flush();
    assert!(!replica.has_pending());
    assert_eq!((replica.map().total("clicks"), replica.map().total("likes")), (64_000, 64_000));
    let cells = replica.map().pn_counter("clicks", "ord");
    let amounts = cells.cells().next().map(|cell| cell.1.amounts);
    assert_eq!(amounts, Some(Amounts { increments: 96_000, decrements: 32_000 }));
}

#[test]
fn wake_is_called_once_between_flushes() {
    let mut replica = Replica::new(ME, "ord").unwrap();
    let wakes = Arc::new(AtomicUsize::new(0));
    let counted = wakes.clone();
    replica.set_wake(Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    let handles = ["a", "b", "c"].map(|counter| replica.counter(counter).unwrap());
    for flushes in 1..=3 {
        handles.iter().cycle().take(30).for_each(|handle| handle.add(1).unwrap());
        assert_eq!(wakes.load(Ordering::SeqCst), flushes);
        assert!(replica.has_pending());
        assert_eq!(replica.flush().changed.len(), 3);
        assert!(!replica.has_pending());
    }
    assert_eq!(replica.flush().span, None, "nothing pending, nothing written");
}

#[test]
fn flush_moves_no_key_twice() {
    let mut replica = Replica::new(ME, "ord").unwrap();
    let handle = replica.counter("clicks").unwrap();
    handle.add(1).unwrap();
    replica.add("clicks", 2).unwrap();
    replica.add("likes", 4).unwrap();
    let flushed = replica.flush();
    assert_eq!(flushed.changed.len(), 2);
    assert_eq!(flushed.span.map(|span| span.upto - span.after), Some(2));
    assert_eq!((replica.map().total("clicks"), replica.map().total("likes")), (3, 4));
}

#[test]
fn every_cut_keeps_its_limit_with_the_record() {
    for before in 0..40 {
        let mut map = CounterMap::new();
        for i in 0..40 {
            if i == before {
                map.set_region(ME, &"r".repeat(NAME_BYTES_MAX)).unwrap();
            }
            map.add(ME, &format!("counter {i}"), "ord", 1).unwrap();
        }
        let (mut here, bytes_max) = (CounterMap::new(), 420);
        for cut in map.delta_since(&VersionVector::new()).split(bytes_max) {
            assert!(cut.encode().len() <= bytes_max, "{} bytes", cut.encode().len());
            here.join_delta(&cut).unwrap();
        }
        assert_eq!(here, map);
    }
}

/// A reset that clears as many replicas as a map may hold takes more than a mebibyte. Every
/// receiver must be able to read it.
#[test]
fn reset_of_replicas_max_reads_back() {
    let mut map = CounterMap::new();
    let key = map.intern("clicks", "ord").unwrap();
    for node in 0..REPLICAS_MAX as u64 {
        map.change_key(
            ReplicaId::new(node, 1),
            key,
            Amounts { increments: CELL_MAX, decrements: CELL_MAX - 1 },
        )
        .unwrap();
    }
    map.reset(ReplicaId::new(0, 1), "clicks", "ord").unwrap();
    let bytes = map.delta_of(ReplicaId::new(0, 1), 0).unwrap().encode();
    let mut other = CounterMap::new();
    other.join_delta(&counter_core::Delta::decode(&bytes).unwrap()).unwrap();
    let cells = other.pn_counter("clicks", "ord");
    assert_eq!(cells.cells().next().map(|cell| cell.1.cleared().len()), Some(REPLICAS_MAX));
}

#[test]
fn join_takes_twice_counters_max_in_any_region() {
    let [mut one, mut other] = [CounterMap::with_bounds(2, 2), CounterMap::with_bounds(2, 2)];
    for counter in ["a", "b"] {
        one.add(ME, counter, "ord", 1).unwrap();
    }
    for (counter, region) in [("c", "fra"), ("d", "fra"), ("c", "sin"), ("d", "syd")] {
        other.add(OTHER, counter, region, 1).unwrap();
    }
    let delta = other.delta_since(&one.version_vector());
    other.join_delta(&one.delta_since(&other.version_vector())).unwrap();
    one.join_delta(&delta).unwrap();
    assert_eq!((one.counter_count(), one.key_count()), (4, 6));
    assert_eq!(one.version_vector(), other.version_vector());
    assert_eq!(one.state_hash(), other.state_hash());
    assert_eq!(one.add(ME, "e", "ord", 1), Err(WriteError::TooManyCounters));
    one.add(ME, "d", "ord", 1).expect("a counter that a join brought");
    let mut third = CounterMap::new();
    third.add(OTHER, "e", "ord", 1).unwrap();
    third.set_region(OTHER, "ord").unwrap();
    assert_eq!(
        one.repair(&third.delta_since(&VersionVector::new())),
        Err(JoinError::TooManyCounters)
    );
}
