//! Runs one hot path a fixed number of times, for callgrind. Instruction counts do not drift with
//! the machine.

use std::hint::black_box;

use benches::contender::{Contender, Ours, OursNode};
use benches::report::HOT_PATHS;
use benches::work::{Adder, Changer};
use benches::{Shape, Values};
use counter_core::Delta;

/// Runs one path. `NAME-ready` runs only its preparation, so the difference between both is the
/// path itself.
pub(crate) fn hot(path: &str) -> Result<(), String> {
    let (name, ready_only) = path.strip_suffix("-ready").map_or((path, false), |name| (name, true));
    let known = || HOT_PATHS.map(|(known, _)| known).join(", ");
    let &(_, times) = HOT_PATHS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("{name:?} is none of {}", known()))?;
    let (times, run) = (times as usize, !ready_only);
    match name {
        "add-by-name" => add_by_name(times, run),
        "add-by-handle" => add_by_handle(times, run),
        "join-32" => join(32, times, run),
        "join-1000" => join(1_000, times, run),
        "join-20000" => join(20_000, times, run),
        "join-nothing-new" => join_nothing_new(times, run),
        "encode" => encode(times, run),
        "decode" => decode(times, run),
        "join-decoded" => join_decoded(times, run),
        "produce" => produce(times, run),
        "apply" => apply(times, run),
        "total" => total(times, run),
        _ => read_all(times, run),
    }
    Ok(())
}

fn names(counters: usize) -> Vec<String> {
    Shape::new(Values::Formula, counters, 1).names
}

fn shape(regions: usize) -> Shape {
    Shape::new(Values::Formula, regions, 3)
}

fn add_by_name(times: usize, run: bool) {
    let (mut node, names) = (OursNode::new(0), names(32));
    names.iter().for_each(|name| node.add_one(name));
    let times = if run { times } else { 0 };
    (0..times).for_each(|at| node.add_one(black_box(&names[at % 32])));
    node.finish();
    assert_eq!(
        names.iter().map(|name| Adder::value(&node, name)).sum::<i128>(),
        times as i128 + 32
    );
}

fn add_by_handle(times: usize, run: bool) {
    let (mut node, names) = (OursNode::new(0), names(32));
    let handles: Vec<_> = names.iter().map(|name| node.counter(name)).collect();
    let times = if run { times } else { 0 };
    (0..times).for_each(|at| black_box(&handles[at % 32]).add(1).expect("far from full"));
    node.flush();
    assert_eq!(names.iter().map(|name| Adder::value(&node, name)).sum::<i128>(), times as i128);
}

/// W2: X joins Y, with every region changed on both sides. The copies are part of the preparation.
fn join(regions: usize, times: usize, run: bool) {
    let shape = shape(regions);
    let (x, mut y) = Ours::sides(&shape);
    let mut copies: Vec<_> = (0..times).map(|_| Ours::copy(&x)).collect();
    if run {
        copies.iter_mut().for_each(|copy| Ours::join(copy, black_box(&mut y)));
        assert!(copies.iter().all(|copy| Ours::sum(copy) == shape.sum_joined()));
    }
}

fn join_nothing_new(times: usize, run: bool) {
    let shape = shape(1_000);
    let (mut x, mut y) = Ours::sides(&shape);
    Ours::join(&mut x, &mut y);
    if run {
        (0..times).for_each(|_| Ours::join(black_box(&mut x), black_box(&mut y)));
    }
    assert_eq!(Ours::sum(&x), shape.sum_joined());
}

fn encode(times: usize, run: bool) {
    let (x, _) = Ours::sides(&shape(1_000));
    let bytes = Ours::encode(&x).len();
    if run {
        (0..times).for_each(|_| assert_eq!(Ours::encode(black_box(&x)).len(), bytes));
    }
}

fn decode(times: usize, run: bool) {
    let bytes = Ours::encode(&Ours::sides(&shape(1_000)).1);
    if run {
        (0..times)
            .for_each(|_| drop(black_box(Delta::decode(black_box(&bytes)).expect("own bytes"))));
    }
}

fn join_decoded(times: usize, run: bool) {
    let shape = shape(1_000);
    let (x, y) = Ours::sides(&shape);
    let delta = Delta::decode(&Ours::encode(&y)).expect("own bytes");
    let mut copies: Vec<_> = (0..times).map(|_| Ours::copy(&x)).collect();
    if run {
        copies
            .iter_mut()
            .for_each(|copy| drop(copy.join_delta(black_box(&delta)).expect("within its bounds")));
        assert!(copies.iter().all(|copy| Ours::sum(copy) == shape.sum_joined()));
    }
}

/// The encoded changes of 1,000 counters in turn.
fn produced(node: &mut OursNode, times: usize) -> Vec<Vec<u8>> {
    let names = names(1_000);
    (0..times).map(|at| node.produce(black_box(&names[at % 1_000]))).collect()
}

fn produce(times: usize, run: bool) {
    let mut node = OursNode::new(0);
    produced(&mut node, 1_000);
    if run {
        assert_eq!(produced(&mut node, times).len(), times);
        assert_eq!(Changer::value(&node, "r000000"), 1 + times as i128 / 1_000);
    }
}

fn apply(times: usize, run: bool) {
    let (mut sender, mut receiver) = (OursNode::new(0), OursNode::new(1));
    produced(&mut sender, 1_000);
    receiver.clone_from_node(&sender);
    let changes = produced(&mut sender, times);
    if run {
        changes.iter().for_each(|bytes| receiver.apply(bytes));
        assert_eq!(Changer::value(&receiver, "r000000"), Changer::value(&sender, "r000000"));
    }
}

fn total(times: usize, run: bool) {
    let shape = shape(1_000);
    let (mut x, mut y) = Ours::sides(&shape);
    Ours::join(&mut x, &mut y);
    let sum = shape.sum_joined();
    if run {
        (0..times).for_each(|_| assert_eq!(black_box(&x).total("clicks"), sum));
    }
}

fn read_all(times: usize, run: bool) {
    let shape = shape(1_000);
    let (mut x, mut y) = Ours::sides(&shape);
    Ours::join(&mut x, &mut y);
    let sum = shape.sum_joined();
    if run {
        (0..times).for_each(|_| assert_eq!(Ours::sum(black_box(&x)), sum));
    }
}
