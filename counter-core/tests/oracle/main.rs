//! Random histories of replicas that add, subtract, reset and exchange deltas, pages and states
//! over a network that loses, doubles and reorders. At every step every number equals that of a
//! plain log of the operations.
//!
//! `COUNTER_HISTORIES=100000` runs more; `COUNTER_SEED=17` replays one, with every step printed.

mod log;
mod world;

use world::{Resets, World};

/// The seeds to run: the one in the environment, or the first `histories`.
fn seeds(histories: u64) -> std::ops::Range<u64> {
    let asked = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match asked("COUNTER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("COUNTER_HISTORIES").unwrap_or(histories),
    }
}

fn run(test: &str, histories: u64, resets: Resets) {
    let (seeds, mut steps, mut joined) = (seeds(histories), 0, 0);
    for seed in seeds.clone() {
        let replay = Replay { test, seed };
        let world = World::run(seed, resets, seeds.clone().count() == 1);
        steps += world.steps;
        joined += world.cells_joined;
        std::mem::forget(replay);
    }
    println!(
        "{test}: {} histories, {steps} steps, {joined} cells joined, every number right at every \
         step",
        seeds.count()
    );
}

/// Prints how to replay a history that failed.
struct Replay<'a> {
    test: &'a str,
    seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        eprintln!(
            "to replay: COUNTER_SEED={} cargo test -p counter-core --test oracle {} -- --nocapture",
            self.seed, self.test
        );
    }
}

#[test]
fn every_number_is_what_the_log_of_operations_says() {
    run("every_number_is_what_the_log_of_operations_says", 700, Resets::Some);
}

#[test]
fn without_resets_every_number_matches_crdts() {
    run("without_resets_every_number_matches_crdts", 300, Resets::None);
}
