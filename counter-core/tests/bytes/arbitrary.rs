//! The work of the fuzzers, on stable and for seconds: any bytes are decoded, and the states that
//! they make are joined. `PROPTEST_CASES=100000` runs more.

use counter_core::{CounterMap, Cursor, Delta, ReplicaId, VersionVector};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes that look like a table: its fields in order, each with numbers that mostly fit.
fn table() -> impl Strategy<Value = Vec<u8>> {
    let small = || prop_oneof![30 => 0u8..2, 1 => any::<u8>()];
    let cells = (vec(small(), 4), vec(small(), 4))
        .prop_map(|(forms, numbers)| [vec![1], pairs(&forms, &numbers)].concat());
    let part = (0u8..4, small(), small(), prop_oneof![1 => Just(vec![0]), 4 => cells]).prop_map(
        |(writer, after, width, cells)| {
            [vec![1], vec![0; 15], vec![writer, after, width], cells].concat()
        },
    );
    (vec(part, 1..4), prop::bool::weighted(0.9)).prop_map(|(parts, sorted)| {
        let mut parts = parts;
        if sorted {
            parts.sort_by_key(|part| part[16]);
            parts.dedup_by_key(|part| part[16]);
        }
        let head =
            [0, 2, 0, 0, 0, 1, b'a', b'b', 1, 0, 0, 0, 0, 2, 65, 0, 2, 0, 0, parts.len() as u8];
        envelope(&[&head[..], &parts.concat()].concat())
    })
}

fn pairs(forms: &[u8], numbers: &[u8]) -> Vec<u8> {
    forms.iter().zip(numbers).flat_map(|(_, &number)| [0, number & 0x7f]).collect()
}

fn envelope(body: &[u8]) -> Vec<u8> {
    [&[0x82, 1, 0x59][..], &(body.len() as u16).to_be_bytes(), body].concat()
}

fn joined(deltas: &[&Delta]) -> CounterMap {
    let mut map = CounterMap::new();
    deltas.iter().for_each(|delta| drop(map.join_delta(delta)));
    map
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_or_read_back(body in vec(any::<u8>(), 0..400)) {
        for bytes in [body.clone(), envelope(&body)] {
            if let Ok(delta) = Delta::decode(&bytes) {
                prop_assert_eq!(Delta::decode(&delta.encode()), Ok(delta));
            }
        }
        if let Ok(cursor) = Cursor::decode(&body) {
            prop_assert_eq!(cursor.encode(), body);
        }
    }

    #[test]
    fn any_states_keep_their_sums_and_hashes_when_joined(tables in vec(table(), 2..5)) {
        let deltas: Vec<Delta> =
            tables.iter().filter_map(|bytes| Delta::decode(bytes).ok()).collect();
        let mut map = joined(&deltas.iter().collect::<Vec<_>>());
        let whole = map.delta_since(&VersionVector::new());
        prop_assert_eq!(Delta::decode(&whole.encode()), Ok(whole.clone()));
        let mut rebuilt = joined(&[&whole]);
        prop_assert_eq!(rebuilt.version_vector(), map.version_vector());
        prop_assert_eq!(rebuilt.state_hash(), map.state_hash());
        prop_assert_eq!(rebuilt.total_of_all(), map.total_of_all());
        prop_assert_eq!(rebuilt.total("a") + rebuilt.total("b"), map.total_of_all());
        for delta in &deltas {
            prop_assert!(map.join_delta(delta).is_ok(), "what was joined is joined again");
        }
        // A delta that came after a gap may fit now. Nothing is taken away.
        prop_assert!(map.version_vector().contains(&rebuilt.version_vector()));
        map.add(ReplicaId::new(0, 1), "a", "", 1).ok();
        map.reset(ReplicaId::new(0, 2), "a", "");
        prop_assert_eq!(map.total("a"), 0);
    }
}
