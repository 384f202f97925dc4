//! 64 threads that add through handles: to counters of their own, or all to one. What is pending is flushed once, after the last add and outside the time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::contender::OursNode;
use crate::sample::Sample;
use crate::work::Adder;

/// How many threads add how often, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    /// Threads.
    pub threads: usize,
    /// Adds of all threads together.
    pub adds: usize,
    /// All to one counter, instead of each to its own.
    pub one_counter: bool,
}

impl Threads {
    fn counter(self, thread: usize) -> usize {
        if self.one_counter { 0 } else { thread }
    }

    /// Wall time an add, from the first thread's first add to the last one's last.
    fn run(self, add: impl Fn(usize) + Sync) -> f64 {
        let (each, barrier) = (self.adds / self.threads, Barrier::new(self.threads));
        let lives: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
            let spawn = |thread| {
                let (barrier, add, counter) = (&barrier, &add, self.counter(thread));
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    (0..each).for_each(|_| add(counter));
                    (start, Instant::now())
                })
            };
            let threads: Vec<_> = (0..self.threads).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().expect("it only adds")).collect()
        });
        let start = lives.iter().map(|life| life.0).min().expect("one thread at least");
        let end = lives.iter().map(|life| life.1).max().expect("one thread at least");
        (end - start).as_nanos() as f64 / (each * self.threads) as f64
    }
}

/// Ours; right when no add is lost.
pub fn threads_ours(threads: Threads) -> Sample {
    let mut node = OursNode::new(0);
    let names: Vec<String> = (0..threads.threads).map(|thread| format!("r{thread:06}")).collect();
    let tallies: Vec<_> = names.iter().map(|name| node.tally(name)).collect();
    let nanoseconds = threads.run(|counter| tallies[counter].add(1).expect("far from full"));
    node.flush();
    let total: i128 = names.iter().map(|name| Adder::value(&node, name)).sum();
    Sample { nanoseconds, right: total == (threads.adds / threads.threads * threads.threads) as i128 }
}

/// The bound: bare atomics, each in a cache line of its own.
pub fn threads_bare(threads: Threads) -> Sample {
    #[repr(align(128))]
    struct Line(AtomicU64);
    let slots: Vec<Line> = (0..threads.threads).map(|_| Line(AtomicU64::new(0))).collect();
    let nanoseconds = threads.run(|counter| {
        slots[counter].0.fetch_add(1, Ordering::AcqRel);
    });
    let total: u64 = slots.iter().map(|slot| slot.0.load(Ordering::Relaxed)).sum();
    Sample { nanoseconds, right: total as usize == threads.adds / threads.threads * threads.threads }
}
