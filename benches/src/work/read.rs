//! W4: reads. The sum over all regions, each read on its own, and the total of one counter.

use std::hint::black_box;

use counter_core::CounterMap;

use super::{Join, nanoseconds};
use crate::contender::{Contender, Ours};
use crate::sample::Sample;
use crate::shape::Shape;

/// The sum over all regions of the joined state.
pub fn sum_of_all<C: Contender>(shape: &Shape, join: &Join<'_, C>) -> Sample {
    let times = (200_000 / shape.regions()).max(3);
    let mut sum = 0;
    let time = nanoseconds(|| {
        for _ in 0..times {
            sum = black_box(C::sum(black_box(join.joined())));
        }
    });
    Sample { nanoseconds: time / times as f64, right: sum == shape.sum_joined() }
}

/// The total of the counter that all those regions belong to.
pub fn total_of_one(shape: &Shape, join: &Join<'_, Ours>) -> Sample {
    const TIMES: usize = 1_000_000;
    let map: &CounterMap = join.joined();
    let mut total = 0;
    let time = nanoseconds(|| {
        for _ in 0..TIMES {
            total = black_box(black_box(map).total("clicks"));
        }
    });
    Sample { nanoseconds: time / TIMES as f64, right: total == shape.sum_joined() }
}
