//! Whole clusters in the simulator, on virtual time.
//!
//! `chaos`, `repeats` and `oracle` draw stories from seeds. The other modules state one fact each.
//! A failing story prints the variable that replays it.

mod bounds;
mod certainty;
mod chaos;
mod cost;
mod distance;
mod oracle;
mod removal;
mod repeats;
mod reports;
mod retirement;

use std::ops::Range;

/// The number in an environment variable, if it is set.
///
/// # Panics
///
/// When the variable holds anything but a number.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// The `usual` seeds, or the one in `SIM_SEED`.
fn seeds_or_one(usual: Range<u64>) -> Range<u64> {
    number("SIM_SEED").map_or(usual, |seed| seed..seed + 1)
}

/// The first `usual` seeds. `COUNTER_FIRST` sets another first one, and `COUNTER_SEEDS` how many.
fn seeds_from_first(usual: u64) -> Range<u64> {
    let first = number("COUNTER_FIRST").unwrap_or(0);
    first..first + number("COUNTER_SEEDS").unwrap_or(usual)
}
