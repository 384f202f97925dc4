//! The works as criterion benches, for any contender: the answers asserted in every round, sizes
//! and heaps printed beside the times. The peers of a workspace of their own take this very file.

use std::time::Duration;

use benches::figures::row::Unit;
use benches::figures::table::amount;
use benches::work::{
    Adder, ChangeRounds, Changer, Join, add_by_name, heap_of, heap_of_adds, sum_of_all,
};
use benches::{Contender, Sample, Shape};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};

pub(crate) type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Few and short: ratios of a run count, and there are hundreds of benches.
pub(crate) fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
}

/// Measures rounds of `operations` operations each.
pub(crate) fn rounds(
    group: &mut Group<'_>,
    name: &str,
    operations: u64,
    mut run: impl FnMut() -> Sample,
) {
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

fn bytes(value: f64) -> String {
    amount(value, Unit::Bytes)
}

/// W1 of one contender, with the heap that it leaves behind.
pub(crate) fn add<A: Adder>(group: &mut Group<'_>, name: &str, adds: usize, make: impl Fn() -> A) {
    println!("w1 {name}: heap {} after {adds} adds", bytes(heap_of_adds(adds, &make) as f64));
    rounds(group, name, adds as u64, || add_by_name(adds, &mut make()));
}

/// W2 and W4 of one contender, with the bytes and the heap of the joined state.
pub(crate) fn join<C: Contender>(group: &mut Group<'_>, shape: &Shape) {
    let (join, name) = (Join::<C>::new(shape), C::NAME);
    let (regions, writers, operations) =
        (shape.regions(), shape.writers, join.operations_per_round() as u64);
    rounds(group, &format!("{name}: join"), operations, || join.join());
    rounds(group, &format!("{name}: nothing new"), operations, || join.join_again());
    rounds(group, &format!("{name}: encode"), operations, || join.encode());
    rounds(group, &format!("{name}: decode + join"), operations, || join.receive());
    rounds(group, &format!("{name}: read all"), 1, || sum_of_all(shape, &join));
    let sent = bytes(join.bytes() as f64);
    drop(join);
    println!(
        "w2 {regions} regions, {writers} writers, {name}: {sent} in bytes, {} of heap",
        bytes(heap_of::<C>(shape) as f64)
    );
}

/// W3 of one contender, with the bytes of a change.
pub(crate) fn change<C: Changer>(
    group: &mut Group<'_>,
    name: &str,
    each_round: usize,
    mut changes: ChangeRounds<C>,
) {
    rounds(group, &format!("{name}: produce"), each_round as u64, || changes.round().0);
    rounds(group, &format!("{name}: apply"), each_round as u64, || changes.round().1);
    println!("w3 {name}: {} a change", bytes(changes.bytes));
}
