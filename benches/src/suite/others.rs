//! W1, W3, W4, windows, replicas with a past, and the threads as rows.

use std::cell::RefCell;

use super::Effort;
use crate::contender::{
    Contender, CrdtsByHand, CrdtsMap, Dense, Ours, OursNode, OursWindows, StringMap,
};
use crate::figures::row::{Need, Row, Unit};
use crate::sample::{Sample, Series, Turn, interleave, interleave_pinned};
use crate::shape::{Shape, Values};
use crate::work::{
    AfterPast, ChangeRounds, Changer, Join, Past, Threads, add_bare_atomic, add_by_handle,
    add_by_handle_of_another_thread, add_by_name, add_known_slot, add_to_each, changes,
    heap_of_adds, sum_of_all, threads_bare, threads_ours, total_of_one,
};

const ATOMIC: &str = "bound: bare fetch_add";

fn turn<'a>(name: &str, run: impl FnMut() -> Sample + 'a) -> Turn<'a> {
    (name.into(), Box::new(run))
}

/// W1.
pub fn adds(effort: Effort) -> Vec<Row> {
    let (adds, rounds) = (effort.adds, effort.rounds * 2);
    let named = interleave_pinned(
        rounds,
        vec![
            turn(Ours::NAME, move || add_by_name(adds, &mut OursNode::new(0))),
            turn(CrdtsMap::NAME, move || add_by_name(adds, &mut CrdtsMap::new(0))),
            turn(CrdtsByHand::NAME, move || add_by_name(adds, &mut CrdtsByHand::new(0))),
            turn(StringMap::<1>::NAME, move || add_by_name(adds, &mut StringMap::<1>::new(0))),
        ],
    );
    let handled = interleave_pinned(
        rounds,
        vec![
            turn(Ours::NAME, move || add_by_handle(adds)),
            turn(ATOMIC, move || add_bare_atomic(adds)),
            turn("floor: known slot", move || add_known_slot(adds)),
            turn(CrdtsMap::NAME, move || add_by_name(adds, &mut CrdtsMap::new(0))),
        ],
    );
    let elsewhere = interleave_pinned(
        rounds,
        vec![
            turn(Ours::NAME, move || add_by_handle_of_another_thread(adds)),
            turn(ATOMIC, move || add_bare_atomic(adds)),
        ],
    );
    let heaps = [
        (Ours::NAME, heap_of_adds(adds, || OursNode::new(0)) as f64),
        (CrdtsMap::NAME, heap_of_adds(adds, || CrdtsMap::new(0)) as f64),
        (CrdtsByHand::NAME, heap_of_adds(adds, || CrdtsByHand::new(0)) as f64),
        (StringMap::<1>::NAME, heap_of_adds(adds, || StringMap::<1>::new(0)) as f64),
    ];
    vec![
        Row::times("w1.name", "W1 add by name", &named)
            .needs(Need::Better(5.0, CrdtsMap::NAME.into()), "the string map"),
        Row::times("w1.handle", "W1 add by handle", &handled)
            .needs(Need::Within(1.3, ATOMIC.into()), "one atomic addition"),
        Row::times("w1.handle.elsewhere", "W1 add by another thread's handle", &elsewhere)
            .needs(Need::Within(1.3, ATOMIC.into()), "one atomic addition"),
        Row::exact("w1.heap", "W1 heap, 32 regions", Unit::Bytes, &heaps),
    ]
}

/// One round of a workload with two timed parts, such as producing and applying.
type Halves<'a> = Box<dyn FnMut() -> (Sample, Sample) + 'a>;

/// Interleaves workloads with two timed parts. Returns the series of each part.
fn halves(rounds: usize, turns: Vec<(&str, Halves<'_>)>) -> (Vec<Series>, Vec<Series>) {
    let seconds: Vec<RefCell<Vec<Sample>>> = turns.iter().map(|_| RefCell::default()).collect();
    let mut first_turns = Vec::new();
    let names: Vec<String> = turns.iter().map(|(name, _)| (*name).to_owned()).collect();
    for ((name, mut run), second) in turns.into_iter().zip(&seconds) {
        first_turns.push(turn(name, move || {
            let (first, then) = run();
            second.borrow_mut().push(then);
            first
        }));
    }
    let first = interleave(rounds, first_turns);
    // The first round of each is not counted.
    let second = names
        .into_iter()
        .zip(seconds)
        .map(|(name, samples)| Series::new(name, &samples.into_inner()[1..]))
        .collect();
    (first, second)
}

/// W3 and W4 at 100,000 counters, and W4 at smaller sizes too.
pub fn changes_and_reads(effort: Effort) -> Vec<Row> {
    const COUNTERS: usize = 100_000;
    let mut ours = changes(COUNTERS, OursNode::new(0), OursNode::new(1));
    let mut map = changes(COUNTERS, CrdtsMap::new(0), CrdtsMap::new(1));
    let mut by_hand = changes(COUNTERS, CrdtsByHand::new(0), CrdtsByHand::new(1));
    let mut bound = changes(COUNTERS, StringMap::<2>::new(0), StringMap::<2>::new(1));
    fn round<C: Changer>(changes: &mut ChangeRounds<C>) -> Halves<'_> {
        Box::new(|| changes.round())
    }
    let turns = vec![
        (Ours::NAME, round(&mut ours)),
        (CrdtsMap::NAME, round(&mut map)),
        (CrdtsByHand::NAME, round(&mut by_hand)),
        (StringMap::<2>::NAME, round(&mut bound)),
    ];
    let (produce, apply) = halves(effort.rounds * 2, turns);
    let bytes = [
        (Ours::NAME, ours.bytes),
        (CrdtsMap::NAME, map.bytes),
        (CrdtsByHand::NAME, by_hand.bytes),
        (StringMap::<2>::NAME, bound.bytes),
    ];
    let crdts = || CrdtsMap::NAME.to_owned();
    let mut rows = vec![
        Row::times("w3.produce", "W3 produce one change in 100,000", &produce)
            .needs(Need::Better(1.0, crdts()), "the bound"),
        Row::times("w3.apply", "W3 apply it", &apply)
            .needs(Need::Better(1.0, crdts()), "the bound"),
        Row::exact("w3.bytes", "W3 its bytes, 7-byte name", Unit::Bytes, &bytes)
            .needs(Need::AtMost(40.0), ""),
    ];
    [32, 1_000, 100_000].into_iter().for_each(|regions| rows.extend(reads(effort, regions)));
    rows
}

fn reads(effort: Effort, regions: usize) -> Vec<Row> {
    let shape = Shape::new(Values::Formula, regions, 3);
    let ours = Join::<Ours>::new(&shape);
    let map = Join::<CrdtsMap>::new(&shape);
    let by_hand = Join::<CrdtsByHand>::new(&shape);
    let bound = Join::<StringMap<3>>::new(&shape);
    let floor = Join::<Dense<3>>::new(&shape);
    let turns = vec![
        turn(Ours::NAME, || sum_of_all(&shape, &ours)),
        turn(CrdtsMap::NAME, || sum_of_all(&shape, &map)),
        turn(CrdtsByHand::NAME, || sum_of_all(&shape, &by_hand)),
        turn(StringMap::<3>::NAME, || sum_of_all(&shape, &bound)),
        turn(Dense::<3>::NAME, || sum_of_all(&shape, &floor)),
    ];
    let all = Row::times(
        format!("w4.sum.{regions}"),
        format!("W4 all regions, R = {regions}"),
        &interleave(effort.rounds, turns),
    );
    let total = interleave(effort.rounds, vec![turn(Ours::NAME, || total_of_one(&shape, &ours))]);
    let total =
        Row::times(format!("w4.total.{regions}"), format!("W4 total, R = {regions}"), &total);
    if regions < 100_000 {
        return vec![all, total];
    }
    vec![
        all.needs(Need::Better(20.0, CrdtsMap::NAME.into()), "the bound"),
        total.needs(Need::AtMost(1000.0), "O(1)"),
    ]
}

/// Windows, compared with plain counters.
pub fn windows(effort: Effort) -> Vec<Row> {
    const COUNTERS: usize = 100_000;
    const PLAIN: &str = "a plain counter";
    let adds = effort.adds;
    let times = interleave_pinned(
        effort.rounds * 2,
        vec![
            turn(Ours::NAME, move || add_by_name(adds, &mut OursWindows::new(0))),
            turn(PLAIN, move || add_by_name(adds, &mut OursNode::new(0))),
        ],
    );
    let (windows, heap) = add_to_each(COUNTERS, || OursWindows::new(0));
    let (plain, plain_heap) = add_to_each(COUNTERS, || OursNode::new(0));
    let each = |bytes: usize| bytes as f64 / COUNTERS as f64;
    let (bytes, plain_bytes) =
        (each(windows.map().encode().len()), each(plain.map().encode().len()));
    let row = |id: &str, work: &str, ours: f64, plain: f64| {
        Row::exact(id, work, Unit::Bytes, &[(Ours::NAME, ours), (PLAIN, plain)])
    };
    vec![
        Row::times("windows.add", "add to a window, which counts the last minute", &times)
            .needs(Need::Within(3.0, PLAIN.into()), ""),
        row("windows.heap", "heap of a window with one bucket, among 100,000", heap, plain_heap)
            .needs(Need::Within(1.3, PLAIN.into()), ""),
        row("windows.bytes", "bytes of a window with one bucket, encoded", bytes, plain_bytes),
    ]
}

/// Replicas after 100,000 resets and after 100,000 removals, compared with fresh ones.
pub fn pasts(effort: Effort) -> Vec<Row> {
    const PAST: usize = 100_000;
    const FRESH: &str = "fresh replicas";
    const PASTS: [(&str, Past); 2] =
        [("resets", Past::Resets(PAST)), ("removals", Past::Removals(PAST))];
    let mut rows = Vec::new();
    for (name, past) in PASTS {
        let (mut aged, mut fresh) = (AfterPast::new(past), AfterPast::new(Past::Fresh));
        let title = |work: &str| format!("{work}, after 100,000 {name}");
        let size = |what: &str, title: String, ours: f64, fresh: f64| {
            let figures = [(Ours::NAME, ours), (FRESH, fresh)];
            Row::exact(format!("past.{name}.{what}"), title, Unit::Bytes, &figures)
        };
        let (bytes, fresh_bytes) = (aged.bytes as f64, fresh.bytes as f64);
        let (heap, fresh_heap) = (aged.heap as f64, fresh.heap as f64);
        let sizes = [
            size("bytes", title("bytes of 1,000 counters"), bytes, fresh_bytes)
                .needs(Need::Within(1.3, FRESH.into()), "as fresh ones"),
            // Tables that grew while there were traces keep their room.
            size("heap", title("heap of 2 replicas of 1,000 counters"), heap, fresh_heap),
        ];
        let turns: Vec<(&str, Halves<'_>)> =
            vec![(Ours::NAME, Box::new(|| aged.round())), (FRESH, Box::new(|| fresh.round()))];
        let (produce, apply) = halves(effort.rounds * 2, turns);
        let join = interleave(
            effort.rounds * 2,
            vec![turn(Ours::NAME, || aged.join()), turn(FRESH, || fresh.join())],
        );
        let works = [
            ("produce", "produce one change", produce),
            ("apply", "apply one change", apply),
            ("join", "join of 1,000 counters", join),
        ];
        rows.extend(works.map(|(work, text, series)| {
            Row::times(format!("past.{name}.{work}"), title(text), &series)
                .needs(Need::Within(1.3, FRESH.into()), "as fresh ones")
        }));
        rows.extend(sizes);
    }
    rows
}

/// 64 threads, compared with one thread that does the same alone.
pub fn threads(effort: Effort) -> Vec<Row> {
    const ALONE: &str = "one thread";
    let row = |one_counter: bool| {
        // The comparison needs both processors at work all the time, so starting and ending 64
        // threads must take little time beside the adds.
        let adds = effort.adds * if one_counter { 8 } else { 64 };
        let many = Threads { threads: 64, adds, one_counter };
        let one = Threads { threads: 1, adds, one_counter };
        interleave(
            effort.rounds,
            vec![
                turn(Ours::NAME, move || threads_ours(many)),
                turn(ALONE, move || threads_ours(one)),
                turn(ATOMIC, move || threads_bare(many)),
                turn("one bare thread", move || threads_bare(one)),
            ],
        )
    };
    vec![
        Row::times("threads.distinct", "64 threads, a counter each", &row(false))
            .needs(Need::Better(1.7, ALONE.into()), "on 2 cores"),
        Row::times("threads.one", "64 threads, one counter", &row(true))
            .needs(Need::Better(0.5, ALONE.into()), "no lost update"),
    ]
}
