//! Seeded stories of faults. Once all is healed, every total is exact, all hashes are equal, and
//! presence is right.

use counter_net::sim::Chaos;

use crate::{number, seeds_or_one};

/// Runs the stories of these seeds, or only the one of `SIM_SEED`.
fn run_stories(seeds: std::ops::Range<u64>) {
    for seed in seeds_or_one(seeds) {
        if let Err(failure) = Chaos::new(seed).run() {
            panic!(
                "seed {seed}: {failure}\nreplay: SIM_SEED={seed} cargo test -p counter-net --features sim --test sim chaos"
            );
        }
    }
}

#[test]
fn stories_of_faults_end_exact() {
    run_stories(0..200);
}

/// A click was gossiped while the last page of a pull was on its way. The store for deltas beyond a
/// gap was full, so the click was dropped. The pull then ended below what the peer held *by then*,
/// was taken for all that the peer had, and nobody asked for the click again.
#[test]
fn changes_during_a_pull_are_asked_for_later() {
    run_stories(1_004_515..1_004_516);
}

/// `SIM_SEEDS` sets the number of seeds, 10,000 by default: `cargo test --release … --test sim --
/// --ignored chaos`.
#[test]
#[ignore = "takes minutes; run it in release"]
fn ten_thousand_stories_end_exact() {
    let count = number("SIM_SEEDS").unwrap_or(10_000);
    run_stories(1_000_000..1_000_000 + count);
}
