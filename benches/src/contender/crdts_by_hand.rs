//! `crdts::PNCounter` in a plain hash map, as a user writes it after meeting the limits of
//! `crdts::Map`.

use std::collections::HashMap;

use counter_core::Amounts;
use crdts::{CmRDT, CvRDT, PNCounter};
use foldhash::fast::FixedState;

use super::Contender;
use crate::work::{Adder, Changer};

type PnHashMap = HashMap<String, PNCounter<u64>, FixedState>;

/// A foldhash map of `crdts::PNCounter`, joined counter by counter. It has no more than a join
/// needs: no removal, no digest, no version.
#[derive(Clone, Debug, Default)]
pub struct CrdtsByHand {
    map: PnHashMap,
    actor: u64,
}

impl CrdtsByHand {
    /// A replica that writes as `actor`.
    pub fn new(actor: u64) -> Self {
        Self { map: PnHashMap::default(), actor }
    }

    fn join_map(&mut self, other: PnHashMap) {
        for (region, theirs) in other {
            match self.map.get_mut(&region) {
                Some(counter) => counter.merge(theirs),
                None => drop(self.map.insert(region, theirs)),
            }
        }
    }

    fn counter(&mut self, region: &str) -> &mut PNCounter<u64> {
        if !self.map.contains_key(region) {
            self.map.insert(region.to_owned(), PNCounter::new());
        }
        self.map.get_mut(region).expect("it was just put there")
    }
}

/// The value of a `crdts` counter, converted from its big integer.
pub(super) fn as_i128(counter: &PNCounter<u64>) -> i128 {
    i128::try_from(counter.read()).expect("sums of u64 parts")
}

impl Contender for CrdtsByHand {
    const NAME: &'static str = "crdts by hand";
    type State = CrdtsByHand;

    fn empty(replica: usize) -> CrdtsByHand {
        Self::new(replica as u64)
    }

    fn copy(state: &CrdtsByHand) -> CrdtsByHand {
        state.clone()
    }

    fn change(state: &mut CrdtsByHand, writer: usize, region: &str, by: Amounts) {
        let counter = state.counter(region);
        counter.apply(counter.inc_many(writer as u64, by.increments));
        if by.decrements > 0 {
            counter.apply(counter.dec_many(writer as u64, by.decrements));
        }
    }

    fn join(into: &mut CrdtsByHand, from: &mut CrdtsByHand) {
        into.join_map(std::mem::take(&mut from.map));
    }

    fn encode(state: &CrdtsByHand) -> Vec<u8> {
        postcard::to_stdvec(&state.map).expect("it serialises")
    }

    fn receive(into: &mut CrdtsByHand, bytes: &[u8]) {
        into.join_map(postcard::from_bytes(bytes).expect("own bytes"));
    }

    fn value(state: &CrdtsByHand, region: &str) -> i128 {
        state.map.get(region).map_or(0, as_i128)
    }

    fn sum(state: &CrdtsByHand) -> i128 {
        state.map.values().map(as_i128).sum()
    }
}

impl Adder for CrdtsByHand {
    fn add_one(&mut self, counter: &str) {
        let actor = self.actor;
        let counter = match self.map.get_mut(counter) {
            Some(counter) => counter,
            None => self.counter(counter),
        };
        counter.apply(counter.inc(actor));
    }

    fn finish(&mut self) {}

    fn value(&self, counter: &str) -> i128 {
        <Self as Contender>::value(self, counter)
    }
}

impl Changer for CrdtsByHand {
    fn produce(&mut self, counter: &str) -> Vec<u8> {
        let actor = self.actor;
        let pn_counter = self.counter(counter);
        let op = pn_counter.inc(actor);
        let bytes = postcard::to_stdvec(&(counter, &op)).expect("it serialises");
        pn_counter.apply(op);
        bytes
    }

    fn apply(&mut self, bytes: &[u8]) {
        let (counter, op): (&str, crdts::pncounter::Op<u64>) =
            postcard::from_bytes(bytes).expect("own bytes");
        self.counter(counter).apply(op);
    }

    fn value(&self, counter: &str) -> i128 {
        <Self as Contender>::value(self, counter)
    }

    fn clone_from_node(&mut self, other: &Self) {
        self.map.clone_from(&other.map);
    }
}
