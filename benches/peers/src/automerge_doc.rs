//! automerge: one of its own counters a region, which every writer increments, and increments by
//! less than nothing.

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ROOT, ReadDoc, ScalarValue, Value};
use benches::work::{Adder, Changer};
use benches::{Contender, Shape};
use counter_core::Amounts;

/// A document of counters.
pub struct Automerge;

fn actor(writer: usize) -> ActorId {
    ActorId::from([writer as u8 + 1; 16])
}

fn add(document: &mut AutoCommit, region: &str, amount: i64) {
    if document.get(ROOT, region).expect("the root is a map").is_none() {
        document.put(ROOT, region, ScalarValue::counter(0)).expect("the root is a map");
    }
    document.increment(ROOT, region, amount).expect("it is a counter");
}

fn number(value: Value<'_>) -> i128 {
    match value.as_scalar() {
        Some(ScalarValue::Counter(counter)) => i128::from(i64::from(counter)),
        _ => 0,
    }
}

impl Contender for Automerge {
    const NAME: &'static str = "automerge";
    type State = AutoCommit;

    fn empty(replica: usize) -> AutoCommit {
        AutoCommit::new().with_actor(actor(replica))
    }

    fn copy(state: &AutoCommit) -> AutoCommit {
        state.clone()
    }

    /// One history that both sides share: the first writer makes the counters.
    fn sides(shape: &Shape) -> (AutoCommit, AutoCommit) {
        let mut base = Self::empty(0);
        for (writer, region, by) in shape.written(0) {
            Self::change(&mut base, writer, region, by);
        }
        base.commit();
        let mut sides = [base.clone(), base];
        for (writer, (side, amount)) in sides.iter_mut().zip([5, 7]).enumerate() {
            side.set_actor(actor(writer));
            shape.again(writer).for_each(|region| add(side, region, amount));
            side.commit();
        }
        sides.into()
    }

    fn change(state: &mut AutoCommit, writer: usize, region: &str, by: Amounts) {
        if *state.get_actor() != actor(writer) {
            state.set_actor(actor(writer));
        }
        add(state, region, by.increments as i64);
        if by.decrements > 0 {
            add(state, region, -(by.decrements as i64));
        }
    }

    fn join(into: &mut AutoCommit, from: &mut AutoCommit) {
        into.merge(from).expect("one history");
    }

    fn encode(state: &AutoCommit) -> Vec<u8> {
        state.clone().save()
    }

    fn receive(into: &mut AutoCommit, bytes: &[u8]) {
        into.merge(&mut AutoCommit::load(bytes).expect("own bytes")).expect("one history");
    }

    fn value(state: &AutoCommit, region: &str) -> i128 {
        state.get(ROOT, region).expect("the root is a map").map_or(0, |(value, _)| number(value))
    }

    fn sum(state: &AutoCommit) -> i128 {
        state.map_range(ROOT, ..).map(|item| number(item.value.into_value())).sum()
    }
}

impl Adder for AutoCommitAdder {
    fn add_one(&mut self, counter: &str) {
        add(&mut self.0, counter, 1);
    }

    fn finish(&mut self) {
        self.0.commit();
    }

    fn value(&self, counter: &str) -> i128 {
        Automerge::value(&self.0, counter)
    }
}

/// A document that one writer adds to.
pub struct AutoCommitAdder(pub AutoCommit);

impl Changer for AutoCommitAdder {
    fn produce(&mut self, counter: &str) -> Vec<u8> {
        add(&mut self.0, counter, 1);
        self.0.commit();
        self.0.get_last_local_change().expect("one was just made").raw_bytes().to_vec()
    }

    fn apply(&mut self, bytes: &[u8]) {
        self.0.load_incremental(bytes).expect("own bytes");
    }

    fn value(&self, counter: &str) -> i128 {
        Automerge::value(&self.0, counter)
    }

    fn clone_from_node(&mut self, other: &Self) {
        self.0.merge(&mut other.0.clone()).expect("one history");
    }
}
