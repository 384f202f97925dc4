//! Arbitrary questions of a peer that asks for what it lacks. Any cursor is refused or does no harm
//! to the source, and any vector is answered with a delta.
#![no_main]

use counter_core::{CounterMap, Cursor, ReplicaId, VersionVector};
use libfuzzer_sys::fuzz_target;

fn source() -> CounterMap {
    let mut map = CounterMap::new();
    for at in 0..12u64 {
        let (counter, region) = (
            [["a", "b", "c"], ["d", "e", "f"]][at as usize % 2][at as usize % 3],
            ["fra", "ord"][at as usize % 2],
        );
        map.add(ReplicaId::new(at % 3, 1), counter, region, at + 1).expect("there is room");
    }
    map
}

fuzz_target!(|bytes: &[u8]| {
    let (source, cut) =
        (source(), bytes.first().map_or(0, |&byte| usize::from(byte).min(bytes.len() - 1)));
    let (vector, cursor) =
        bytes.get(1..).unwrap_or_default().split_at(cut.min(bytes.len().saturating_sub(1)));
    let have: VersionVector = vector
        .chunks_exact(2)
        .map(|pair| (ReplicaId::new(pair[0].into(), 1), pair[1].into()))
        .collect();
    let cursor = Cursor::decode(cursor).ok();
    let page = source.page_since(&have, None, cursor.as_ref(), 100);
    assert!(page.delta.cell_count() <= source.cell_count());
    // If the source has all that the vector names, the delta brings the peer up to the source.
    if source.version_vector().contains(&have) {
        let lacking = source.delta_since(&have);
        assert!(lacking.spans().all(|span| span.after == have.get(span.replica)
            && span.upto == source.seen_of(span.replica)));
    }
});
