//! The contenders of the in-process workloads, behind one trait: ours, `crdts` in two forms, and
//! two limits of the machine. The *bound* is a fair structure without versions or checks. The
//! *floor* is a raw loop that knows every slot beforehand.

mod crdts_by_hand;
mod crdts_map;
mod dense;
mod ours;
mod string_map;

pub use crdts_by_hand::CrdtsByHand;
pub use crdts_map::CrdtsMap;
pub use dense::Dense;
pub use ours::{Ours, OursNode, OursWindows};
pub use string_map::StringMap;

use counter_core::Amounts;

use crate::shape::Shape;

/// One way to hold a map of PN-counters by region.
pub trait Contender {
    /// Its name in the tables.
    const NAME: &'static str;
    /// The state of one replica.
    type State;

    /// An empty replica. `replica` tells the two sides of a join apart, if the contender needs
    /// that.
    fn empty(replica: usize) -> Self::State;

    /// A second replica with the same contents.
    fn copy(state: &Self::State) -> Self::State;

    /// Both sides of W2. X has added 5 to every region as writer 0, and Y has added 7 as writer 1.
    fn sides(shape: &Shape) -> (Self::State, Self::State) {
        let side = |writer: usize, increments: u64| {
            let mut state = Self::empty(writer);
            // With seeded values the two sides meet the regions in different orders, so their
            // numberings differ.
            shape.written(writer).for_each(|(writer, region, amounts)| {
                Self::change(&mut state, writer, region, amounts)
            });
            shape.again(writer).for_each(|region| {
                Self::change(&mut state, writer, region, Amounts { increments, decrements: 0 })
            });
            state
        };
        (side(0, 5), side(1, 7))
    }

    /// Adds the increments and decrements of `writer` to a region.
    fn change(state: &mut Self::State, writer: usize, region: &str, by: Amounts);

    /// Joins `from` into `into`. May use up `from`.
    fn join(into: &mut Self::State, from: &mut Self::State);

    /// The whole state in the most compact bytes that the contender makes.
    fn encode(state: &Self::State) -> Vec<u8>;

    /// Decodes such bytes and joins them.
    fn receive(into: &mut Self::State, bytes: &[u8]);

    /// The value of one region.
    fn value(state: &Self::State, region: &str) -> i128;

    /// The sum over all regions, each read on its own.
    fn sum(state: &Self::State) -> i128;
}
