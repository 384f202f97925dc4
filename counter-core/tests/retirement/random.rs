//! In any order of adds, resets, restarts, losses and late copies, every replica shows at every
//! step exactly the units of the cells that it holds. In the end only the living have cells.

use crate::world::{ALL, Rules, run};

fn seeds() -> u64 {
    std::env::var("COUNTER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60)
}

#[test]
fn every_step_is_exact_and_only_the_living_remain() {
    let (mut restarts, mut returns, mut folds) = (0, 0, 0);
    for seed in 0..seeds() {
        let outcome = run(seed, ALL);
        assert_eq!(
            (outcome.wrong, outcome.left, outcome.differ),
            (0, 0, false),
            "seed {seed}: wrong values, writers left, states differ"
        );
        restarts += outcome.restarts;
        returns += outcome.returns;
        folds += outcome.folds;
    }
    println!(
        "{} histories, {restarts} restarts, {returns} retired and back, {folds} folds",
        seeds()
    );
    assert!(restarts > 0 && returns > 0 && folds > 0);
}

#[test]
fn each_rule_is_needed() {
    // The first seed of the search: one that showed it when this was written.
    let broken = [
        ("absorbing before all know of the claim", 20, Rules { absorb_when_final: false, ..ALL }),
        (
            "folding before all hold the absorption",
            300,
            Rules { fold_when_all_hold_it: false, ..ALL },
        ),
        (
            "counting on what is not on the disk",
            1_410,
            Rules { promises_are_committed: false, ..ALL },
        ),
    ];
    for (name, first, rules) in broken {
        let caught = (first..first + seeds().max(4000)).find(|&seed| run(seed, rules).wrong > 0);
        println!("{name}: caught by seed {caught:?}");
        assert!(caught.is_some(), "{name} was not caught");
    }
}
