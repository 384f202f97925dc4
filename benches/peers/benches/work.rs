//! `cargo bench --manifest-path benches/peers/Cargo.toml`: automerge, loro and yrs under criterion,
//! by the same code as the suite's own benches.

#[path = "../../benches/rounds.rs"]
mod rounds;

use benches::work::{CHANGES, changes, changes_of};
use benches::{Contender, Shape, Values};
use criterion::{Criterion, criterion_group, criterion_main};
use peers::automerge_doc::{AutoCommitAdder, Automerge};
use peers::loro_doc::Loro;
use peers::yrs_doc::Yrs;

use rounds::{add, change, join};

const LEFT_OUT: &str = "left out, since a round takes minutes: automerge from 100,000 regions on, loro and yrs at 100,000 regions and 20 writers";

fn adds(criterion: &mut Criterion) {
    println!("{LEFT_OUT}");
    let mut group = criterion.benchmark_group("w1 add");
    add(&mut group, Yrs::NAME, 100_000, || Yrs::empty(0));
    add(&mut group, Loro::NAME, 100_000, || Loro::empty(0));
    add(&mut group, Automerge::NAME, 5_000, || AutoCommitAdder(Automerge::empty(0)));
}

fn joins(criterion: &mut Criterion) {
    for (regions, writers) in [
        (32, 1),
        (32, 3),
        (32, 20),
        (1_000, 1),
        (1_000, 3),
        (1_000, 20),
        (100_000, 1),
        (100_000, 3),
    ] {
        let shape = Shape::new(Values::Formula, regions, writers);
        let mut group =
            criterion.benchmark_group(format!("w2 w4 {regions} regions, {writers} writers"));
        join::<Yrs>(&mut group, &shape);
        join::<Loro>(&mut group, &shape);
        if regions < 100_000 {
            join::<Automerge>(&mut group, &shape);
        }
    }
}

fn single_changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("w3 one change in 100000");
    change(&mut group, Yrs::NAME, CHANGES, changes(100_000, Yrs::empty(0), Yrs::empty(1)));
    change(&mut group, Loro::NAME, CHANGES, changes(100_000, Loro::empty(0), Loro::empty(1)));
    group.finish();
    let mut group = criterion.benchmark_group("w3 one change in 1000");
    let automerge = |replica| AutoCommitAdder(Automerge::empty(replica));
    change(&mut group, Automerge::NAME, 100, changes_of(100, 1_000, automerge(0), automerge(1)));
}

criterion_group! { name = work; config = rounds::config(); targets = adds, joins, single_changes }
criterion_main!(work);
