//! Retirement with resets, exhaustively: every interleaving of a bounded number of adds and resets,
//! one change of the successor and all deliveries among three replicas, with the real types. In
//! every state of every node the value is exactly the units of the cells that it holds.
//!
//! `COUNTER_MODEL=large` visits larger bounds (in a release build: minutes).

mod node;
mod world;

use std::time::Instant;

use node::{ALL, Rules};
use world::{Bounds, Change, Model, Outcome};

const RESTART: Bounds =
    Bounds { change: Change::Restart, adds: 1, resets: 1, counters: 1, late: 0, all_forget: false };
const LOSS: Bounds = Bounds { change: Change::Loss, ..RESTART };

fn visited(bounds: Bounds, rules: Rules) -> Outcome {
    let start = Instant::now();
    let outcome = Model::new(bounds, rules).run();
    let Outcome { worlds, nodes, steps, wrong } = &outcome;
    println!(
        "{bounds:?}, {rules:?}: {worlds} worlds of {nodes} states of a node, {steps} steps run, \
         {:?}",
        start.elapsed()
    );
    wrong.iter().for_each(|wrong| println!("{wrong}"));
    outcome
}

#[test]
fn every_reachable_state_of_every_node_is_exact() {
    let small = vec![
        RESTART,
        Bounds { late: 1, resets: 0, ..RESTART },
        Bounds { adds: 2, resets: 0, ..LOSS },
    ];
    let large = vec![
        Bounds { adds: 2, ..RESTART },
        Bounds { late: 1, ..RESTART },
        Bounds { adds: 2, ..LOSS },
        Bounds { change: Change::Replacement, resets: 0, ..LOSS },
        Bounds { counters: 2, ..RESTART },
    ];
    let bounds = if std::env::var("COUNTER_MODEL").is_ok_and(|size| size == "large") {
        large
    } else {
        small
    };
    for bounds in bounds {
        let Outcome { wrong, .. } = visited(bounds, ALL);
        assert_eq!(wrong, None);
    }
}

#[test]
fn folding_before_all_hold_the_absorption_is_found() {
    let rules = Rules { fold_when_all_hold_it: false, ..ALL };
    assert!(visited(RESTART, rules).wrong.is_some());
}

#[test]
fn absorbing_before_all_know_of_the_claim_is_found() {
    let rules = Rules { absorb_when_final: false, ..ALL };
    assert!(visited(Bounds { adds: 2, resets: 0, ..LOSS }, rules).wrong.is_some());
}
