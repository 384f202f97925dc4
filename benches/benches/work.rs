//! `cargo bench -p benches`: W1 to W4 under criterion, by the same code as the report, with the
//! answers asserted in every round.

mod rounds;

use benches::contender::{CrdtsByHand, CrdtsMap, Dense, Ours, OursNode, StringMap};
use benches::work::{CHANGES, add_bare_atomic, add_by_handle, changes};
use benches::{Shape, Values};
use criterion::{Criterion, criterion_group, criterion_main};

use rounds::{Group, add, change, join, rounds};

const PEERS: &str = "automerge, loro and yrs on the same work, kept out of this lock file: cargo bench --manifest-path benches/peers/Cargo.toml";

fn adds(criterion: &mut Criterion) {
    const ADDS: usize = 100_000;
    println!("{PEERS}");
    let mut group = criterion.benchmark_group("w1 add");
    add(&mut group, "ours by name", ADDS, || OursNode::new(0));
    add(&mut group, "crdts", ADDS, || CrdtsMap::new(0));
    add(&mut group, "crdts by hand", ADDS, || CrdtsByHand::new(0));
    add(&mut group, "bound: string map", ADDS, || StringMap::<1>::new(0));
    rounds(&mut group, "ours by handle", ADDS as u64, || add_by_handle(ADDS));
    rounds(&mut group, "bound: bare fetch_add", ADDS as u64, || add_bare_atomic(ADDS));
}

/// Everybody at one size. Y adds as a second writer where there is one, so the bounds have `W`
/// places.
fn everybody<const W: usize>(criterion: &mut Criterion, regions: usize, writers: usize) {
    let shape = Shape::new(Values::Formula, regions, writers);
    let mut group: Group<'_> =
        criterion.benchmark_group(format!("w2 w4 {regions} regions, {writers} writers"));
    join::<Ours>(&mut group, &shape);
    join::<CrdtsMap>(&mut group, &shape);
    join::<CrdtsByHand>(&mut group, &shape);
    join::<StringMap<W>>(&mut group, &shape);
    join::<Dense<W>>(&mut group, &shape);
}

fn joins(criterion: &mut Criterion) {
    for regions in [32, 1_000, 100_000] {
        everybody::<2>(criterion, regions, 1);
        everybody::<3>(criterion, regions, 3);
        everybody::<20>(criterion, regions, 20);
    }
}

fn single_changes(criterion: &mut Criterion) {
    const COUNTERS: usize = 100_000;
    let mut group = criterion.benchmark_group("w3 one change in 100000");
    change(&mut group, "ours", CHANGES, changes(COUNTERS, OursNode::new(0), OursNode::new(1)));
    change(&mut group, "crdts", CHANGES, changes(COUNTERS, CrdtsMap::new(0), CrdtsMap::new(1)));
    change(
        &mut group,
        "crdts by hand",
        CHANGES,
        changes(COUNTERS, CrdtsByHand::new(0), CrdtsByHand::new(1)),
    );
    change(
        &mut group,
        "bound: string map",
        CHANGES,
        changes(COUNTERS, StringMap::<2>::new(0), StringMap::<2>::new(1)),
    );
}

criterion_group! { name = work; config = rounds::config(); targets = adds, joins, single_changes }
criterion_main!(work);
