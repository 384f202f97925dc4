//! The four traps of `crdts::Map` with counters in it. Each test shows what `crdts` 7.3.2 does, and
//! that this crate gives the right number.

use counter_core::{
    AMOUNT_MAX, Amounts, CELL_MAX, CounterMap, ReplicaId, VersionVector, WriteError,
};
use crdts::{CmRDT, CvRDT, Map, PNCounter};

type Regions = Map<&'static str, PNCounter<u8>, u8>;

/// Adds `amount` to a region as `actor`; returns the operation.
fn crdts_add(
    map: &mut Regions,
    actor: u8,
    region: &'static str,
    amount: u64,
) -> crdts::map::Op<&'static str, PNCounter<u8>, u8> {
    let context = map.read_ctx().derive_add_ctx(actor);
    let operation = map.update(region, context, |counter, _| counter.inc_many(actor, amount));
    map.apply(operation.clone());
    operation
}

fn crdts_value(map: &Regions, region: &'static str) -> Option<i128> {
    map.get(&region).val.map(|counter| i128::try_from(counter.read()).expect("a small sum"))
}

fn replica(node: u64) -> ReplicaId {
    ReplicaId::new(node, 1)
}

/// After an update that named one region, a user's page showed only that region.
#[test]
fn partial_join_deletes_no_key() {
    let mut full = Regions::new();
    crdts_add(&mut full, 1, "eu", 5);
    crdts_add(&mut full, 1, "us", 7);
    // A delta that holds only the change, with the clock that covers the rest: as one would cut a
    // delta from a map.
    let mut source = full.clone();
    let add = crdts_add(&mut source, 1, "ap", 3);
    let mut delta = Regions::new();
    delta.apply(add);
    full.merge(delta);
    assert_eq!(crdts_value(&full, "eu"), None, "crdts: deleted, though nobody removed it");
    assert_eq!(crdts_value(&full, "ap"), Some(3));

    let mut ours = CounterMap::new();
    ours.add(replica(1), "clicks", "eu", 5).unwrap();
    ours.add(replica(1), "clicks", "us", 7).unwrap();
    let mut source = ours.clone();
    let before = source.version_vector();
    source.add(replica(1), "clicks", "ap", 3).unwrap();
    ours.join_delta(&source.delta_since(&before)).unwrap();
    assert_eq!(ours.regions("clicks").collect::<Vec<_>>(), [("eu", 5), ("us", 7), ("ap", 3)]);
}

/// Two messages arrived out of order, and one click was never seen again. Then the nodes that had
/// it lost it too.
#[test]
fn out_of_order_changes_are_kept() {
    let mut source = Regions::new();
    let first = crdts_add(&mut source, 1, "eu", 5);
    let second = crdts_add(&mut source, 1, "us", 7);
    let mut target = Regions::new();
    target.apply(second);
    target.apply(first);
    assert_eq!(crdts_value(&target, "eu"), None, "crdts: what came late is lost");
    source.merge(target);
    assert_eq!(
        crdts_value(&source, "eu"),
        None,
        "crdts: and the loss spreads to the healthy replica"
    );

    let mut source = CounterMap::new();
    source.add(replica(1), "clicks", "eu", 5).unwrap();
    let first = source.delta_since(&VersionVector::new());
    let before = source.version_vector();
    source.add(replica(1), "clicks", "us", 7).unwrap();
    let second = source.delta_since(&before);
    let mut target = CounterMap::new();
    let joined = target.join_delta(&second).unwrap();
    assert_eq!(joined.gaps.len(), 1, "the gap is reported, so that it is pulled");
    target.join_delta(&first).unwrap();
    target.join_delta(&second).unwrap();
    assert_eq!((target.value("clicks", "eu"), target.value("clicks", "us")), (5, 7));
    source.join(&target);
    assert_eq!(source.total("clicks"), 12);
}

/// 1,000 were cleared while another replica added 1. The right value is 1.
#[test]
fn concurrent_add_survives_reset() {
    let mut adder = Regions::new();
    crdts_add(&mut adder, 1, "eu", 1_000);
    let mut remover = adder.clone();
    let context = remover.get(&"eu").derive_rm_ctx();
    let remove = remover.rm("eu", context);
    remover.apply(remove);
    crdts_add(&mut adder, 1, "eu", 1);
    adder.merge(remover);
    assert_eq!(
        crdts_value(&adder, "eu"),
        Some(1_001),
        "crdts: map dots and counter sums are different number spaces"
    );

    let mut adder = CounterMap::new();
    adder.add(replica(1), "clicks", "eu", 1_000).unwrap();
    let mut resetter = adder.clone();
    resetter.reset(replica(2), "clicks", "eu").unwrap();
    adder.add(replica(1), "clicks", "eu", 1).unwrap();
    adder.join(&resetter);
    resetter.join(&adder);
    assert_eq!((adder.total("clicks"), resetter.total("clicks")), (1, 1));
}

/// An add that does not fit reported nothing, and the counter had not moved.
#[test]
fn overflowing_add_is_an_error() {
    let mut counter: PNCounter<u8> = PNCounter::new();
    counter.apply(counter.inc_many(1, u64::MAX));
    let before = counter.read();
    if cfg!(debug_assertions) {
        let overflow = std::panic::catch_unwind(|| counter.inc_many(1, 1));
        assert!(overflow.is_err(), "crdts in debug: a panic");
    } else {
        counter.apply(counter.inc_many(1, 1));
        assert_eq!(counter.read(), before, "crdts in release: nothing happens, in silence");
    }

    let mut map = CounterMap::new();
    let key = map.intern("clicks", "eu").unwrap();
    map.change_key(replica(1), key, Amounts { increments: CELL_MAX, decrements: 0 }).unwrap();
    assert_eq!(map.add(replica(1), "clicks", "eu", 1), Err(WriteError::CellFull));
    assert_eq!(
        map.add(replica(2), "clicks", "eu", AMOUNT_MAX),
        Ok(1),
        "others have room of their own"
    );
    assert_eq!(map.total("clicks"), i128::from(CELL_MAX + AMOUNT_MAX));
}

/// Also part of the fourth trap: a delta that is not newer costs only a look at the versions.
#[test]
fn known_delta_changes_nothing_and_touches_no_cell() {
    let mut here = CounterMap::new();
    for i in 0..1_000 {
        here.add(replica(1), &format!("c{i}"), "eu", 1).unwrap();
    }
    let there = here.clone();
    let joined = here.join(&there);
    assert_eq!((joined.cells(), joined.gaps.len(), joined.conflicts), (0, 0, 0));
    let joined = here.join_delta(&there.delta_since(&VersionVector::new())).unwrap();
    assert_eq!(joined.cells(), 0);
}
