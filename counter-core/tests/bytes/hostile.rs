//! Bytes from a stranger: each broken rule is an error, nothing panics, nothing is taken, and
//! memory stays bounded.

use counter_core::{
    AMOUNT_MAX, Amounts, CELL_MAX, CounterMap, Cursor, DecodeError, Delta, ReplicaId, StateHash,
    VersionVector, WriteError,
};

use crate::{envelope, varint};

const NOTHING: VersionVector = VersionVector::new();

fn id(node: u64) -> Vec<u8> {
    ReplicaId::new(node, 1).to_bytes().to_vec()
}

/// A column of one block, one varint each.
fn column(values: &[u64]) -> Vec<u8> {
    [130].into_iter().chain(values.iter().flat_map(|&value| varint(value))).collect()
}

/// Names that share nothing with the one before.
fn names(names: &[&str]) -> Vec<u8> {
    let lengths: Vec<u64> = names.iter().map(|name| name.len() as u64).collect();
    [
        varint(names.len() as u64),
        column(&vec![0; names.len()]),
        column(&lengths),
        names.concat().into_bytes(),
    ]
    .concat()
}

/// One part: flags, writer, span, cells as columns of key gaps, version distances, increments and
/// decrements.
fn part(flags: u8, node: u64, after: u64, width: u64, cells: [&[u64]; 4]) -> Vec<u8> {
    let mut out =
        [vec![flags], id(node), varint(after), varint(width), varint(cells[0].len() as u64)]
            .concat();
    if !cells[0].is_empty() {
        cells.iter().for_each(|values| out.extend(column(values)));
    }
    out
}

/// A table of the pairs (a, "") and (b, "").
fn table(parts: &[Vec<u8>]) -> Vec<u8> {
    let head = [
        vec![0],
        names(&["a", "b"]),
        vec![1, 0, 0, 0, 0],
        varint(2),
        column(&[0, 1]),
        column(&[0, 0]),
    ]
    .concat();
    envelope(&[head, varint(parts.len() as u64), parts.concat()].concat())
}

fn refused(what: &str, bytes: &[u8]) -> DecodeError {
    match Delta::decode(bytes) {
        Ok(delta) => panic!("{what} was taken: {delta:?}"),
        Err(error) => error,
    }
}

const NO_CELLS: [&[u64]; 4] = [&[]; 4];

/// A table with one part of one cell in (0, 9], and dedup entries made by hand.
fn with_entries(entries: &[&[u8]]) -> Vec<u8> {
    let entries = [varint(entries.len() as u64), entries.concat()].concat();
    table(&[[part(9, 1, 0, 8, [&[0], &[0], &[1], &[0]]), entries].concat()])
}

/// The same in format 2.
fn second(entries: &[&[u8]]) -> Vec<u8> {
    let mut bytes = with_entries(entries);
    bytes[1] = 2;
    bytes
}

#[test]
fn entries_of_format_2_are_read() {
    let absorbed = |node: u64, bit: u8| [&[0, 6][..], &id(node), &[0, 1, b'c', 0, bit]].concat();
    for entries in [
        vec![vec![0, 3, 1, b'c', 7, 1, 2, 0, 2, 0]],
        vec![vec![3, 4, 1, b'c', 2, 0, 3]],
        vec![absorbed(7, 1), absorbed(8, 0)],
        vec![[&[0, 5][..], &id(7), &[0, 1, b'c', 7, 1, 2, 0, 0]].concat()],
        vec![vec![0, 7, 1, b'c', 5, 5]],
    ] {
        let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        let bytes = second(&entries);
        let delta = Delta::decode(&bytes).unwrap();
        assert_eq!(Delta::decode(&delta.encode()).unwrap(), delta);
    }
}

#[test]
fn broken_dedup_entries_are_refused() {
    let good: &[u8] = &[0, 0, 1, b'c', 7, 1, 2, 0];
    let runs: &[u8] = &[0, 0, 1, b'd', 7, 0x83, 9, 2, 0, 14, 1];
    assert!(Delta::decode(&with_entries(&[good, runs, &[0, 1, 1, b'c', 2, 0]])).is_ok());
    let long = [vec![0, 1, 65], vec![b'x'; 65], vec![2, 0]].concat();
    let many: Vec<u8> = (0..1_000_000u32).flat_map(|_| [0, 1, 1, b'a', 0]).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no entries where some are announced", with_entries(&[])),
        ("an entry twice", with_entries(&[good, good])),
        ("a version after its span", with_entries(&[&[9, 1, 1, b'c', 2, 0]])),
        (
            "a version that wraps",
            with_entries(&[&[&varint(u64::MAX)[..], &[1, 1, b'c', 2, 0]].concat()]),
        ),
        ("an id of 65 bytes", with_entries(&[&long])),
        ("an id of none", with_entries(&[&[0, 1, 0, 2, 0]])),
        ("an id that is not UTF-8", with_entries(&[&[0, 1, 1, 0xff, 2, 0]])),
        ("an unknown kind of entry", with_entries(&[&[0, 8, 1, b'c', 2, 0]])),
        ("an entry of format 2 in format 1", with_entries(&[&[0, 4, 1, b'c', 2, 0]])),
        ("a key after its dictionary", with_entries(&[&[0, 1, 1, b'c', 2, 2]])),
        (
            "an amount above 2^32",
            with_entries(&[&[&[0, 1, 1, b'c'], &varint((1 << 33) + 2)[..], &[0]].concat()]),
        ),
        ("an id that could be shorter", with_entries(&[&[0, 1, 4, b'a', b'b', b'c', b'd', 2, 0]])),
        ("a sequence number of the chunk before", with_entries(&[&[0, 0, 1, b'c', 72, 1, 2, 0]])),
        (
            "eight sequence numbers where there is room for seven",
            with_entries(&[&[0, 0, 1, b'c', 70, 0x40, 2, 0]]),
        ),
        ("a sequence number below 0", with_entries(&[&[0, 0, 1, b'c', 1, 2, 2, 0]])),
        (
            "adds of which none is known, as if all were alike",
            with_entries(&[&[0, 0, 1, b'c', 7, 1, 0]]),
        ),
        ("adds that are all alike, as a run", with_entries(&[&[0, 0, 1, b'c', 7, 0x81, 11, 2, 0]])),
        ("more adds than were applied", with_entries(&[&[0, 0, 1, b'c', 7, 0x81, 11, 3, 0]])),
        ("equal runs side by side", with_entries(&[&[0, 0, 1, b'c', 7, 0x83, 9, 2, 0, 10, 0]])),
        ("a run of nothing", with_entries(&[&[0, 0, 1, b'c', 7, 0x81, 11, 0, 0]])),
        ("a count of one", with_entries(&[&[0, 0, 1, b'c', 7, 0x81, 11, 1, 0]])),
        ("an unknown add at the end", with_entries(&[&[0, 0, 1, b'c', 7, 0x81, 8, 0, 2]])),
        ("no end of the runs", with_entries(&[&[0, 0, 1, b'c', 7, 0x83, 8, 0, 12, 0]])),
        (
            "nine runs",
            with_entries(&[&[
                &[0, 0, 1, b'c', 71, 0xff][..],
                &(1..10).flat_map(|at| [8 * at + at / 9 * 2, 0]).collect::<Vec<u8>>(),
            ]
            .concat()]),
        ),
        (
            "an add taken back of no id",
            with_entries(&[&[
                0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 2, 0,
            ]]),
        ),
        ("a bit without an entry of format 2", second(&[&[0, 0, 1, b'c', 7, 1, 2, 0]])),
        ("an empty mask of what was taken back", second(&[&[0, 3, 1, b'c', 7, 1, 2, 0, 0]])),
        ("what was taken back and never applied", second(&[&[0, 3, 1, b'c', 7, 1, 2, 0, 4]])),
        (
            "an absorbed id half taken back",
            second(&[&[&[0, 6][..], &id(7), &[0, 1, b'c', 0, 2]].concat()]),
        ),
        ("an entry that was fresh before the first version", second(&[&[3, 4, 1, b'c', 2, 0, 4]])),
        ("more sure than forgotten", second(&[&[0, 7, 1, b'c', 5, 6]])),
        (
            "an absorbed entry twice",
            second(&[
                &[&[0, 6][..], &id(7), &[0, 1, b'c', 0, 1]].concat(),
                &[&[0, 6][..], &id(7), &[1, 1, b'c', 0, 0]].concat(),
            ]),
        ),
        (
            "a million marks",
            table(&[[part(9, 1, 0, 1 << 40, [&[0], &[0], &[1], &[0]]), varint(1_000_000), many]
                .concat()]),
        ),
        (
            "2^60 marks",
            table(&[[part(9, 1, 0, 8, [&[0], &[0], &[1], &[0]]), varint(1 << 60)].concat()]),
        ),
    ];
    for (what, bytes) in cases {
        refused(what, &bytes);
    }
}

#[test]
fn good_table_made_by_hand_is_taken() {
    let delta =
        Delta::decode(&table(&[part(1, 1, 0, 1, [&[0, 0], &[0, 1], &[5, 7], &[0, 1]])])).unwrap();
    let mut map = CounterMap::new();
    map.join_delta(&delta).unwrap();
    assert_eq!((map.total("a"), map.total("b"), map.seen_of(ReplicaId::new(1, 1))), (5, 6, 2));
}

#[test]
fn broken_tables_are_refused() {
    let one = |cells| table(&[part(1, 1, 0, 1, cells)]);
    let too_much = CELL_MAX + 1;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a version after its span", one([&[0], &[2], &[1], &[0]])),
        ("increments above 2^62", one([&[0], &[0], &[too_much], &[0]])),
        ("decrements above 2^62", one([&[0], &[0], &[0], &[u64::MAX]])),
        ("a key after its dictionary", one([&[2], &[0], &[1], &[0]])),
        ("a second key after its dictionary", one([&[0, 1], &[0, 0], &[1, 1], &[0, 0]])),
        ("a key that wraps to one before", one([&[1, u64::MAX], &[0, 0], &[1, 1], &[0, 0]])),
        (
            "the same replica twice",
            table(&[part(1, 1, 0, 0, NO_CELLS), part(1, 1, 1, 0, NO_CELLS)]),
        ),
        ("replicas that descend", table(&[part(1, 2, 0, 0, NO_CELLS), part(1, 1, 0, 0, NO_CELLS)])),
        ("unknown flags", table(&[part(17, 1, 0, 0, NO_CELLS)])),
        ("a span that ends after the last version", table(&[part(1, 1, u64::MAX, 0, NO_CELLS)])),
        ("a span that ends above 2^63", table(&[part(1, 1, 1 << 63, 0, NO_CELLS)])),
        ("a span that wraps", table(&[part(1, 1, 1 << 62, u64::MAX, NO_CELLS)])),
        ("2^60 parts", envelope(&[vec![0, 0, 0, 0], varint(1 << 60)].concat())),
        (
            "extras that are none",
            table(&[[part(5, 1, 0, 0, [&[0], &[0], &[1], &[0]]), vec![0]].concat()]),
        ),
        (
            "an extra of no cell",
            table(&[[part(5, 1, 0, 0, [&[0], &[0], &[1], &[0]]), vec![1, 1, 1, 9, 1, 7]].concat()]),
        ),
        ("cells missing", table(&[[vec![1], id(1), vec![0, 0], varint(1 << 60)].concat()])),
        ("an unknown kind", envelope(&[3])),
        ("an empty body", envelope(&[])),
    ];
    for (what, bytes) in cases {
        refused(what, &bytes);
    }
}

/// Version 0 has no bytes: versions are distances from the first of their span, and a span begins
/// after some version.
#[test]
fn version_zero_cannot_be_encoded() {
    let delta = Delta::decode(&table(&[part(1, 1, 0, 0, [&[0], &[0], &[1], &[0]])])).unwrap();
    assert_eq!(delta.spans().map(|span| (span.after, span.upto)).collect::<Vec<_>>(), [(0, 1)]);
    let mut map = CounterMap::new();
    map.join_delta(&delta).unwrap();
    assert!(map.pn_counter("a", "").cells().all(|(_, cell)| cell.version == 1));
}

/// Earlier releases made names of up to 255 bytes with any characters, and regions with an empty
/// name.
#[test]
fn names_that_may_not_be_made_are_read_and_joined() {
    let (bell, long) = ("a\u{7}", "n".repeat(255));
    let head = [
        vec![0],
        names(&[bell, &long]),
        names(&["", &long]),
        varint(2),
        column(&[0, 1]),
        column(&[0, 1]),
        varint(2),
    ]
    .concat();
    let parts =
        [part(1, 1, 0, 0, [&[0], &[0], &[1], &[0]]), part(1, 2, 0, 0, [&[1], &[0], &[2], &[0]])];
    let mut map = CounterMap::new();
    map.join_delta(&Delta::decode(&envelope(&[head, parts.concat()].concat())).unwrap()).unwrap();
    assert_eq!((map.value(bell, ""), map.value(&long, &long)), (1, 2));
    let me = ReplicaId::new(3, 1);
    map.add(me, bell, "ord", 4).expect("a counter that exists");
    map.add(me, "clicks", &long, 4).expect("a region that exists");
    assert_eq!(map.add(me, &long[1..], "ord", 1), Err(WriteError::NameOutOfRange));
    assert_eq!((map.total(bell), map.total_of_all()), (5, 11));
    assert_eq!(Delta::decode(&map.encode()).unwrap(), map.delta_since(&NOTHING));
}

#[test]
fn broken_names_and_keys_are_refused() {
    let with = |counters: Vec<u8>, pairs: Vec<u8>| {
        envelope(&[vec![0], counters, vec![1, 0, 0, 0, 0], pairs, vec![0]].concat())
    };
    let pairs = |steps: &[u64], regions: &[u64]| {
        [varint(steps.len() as u64), column(steps), column(regions)].concat()
    };
    let none = vec![0];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("unsorted names", with(names(&["b", "a"]), none.clone())),
        ("a name twice", with(names(&["a", "a"]), none.clone())),
        ("a counter without a name", with(names(&[""]), none.clone())),
        ("a name of 256 bytes", with(names(&[&"n".repeat(256)]), none.clone())),
        (
            "a name that is not UTF-8",
            with([varint(1), column(&[0]), column(&[1]), vec![0xff]].concat(), none.clone()),
        ),
        (
            "a name cut within a letter",
            with([varint(2), column(&[0, 0]), column(&[1, 1]), "é".into()].concat(), none.clone()),
        ),
        (
            "a prefix that is longer than the name before",
            with(
                [varint(2), column(&[0, 5]), column(&[1, 1]), b"ab".to_vec()].concat(),
                none.clone(),
            ),
        ),
        (
            "a length of 2^60",
            with([varint(1), column(&[0]), column(&[1 << 60])].concat(), none.clone()),
        ),
        ("2^60 names", with(varint(1 << 60), none.clone())),
        ("the same key twice", with(names(&["a", "b"]), pairs(&[0, 0], &[0, 0]))),
        ("a counter after its dictionary", with(names(&["a", "b"]), pairs(&[0, 2], &[0, 0]))),
        ("a region after its dictionary", with(names(&["a", "b"]), pairs(&[0, 1], &[0, 1]))),
        ("2^60 keys", with(names(&["a"]), varint(1 << 60))),
        ("a block of an unknown form", with(names(&["a"]), vec![1, 132, 0, 0, 0])),
        ("a run of nothing", with(names(&["a", "b"]), vec![2, 131, 0, 2, 0, 0, 0])),
        ("a run past its block", with(names(&["a", "b"]), vec![2, 131, 0, 2, 9, 0, 0])),
    ];
    for (what, bytes) in cases {
        refused(what, &bytes);
    }
}

#[test]
fn broken_envelopes_are_refused() {
    assert!(matches!(refused("format 0", &[0x82, 0, 0x40]), DecodeError::UnknownFormat(0)));
    assert!(matches!(refused("format 9", &[0x82, 9, 0x40]), DecodeError::UnknownFormat(9)));
    let nested = |byte: u8| [vec![0x83, 1, 0x41, 0], vec![byte; 100_000]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("a map", vec![0xa1, 1, 0x40]),
        ("an array of nothing", vec![0x80]),
        ("a format without a body", vec![0x81, 1]),
        ("a body that is a number", vec![0x82, 1, 7]),
        ("a body in chunks", vec![0x82, 1, 0x5f, 0x41, 0, 0xff]),
        (
            "a body of 2^60 bytes",
            [vec![0x82, 1, 0x5b], (1u64 << 60).to_be_bytes().to_vec()].concat(),
        ),
        ("an array of 2^60 items", [vec![0x9b], (1u64 << 60).to_be_bytes().to_vec()].concat()),
        ("arrays 100,000 deep", vec![0x81; 100_000]),
        ("arrays 100,000 deep after the body", nested(0x81)),
        ("maps 100,000 deep after the body", nested(0xa1)),
        ("tags 100,000 deep after the body", nested(0xc1)),
        ("arrays without an end", nested(0x9f)),
    ];
    for (what, bytes) in cases {
        refused(what, &bytes);
    }
}

/// The versions of adds in a chunk of two: the one before the last comes two versions before it.
#[test]
fn broken_versions_of_adds_are_refused() {
    let mut replica = counter_core::Replica::new(ReplicaId::new(1, 1), "ord").unwrap();
    replica.add_once("tab:1", "clicks", 1).unwrap();
    replica.add_once("tab:2", "clicks", 1).unwrap();
    let good = replica.map().delta_since(&NOTHING).encode();
    let body = body_of(&good);
    assert_eq!(good[body.end..], [0x42, 2, 4]);
    let with = |item: &[u8]| {
        let length = [0x40 | item.len() as u8];
        Delta::decode(&[&good[..body.end], &length, item].concat())
    };
    let cases: [(&str, &[u8]); 7] = [
        ("nothing", &[]),
        ("an end within them", &[2]),
        ("versions after the last", &[2, 4, 0]),
        ("unknown versions alone", &[0]),
        ("a first step of 0", &[3, 0, 4]),
        ("more steps than adds", &[4, 4, 4]),
        ("a long number", &[2, 0x84, 0]),
    ];
    for (what, item) in cases {
        assert!(with(item).is_err(), "{what}");
    }
    assert_eq!(with(&[2, 4]), Delta::decode(&good));
    let whole = Delta::decode(&[&[0x84], &good[1..], &[0xf6]].concat());
    assert!(whole.is_ok(), "items that a later release adds are skipped");
}

#[test]
fn broken_cursors_and_ids_are_refused() {
    let mut map = CounterMap::new();
    for counter in ["a", "b"] {
        map.add(ReplicaId::new(1, 1), counter, "ord", 1).unwrap();
    }
    let cursor = map.page_since(&NOTHING, None, None, 1).next.unwrap();
    let bytes = cursor.encode();
    assert_eq!(Cursor::decode(&bytes), Ok(cursor));
    assert!((0..bytes.len()).all(|len| Cursor::decode(&bytes[..len]).is_err()));
    assert!(Cursor::decode(&[&bytes[..], &[0]].concat()).is_err());
    // Any other cursor is harmless to the source.
    for at in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok(cursor) = Cursor::decode(&bytes) {
            assert!(map.page_since(&NOTHING, None, Some(&cursor), 1).delta.cell_count() <= 2);
        }
    }
}

/// A click, a table, a table with a reset and a record, an open page, a click with an id, a table
/// with dedup entries.
fn good_deltas() -> Vec<Vec<u8>> {
    let (a, b) = (ReplicaId::new(1, 1), ReplicaId::new(2, 1));
    let mut map = CounterMap::new();
    map.add(a, "clicks", "ord", 5).unwrap();
    let click = map.delta_since(&NOTHING);
    map.set_region(b, "fra").unwrap();
    for (at, counter) in ["clicks", "click-rate", "likes", "æon"].into_iter().enumerate() {
        map.add(b, counter, "fra", at as u64 * 1_000 + 1).unwrap();
        map.subtract(a, counter, "ord", AMOUNT_MAX).unwrap();
    }
    let table = map.delta_since(&NOTHING);
    map.reset(a, "clicks", "fra").unwrap();
    map.reset(b, "clicks", "ord").unwrap();
    let reset = map.delta_since(&NOTHING);
    let open = map.page_since(&NOTHING, None, None, 150).delta;
    let mut marked = counter_core::Replica::new(a, "ord").unwrap();
    let after = marked.version();
    marked.add_once("tab:7", "clicks", 1).unwrap();
    let click_with_id = marked.map().delta_of(a, after).unwrap();
    marked.add_once("one", "likes", -2).unwrap();
    marked.add_once("tab:4", "clicks", 3).unwrap();
    let entries = marked.map().delta_since(&NOTHING);
    let mut other = counter_core::Replica::new(ReplicaId::new(0, 1), "ord").unwrap();
    other.add_once("tab:4", "clicks", 3).unwrap();
    marked.join_delta(other.map().delta_since(&NOTHING)).unwrap();
    marked.reset("likes", "ord").unwrap();
    let taken_back = marked.map().delta_of(a, after).unwrap();
    [click, table, reset, open, click_with_id, entries, taken_back]
        .map(|delta| delta.encode())
        .to_vec()
}

/// A state that already holds something of the writers of the good deltas.
fn held() -> CounterMap {
    let mut map = CounterMap::new();
    map.add(ReplicaId::new(1, 1), "clicks", "ord", 5).unwrap();
    map.add(ReplicaId::new(3, 1), "clicks", "sin", 1).unwrap();
    map
}

fn state(map: &mut CounterMap) -> (VersionVector, StateHash) {
    (map.version_vector(), map.state_hash())
}

/// Any bytes are refused and change nothing, or are taken and then sound in every respect.
fn is_refused_or_sound(bytes: &[u8]) {
    let Ok(delta) = Delta::decode(bytes) else { return };
    assert_eq!(
        Delta::decode(&delta.encode()).as_ref(),
        Ok(&delta),
        "what was decoded encodes and reads back"
    );
    let mut map = held();
    let before = state(&mut map);
    if map.join_delta(&delta).is_err() {
        assert_eq!(state(&mut map), before, "a refused delta takes nothing");
        return;
    }
    let mut again = map.clone();
    again.join_delta(&delta).unwrap();
    assert_eq!(again, map, "once more changes nothing");
    let mut rebuilt = CounterMap::new();
    let whole = Delta::decode(&map.delta_since(&NOTHING).encode())
        .expect("what was joined encodes and reads back");
    rebuilt.join_delta(&whole).unwrap();
    assert_eq!(state(&mut rebuilt), state(&mut map));
    let _ = held().repair(&delta);
    for replica in delta.replicas() {
        map.add(replica, "clicks", "ord", 1)
            .map_err(|error| assert_eq!(error, WriteError::CellFull))
            .ok();
    }
}

#[test]
fn good_deltas_cut_at_every_byte_are_refused() {
    for good in good_deltas() {
        is_refused_or_sound(&good);
        for len in 0..good.len() {
            refused("a cut delta", &good[..len]);
            // A cut inside a whole envelope.
            let body = body_of(&good);
            if body.contains(&len) {
                refused("a cut body", &envelope(&good[body.start..len]));
            }
        }
    }
}

/// Where the body lies in an envelope.
fn body_of(bytes: &[u8]) -> std::ops::Range<usize> {
    let (start, length) = match bytes[2] {
        head @ 0x40..0x58 => (3, usize::from(head - 0x40)),
        0x58 => (4, usize::from(bytes[3])),
        _ => (5, usize::from(u16::from_be_bytes([bytes[3], bytes[4]]))),
    };
    start..start + length
}

#[test]
fn bytes_after_the_end_are_refused() {
    for good in good_deltas() {
        refused("a byte after the envelope", &[&good[..], &[0]].concat());
        assert_eq!(
            refused("a byte after the body", &envelope(&[&good[body_of(&good)], &[0]].concat())),
            DecodeError::TrailingBytes
        );
    }
}

#[test]
fn every_single_byte_changed_is_refused_or_sound() {
    for good in good_deltas() {
        for at in 0..good.len() {
            for byte in (0..=255).filter(|&byte| byte != good[at]) {
                let mut bytes = good.clone();
                bytes[at] = byte;
                is_refused_or_sound(&bytes);
            }
        }
    }
}

#[test]
fn changes_of_several_bytes_are_refused_or_sound() {
    let (good, mut random) = (good_deltas(), fastrand::Rng::with_seed(5));
    for _ in 0..20_000 {
        let mut bytes = good[random.usize(..good.len())].clone();
        for _ in 0..random.usize(2..6) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, random.u8(..)),
                _ => bytes[at] = random.u8(..),
            }
        }
        // The head keeps the right length, so that more than the envelope is tried.
        is_refused_or_sound(&bytes);
        is_refused_or_sound(&envelope(&bytes[4.min(bytes.len())..]));
    }
}

#[test]
fn impossible_delta_wraps_no_sum() {
    let most = Amounts { increments: CELL_MAX, decrements: CELL_MAX };
    let part = |node| part(1, node, 0, 0, [&[0], &[0], &[most.increments], &[0]]);
    let mut map = CounterMap::new();
    map.join_delta(&Delta::decode(&table(&(1..=40).map(part).collect::<Vec<_>>())).unwrap())
        .unwrap();
    assert_eq!(map.total("a"), 40 * i128::from(CELL_MAX));
}
