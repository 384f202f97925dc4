//! The floor, a raw loop: dense arrays in which every slot is known beforehand. A join is a vector
//! maximum, and nothing is looked up.

use counter_core::Amounts;

use super::Contender;

/// Running totals of `W` writers by region, in one array. A region's name gives its number.
#[derive(Clone, Debug, Default)]
pub struct Dense<const W: usize> {
    totals: Vec<u64>,
}

/// `r000017` is region 17.
fn number(region: &str) -> usize {
    region[1..].parse().expect("a name of the shape")
}

impl<const W: usize> Contender for Dense<W> {
    const NAME: &'static str = "floor: dense arrays";
    type State = Self;

    fn empty(_replica: usize) -> Self {
        Self { totals: Vec::new() }
    }

    fn copy(state: &Self) -> Self {
        state.clone()
    }

    fn change(state: &mut Self, writer: usize, region: &str, by: Amounts) {
        let at = (number(region) * W + writer) * 2;
        if state.totals.len() < at + 2 {
            state.totals.resize((number(region) + 1) * W * 2, 0);
        }
        state.totals[at] += by.increments;
        state.totals[at + 1] += by.decrements;
    }

    fn join(into: &mut Self, from: &mut Self) {
        into.totals
            .iter_mut()
            .zip(&from.totals)
            .for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
    }

    fn encode(state: &Self) -> Vec<u8> {
        state.totals.iter().flat_map(|total| total.to_le_bytes()).collect()
    }

    fn receive(into: &mut Self, bytes: &[u8]) {
        let totals = bytes
            .chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
        into.totals.iter_mut().zip(totals).for_each(|(mine, theirs)| *mine = (*mine).max(theirs));
    }

    fn value(state: &Self, region: &str) -> i128 {
        let cells = &state.totals[number(region) * W * 2..][..W * 2];
        cells.chunks_exact(2).map(|cell| i128::from(cell[0]) - i128::from(cell[1])).sum()
    }

    fn sum(state: &Self) -> i128 {
        let (mut increments, mut decrements) = (0_u64, 0_u64);
        for cell in state.totals.chunks_exact(2) {
            increments += cell[0];
            decrements += cell[1];
        }
        i128::from(increments) - i128::from(decrements)
    }
}
