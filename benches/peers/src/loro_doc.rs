//! loro: one of its own counters a region, at the root, so that no two writers make it apart.

use benches::work::{Adder, Changer};
use benches::{Contender, Shape};
use counter_core::Amounts;
use loro::{ExportMode, LoroDoc};

/// A document of counters.
pub struct Loro;

/// A document and the names of its regions, which it does not list by itself cheaply.
pub struct Counters {
    document: LoroDoc,
    names: Vec<String>,
}

fn import(document: &LoroDoc, bytes: &[u8]) {
    document.import(bytes).expect("own bytes");
}

fn document(writer: usize) -> LoroDoc {
    let document = LoroDoc::new();
    document.set_peer_id(writer as u64 + 1).expect("nothing is under way");
    document
}

impl Contender for Loro {
    const NAME: &'static str = "loro";
    type State = Counters;

    fn empty(replica: usize) -> Counters {
        Counters { document: document(replica), names: Vec::new() }
    }

    fn copy(state: &Counters) -> Counters {
        let document = state.document.fork();
        document.set_peer_id(state.document.peer_id()).expect("nothing is under way");
        Counters { document, names: state.names.clone() }
    }

    fn sides(shape: &Shape) -> (Counters, Counters) {
        let base = Self::empty(9);
        let mut writers: Vec<Counters> = (0..shape.writers).map(Self::empty).collect();
        shape.written(0).for_each(|(writer, region, by)| {
            Self::change(&mut writers[writer], writer, region, by)
        });
        writers.iter().for_each(|writer| {
            import(
                &base.document,
                &writer.document.export(ExportMode::all_updates()).expect("all of it"),
            )
        });
        let side = |writer: usize, amount: f64| {
            let side = Counters { document: base.document.fork(), names: shape.names.clone() };
            side.document.set_peer_id(writer as u64 + 1).expect("nothing is under way");
            shape.again(writer).for_each(|region| {
                side.document.get_counter(region).increment(amount).expect("attached")
            });
            side.document.commit();
            side
        };
        (side(0, 5.0), side(1, 7.0))
    }

    fn change(state: &mut Counters, _writer: usize, region: &str, by: Amounts) {
        let counter = state.document.get_counter(region);
        counter.increment(by.increments as f64).expect("attached");
        if by.decrements > 0 {
            counter.decrement(by.decrements as f64).expect("attached");
        }
    }

    fn join(into: &mut Counters, from: &mut Counters) {
        let lacking = from
            .document
            .export(ExportMode::updates(&into.document.oplog_vv()))
            .expect("all of it");
        import(&into.document, &lacking);
    }

    fn encode(state: &Counters) -> Vec<u8> {
        state.document.export(ExportMode::all_updates()).expect("all of it")
    }

    fn receive(into: &mut Counters, bytes: &[u8]) {
        import(&into.document, bytes);
    }

    fn value(state: &Counters, region: &str) -> i128 {
        state.document.get_counter(region).get() as i128
    }

    fn sum(state: &Counters) -> i128 {
        state.names.iter().map(|name| Self::value(state, name)).sum()
    }
}

impl Adder for Counters {
    fn add_one(&mut self, counter: &str) {
        self.document.get_counter(counter).increment(1.0).expect("attached");
    }

    fn finish(&mut self) {
        self.document.commit();
    }

    fn value(&self, counter: &str) -> i128 {
        Loro::value(self, counter)
    }
}

impl Changer for Counters {
    fn produce(&mut self, counter: &str) -> Vec<u8> {
        let before = self.document.oplog_vv();
        self.add_one(counter);
        self.document.commit();
        self.document.export(ExportMode::updates(&before)).expect("what was just made")
    }

    fn apply(&mut self, bytes: &[u8]) {
        import(&self.document, bytes);
    }

    fn value(&self, counter: &str) -> i128 {
        Loro::value(self, counter)
    }

    fn clone_from_node(&mut self, other: &Self) {
        import(&self.document, &Loro::encode(other));
    }
}
