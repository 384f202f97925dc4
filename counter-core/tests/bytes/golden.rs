//! The wire bytes of a few deltas, as docs/protocol.md draws them. A change here changes the format
//! and needs a new format number.

use std::time::Duration;

use counter_core::{Cleanup, CounterMap, Delta, ProvenVersions, Replica, ReplicaId, VersionVector};

const ORD: ReplicaId = ReplicaId::new(0x0102_0304_0506_0708, 0x1112_1314_1516_1718);
const FRA: ReplicaId = ReplicaId::new(0x2122_2324_2526_2728, 1);
const NOTHING: VersionVector = VersionVector::new();

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits"))
        .collect()
}

/// The delta has exactly these bytes, and these bytes are exactly this delta.
fn assert_golden(delta: &Delta, golden: &str) {
    let golden = bytes(golden);
    assert_eq!(hex(&delta.encode()), hex(&golden));
    assert_eq!(Delta::decode(&golden).as_ref(), Ok(delta));
}

fn two_writers() -> CounterMap {
    let mut map = CounterMap::new();
    map.add(ORD, "clicks", "ord", 5).unwrap();
    map.add(ORD, "clock", "ord", 300).unwrap();
    map.subtract(FRA, "clicks", "fra", 2).unwrap();
    map
}

#[test]
fn one_click_has_a_short_form() {
    let mut map = CounterMap::new();
    map.add(ORD, "clicks", "ord", 5).unwrap();
    assert_golden(
        &map.delta_since(&NOTHING),
        "82 01 58 20
         01 0102030405060708 1112131415161718
         06 636c69636b73  03 6f7264
         00 00 05 00",
    );
}

#[test]
fn a_table_of_two_writers() {
    assert_golden(
        &two_writers().delta_since(&NOTHING),
        "82 01 58 60
         00
         02  02 00 08  02 03 03  636c69636b73 6f636b
         02  00 00     00 03     667261 6f7264
         03  01 00 04  01 00 06
         02
         01 0102030405060708 1112131415161718  00 01
         02  01 00 01  01 00 02  41 05 ce04  00 00
         01 2122232425262728 0000000000000001  00 00
         01  00 00     00 00     00 00       00 02",
    );
}

#[test]
fn a_record_on_its_own() {
    let mut map = CounterMap::new();
    map.set_region(ORD, "ord").unwrap();
    assert_golden(
        &map.delta_since(&NOTHING),
        "82 01 58 20
         00  00  00  00
         01
         03 0102030405060708 1112131415161718  00 00
         00  01 01 03 6f7264
         00",
    );
}

#[test]
fn a_reset_and_what_it_cleared() {
    let mut map = two_writers();
    let before = map.version_vector();
    map.reset(FRA, "clicks", "ord").unwrap();
    assert_golden(
        &map.delta_since(&before),
        "82 01 58 4f
         00
         01  00 00  00 06  636c69636b73
         01  00 00  00 03  6f7264
         01  00 00  00 00
         01
         05 2122232425262728 0000000000000001  01 00
         01  00 00  00 00  00 00  00 00
         01  00  01 01 14
             01 0102030405060708 1112131415161718 01 05 00",
    );
}

#[test]
fn a_page_that_is_not_its_writers_last() {
    assert_golden(
        &two_writers().page_since(&NOTHING, Some(&[ORD]), None, 1).delta,
        "82 01 58 36
         00
         01  00 00  00 06  636c69636b73
         01  00 00  00 03  6f7264
         01  00 00  00 00
         01
         00 0102030405060708 1112131415161718  00 01
         01  00 00  00 00  00 05  00 00",
    );
}

/// Fields of a later release beside those known here: field 9 of a record, fields 2 and 300 of a
/// cell.
const LATER: &str = "
    82 01 58 4a
    00
    01  00 00  00 06  636c69636b73
    01  00 00  00 03  6f7264
    01  00 00  00 00
    01
    07 0102030405060708 1112131415161718  00 01
    00  02 01 03 6f7264  09 02 beef
    01  00 00  00 01  00 05  00 00
    01  00  02  02 01 aa  ac02 00";

#[test]
fn fields_of_a_later_release_are_passed_on_byte_for_byte() {
    let delta = Delta::decode(&bytes(LATER)).unwrap();
    let mut map = CounterMap::new();
    map.join_delta(&delta).unwrap();
    assert_eq!(map.total("clicks"), 5);
    assert_eq!(hex(&map.delta_since(&NOTHING).encode()), hex(&bytes(LATER)));
    // They also pass through a whole join, pages and a cut.
    let mut other = CounterMap::new();
    other.join(&map);
    assert_eq!(
        hex(&other.page_since(&NOTHING, None, None, 1_000).delta.encode()),
        hex(&bytes(LATER))
    );
    assert_eq!(other.delta_since(&NOTHING).split(1), [delta]);
    assert_eq!(other.state_hash(), map.state_hash());
}

#[test]
fn fields_of_a_later_release_are_hashed_and_outlive_a_reset() {
    let mut known = CounterMap::new();
    known.set_region(ORD, "ord").unwrap();
    known.add(ORD, "clicks", "ord", 5).unwrap();
    let mut later = CounterMap::new();
    later.join_delta(&Delta::decode(&bytes(LATER)).unwrap()).unwrap();
    assert_eq!(known.version_vector(), later.version_vector());
    assert_ne!(known.state_hash(), later.state_hash());
    later.reset(ORD, "clicks", "ord").unwrap();
    later.set_region(ORD, "fra").unwrap();
    let bytes = hex(&later.delta_since(&NOTHING).encode());
    assert!(
        bytes.contains("0201aa") && bytes.contains("ac0200") && bytes.contains("0902beef"),
        "{bytes}"
    );
}

#[test]
fn one_click_with_an_id_has_a_short_form() {
    let mut replica = Replica::new(ORD, "ord").unwrap();
    replica.add_once("k3j9x0qz:6", "clicks", 5).unwrap();
    let after = replica.version();
    replica.add_once("k3j9x0qz:7", "clicks", 5).unwrap();
    assert_golden(
        &replica.map().delta_of(ORD, after).unwrap(),
        "83 01 58 29
         02 0102030405060708 1112131415161718
         06 636c69636b73  03 6f7264
         03 0a 00
         88 9378fdc74ab3  07 01 0a
         42  02 04",
    );
    let after = replica.version();
    replica.add_once("67e55044-10b1-426f-9247-bb680e5fe0c8", "clicks", -1).unwrap();
    assert_golden(
        &replica.map().delta_of(ORD, after).unwrap(),
        "82 01 58 31
         03 0102030405060708 1112131415161718
         06 636c69636b73  03 6f7264
         05 0a 01
         ff 67e5504410b1426f9247bb680e5fe0c8  01",
    );
}

/// Earlier releases do not write the versions of adds.
#[test]
fn clicks_of_earlier_releases_are_read_and_passed_on() {
    let earlier = bytes(
        "82 01 58 29
         02 0102030405060708 1112131415161718
         06 636c69636b73  03 6f7264
         03 0a 00
         88 9378fdc74ab3  07 01 0a",
    );
    assert_eq!(hex(&Delta::decode(&earlier).unwrap().encode()), hex(&earlier));
}

#[test]
fn dedup_entries_of_every_kind() {
    let (mut replica, mut other) =
        (Replica::new(FRA, "ord").unwrap(), Replica::new(ORD, "fra").unwrap());
    let after = replica.version();
    replica.add_once("tab:7", "clicks", 1).unwrap();
    replica.add_once("tab:5", "clicks", -2).unwrap();
    replica.add_once("order 17", "likes", 3).unwrap();
    assert_golden(
        &replica.map().delta_of(FRA, after).unwrap(),
        "83 01 58 5a
         00
         02  00 00  01 05 01  636c69636b73 6c696b6573
         01  00 00  00 03     6f7264
         02  01 00 02  00 00
         01
         09 2122232425262728 0000000000000001  01 05
         02  00 00  02 02 08  02 01 08  02 00 02
         02
         03  00  03 746162                07 82  08 00  0e 00
         01  01  08 6f72646572203137      06 01
         43  03 04 03",
    );
    other.add_once("order 17", "likes", 3).unwrap();
    other.add_once("tab:5", "clicks", -2).unwrap();
    replica.join_delta(other.map().delta_since(&NOTHING)).unwrap();
    // A bit of the own entry marks the add as taken back, and the cell names both versions.
    assert_golden(
        &replica.map().delta_of(FRA, after).unwrap(),
        "83 02 58 93
         00
         02  00 00  01 05 01  636c69636b73 6c696b6573
         01  00 00  00 03     6f7264
         02  01 00 02  00 00
         01
         0d 2122232425262728 0000000000000001  01 09
         02  00 00  02 06 02  00 03  01 02 02
         02
         00  01  08 17  01  01 2122232425262728 0000000000000001  0a 06  02 00  00
         01  01  08 17  01  01 2122232425262728 0000000000000001  08 02  00 03  00
         02
         07  04  08 6f72646572203137      06 01  02
         01  03  03 746162                07 82  08 00  0e 00  04  06
         43  03 04 03",
    );
    let mut next = Replica::with_map(FRA.next_incarnation(), "ord", replica.map().clone()).unwrap();
    next.claim(FRA);
    let mut work = next.absorb_round(None).unwrap();
    let before = next.version();
    // Two entries, and the cells after them.
    next.absorb(&mut work, 1).unwrap();
    next.absorb(&mut work, 1).unwrap();
    assert_golden(
        &next.map().delta_of(next.id(), before + 1).unwrap(),
        "83 02 58 73
         00
         02  00 00  01 05 01  636c69636b73 6c696b6573
         01  00 00  00 03     6f7264
         02  01 00 02  00 00
         01
         09 2122232425262728 0000000100000000  03 01
         00
         02
         00  06  2122232425262728 0000000000000001  04  08 6f72646572203137  06 01        01
         00  05  2122232425262728 0000000000000001  06  03 746162            07 82  08 00  0e 00  04
         42  02 00",
    );
    next.absorb(&mut work, usize::MAX).unwrap();
    next.fold(&mut work).unwrap();
    while next.rebase(usize::MAX) > 0 {}
    for number in 0..counter_core::DEDUP_ENTRIES_MAX {
        next.add_once(&format!("c:{}", 8 * number + 1), "clicks", 1).unwrap();
    }
    let before = next.version();
    next.add_once("tab:8", "clicks", 1).unwrap();
    // The table was full. Up to 1, everything of client c is forgotten, and all of it was applied.
    assert_golden(
        &next.map().delta_of(next.id(), before).unwrap(),
        "82 02 58 4a
         00
         01  00 00  00 06  636c69636b73
         01  00 00  00 03  6f7264
         01  00 00  00 00
         01
         09 2122232425262728 0000000100000000  ab9c01 02
         01  00 00  00 00  00 944e  00 02
         02
         01  00  03 746162  08 00  02 00
         00  07  01 63      01 00",
    );
}

/// FRA resets its own add, which it then never subtracts again.
#[test]
fn settled_adds_are_of_format_3() {
    let mut replica = Replica::new(FRA, "ord").unwrap();
    replica.add_once("tab:7", "clicks", 1).unwrap();
    let after = replica.version();
    replica.reset("clicks", "ord").unwrap();
    assert_golden(
        &replica.map().delta_of(FRA, after).unwrap(),
        "82 03 58 5e
         00
         01  00 00  00 06  636c69636b73
         01  00 00  00 03  6f7264
         01  00 00  00 00
         01
         0d 2122232425262728 0000000000000001  03 01
         01  00 00  00 01  00 01  00 00
         01
         00  01  01 14  01  2122232425262728 0000000000000001  05  01 00
         01
         00  08  0a 06 636c69636b73 6f7264  03",
    );
}

/// An entry of a release before format 2: FRA took back its own copy of ORD's add, in an entry of
/// its own.
#[test]
fn taking_back_in_format_1_is_not_repeated() {
    let bytes = bytes(
        "82 01 58 77
         00
         02  00 00  01 05 01  636c69636b73 6c696b6573
         01  00 00  00 03     6f7264
         02  01 00 02  00 00
         01
         09 2122232425262728 0000000000000001  01 07
         02  00 00  03 02 20  02 01 08  01 02 02
         03
         03  00  03 746162                07 82  08 00  0e 00
         01  01  08 6f72646572203137      06 01
         01  02  2122232425262728 0000000000000001 08 6f72646572203137  06 01",
    );
    let mut map = CounterMap::new();
    map.set_region(FRA, "ord").unwrap();
    map.join_delta(&Delta::decode(&bytes).unwrap()).unwrap();
    let mut replica = Replica::with_map(FRA.next_incarnation(), "ord", map).unwrap();
    let mut other = Replica::new(ORD, "ord").unwrap();
    other.add_once("order 17", "likes", 3).unwrap();
    replica.join_delta(other.map().delta_since(&NOTHING)).unwrap();
    assert_eq!((replica.total("likes"), replica.total("clicks")), (3, -1));
}

/// FRA is the successor of ORD: it claims, absorbs, folds and rebases.
#[test]
fn each_step_of_a_successor() {
    let mut successor = Replica::new(FRA, "fra").unwrap();
    let mut map = CounterMap::new();
    map.add(ORD, "clicks", "ord", 5).unwrap();
    successor.join_delta(map.delta_since(&NOTHING)).unwrap();
    let since = |successor: &Replica, after| successor.map().delta_of(FRA, after).unwrap();
    successor.claim(ORD).unwrap();
    assert_golden(
        &since(&successor, 1),
        "82 01 58 32
         00  00  00  00
         01
         03 2122232425262728 0000000000000001  01 00
         00  02  01 03 667261  0a 10 0102030405060708 1112131415161718
         00",
    );
    let mut work = successor.absorb_round(None).unwrap();
    successor.absorb(&mut work, usize::MAX).unwrap();
    assert_golden(
        &since(&successor, 2),
        "82 01 58 7c
         00
         01  00 00  00 06  636c69636b73
         01  00 00  00 03  6f7264
         01  00 00  00 00
         01
         07 2122232425262728 0000000000000001  02 01
         00  03  01 03 667261  0a 10 0102030405060708 1112131415161718  0d 10 0102030405060708 1112131415161718
         01  00 00  00 01  00 00  00 00
         01  00  01  03 16
             04 01 0102030405060708 1112131415161718 00 05 00 00",
    );
    successor.fold(&mut work).unwrap();
    assert_golden(
        &since(&successor, 4),
        "82 01 58 36
         00  00  00  00
         01
         03 2122232425262728 0000000000000001  04 00
         00  04  01 03 667261  0b 0c 0102030405060708 11121314  0c 00  14 04 15161718
         00",
    );
    assert!(successor.rebase(usize::MAX) > 0);
    assert_golden(
        &since(&successor, 5),
        "82 01 58 20  01 2122232425262728 0000000000000001  06 636c69636b73  03 6f7264  05 00  05 00",
    );
    assert_eq!(
        (successor.rebase(usize::MAX), successor.version()),
        (0, 7),
        "that nothing is left goes on record"
    );
}

#[test]
fn fold_recorded_by_an_earlier_release() {
    let golden = bytes(
        "82 01 58 30
         00  00  00  00
         01
         03 2122232425262728 0000000000000001  04 00
         00  03  01 03 667261  0b 0c 0102030405060708 11121314  0c 00
         00",
    );
    let delta = Delta::decode(&golden).unwrap();
    assert_eq!(hex(&delta.encode()), hex(&golden), "passed on as it came");
    let mut map = CounterMap::new();
    for _ in 0..4 {
        map.add(FRA, "clicks", "fra", 1).unwrap();
    }
    map.join_delta(&delta).unwrap();
    let folded = [0x1112_1314_0000_0000, ORD.incarnation, 0x1112_1314_ffff_ffff]
        .map(|incarnation| map.is_folded(ReplicaId { incarnation, ..ORD }));
    assert_eq!(folded, [true; 3], "all that have the upper half of the number");
    assert!(!map.is_folded(ORD.next_incarnation()));
}

/// A state is written directly, without building its delta.
#[test]
fn state_and_delta_have_the_same_bytes() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut map = CounterMap::new();
        for _ in 0..random.usize(0..400) {
            let replica = ReplicaId::new(random.u64(1..4), 1);
            let (counter, region) =
                (format!("c{}", random.u8(0..3)), format!("r{}", random.u8(0..60)));
            match random.u8(0..40) {
                0 if seed % 2 == 0 => {
                    map.reset(replica, &counter, &region);
                }
                1 => {
                    map.set_region(replica, &region).unwrap();
                }
                2 => {
                    map.subtract(replica, &counter, &region, random.u64(1..1 << 30)).unwrap();
                }
                _ => {
                    map.add(replica, &counter, &region, random.u64(1..1 << 30)).unwrap();
                }
            }
        }
        let bytes = map.encode();
        assert_eq!(bytes, map.delta_since(&NOTHING).encode(), "seed {seed}");
        let mut back = CounterMap::new();
        back.join_delta(&Delta::decode(&bytes).unwrap()).unwrap();
        assert_eq!(
            (back.state_hash(), back.total_of_all()),
            (map.state_hash(), map.total_of_all()),
            "seed {seed}"
        );
    }
}

/// A replica that removed `clicks`, dropped its cell, and made the counter anew.
fn removed_and_made_anew() -> Replica {
    let mut ord = Replica::new(ORD, "ord").unwrap();
    ord.add("clicks", 5).unwrap();
    ord.remove("clicks").unwrap();
    // Nobody has shown anything, so the drop is remembered.
    let mut work = Cleanup::default();
    while ord.clean_up(&mut work, &ProvenVersions::default(), 10).is_some() {}
    ord.add("clicks", 2).unwrap();
    ord.flush();
    ord
}

#[test]
fn tombstones_and_origins_are_of_format_3() {
    let ord = removed_and_made_anew();
    assert_golden(
        &ord.map().delta_since(&NOTHING),
        "82 03 58 63
         00
         01  00 00 00 06  636c69636b73
         01  00 00 00 03  6f7264
         01  00 00 00 00
         01
         17 0102030405060708 1112131415161718  00 04
         00  01  01 03 6f7264
         01  00 00 00 04 00 02 00 00
         01  00  01  04 13 05 808080808080808040 808080808080808040
         01  03 00 0a 06 636c69636b73 6f7264",
    );
}

#[test]
fn expiry_is_a_field_that_older_releases_pass_on() {
    let mut ord = Replica::new(ORD, "ord").unwrap();
    ord.set_expiry_rules([("day:".to_owned(), Duration::from_secs(86_400))]);
    ord.set_time(1_700_000_000_000);
    ord.add("day:1", 5).unwrap();
    ord.flush();
    assert_golden(
        &ord.map().delta_since(&NOTHING),
        "82 01 58 47
         00
         01  00 00 00 05  6461793a31
         01  00 00 00 03  6f7264
         01  00 00 00 00
         01
         07 0102030405060708 1112131415161718  00 01
         00  01  01 03 6f7264
         01  00 00 00 01 00 05 00 00
         01  00  01  07 06 8088afa8bd31",
    );
}

#[test]
fn requests_and_forgotten_drops_are_of_format_3() {
    let mut ord = removed_and_made_anew();
    let held = ord.map().version_vector();
    let shown = ProvenVersions { by_all: held.clone(), by_any: held };
    let mut work = Cleanup::default();
    while ord.clean_up(&mut work, &shown, 10).is_some() {}
    let held = ord.map().version_vector();
    let shown = ProvenVersions { by_all: held.clone(), by_any: held };
    while ord.clean_up(&mut work, &shown, 10).is_some() {}
    ord.remove("clicks").unwrap();
    assert_golden(
        &ord.map().delta_since(&NOTHING),
        "82 03 58 5c
         00
         01  00 00 00 06  636c69636b73
         01  00 00 00 03  6f7264
         01  00 00 00 00
         01
         07 0102030405060708 1112131415161718  00 07
         06  02  01 03 6f7264  0f 01 04
         01  00 00 00 07 00 02 00 00
         01  00  02  01 14 01 0102030405060708 1112131415161718 08 02 00  05 01 08",
    );
}
