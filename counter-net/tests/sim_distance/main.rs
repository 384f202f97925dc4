//! Stories at a distance, each drawn from a seed: starts, peers that stay silent, presence through
//! kills and starts, and what nodes claim about agreement. Links are those of one machine, of 200
//! ms, or between continents.
//!
//! These faults were planted once, and each was caught:
//! - a connected silent peer counts as resolved; candidates count as none; an unsure discovery
//!   counts as sure;
//! - a node is ready before `ready_within`; the first answer of a synced peer is enough, before the
//!   pull has ended;
//! - a failed dial is no suspicion;
//! - a node confirms a target that it does not cover; a member counts as confirmed because a target
//!   names it.
#![cfg(feature = "sim")]

mod presence;
mod silent;
mod starts;
mod story;

/// Runs a story for each seed, or only that of `SIM_SEED`.
fn live_through(
    test: &str,
    seeds: std::ops::Range<u64>,
    story: impl Fn(u64) -> Result<(), String>,
) {
    let only =
        std::env::var("SIM_SEED").ok().map(|seed| seed.parse().expect("SIM_SEED is a number"));
    let seeds = only.map_or(seeds, |seed: u64| seed..seed + 1);
    let mut failures = 0;
    for seed in seeds.clone() {
        if let Err(failure) = story(seed) {
            failures += 1;
            println!("seed {seed}: {failure}");
            println!(
                "replay: SIM_SEED={seed} cargo test -p counter-net --no-default-features --features sim --test sim_distance -- \
                 --include-ignored --exact {test}"
            );
        }
    }
    assert_eq!(failures, 0, "of {} stories", seeds.end - seeds.start);
}

/// As many as `SIM_SEEDS` says, or `usual`.
fn seeds(usual: u64) -> u64 {
    std::env::var("SIM_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}
