//! What a window takes beside a plain counter: heap, bytes of the state, and time of an add. With
//! a million of each: `cargo test --release -p counter-core --test cost -- --ignored --nocapture
//! window`.

use std::time::{Duration, Instant};

use counter_core::{Replica, ReplicaId, VersionVector, WindowWidth};

const MINUTE: WindowWidth = WindowWidth::new(6_000, 10).expect("a width");
/// Some moment, in milliseconds since the start of 1970.
const NOW: u64 = 1_790_000_000_000;

fn replica() -> Replica {
    Replica::new(ReplicaId::new(1, 1), "ord").expect("a region")
}

fn name(at: usize) -> String {
    format!("requests of user {at:08}")
}

/// The heap and the encoded state of a replica after adds, in bytes each.
fn cost(count: usize, add: impl Fn(&mut Replica, &str)) -> (f64, f64) {
    let mut made = None;
    let heap = allocation_counter::measure(|| {
        let mut replica = replica();
        (0..count).for_each(|at| add(&mut replica, &name(at)));
        replica.flush();
        made = Some(replica);
    });
    let state = made.expect("made").map().delta_since(&VersionVector::new()).encode().len();
    (heap.bytes_current as f64 / count as f64, state as f64 / count as f64)
}

/// The time of an add to one of these, the fastest of some rounds, in nanoseconds.
fn add_ns(count: usize, rounds: usize, add: impl Fn(&mut Replica, &str)) -> f64 {
    // A clock that steps by 10 ns cannot time a few adds.
    let names: Vec<String> = (0..count.max(1_000)).map(|at| name(at % count)).collect();
    let mut replica = replica();
    let mut round = || {
        let began = Instant::now();
        names.iter().for_each(|name| add(&mut replica, name));
        let took = began.elapsed();
        replica.flush();
        took
    };
    round();
    let best = (0..rounds).map(|_| round()).min().unwrap_or(Duration::MAX);
    best.as_nanos() as f64 / names.len() as f64
}

fn plain(replica: &mut Replica, name: &str) {
    replica.add(name, 1).expect("there is room");
}

fn window(replica: &mut Replica, name: &str) {
    replica.add_to_window(name, MINUTE, 1, NOW).expect("there is room");
}

/// Heap and state of windows as ratios of those of plain counters.
fn sizes(count: usize) -> (f64, f64) {
    let ((heap, state), (window_heap, window_state)) = (cost(count, plain), cost(count, window));
    println!(
        "{count} counters: heap {heap:.1} bytes each, state {state:.1}; windows with one bucket: \
         {window_heap:.1} and {window_state:.1}: {:.2} and {:.2} times",
        window_heap / heap,
        window_state / state
    );
    (window_heap / heap, window_state / state)
}

#[test]
fn window_of_one_bucket_is_little_more_than_a_counter() {
    let (heap, state) = sizes(16_384);
    assert!(heap < 1.3 && state < 1.3, "{heap} {state}");
}

#[test]
#[ignore = "a million counters: half a minute"]
fn million_windows() {
    let (heap, state) = sizes(1_000_000);
    assert!(heap < 1.3 && state < 1.3, "{heap} {state}");
    for count in [1, 1_000, 1_000_000] {
        let rounds = 5_000_000 / count.max(1_000);
        let (counter, window) = (add_ns(count, rounds, plain), add_ns(count, rounds, window));
        println!(
            "{count} names: add {counter:.1} ns, to a window {window:.1} ns: {:.2} times",
            window / counter
        );
    }
}
