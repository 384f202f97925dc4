//! Every contender gets the right numbers, so none is fast because it loses counts.

use benches::contender::{CrdtsByHand, CrdtsMap, Dense, Ours, OursNode, OursWindows, StringMap};
use benches::work::{
    Adder, AfterPast, Changer, Join, Past, Threads, add_by_name, changes, heap_of, threads_ours,
};
use benches::{Contender, Shape, Values};

fn joins_right<C: Contender>() {
    for values in [Values::Formula, Values::Seeded] {
        for regions in [32, 300] {
            let shape = Shape::new(values, regions, 3);
            let join = Join::<C>::new(&shape);
            assert!(join.right, "{} joins {regions} regions of {values:?}", C::NAME);
            assert!(join.bytes() > 0 && heap_of::<C>(&shape) > 0);
        }
    }
}

#[test]
fn joins_give_the_right_sums() {
    joins_right::<Ours>();
    joins_right::<CrdtsMap>();
    joins_right::<CrdtsByHand>();
    joins_right::<StringMap<3>>();
    joins_right::<Dense<3>>();
}

fn adds_right(mut adder: impl Adder) {
    assert!(add_by_name(1_000, &mut adder).right && add_by_name(77, &mut adder).right);
}

#[test]
fn adds_by_name_are_all_counted() {
    adds_right(OursNode::new(0));
    adds_right(CrdtsMap::new(0));
    adds_right(CrdtsByHand::new(0));
    adds_right(StringMap::<1>::new(0));
    adds_right(OursWindows::new(0));
}

fn changes_right<C: Changer>(sender: C, receiver: C) {
    let mut changes = changes(1_000, sender, receiver);
    for _ in 0..2 {
        let (produced, applied) = changes.round();
        assert!(produced.right && applied.right);
    }
}

#[test]
fn changes_arrive() {
    changes_right(OursNode::new(0), OursNode::new(1));
    changes_right(CrdtsMap::new(0), CrdtsMap::new(1));
    changes_right(CrdtsByHand::new(0), CrdtsByHand::new(1));
    changes_right(StringMap::<2>::new(0), StringMap::<2>::new(1));
}

#[test]
fn changes_and_joins_after_a_past_are_right() {
    for past in [Past::Fresh, Past::Resets(2_000), Past::Removals(2_000)] {
        let mut after = AfterPast::new(past);
        let (produced, applied) = after.round();
        assert!(produced.right && applied.right && after.join().right, "{past:?}");
    }
}

#[test]
fn threads_lose_no_update() {
    assert!(threads_ours(Threads { threads: 8, adds: 80_000, one_counter: true }).right);
    assert!(threads_ours(Threads { threads: 8, adds: 80_000, one_counter: false }).right);
}
