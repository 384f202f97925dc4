//! counter-core: a map for W2 and W4, and a replica for W1 and W3 and for windows.

use counter_core::{
    Amounts, CounterHandle, CounterMap, Delta, Replica, ReplicaId, VersionVector, WindowWidth,
};

use super::Contender;
use crate::work::{Adder, Changer};

const COUNTER: &str = "clicks";

fn writer_id(writer: usize) -> ReplicaId {
    ReplicaId::new(
        0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(writer as u64 + 1),
        0x1_9000_0000 + writer as u64,
    )
}

/// counter-core.
#[derive(Debug)]
pub struct Ours;

impl Contender for Ours {
    const NAME: &'static str = "ours";
    type State = CounterMap;

    fn empty(_replica: usize) -> CounterMap {
        CounterMap::new()
    }

    fn copy(state: &CounterMap) -> CounterMap {
        state.clone()
    }

    fn change(state: &mut CounterMap, writer: usize, region: &str, by: Amounts) {
        let key = state.intern(COUNTER, region).expect("fewer keys than its bound");
        state.change_key(writer_id(writer), key, by).expect("amounts within their bounds");
    }

    fn join(into: &mut CounterMap, from: &mut CounterMap) {
        into.join(from);
    }

    fn encode(state: &CounterMap) -> Vec<u8> {
        state.encode()
    }

    fn receive(into: &mut CounterMap, bytes: &[u8]) {
        into.join_delta(&Delta::decode(bytes).expect("own bytes")).expect("within its bounds");
    }

    fn value(state: &CounterMap, region: &str) -> i128 {
        state.value(COUNTER, region)
    }

    fn sum(state: &CounterMap) -> i128 {
        state.regions(COUNTER).map(|(_, value)| value).sum()
    }
}

/// A replica of counter-core with many counters.
#[derive(Debug)]
pub struct OursNode {
    replica: Replica,
}

impl OursNode {
    /// A replica of its own region.
    pub fn new(writer: usize) -> Self {
        Self { replica: Replica::new(writer_id(writer), "ord").expect("a short name") }
    }

    /// A replica that was used before.
    pub fn of(replica: Replica) -> Self {
        Self { replica }
    }

    /// The replica alone.
    pub fn into_replica(self) -> Replica {
        self.replica
    }

    /// Its state.
    pub fn map(&self) -> &CounterMap {
        self.replica.map()
    }

    /// The handle of one counter.
    pub fn counter(&mut self, counter: &str) -> CounterHandle {
        self.replica.counter(counter).expect("fewer keys than its bound")
    }

    /// Turns pending adds into cells.
    pub fn flush(&mut self) {
        self.replica.flush();
    }
}

impl Adder for OursNode {
    fn add_one(&mut self, counter: &str) {
        self.replica.add(counter, 1).expect("far from full");
    }

    fn finish(&mut self) {
        self.replica.flush();
    }

    fn value(&self, counter: &str) -> i128 {
        self.replica.total(counter)
    }
}

impl Changer for OursNode {
    fn produce(&mut self, counter: &str) -> Vec<u8> {
        self.replica.add(counter, 1).expect("far from full");
        let span = self.replica.flush().span.expect("something was pending");
        self.replica.map().delta_of(span.replica, span.after).expect("it was just written").encode()
    }

    fn apply(&mut self, bytes: &[u8]) {
        let joined = self
            .replica
            .join_delta(Delta::decode(bytes).expect("own bytes"))
            .expect("within its bounds");
        assert_eq!(joined.cells(), 1, "one change came in");
    }

    fn value(&self, counter: &str) -> i128 {
        self.replica.total(counter)
    }

    fn clone_from_node(&mut self, other: &Self) {
        self.replica
            .join_delta(other.replica.map().delta_since(&VersionVector::new()))
            .expect("within its bounds");
    }
}

/// A window of a minute in ten buckets.
const MINUTE: WindowWidth = WindowWidth::new(6_000, 10).expect("a width");
/// Some moment, in milliseconds since the start of 1970.
const NOW_MS: u64 = 1_790_000_000_000;

/// A replica of counter-core whose adds go to windows of a minute, all within one bucket.
#[derive(Debug)]
pub struct OursWindows {
    replica: Replica,
}

impl OursWindows {
    /// A replica of its own region.
    pub fn new(writer: usize) -> Self {
        Self { replica: OursNode::new(writer).into_replica() }
    }

    /// Its state.
    pub fn map(&self) -> &CounterMap {
        self.replica.map()
    }
}

impl Adder for OursWindows {
    fn add_one(&mut self, counter: &str) {
        self.replica.add_to_window(counter, MINUTE, 1, NOW_MS).expect("far from full");
    }

    fn finish(&mut self) {
        self.replica.flush();
    }

    fn value(&self, counter: &str) -> i128 {
        self.replica.window_total(counter, MINUTE, NOW_MS)
    }
}
