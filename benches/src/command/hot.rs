//! One hot path alone, a fixed number of times: for callgrind, whose instruction counts do not drift with the machine.

use benches::contender::{Contender, Ours, OursNode};
use benches::report::HOT_PATHS;
use benches::work::{Adder, changes};
use benches::{Shape, Values};

/// Runs one path. `NAME-ready` only makes ready, so that the difference of both is the path.
pub(crate) fn hot(path: &str) -> Result<(), String> {
    let (name, ready_only) = path.strip_suffix("-ready").map_or((path, false), |name| (name, true));
    let &(_, times) = HOT_PATHS.iter().find(|(known, _)| *known == name).ok_or_else(|| format!("no hot path is called {name:?}"))?;
    let times = if ready_only { 0 } else { times as usize };
    match name {
        "add" => add(times),
        "apply" => apply(ready_only),
        _ => join(name, times),
    }
    Ok(())
}

fn add(times: usize) {
    let mut node = OursNode::new(0);
    let names = Shape::new(Values::Formula, 32, 1).names;
    names.iter().for_each(|name| node.add_one(name));
    (0..times).for_each(|at| node.add_one(&names[at % 32]));
    node.finish();
    assert_eq!(names.iter().map(|name| Adder::value(&node, name)).sum::<i128>(), times as i128 + 32);
}

fn apply(ready_only: bool) {
    let mut changes = changes(1_000, OursNode::new(0), OursNode::new(1));
    if !ready_only {
        let (produced, applied) = changes.round();
        assert!(produced.right && applied.right, "the right totals");
    }
}

fn join(name: &str, times: usize) {
    let shape = Shape::new(Values::Formula, 1_000, 3);
    let (mut x, mut y) = (Ours::empty(0), Ours::empty(1));
    for (writer, region, amounts) in shape.written(0) {
        Ours::change(&mut y, writer, region, amounts);
        if writer == 0 {
            Ours::change(&mut x, writer, region, amounts);
        }
    }
    let bytes = Ours::encode(&y);
    let empty = Ours::copy(&x);
    for _ in 0..times {
        match name {
            "join" => {
                x = Ours::copy(&empty);
                Ours::join(&mut x, &mut y);
            }
            "encode" => assert_eq!(Ours::encode(&y).len(), bytes.len()),
            _ => {
                x = Ours::copy(&empty);
                Ours::receive(&mut x, &bytes);
            }
        }
    }
    if times > 0 && name != "encode" {
        assert_eq!(Ours::sum(&x), Ours::sum(&y));
    }
}
