//! Thousands of seeded stories of faults: every total exact, every hash equal, and presence right
//! once all is healed.
#![cfg(feature = "sim")]

use counter_net::sim::Chaos;

/// Runs the stories of these seeds, or only that of `SIM_SEED`.
fn live_through(seeds: std::ops::Range<u64>) {
    let only =
        std::env::var("SIM_SEED").ok().map(|seed| seed.parse().expect("SIM_SEED is a number"));
    let seeds = only.map_or(seeds, |seed: u64| seed..seed + 1);
    for seed in seeds {
        if let Err(failure) = Chaos::new(seed).run() {
            panic!(
                "seed {seed}: {failure}\nreplay: SIM_SEED={seed} cargo test -p counter-net --features sim --test sim"
            );
        }
    }
}

#[test]
fn every_story_of_faults_ends_exact_and_equal() {
    live_through(0..200);
}

/// A click was gossiped while the last page of a pull was under way, found the room for deltas
/// beyond gaps full, and was dropped: the pull then ended below what the peer was heard to hold *by
/// then*, was taken for all that the peer would ever give, and the click was never asked for again.
#[test]
fn what_a_peer_gains_during_a_pull_is_asked_for_afterwards() {
    live_through(1_004_515..1_004_516);
}

/// As many seeds as `SIM_SEEDS` says, 10,000 if it says nothing: `cargo test --release … --test sim
/// -- --ignored`.
#[test]
#[ignore = "takes minutes; run it in release"]
fn ten_thousand_stories_end_exact_and_equal() {
    let count =
        std::env::var("SIM_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000);
    live_through(1_000_000..1_000_000 + count);
}
