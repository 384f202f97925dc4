//! `crdts` as its authors offer it: `Map<String, PNCounter<u64>, u64>`. It works for joins of whole
//! maps and for operations that arrive in order.

use counter_core::Amounts;
use crdts::ctx::AddCtx;
use crdts::{CmRDT, CvRDT, Map, PNCounter};

use super::Contender;
use super::crdts_by_hand::as_i128;
use crate::work::{Adder, Changer};

type PnMap = Map<String, PNCounter<u64>, u64>;
type Op = <PnMap as CmRDT>::Op;

/// `crdts::Map` of `crdts::PNCounter`. Joining a part of it deletes every key that the part lacks.
/// So W3 sends operations, which need ordered delivery.
#[derive(Clone, Debug, Default)]
pub struct CrdtsMap {
    map: PnMap,
    actor: u64,
}

impl CrdtsMap {
    /// A replica that writes as `actor`.
    pub fn new(actor: u64) -> Self {
        Self { map: Map::new(), actor }
    }

    fn op(
        &self,
        actor: u64,
        region: &str,
        with: impl FnOnce(&PNCounter<u64>, AddCtx<u64>) -> crdts::pncounter::Op<u64>,
    ) -> Op {
        self.map.update(region, self.map.read_ctx().derive_add_ctx(actor), with)
    }
}

impl Contender for CrdtsMap {
    const NAME: &'static str = "crdts";
    type State = CrdtsMap;

    fn empty(replica: usize) -> CrdtsMap {
        Self::new(replica as u64)
    }

    fn copy(state: &CrdtsMap) -> CrdtsMap {
        state.clone()
    }

    fn change(state: &mut CrdtsMap, writer: usize, region: &str, by: Amounts) {
        let actor = writer as u64;
        let op = state.op(actor, region, |counter, _| counter.inc_many(actor, by.increments));
        state.map.apply(op);
        if by.decrements > 0 {
            let op = state.op(actor, region, |counter, _| counter.dec_many(actor, by.decrements));
            state.map.apply(op);
        }
    }

    fn join(into: &mut CrdtsMap, from: &mut CrdtsMap) {
        into.map.merge(std::mem::take(&mut from.map));
    }

    fn encode(state: &CrdtsMap) -> Vec<u8> {
        postcard::to_stdvec(&state.map).expect("it serialises")
    }

    fn receive(into: &mut CrdtsMap, bytes: &[u8]) {
        into.map.merge(postcard::from_bytes(bytes).expect("own bytes"));
    }

    fn value(state: &CrdtsMap, region: &str) -> i128 {
        state.map.get(&region.to_owned()).val.map_or(0, |counter| as_i128(&counter))
    }

    fn sum(state: &CrdtsMap) -> i128 {
        state.map.iter().map(|entry| as_i128(entry.val.1)).sum()
    }
}

impl Adder for CrdtsMap {
    fn add_one(&mut self, counter: &str) {
        let op = self.op(self.actor, counter, |counter, ctx| counter.inc(ctx.dot.actor));
        self.map.apply(op);
    }

    fn finish(&mut self) {}

    fn value(&self, counter: &str) -> i128 {
        <Self as Contender>::value(self, counter)
    }
}

impl Changer for CrdtsMap {
    fn produce(&mut self, counter: &str) -> Vec<u8> {
        let op = self.op(self.actor, counter, |counter, ctx| counter.inc(ctx.dot.actor));
        let bytes = postcard::to_stdvec(&op).expect("it serialises");
        self.map.apply(op);
        bytes
    }

    fn apply(&mut self, bytes: &[u8]) {
        self.map.apply(postcard::from_bytes::<Op>(bytes).expect("own bytes"));
    }

    fn value(&self, counter: &str) -> i128 {
        <Self as Contender>::value(self, counter)
    }

    fn clone_from_node(&mut self, other: &Self) {
        self.map = other.map.clone();
    }
}
