//! `cargo bench -p benches`: W1 to W4 under criterion, by the same code as the report, with the answers asserted in every round.

use std::time::Duration;

use benches::contender::{CrdtsByHand, CrdtsMap, Dense, Ours, OursNode, StringMap};
use benches::work::{Changer, Join, add_bare_atomic, add_by_handle, add_by_name, changes, sum_of_all};
use benches::{Contender, Sample, Shape, Values};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Measures rounds of `operations` operations each.
fn rounds(group: &mut Group<'_>, name: &str, operations: u64, mut run: impl FnMut() -> Sample) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let rounds = iterations.div_ceil(operations).max(1);
            let samples: Vec<Sample> = (0..rounds).map(|_| run()).collect();
            assert!(samples.iter().all(|sample| sample.right), "the right answer");
            let mean = samples.iter().map(|sample| sample.nanoseconds).sum::<f64>() / rounds as f64;
            Duration::from_secs_f64(mean * iterations as f64 / 1e9)
        });
    });
}

fn adds(criterion: &mut Criterion) {
    const ADDS: usize = 100_000;
    let mut group = criterion.benchmark_group("w1 add");
    rounds(&mut group, "ours by name", ADDS as u64, || add_by_name(ADDS, &mut OursNode::new(0)));
    rounds(&mut group, "crdts", ADDS as u64, || add_by_name(ADDS, &mut CrdtsMap::new(0)));
    rounds(&mut group, "crdts by hand", ADDS as u64, || add_by_name(ADDS, &mut CrdtsByHand::new(0)));
    rounds(&mut group, "bound: string map", ADDS as u64, || add_by_name(ADDS, &mut StringMap::<1>::new(0)));
    rounds(&mut group, "ours by handle", ADDS as u64, || add_by_handle(ADDS));
    rounds(&mut group, "bound: bare fetch_add", ADDS as u64, || add_bare_atomic(ADDS));
}

fn join<C: Contender>(group: &mut Group<'_>, shape: &Shape) {
    let join = Join::<C>::new(shape);
    let (operations, name) = (join.operations_per_round() as u64, C::NAME);
    rounds(group, &format!("{name}: join"), operations, || join.join());
    rounds(group, &format!("{name}: nothing new"), operations, || join.join_again());
    rounds(group, &format!("{name}: encode"), operations, || join.encode());
    rounds(group, &format!("{name}: decode + join"), operations, || join.receive());
    rounds(group, &format!("{name}: read all"), 1, || sum_of_all(shape, &join));
}

fn joins(criterion: &mut Criterion) {
    for (regions, writers) in [(32, 3), (1_000, 1), (1_000, 3), (1_000, 20), (100_000, 3)] {
        let shape = Shape::new(Values::Formula, regions, writers);
        let mut group = criterion.benchmark_group(format!("w2 w4 {regions} regions, {writers} writers"));
        join::<Ours>(&mut group, &shape);
        join::<CrdtsMap>(&mut group, &shape);
        join::<CrdtsByHand>(&mut group, &shape);
        match writers {
            1 => join::<StringMap<2>>(&mut group, &shape),
            3 => {
                join::<StringMap<3>>(&mut group, &shape);
                join::<Dense<3>>(&mut group, &shape);
            }
            _ => join::<StringMap<20>>(&mut group, &shape),
        }
    }
}

fn change<C: Changer>(group: &mut Group<'_>, name: &str, sender: C, receiver: C) {
    let mut changes = changes(100_000, sender, receiver);
    rounds(group, &format!("{name}: produce"), 10_000, || changes.round().0);
    rounds(group, &format!("{name}: apply"), 10_000, || changes.round().1);
}

fn single_changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("w3 one change in 100000");
    change(&mut group, "ours", OursNode::new(0), OursNode::new(1));
    change(&mut group, "crdts", CrdtsMap::new(0), CrdtsMap::new(1));
    change(&mut group, "crdts by hand", CrdtsByHand::new(0), CrdtsByHand::new(1));
    change(&mut group, "bound: string map", StringMap::<2>::new(0), StringMap::<2>::new(1));
}

criterion_group! {
    name = work;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
    targets = adds, joins, single_changes
}
criterion_main!(work);
