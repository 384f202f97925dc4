//! Stories at a distance, each drawn from a seed: starts, silent peers, presence through kills and
//! starts, and claims of agreement. Links are within one machine, 200 ms long, or between
//! continents.
//!
//! Each of these faults was planted once, and caught:
//! - a connected silent peer counts as an answer; candidates are ignored; an unsure discovery
//!   counts as sure;
//! - a node is ready before `ready_within`; the first answer of a synced peer is enough before the
//!   pull has ended;
//! - a failed dial raises no suspicion;
//! - a node confirms a target that it does not cover; a member counts as confirmed because a target
//!   names it.

mod presence;
mod silent;
mod starts;
mod story;

use crate::{number, seeds_or_one};

/// Runs a story for each seed, or only for `SIM_SEED`. `test` is the test's name, for the message
/// that replays a failure.
fn run_stories(test: &str, seeds: std::ops::Range<u64>, story: impl Fn(u64) -> Result<(), String>) {
    let seeds = seeds_or_one(seeds);
    let mut failures = 0;
    for seed in seeds.clone() {
        if let Err(failure) = story(seed) {
            failures += 1;
            println!("seed {seed}: {failure}");
            println!(
                "replay: SIM_SEED={seed} cargo test -p counter-net --no-default-features --features sim --test sim -- \
                 --include-ignored --exact distance::{test}"
            );
        }
    }
    assert_eq!(failures, 0, "of {} stories", seeds.end - seeds.start);
}

/// The number in `SIM_SEEDS`, or `usual`.
fn seeds(usual: u64) -> u64 {
    number("SIM_SEEDS").unwrap_or(usual)
}
