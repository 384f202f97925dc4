//! Removals and resets against an oracle that knows every single add. Replicas exchange late, lost
//! and repeated deltas and pages. They go away, come back as stale copies, and take back their
//! traces whenever they may. `REMOVAL_STORIES=100000 REMOVAL_FIRST=0` tells more stories.

mod alone;
mod node;
mod oracle;
mod story;

use story::tell;

fn tell_all(tell: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let of = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first: u64 = of("REMOVAL_FIRST", 0);
    for seed in first..first + of("REMOVAL_STORIES", 300) {
        let told = std::panic::catch_unwind(|| tell(seed));
        assert!(told.is_ok(), "seed {seed}");
    }
}

#[test]
fn removals_keep_concurrent_adds_and_leave_nothing() {
    tell_all(|seed| tell(seed, None, None));
}

#[test]
fn windows_among_removals_are_exact_and_leave_nothing() {
    tell_all(|seed| tell(seed, Some(fastrand::Rng::with_seed(seed)), None));
}

#[test]
fn expiries_among_removals_are_exact_and_leave_nothing() {
    tell_all(|seed| tell(seed, None, Some(fastrand::Rng::with_seed(seed))));
}

#[test]
fn windows_and_expiries_among_removals_leave_nothing() {
    let dice = |seed| Some(fastrand::Rng::with_seed(seed));
    tell_all(|seed| tell(seed, dice(seed), dice(seed + 1)));
}
