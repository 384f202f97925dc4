//! W1: one writer adds 1 over and over, 1,000,000 times over 32 regions.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use super::nanoseconds;
use crate::contender::OursNode;
use crate::sample::Sample;
use crate::shape::{Shape, Values};

const REGIONS: usize = 32;

/// A contender that adds by name.
pub trait Adder {
    /// Adds 1.
    fn add_one(&mut self, counter: &str);
    /// Does the work that the adds deferred.
    fn finish(&mut self);
    /// The value of a counter.
    fn value(&self, counter: &str) -> i128;
}

fn names() -> Vec<String> {
    Shape::new(Values::Formula, REGIONS, 1).names
}

/// How many of `adds` adds go to this region.
fn share(adds: usize, region: usize) -> i128 {
    ((adds + REGIONS - 1 - region) / REGIONS) as i128
}

/// Adds by name. The time includes the deferred work.
pub fn add_by_name(adds: usize, adder: &mut impl Adder) -> Sample {
    let names = names();
    let before: Vec<i128> = names.iter().map(|name| adder.value(name)).collect();
    let time = nanoseconds(|| {
        for at in 0..adds {
            adder.add_one(black_box(&names[at % REGIONS]));
        }
        adder.finish();
    });
    let right = names
        .iter()
        .zip(before)
        .enumerate()
        .all(|(region, (name, before))| adder.value(name) - before == share(adds, region));
    Sample { nanoseconds: time / adds as f64, right }
}

/// Adds by handle, as a program does that keeps its handles.
pub fn add_by_handle(adds: usize) -> Sample {
    let names = names();
    let mut node = OursNode::new(0);
    let handles: Vec<_> = names.iter().map(|name| node.counter(name)).collect();
    let time = nanoseconds(|| {
        for at in 0..adds {
            black_box(&handles[at % REGIONS]).add(1).expect("far from full");
        }
        node.flush();
    });
    let right = names
        .iter()
        .enumerate()
        .all(|(region, name)| Adder::value(&node, name) == share(adds, region));
    Sample { nanoseconds: time / adds as f64, right }
}

/// Adds by handles that another thread made. The flush is not timed.
pub fn add_by_handle_of_another_thread(adds: usize) -> Sample {
    let names = names();
    let mut node = OursNode::new(0);
    let handles: Vec<_> = names.iter().map(|name| node.counter(name)).collect();
    let add_all = || {
        nanoseconds(|| {
            for at in 0..adds {
                black_box(&handles[at % REGIONS]).add(1).expect("far from full");
            }
        })
    };
    let time = std::thread::scope(|scope| scope.spawn(add_all).join().expect("it only adds"));
    node.flush();
    let right = names
        .iter()
        .enumerate()
        .all(|(region, name)| Adder::value(&node, name) == share(adds, region));
    Sample { nanoseconds: time / adds as f64, right }
}

/// The bound for a handle: a bare atomic addition.
pub fn add_bare_atomic(adds: usize) -> Sample {
    let slots: Vec<AtomicU64> = (0..REGIONS).map(|_| AtomicU64::new(0)).collect();
    let time = nanoseconds(|| {
        for at in 0..adds {
            black_box(&slots[at % REGIONS]).fetch_add(1, Ordering::AcqRel);
        }
    });
    let right = slots
        .iter()
        .enumerate()
        .all(|(region, slot)| i128::from(slot.load(Ordering::Relaxed)) == share(adds, region));
    Sample { nanoseconds: time / adds as f64, right }
}

/// The floor: a plain addition to a known slot.
pub fn add_known_slot(adds: usize) -> Sample {
    let mut slots = vec![0_u64; REGIONS];
    let time = nanoseconds(|| {
        for at in 0..adds {
            *black_box(&mut slots[at % REGIONS]) += 1;
        }
    });
    let right =
        slots.iter().enumerate().all(|(region, slot)| i128::from(*slot) == share(adds, region));
    Sample { nanoseconds: time / adds as f64, right }
}

/// The heap that the adds leave behind, in bytes.
pub fn heap_of_adds<A: Adder>(adds: usize, make: impl FnOnce() -> A) -> u64 {
    let names = names();
    let mut kept = None;
    let counted = allocation_counter::measure(|| {
        let mut adder = make();
        (0..adds).for_each(|at| adder.add_one(&names[at % REGIONS]));
        adder.finish();
        kept = Some(adder);
    });
    drop(kept);
    counted.bytes_current.max(0) as u64
}

/// Adds 1 to each of `counters` counters. Returns the adder, and the heap that each counter takes,
/// in bytes.
pub fn add_to_each<A: Adder>(counters: usize, make: impl FnOnce() -> A) -> (A, f64) {
    let names = Shape::new(Values::Formula, counters, 1).names;
    let mut kept = None;
    let counted = allocation_counter::measure(|| {
        let mut adder = make();
        names.iter().for_each(|name| adder.add_one(name));
        adder.finish();
        kept = Some(adder);
    });
    let adder = kept.expect("it was just made");
    assert!(names.iter().all(|name| adder.value(name) == 1), "each has its add");
    (adder, counted.bytes_current.max(0) as f64 / counters as f64)
}
