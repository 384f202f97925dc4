//! W2 as rows: joins, joins that bring nothing, joins through bytes, and the size and heap of the
//! largest state.

use super::Effort;
use crate::contender::{Contender, CrdtsByHand, CrdtsMap, Dense, Ours, StringMap};
use crate::figures::row::{Need, Row, Unit};
use crate::sample::{Sample, Series, Turn, interleave};
use crate::shape::{Shape, Values};
use crate::work::{Join, heap_of};

/// The number of writers, and of places in the maps of the bounds.
const WRITERS: usize = 3;
type Bound = StringMap<WRITERS>;
type Floor = Dense<WRITERS>;

/// The joins of all contenders.
struct AllJoins<'a> {
    ours: Join<'a, Ours>,
    crdts: Option<(Join<'a, CrdtsMap>, Join<'a, CrdtsByHand>)>,
    bound: Join<'a, Bound>,
    floor: Join<'a, Floor>,
}

/// One way to time a join, for any contender.
#[derive(Clone, Copy)]
enum JoinWorkload {
    Join,
    Again,
    Send,
}

fn run<C: Contender>(join: &Join<'_, C>, work: JoinWorkload) -> Sample {
    match work {
        JoinWorkload::Join => join.join(),
        JoinWorkload::Again => join.join_again(),
        JoinWorkload::Send => join.send(),
    }
}

fn turn<'a, C: Contender>(join: &'a Join<'a, C>, work: JoinWorkload) -> Turn<'a> {
    (C::NAME.into(), Box::new(move || run(join, work)))
}

impl<'a> AllJoins<'a> {
    fn new(shape: &'a Shape, with_crdts: bool) -> Self {
        let crdts = with_crdts.then(|| (Join::new(shape), Join::new(shape)));
        Self { ours: Join::new(shape), crdts, bound: Join::new(shape), floor: Join::new(shape) }
    }

    fn times(&self, rounds: usize, work: JoinWorkload) -> Vec<Series> {
        let mut turns = vec![turn(&self.ours, work)];
        turns.extend(
            self.crdts.iter().flat_map(|(map, by_hand)| [turn(map, work), turn(by_hand, work)]),
        );
        turns.extend([turn(&self.bound, work), turn(&self.floor, work)]);
        interleave(rounds, turns)
    }

    fn bytes(&self) -> Vec<(&'static str, f64)> {
        let mut bytes = vec![(Ours::NAME, self.ours.bytes() as f64)];
        if let Some((map, by_hand)) = &self.crdts {
            bytes.extend([
                (CrdtsMap::NAME, map.bytes() as f64),
                (CrdtsByHand::NAME, by_hand.bytes() as f64),
            ]);
        }
        bytes.push((Bound::NAME, self.bound.bytes() as f64));
        bytes
    }

    fn heaps(&self, shape: &Shape) -> Vec<(&'static str, f64)> {
        let mut heaps = vec![(Ours::NAME, heap_of::<Ours>(shape) as f64)];
        if self.crdts.is_some() {
            heaps.extend([
                (CrdtsMap::NAME, heap_of::<CrdtsMap>(shape) as f64),
                (CrdtsByHand::NAME, heap_of::<CrdtsByHand>(shape) as f64),
            ]);
        }
        heaps.extend([
            (Bound::NAME, heap_of::<Bound>(shape) as f64),
            (Floor::NAME, heap_of::<Floor>(shape) as f64),
        ]);
        heaps
    }
}

/// The rows of one size.
pub fn joins(effort: Effort, regions: usize) -> Vec<Row> {
    let largest = regions == 100_000;
    let rounds = if largest { effort.rounds } else { effort.small_rounds };
    let mut rows = Vec::new();
    for values in [Values::Formula, Values::Seeded] {
        let shape = Shape::new(values, regions, WRITERS);
        let all =
            AllJoins::new(&shape, effort.seeded_crdts || !largest || values == Values::Formula);
        let (state, id) = match values {
            Values::Formula => ("", ""),
            Values::Seeded => (", seeded random", ".seeded"),
        };
        let title = |work: &str| format!("W2 {work}, R = {regions}{state}");
        let crdts = || CrdtsMap::NAME.to_owned();
        let join = Row::times(
            format!("w2.join.{regions}{id}"),
            title("join"),
            &all.times(rounds, JoinWorkload::Join),
        );
        let required =
            if values == Values::Formula { Need::Better(25.0, crdts()) } else { Need::Shown };
        rows.push(join.needs(required, "within 1.5x of the string map"));
        let again = Row::times(
            format!("w2.again.{regions}{id}"),
            title("join, nothing new"),
            &all.times(rounds, JoinWorkload::Again),
        );
        let send = Row::times(
            format!("w2.send.{regions}{id}"),
            title("encode + decode + join"),
            &all.times(rounds, JoinWorkload::Send),
        );
        if largest && values == Values::Formula {
            rows.push(again.needs(Need::Better(100.0, crdts()), "O(writers)"));
            rows.push(send.needs(Need::Better(20.0, crdts()), "within 1.5x of the bound"));
        } else {
            rows.extend([again, send]);
        }
        if largest {
            rows.extend(sizes(&shape, &all, values, title, id));
        }
    }
    rows
}

/// Joins of 1,000 regions, with 1, 3 and 20 writers that have written every region before.
pub fn joins_by_writers(effort: Effort) -> Vec<Row> {
    fn row<const W: usize>(effort: Effort, writers: usize) -> Row {
        let shape = Shape::new(Values::Formula, 1_000, writers);
        let (ours, map) = (Join::<Ours>::new(&shape), Join::<CrdtsMap>::new(&shape));
        let (by_hand, bound) =
            (Join::<CrdtsByHand>::new(&shape), Join::<StringMap<W>>::new(&shape));
        let turns = vec![
            turn(&ours, JoinWorkload::Join),
            turn(&map, JoinWorkload::Join),
            turn(&by_hand, JoinWorkload::Join),
            turn(&bound, JoinWorkload::Join),
        ];
        Row::times(
            format!("w2.writers.{writers}"),
            format!("W2 join, R = 1000, {writers} writer{}", if writers == 1 { "" } else { "s" }),
            &interleave(effort.rounds, turns),
        )
    }
    // Y adds as the second writer, if there is one.
    vec![row::<2>(effort, 1), row::<3>(effort, 3), row::<20>(effort, 20)]
}

fn sizes(
    shape: &Shape,
    all: &AllJoins<'_>,
    values: Values,
    title: impl Fn(&str) -> String,
    id: &str,
) -> [Row; 2] {
    let mut bytes = all.bytes();
    if values == Values::Seeded {
        bytes.push(("entropy", entropy(shape)));
    }
    let need = match values {
        Values::Formula => (Need::AtMost(1.03e6), "0.5 MB; automerge has 1.03"),
        Values::Seeded => (Need::Within(1.3, "entropy".into()), "1.15 of the entropy"),
    };
    let heaps = all.heaps(shape);
    [
        Row::exact(
            format!("w2.bytes.{}{id}", shape.regions()),
            title("bytes"),
            Unit::Bytes,
            &bytes,
        )
        .needs(need.0, need.1),
        Row::exact(format!("w2.heap.{}{id}", shape.regions()), title("heap"), Unit::Bytes, &heaps)
            .needs(Need::AtMost(31e6), "16 MB"),
    ]
}

/// The fewest bytes that any coding of a seeded state can take on average: one of 1,000 x 10 values
/// for each cell, and a permutation of the regions for each writer.
fn entropy(shape: &Shape) -> f64 {
    let (regions, writers) = (shape.regions() as f64, shape.writers as f64);
    let order: f64 = (1..=shape.regions()).map(|at| (at as f64).log2()).sum();
    (regions * writers * 10_000_f64.log2() + writers * order) / 8.0
}
