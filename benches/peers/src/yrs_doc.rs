//! yrs, which has no counters: a map of one entry a region and writer, with both totals, that only
//! this writer sets.

use benches::work::{Adder, Changer};
use benches::{Contender, Shape};
use counter_core::Amounts;
use yrs::updates::decoder::Decode;
use yrs::{Any, Doc, Map, MapRef, Out, ReadTxn, StateVector, Transact, TransactionMut, Update};

/// A document of totals.
pub struct Yrs;

/// In how many writers' entries a region is looked for.
const WRITERS: usize = 20;

/// A document, who writes in it, and its map.
pub struct Totals {
    writer: usize,
    document: Doc,
    map: MapRef,
}

fn key(region: &str, writer: usize) -> String {
    format!("{region}/{writer}")
}

fn totals(out: Option<Out>) -> Amounts {
    let Some(Out::Any(Any::Array(parts))) = out else { return Amounts::default() };
    let part = |at: usize| parts[at].clone().cast::<f64>().map_or(0, |part| part as u64);
    Amounts { increments: part(0), decrements: part(1) }
}

impl Totals {
    fn raise(&self, writer: usize, region: &str, by: Amounts) {
        self.raise_in(&mut self.document.transact_mut(), writer, region, by);
    }

    fn raise_in(
        &self,
        transaction: &mut TransactionMut<'_>,
        writer: usize,
        region: &str,
        by: Amounts,
    ) {
        let key = key(region, writer);
        let Amounts { increments, decrements } = totals(self.map.get(transaction, &key));
        let parts = [
            Any::from((increments + by.increments) as f64),
            Any::from((decrements + by.decrements) as f64),
        ];
        self.map.insert(transaction, key, Any::Array(parts.as_slice().into()));
    }

    fn take(&self, bytes: &[u8]) {
        self.document
            .transact_mut()
            .apply_update(Update::decode_v1(bytes).expect("own bytes"))
            .expect("own update");
    }
}

impl Contender for Yrs {
    const NAME: &'static str = "yrs";
    type State = Totals;

    fn empty(replica: usize) -> Totals {
        let document = Doc::with_client_id(replica as u64 + 1);
        let map = document.get_or_insert_map("totals");
        Totals { writer: replica, document, map }
    }

    fn copy(state: &Totals) -> Totals {
        let copy = Self::empty(state.writer);
        copy.take(&Self::encode(state));
        copy
    }

    fn sides(shape: &Shape) -> (Totals, Totals) {
        let writers: Vec<Totals> = (0..shape.writers).map(Self::empty).collect();
        shape.written(0).for_each(|(writer, region, by)| writers[writer].raise(writer, region, by));
        let side = |writer: usize, increments: u64| {
            let side = Self::empty(writer);
            writers.iter().for_each(|writer| side.take(&Self::encode(writer)));
            shape.again(writer).for_each(|region| {
                side.raise(writer, region, Amounts { increments, decrements: 0 })
            });
            side
        };
        (side(0, 5), side(1, 7))
    }

    fn change(state: &mut Totals, writer: usize, region: &str, by: Amounts) {
        state.raise(writer, region, by);
    }

    fn join(into: &mut Totals, from: &mut Totals) {
        let seen = into.document.transact().state_vector();
        let lacking = from.document.transact().encode_state_as_update_v1(&seen);
        into.take(&lacking);
    }

    fn encode(state: &Totals) -> Vec<u8> {
        state.document.transact().encode_state_as_update_v1(&StateVector::default())
    }

    fn receive(into: &mut Totals, bytes: &[u8]) {
        into.take(bytes);
    }

    fn value(state: &Totals, region: &str) -> i128 {
        let transaction = state.document.transact();
        (0..WRITERS)
            .map(|writer| totals(state.map.get(&transaction, &key(region, writer))).net())
            .sum()
    }

    fn sum(state: &Totals) -> i128 {
        let transaction = state.document.transact();
        state.map.iter(&transaction).map(|(_, out)| totals(Some(out)).net()).sum()
    }
}

impl Adder for Totals {
    fn add_one(&mut self, counter: &str) {
        self.raise(0, counter, Amounts { increments: 1, decrements: 0 });
    }

    fn finish(&mut self) {}

    fn value(&self, counter: &str) -> i128 {
        Yrs::value(self, counter)
    }
}

impl Changer for Totals {
    fn produce(&mut self, counter: &str) -> Vec<u8> {
        let mut transaction = self.document.transact_mut();
        self.raise_in(
            &mut transaction,
            self.writer,
            counter,
            Amounts { increments: 1, decrements: 0 },
        );
        transaction.encode_update_v1()
    }

    fn apply(&mut self, bytes: &[u8]) {
        self.take(bytes);
    }

    fn value(&self, counter: &str) -> i128 {
        Yrs::value(self, counter)
    }

    fn clone_from_node(&mut self, other: &Self) {
        self.take(&Yrs::encode(other));
    }
}
