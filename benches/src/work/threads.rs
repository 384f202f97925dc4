//! One thread or 64 add through handles, each to its own counter or all to one. Pending adds are
//! flushed once, after the last add and outside the time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::contender::OursNode;
use crate::processors::Processor;
use crate::sample::Sample;
use crate::work::Adder;

/// A number of threads, their adds, and the counters that they add to.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    /// The number of threads.
    pub threads: usize,
    /// The adds of all threads together.
    pub adds: usize,
    /// True if all threads add to one counter, false if each has its own.
    pub one_counter: bool,
}

impl Threads {
    fn counter(self, thread: usize) -> usize {
        if self.one_counter { 0 } else { thread }
    }

    /// The adds of each thread.
    fn each(self) -> usize {
        self.adds / self.threads
    }

    /// Wall time for one add. With several threads it runs from the first add of any thread to the
    /// last.
    fn run<Add: Fn()>(self, handle: impl Fn(usize) -> Add + Sync) -> f64 {
        if self.threads == 1 {
            return self.run_alone(&handle);
        }
        let barrier = Barrier::new(self.threads);
        let intervals: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
            let spawn = |thread| {
                let (barrier, handle, counter) = (&barrier, &handle, self.counter(thread));
                scope.spawn(move || {
                    let add = handle(counter);
                    barrier.wait();
                    let start = Instant::now();
                    (0..self.each()).for_each(|_| add());
                    (start, Instant::now())
                })
            };
            let threads: Vec<_> = (0..self.threads).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().expect("it only adds")).collect()
        });
        let start = intervals.iter().map(|interval| interval.0).min().expect("one thread at least");
        let end = intervals.iter().map(|interval| interval.1).max().expect("one thread at least");
        (end - start).as_nanos() as f64 / (self.each() * self.threads) as f64
    }

    /// Runs one thread for an equal share of the adds on each processor. Many threads need all
    /// processors, even one that others on the host slow down. The system would move a single
    /// thread away from that one.
    fn run_alone<Add: Fn()>(self, handle: &(impl Fn(usize) -> Add + Sync)) -> f64 {
        let processors = Processor::usable();
        let shares = (0..processors.len())
            .map(|at| self.adds * (at + 1) / processors.len() - self.adds * at / processors.len());
        let work = |adds| {
            let add = handle(0);
            let start = Instant::now();
            (0..adds).for_each(|_| add());
            start.elapsed()
        };
        let time: Duration = processors
            .iter()
            .zip(shares)
            .map(|(processor, adds)| processor.run(|| work(adds)))
            .sum();
        time.as_nanos() as f64 / self.adds as f64
    }
}

/// Ours. Right if no add is lost.
pub fn threads_ours(threads: Threads) -> Sample {
    let mut node = OursNode::new(0);
    let names: Vec<String> = (0..threads.threads).map(|thread| format!("r{thread:06}")).collect();
    let handles: Vec<_> = names.iter().map(|name| node.counter(name)).collect();
    let nanoseconds = threads.run(|counter| {
        let handle = &handles[counter];
        move || handle.add(1).expect("far from full")
    });
    node.flush();
    let total: i128 = names.iter().map(|name| Adder::value(&node, name)).sum();
    Sample { nanoseconds, right: total == (threads.each() * threads.threads) as i128 }
}

/// The bound: bare atomics, each in its own cache line.
pub fn threads_bare(threads: Threads) -> Sample {
    #[repr(align(128))]
    struct Line(AtomicU64);
    let slots: Vec<Line> = (0..threads.threads).map(|_| Line(AtomicU64::new(0))).collect();
    let nanoseconds = threads.run(|counter| {
        let slot = &slots[counter].0;
        move || _ = slot.fetch_add(1, Ordering::AcqRel)
    });
    let total: u64 = slots.iter().map(|slot| slot.0.load(Ordering::Relaxed)).sum();
    Sample { nanoseconds, right: total as usize == threads.each() * threads.threads }
}
