//! Every interleaving of adds and flushes: no add is lost or counted twice, no bit is lost, and
//! some add always wakes.

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::lattice::cell::amounts::Amounts;
use crate::pending::block::{Block, DirtySet, Wake};
use crate::pending::handle::CounterHandle;
use crate::pending::slot::{Fullness, PENDING_MAX, SlotIndex};
use crate::pending::sync::Arc;

/// A block and its dirty set, which a flush checks first.
#[derive(Clone)]
struct Flusher {
    block: Arc<Block>,
    dirty: Arc<DirtySet>,
}

impl Flusher {
    fn new(wake: Wake) -> Self {
        let dirty = Arc::<DirtySet>::default();
        Self { block: Block::new(0, dirty.clone(), wake), dirty }
    }

    /// Drains once, and returns the amounts taken from each of the two counters.
    fn drain(&self) -> [Amounts; 2] {
        let mut taken = [Amounts::default(); 2];
        self.dirty.0.take(|_| {
            self.block.drain(|at, amounts| {
                taken[at] = taken[at].plus(amounts);
                Fullness::default()
            });
        });
        taken
    }

    fn has_pending(&self) -> bool {
        self.dirty.0.any()
    }
}

/// Adders run concurrently with one flush. A second flush takes the rest. It runs only if a bit is
/// set.
fn check(
    adders: impl Fn(&Arc<Block>) -> Vec<thread::JoinHandle<()>> + Sync + Send + 'static,
    expected: [(u64, u64); 2],
) {
    loom::model(move || {
        let wakes = loom::sync::Arc::new(AtomicUsize::new(0));
        let counted = wakes.clone();
        let flushed = Flusher::new(Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        let adders = adders(&flushed.block);
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

fn add(block: &Arc<Block>, at: usize, amount: u64) {
    assert_eq!(CounterHandle::new(block.clone(), at).add(amount), Ok(()));
}

#[test]
fn loom_two_adders_to_one_counter_and_a_flush() {
    check(
        |block| {
            let adder = |amount| {
                let block = block.clone();
                thread::spawn(move || add(&block, 0, amount))
            };
            [adder(3), adder(5)].into()
        },
        [(8, 0), (0, 0)],
    );
}

#[test]
fn loom_two_adders_to_neighbours_and_a_flush() {
    check(
        |block| {
            let adder = |at, amount| {
                let block = block.clone();
                thread::spawn(move || add(&block, at, amount))
            };
            [adder(0, 3), adder(1, 5)].into()
        },
        [(3, 0), (5, 0)],
    );
}

#[test]
fn loom_add_twice_and_subtract_beside_a_flush() {
    check(
        |block| {
            let block = block.clone();
            let adder = thread::spawn(move || {
                add(&block, 0, 1);
                add(&block, 0, 2);
                assert_eq!(CounterHandle::new(block, 0).subtract(4), Ok(()));
            });
            [adder].into()
        },
        [(3, 4), (0, 0)],
    );
}

#[test]
fn loom_two_lanes_of_one_counter_and_a_flush() {
    check(
        |block| {
            let adder = |lane, amount| {
                let block = block.clone();
                thread::spawn(move || {
                    assert_eq!(CounterHandle::new(block, 0).add_in(lane, amount), Ok(()))
                })
            };
            [adder(0, 3), adder(1, 5)].into()
        },
        [(8, 0), (0, 0)],
    );
}

/// A refused add is never counted, not even by a flush that runs between its check and another
/// thread's add.
#[test]
fn loom_refused_add_is_in_no_flush() {
    loom::model(|| {
        let flushed = Flusher::new(Arc::new(|| {}));
        let block = flushed.block.clone();
        let pend = |amount| CounterHandle::new(block.clone(), 0).add_in(0, amount);
        assert_eq!(pend(1), Ok(()));
        block.preload(0, PENDING_MAX);
        let before = block.pending(SlotIndex::of(0)).increments;
        let adder = {
            let block = block.clone();
            thread::spawn(move || CounterHandle::new(block, 0).add_in(0, 5))
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

/// A thread that hands over its adds and then flushes has them flushed, even if another thread
/// added first and has not reported it yet.
#[test]
fn loom_handed_over_add_is_in_the_next_flush() {
    loom::model(|| {
        let flushed = Flusher::new(Arc::new(|| {}));
        let block = flushed.block.clone();
        let other = thread::spawn(move || add(&block, 0, 3));
        let own = CounterHandle::new(flushed.block.clone(), 0);
        assert_eq!(own.add(5), Ok(()));
        own.hand_over();
        let first = flushed.drain()[0].increments;
        assert!(first == 5 || first == 8, "{first}: the own add is in it");
        other.join().unwrap_or_else(|_| panic!("an adder does not panic"));
        assert_eq!(first + flushed.drain()[0].increments, 8);
    });
}
