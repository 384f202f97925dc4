//! automerge, loro and yrs on the work of the suite; prints JSON that its report reads.

use benches::figures::row::{Figure, Row};
use benches::report::Peers;
use benches::work::{
    Adder, CHANGES, Changer, Join, add_by_name, changes_of, heap_of, heap_of_adds, sum_of_all,
};
use benches::{Contender, Sample, Series, Shape, Values};

use peers::automerge_doc::{AutoCommitAdder, Automerge};
use peers::loro_doc::Loro;
use peers::yrs_doc::Yrs;

const LARGEST: usize = 100_000;
/// The adds after which everybody's heap is shown.
const MILLION: usize = 1_000_000;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let mut peers = Peers::default();
    peers.skipped.push("automerge: W1 is of 5,000 adds, since it slows down with each; so its heap after 1,000,000 is not shown".into());
    let many = if quick { 200_000 } else { MILLION };
    adds(&mut peers, Yrs::NAME, many, || Yrs::empty(0));
    adds(&mut peers, Loro::NAME, many, || Loro::empty(0));
    adds(&mut peers, Automerge::NAME, 5_000, || AutoCommitAdder(Automerge::empty(0)));
    // Making automerge's 100,000 ready takes minutes, and the others' half a minute.
    let sizes: &[usize] = if quick { &[32, 1_000] } else { &[32, 1_000, LARGEST] };
    for &regions in sizes {
        let shape = Shape::new(Values::Formula, regions, 3);
        let rounds = if quick || regions == LARGEST { 1 } else { 5 };
        joins::<Yrs>(&mut peers, &shape, rounds);
        joins::<Loro>(&mut peers, &shape, rounds);
        joins::<Automerge>(&mut peers, &shape, rounds);
    }
    let writers: &[usize] = if quick { &[] } else { &[1, 3, 20] };
    for &writers in writers {
        let shape = Shape::new(Values::Formula, 1_000, writers);
        by_writers::<Yrs>(&mut peers, &shape);
        by_writers::<Loro>(&mut peers, &shape);
        by_writers::<Automerge>(&mut peers, &shape);
    }
    single_changes(&mut peers, Yrs::NAME, CHANGES, Yrs::empty);
    single_changes(&mut peers, Loro::NAME, CHANGES, Loro::empty);
    if quick {
        let line = "automerge, yrs and loro: joins of 100,000 regions and by writers, and automerge's single changes: left out of a quick run; `report` without \
                    --quick has them";
        peers.skipped.push(line.into());
    } else {
        single_changes(&mut peers, Automerge::NAME, 50, |replica| {
            AutoCommitAdder(Automerge::empty(replica))
        });
    }
    println!("{}", serde_json::to_string(&peers).expect("figures are plain"));
}

fn put(peers: &mut Peers, name: &str, id: String, samples: &[Sample]) {
    let row = Row::times(id.clone(), "", &[Series::new(name.into(), samples)]);
    peers.figures.extend(row.figures.into_iter().map(|figure| (id.clone(), figure)));
}

/// Of a state that is wrong the size is wrong too.
fn size(peers: &mut Peers, name: &str, id: String, bytes: f64, right: bool) {
    peers.figures.push((
        id,
        Figure { right, ..Figure::new(name, bytes) },
    ));
}

fn adds<A: Adder>(peers: &mut Peers, name: &str, adds: usize, make: impl Fn() -> A) {
    eprintln!("· {name}: W1");
    let sample = add_by_name(adds, &mut make());
    put(peers, name, "w1.name".into(), &[sample]);
    if adds == MILLION {
        size(peers, name, "w1.heap".into(), heap_of_adds(adds, make) as f64, sample.right);
    }
}

fn joins<C: Contender>(peers: &mut Peers, shape: &Shape, rounds: usize) {
    let regions = shape.regions();
    eprintln!("· {}: W2 of {regions}", C::NAME);
    let join = Join::<C>::new(shape);
    let series = |run: &dyn Fn() -> Sample| (0..rounds).map(|_| run()).collect::<Vec<_>>();
    put(peers, C::NAME, format!("w2.join.{regions}"), &series(&|| join.join()));
    put(peers, C::NAME, format!("w2.again.{regions}"), &series(&|| join.join_again()));
    put(peers, C::NAME, format!("w2.send.{regions}"), &series(&|| join.send()));
    put(peers, C::NAME, format!("w4.sum.{regions}"), &series(&|| sum_of_all(shape, &join)));
    if regions == LARGEST {
        size(peers, C::NAME, format!("w2.bytes.{regions}"), join.bytes() as f64, join.right);
        size(peers, C::NAME, format!("w2.heap.{regions}"), heap_of::<C>(shape) as f64, join.right);
    }
}

fn by_writers<C: Contender>(peers: &mut Peers, shape: &Shape) {
    eprintln!("· {}: W2 of {} writers", C::NAME, shape.writers);
    let join = Join::<C>::new(shape);
    put(peers, C::NAME, format!("w2.writers.{}", shape.writers), &[join.join()]);
}

/// W3; the first round is not counted.
fn single_changes<C: Changer>(
    peers: &mut Peers,
    name: &str,
    each_round: usize,
    make: impl Fn(usize) -> C,
) {
    eprintln!("· {name}: W3");
    let mut changes = changes_of(each_round, LARGEST, make(0), make(1));
    let (first, second) = (changes.round(), changes.round());
    let right = [first.0, first.1, second.0, second.1].iter().all(|sample| sample.right);
    put(peers, name, "w3.produce".into(), &[Sample { right, ..second.0 }]);
    put(peers, name, "w3.apply".into(), &[Sample { right, ..second.1 }]);
    size(peers, name, "w3.bytes".into(), changes.bytes, right);
}
