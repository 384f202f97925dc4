//! Decoding takes at most `DECODE_FACTOR` bytes of heap for each byte of input, whatever the input.

use counter_core::{CounterMap, DECODE_FACTOR, Delta, ReplicaId, VersionVector};

use crate::{envelope, varint};

/// The heap of small things in every decoding, such as the text of an error.
const BASE: u64 = 512;

/// The most heap in use while `bytes` are decoded, per byte, and whether they were taken.
fn factor(what: &str, bytes: &[u8]) -> (f64, bool) {
    let mut taken = false;
    let heap = allocation_counter::measure(|| taken = Delta::decode(bytes).is_ok()).bytes_max;
    let factor = heap as f64 / bytes.len() as f64;
    println!("{what}: {} bytes, {heap} of heap, factor {factor:.1}, taken: {taken}", bytes.len());
    assert!(heap <= BASE + (DECODE_FACTOR * bytes.len()) as u64, "{what}: factor {factor}");
    (factor, taken)
}

/// `count` numbers in blocks of 128, each with the bytes of `block`.
fn column_blocks(count: usize, blocks: &[&[u8]]) -> Vec<u8> {
    (0..count.div_ceil(128)).flat_map(|_| blocks.concat()).collect()
}

/// A block whose numbers are all within 3 of the least, two bits each.
fn narrow_block(values: &[usize]) -> Vec<u8> {
    let least = *values.iter().min().expect("a block has numbers");
    let packed = values
        .chunks(4)
        .map(|four| four.iter().rev().fold(0, |byte, &value| byte << 2 | (value - least) as u8));
    [2].into_iter().chain(varint(least as u64)).chain(packed).collect()
}

/// A delta of `count` counters with names of 255 bytes, the longest that are read: each is the one
/// before with the last digits raised.
fn long_shared_prefixes(count: usize) -> Vec<u8> {
    let name = |i: usize| format!("{}{i:05}", "n".repeat(250)).into_bytes();
    let shared = |i: usize| {
        i.checked_sub(1).map_or(0, |before| {
            name(before).iter().zip(&name(i)).take_while(|(a, b)| a == b).count()
        })
    };
    let (mut names, mut rests) = (varint(count as u64), Vec::new());
    for start in (0..count).step_by(128) {
        let numbers = start..count.min(start + 128);
        let lengths: Vec<usize> = numbers.clone().map(shared).collect();
        let own: Vec<usize> = lengths.iter().map(|shared| 255 - shared).collect();
        for column in [&lengths, &own] {
            match start {
                0 => names.extend(
                    [130]
                        .into_iter()
                        .chain(column.iter().flat_map(|&length| varint(length as u64))),
                ),
                _ => names.extend(narrow_block(column)),
            }
        }
        numbers.zip(lengths).for_each(|(i, shared)| rests.extend(&name(i)[shared..]));
    }
    let region = vec![1, 0, 0, 0, 0];
    let mut body = [vec![0], names, rests, region, varint(count as u64)].concat();
    for start in (0..count).step_by(128) {
        match start {
            0 => body.extend([vec![130, 0], vec![1; 127.min(count - 1)]].concat()),
            _ => body.extend([0, 1]),
        }
        body.extend([0, 0]);
    }
    let head = [vec![1, 1], vec![0; 15], vec![1, 0, 0], varint(count as u64)].concat();
    let cells = column_blocks(count, &[&[0, 0], &[0, 0], &[0, 1], &[0, 0]]);
    envelope(&[body, head, cells].concat())
}

#[test]
fn names_with_long_shared_prefixes_stay_within_the_bound() {
    let (factor, taken) = factor("long shared prefixes", &long_shared_prefixes(10_000));
    assert!(taken && factor > 20.0);
}

#[test]
fn constant_blocks_stay_within_the_bound() {
    // One writer of 100,000 regular cells: the shortest valid columns.
    let mut map = CounterMap::new();
    for i in 0..100_000 {
        map.add(ReplicaId::new(1, 1), &format!("c{i:05}"), "ord", 1).expect("there is room");
    }
    let (factor, taken) = factor("regular cells", &map.delta_since(&VersionVector::new()).encode());
    assert!(taken && factor > 20.0);
}

#[test]
fn announced_rows_that_never_come_stay_bounded() {
    for zeros in [100, 10_000, 1_000_000] {
        let rest = vec![0; zeros];
        let most = |bytes_a_row: usize| varint((zeros / bytes_a_row) as u64 * 128);
        let writer = [vec![1, 0, 0, 0, 0, 0, 0, 0], vec![0; 8], vec![0, 0]].concat();
        let cases = [
            ("names", [vec![0], varint(zeros as u64 - 16), rest.clone()].concat()),
            ("keys", [vec![0, 0, 0], most(4), rest.clone()].concat()),
            ("parts", [vec![0, 0, 0, 0], varint(zeros as u64 / 20 - 1), rest.clone()].concat()),
            ("cells", [vec![0, 0, 0, 0, 1, 1], writer.clone(), most(8), rest.clone()].concat()),
        ];
        for (what, body) in cases {
            factor(&format!("announced {what}"), &envelope(&body));
        }
    }
}

#[test]
fn regular_columns_of_keys_and_cells_stay_within_the_bound() {
    // 390 counters by 128 regions, the regions as staircases. Then writers with all of these keys
    // in constant blocks.
    let shared = |i: usize| u8::from(!i.is_multiple_of(64));
    let names = |count: usize| {
        let mut out = varint(count as u64);
        for start in (0..count).step_by(128) {
            let block = || start..count.min(start + 128);
            out.extend([130].into_iter().chain(block().map(shared)));
            out.extend([130].into_iter().chain(block().map(|i| 2 - shared(i))));
        }
        let name = |i: usize| [b'!' + (i / 64) as u8, b'!' + (i % 64) as u8];
        out.extend((0..count).flat_map(|i| name(i)[usize::from(shared(i))..].to_vec()));
        out
    };
    let (counters, rows) = (390usize, 128 * 390);
    // Each block of 128 pairs is one counter: a step of 1 and then none, with the regions 0 to 127.
    let mut body = [vec![0], names(counters), names(128), varint(rows as u64)].concat();
    for at in 0..counters {
        let steps = if at == 0 { vec![0, 0] } else { [vec![130, 1], vec![0; 127]].concat() };
        body.extend(steps);
        body.extend([65, 0, 2]);
    }
    let cells = column_blocks(rows, &[&[0, 0], &[0, 0], &[0, 1], &[0, 0]]);
    for part in 0..40u8 {
        let head = if part == 0 { vec![40] } else { vec![] };
        body.extend(
            [head, vec![1], vec![0; 15], vec![part, 0, 0], varint(rows as u64), cells.clone()]
                .concat(),
        );
    }
    let (factor, taken) = factor("constant columns of 40 writers", &envelope(&body));
    assert!(taken && factor > 200.0, "{factor}");
}

#[test]
fn many_tiny_fields_stay_within_the_bound() {
    // A record with this many unknown fields of no bytes, and then one that only announces them.
    let fields: Vec<u8> =
        (100..20_098u64).flat_map(|number| [varint(number), vec![0]].concat()).collect();
    let part = |fields: Vec<u8>| {
        [vec![0, 0, 0, 0, 1, 3], vec![0; 16], vec![0, 0, 0], fields, vec![0]].concat()
    };
    let record = [varint(19_999), vec![1, 0], fields].concat();
    assert!(factor("tiny fields", &envelope(&part(record))).1);
    factor("announced fields", &envelope(&part([varint(20_000), vec![0; 40_010]].concat())));
}

#[test]
fn every_change_of_a_good_delta_stays_within_the_bound() {
    let (good, mut random) = (long_shared_prefixes(40), fastrand::Rng::with_seed(11));
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let heap = allocation_counter::measure(|| drop(Delta::decode(&bytes))).bytes_max;
        assert!(
            heap <= BASE + (DECODE_FACTOR * bytes.len()) as u64,
            "{heap} for {} bytes",
            bytes.len()
        );
    }
}
