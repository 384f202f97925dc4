//! automerge, loro and yrs on W1 and W2 of the suite; prints JSON that its report reads.

mod automerge_doc;
mod loro_doc;
mod yrs_doc;

use benches::row::{Figure, Row};
use benches::work::{Adder, Join, add_by_name, heap_of, sum_of_all};
use benches::{Contender, Sample, Series, Shape, Values};

use automerge_doc::{AutoCommitAdder, Automerge};
use loro_doc::Loro;
use yrs_doc::Yrs;

/// Each row's id, and one contender's figure for it.
type Figures = Vec<(String, Figure)>;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let mut figures = Figures::new();
    adds(&mut figures, Yrs::NAME, 200_000, &mut <Yrs as Contender>::empty(0));
    adds(&mut figures, Loro::NAME, 200_000, &mut <Loro as Contender>::empty(0));
    adds(&mut figures, Automerge::NAME, 5_000, &mut AutoCommitAdder(<Automerge as Contender>::empty(0)));
    for regions in [32, 1_000, 100_000] {
        let shape = Shape::new(Values::Formula, regions, 3);
        let rounds = if quick || regions == 100_000 { 1 } else { 5 };
        joins::<Yrs>(&mut figures, &shape, rounds);
        joins::<Loro>(&mut figures, &shape, rounds);
        // Its join of 100,000 takes seconds a round, and making ready minutes.
        if !quick || regions < 100_000 {
            joins::<Automerge>(&mut figures, &shape, rounds);
        }
    }
    println!("{}", serde_json::to_string(&figures).expect("figures are plain"));
}

fn put(figures: &mut Figures, name: &str, id: String, samples: &[Sample]) {
    let row = Row::times(id.clone(), "", &[Series::new(name.into(), samples)]);
    figures.extend(row.figures.into_iter().map(|figure| (id.clone(), figure)));
}

fn size(figures: &mut Figures, name: &str, id: String, bytes: f64) {
    figures.push((id, Figure { name: name.into(), value: bytes, spread: 0.0, right: true, published: false }));
}

fn adds(figures: &mut Figures, name: &str, adds: usize, adder: &mut impl Adder) {
    eprintln!("· {name}: W1");
    let sample = add_by_name(adds, adder);
    put(figures, name, "w1.name".into(), &[sample]);
}

fn joins<C: Contender>(figures: &mut Figures, shape: &Shape, rounds: usize) {
    let regions = shape.regions();
    eprintln!("· {}: W2 of {regions}", C::NAME);
    let join = Join::<C>::new(shape);
    let series = |run: &dyn Fn() -> Sample| (0..rounds).map(|_| run()).collect::<Vec<_>>();
    put(figures, C::NAME, format!("w2.join.{regions}"), &series(&|| join.join()));
    put(figures, C::NAME, format!("w2.again.{regions}"), &series(&|| join.join_again()));
    put(figures, C::NAME, format!("w2.send.{regions}"), &series(&|| join.send()));
    put(figures, C::NAME, format!("w4.sum.{regions}"), &series(&|| sum_of_all(shape, &join)));
    if regions == 100_000 && join.right {
        size(figures, C::NAME, format!("w2.bytes.{regions}"), join.bytes() as f64);
        size(figures, C::NAME, format!("w2.heap.{regions}"), heap_of::<C>(shape) as f64);
    }
}
