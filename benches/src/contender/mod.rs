//! The contenders: one trait, ours, `crdts` in two forms, and the bounds of the machine.

mod crdts_by_hand;
mod crdts_map;
mod dense;
mod ours;
mod string_map;

pub use crdts_by_hand::CrdtsByHand;
pub use crdts_map::CrdtsMap;
pub use dense::Dense;
pub use ours::{Ours, OursNode};
pub use string_map::StringMap;

use counter_core::Amounts;

use crate::shape::Shape;

/// One way to hold a map of PN-counters, named by region.
pub trait Contender {
    /// What the tables call it.
    const NAME: &'static str;
    /// What one replica holds.
    type State;

    /// A replica that holds nothing yet; `replica` tells the two sides of a join apart where the
    /// contender must know.
    fn empty(replica: usize) -> Self::State;

    /// A second replica with the same contents.
    fn copy(state: &Self::State) -> Self::State;

    /// Both sides of W2: X, which has added 5 to every region as writer 0, and Y, which has added 7
    /// as writer 1.
    fn sides(shape: &Shape) -> (Self::State, Self::State) {
        let side = |writer: usize, increments: u64| {
            let mut state = Self::empty(writer);
            // The sides meet the regions in different orders where the orders differ: nobody's
            // numbering is everybody's.
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

    /// `writer` adds both parts to a region.
    fn change(state: &mut Self::State, writer: usize, region: &str, by: Amounts);

    /// Joins `from` into `into`; `from` may be used up.
    fn join(into: &mut Self::State, from: &mut Self::State);

    /// The whole state in bytes, as compact as the contender makes them.
    fn encode(state: &Self::State) -> Vec<u8>;

    /// Decodes such bytes and joins them.
    fn receive(into: &mut Self::State, bytes: &[u8]);

    /// One region's value.
    fn value(state: &Self::State, region: &str) -> i128;

    /// The sum over all regions, each read on its own.
    fn sum(state: &Self::State) -> i128;
}
