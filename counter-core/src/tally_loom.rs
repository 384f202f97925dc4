//! Every interleaving of adds and flushes: nothing is lost, nothing doubled, no mark is lost, and
//! somebody is always woken.

use std::vec::Vec;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::amounts::Amounts;
use crate::chunk::{Board, Chunk, Wake};
use crate::slot::{PENDING_MAX, Place, Room};
use crate::sync::Arc;
use crate::tally::Tally;

/// A chunk, with the board that a flush looks at first.
#[derive(Clone)]
struct Flushed {
    chunk: Arc<Chunk>,
    board: Arc<Board>,
}

impl Flushed {
    fn new(wake: Wake) -> Self {
        let board = Arc::<Board>::default();
        Self { chunk: Chunk::new(0, board.clone(), wake), board }
    }

    /// Drains once; returns what was taken of each of the two counters.
    fn drain(&self) -> [Amounts; 2] {
        let mut taken = [Amounts::default(); 2];
        self.board.0.take(|_| {
            self.chunk.drain(|at, amounts| {
                taken[at] = taken[at].plus(amounts);
                Room::default()
            });
        });
        taken
    }

    fn has_pending(&self) -> bool {
        self.board.0.any()
    }
}

/// Adders run beside one flush; a second flush afterwards, made only if something says that it is
/// needed, takes all that is left.
fn check(
    adders: impl Fn(&Arc<Chunk>) -> Vec<thread::JoinHandle<()>> + Sync + Send + 'static,
    expected: [(u64, u64); 2],
) {
    loom::model(move || {
        let wakes = loom::sync::Arc::new(AtomicUsize::new(0));
        let counted = wakes.clone();
        let flushed = Flushed::new(Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        let adders = adders(&flushed.chunk);
        let first = flushed.drain();
        let took = first != [Amounts::default(); 2];
        adders
            .into_iter()
            .for_each(|adder| adder.join().unwrap_or_else(|_| panic!("an adder does not panic")));
        let left = flushed.has_pending();
        assert!(left || took, "what was added is marked");
        assert!(
            wakes.load(Ordering::SeqCst) >= usize::from(took) + usize::from(left),
            "whatever is marked has woken somebody"
        );
        let second = if left { flushed.drain() } else { Default::default() };
        for (at, (increments, decrements)) in expected.into_iter().enumerate() {
            assert_eq!(
                first[at].plus(second[at]),
                Amounts { increments, decrements },
                "nothing lost, nothing doubled"
            );
        }
        assert!(!flushed.has_pending());
    });
}

fn add(chunk: &Arc<Chunk>, at: usize, amount: u64) {
    assert_eq!(Tally::new(chunk.clone(), at).add(amount), Ok(()));
}

#[test]
fn loom_two_adders_to_one_counter_and_a_flush() {
    check(
        |chunk| {
            let adder = |amount| {
                let chunk = chunk.clone();
                thread::spawn(move || add(&chunk, 0, amount))
            };
            [adder(3), adder(5)].into()
        },
        [(8, 0), (0, 0)],
    );
}

#[test]
fn loom_two_adders_to_two_counters_of_one_word_and_a_flush() {
    check(
        |chunk| {
            let adder = |at, amount| {
                let chunk = chunk.clone();
                thread::spawn(move || add(&chunk, at, amount))
            };
            [adder(0, 3), adder(1, 5)].into()
        },
        [(3, 0), (5, 0)],
    );
}

#[test]
fn loom_one_adder_that_adds_twice_and_subtracts_beside_a_flush() {
    check(
        |chunk| {
            let chunk = chunk.clone();
            let adder = thread::spawn(move || {
                add(&chunk, 0, 1);
                add(&chunk, 0, 2);
                assert_eq!(Tally::new(chunk, 0).subtract(4), Ok(()));
            });
            [adder].into()
        },
        [(3, 4), (0, 0)],
    );
}

#[test]
fn loom_two_adders_to_one_counter_in_two_lanes_and_a_flush() {
    check(
        |chunk| {
            let adder = |lane, amount| {
                let chunk = chunk.clone();
                thread::spawn(move || assert_eq!(Tally::new(chunk, 0).add_in(lane, amount), Ok(())))
            };
            [adder(0, 3), adder(1, 5)].into()
        },
        [(8, 0), (0, 0)],
    );
}

/// An error means not counted: not even by a flush that comes between, with another's add after it.
#[test]
fn loom_an_add_that_is_refused_is_in_no_flush() {
    loom::model(|| {
        let flushed = Flushed::new(Arc::new(|| {}));
        let chunk = flushed.chunk.clone();
        let pend = |amount| Tally::new(chunk.clone(), 0).add_in(0, amount);
        assert_eq!(pend(1), Ok(()));
        chunk.preload(0, PENDING_MAX);
        let before = chunk.pending(Place::of(0)).increments;
        let adder = {
            let chunk = chunk.clone();
            thread::spawn(move || Tally::new(chunk, 0).add_in(0, 5))
        };
        let first = flushed.drain()[0].increments;
        let seven = if pend(7).is_ok() { 7 } else { 0 };
        let result = adder.join().unwrap_or_else(|_| panic!("an adder does not panic"));
        let rest = flushed.drain()[0].increments;
        let counted = if result.is_ok() { 5 } else { 0 };
        assert_eq!(first + rest, before + seven + counted);
        assert!(result.is_ok() || first <= before, "what is refused was in no flush");
    });
}

/// Whoever hands over what it added, and then flushes, has it flushed: also where another thread
/// added first and has not told of it yet.
#[test]
fn loom_what_was_handed_over_is_in_the_next_flush() {
    loom::model(|| {
        let flushed = Flushed::new(Arc::new(|| {}));
        let chunk = flushed.chunk.clone();
        let other = thread::spawn(move || add(&chunk, 0, 3));
        let own = Tally::new(flushed.chunk.clone(), 0);
        assert_eq!(own.add(5), Ok(()));
        own.hand_over();
        let first = flushed.drain()[0].increments;
        assert!(first == 5 || first == 8, "{first}: the own add is in it");
        other.join().unwrap_or_else(|_| panic!("an adder does not panic"));
        assert_eq!(first + flushed.drain()[0].increments, 8);
    });
}
