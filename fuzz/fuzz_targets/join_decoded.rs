//! Arbitrary decoded states are joined. Whatever they say, the joined state encodes, reads back,
//! hashes and sums up as it should.
#![no_main]

use counter_core::{CounterMap, Delta, ReplicaId, Staging, StateHash, VersionVector};
use libfuzzer_sys::fuzz_target;

/// Deltas one after the other: two bytes of length, and a body that gets its envelope here.
fn deltas(mut bytes: &[u8]) -> Vec<Delta> {
    let mut deltas = Vec::new();
    while let [high, low, rest @ ..] = bytes {
        let (body, left) =
            rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
        let head = [&[0x82, 1, 0x5a][..], &(body.len() as u32).to_be_bytes(), body].concat();
        deltas.extend(Delta::decode(&head));
        bytes = left;
    }
    deltas
}

fn state(map: &mut CounterMap) -> (VersionVector, StateHash) {
    (map.version_vector(), map.state_hash())
}

fuzz_target!(|bytes: &[u8]| {
    let (deltas, mut map, mut staging) =
        (deltas(bytes), CounterMap::with_bounds(100, 100), Staging::new(1_000));
    for delta in &deltas {
        let before = state(&mut map);
        match map.join_delta(delta) {
            Ok(_) => assert!(map.version_vector().contains(&before.0)),
            Err(_) => assert_eq!(state(&mut map), before),
        }
        if let Ok(complete) = staging.push(delta.clone()) {
            assert_eq!(
                Delta::decode(&complete.encode()).map(|read| read.encode()),
                Ok(complete.encode())
            );
            assert!(!complete.has_open_part());
        }
    }
    let whole = map.delta_since(&VersionVector::new());
    assert_eq!(Delta::decode(&whole.encode()).as_ref(), Ok(&whole));
    let mut rebuilt = CounterMap::new();
    rebuilt.join_delta(&whole).expect("a whole delta of a map within bounds");
    assert_eq!(state(&mut rebuilt), state(&mut map));
    assert_eq!(rebuilt.total_of_all(), map.total_of_all());
    let mut other = CounterMap::new();
    other.join(&map);
    assert_eq!(state(&mut other), state(&mut map));
    let totals: i128 = map.counters().map(|counter| map.total(counter)).sum();
    assert_eq!(totals, map.total_of_all());
    for delta in &deltas {
        let _ = other.repair(delta);
    }
    let me = ReplicaId::new(7, 7);
    let _ = other.add(me, "a", "fra", 1);
    let _ = other.reset(me, "a", "fra");
    assert_eq!(other.value("a", "fra"), 0);
    let _ = other.delta_since(&map.version_vector()).encode();
});
