//! `check`: compares a new run, or an existing report, with the committed report. Names each
//! workload that is worse.

use benches::report::{Report, Worse, compare, confirmed, unmeasured};
use tokio::runtime::Runtime;

use super::committed::{committed, read};
use super::report::measure;

/// Measures, and names each workload that is worse than in the committed report. If one looks
/// worse, measures a second time, and names only those that are worse both times.
pub(super) fn check(runtime: &Runtime) -> Result<(), String> {
    let before = committed()?;
    let now = measure(runtime, true);
    now.skipped.iter().for_each(|line| println!("- {line}"));
    let mut worse = compare(&before, &now);
    if !worse.is_empty() {
        let names: Vec<&str> = worse.iter().map(|worse| worse.work.as_str()).collect();
        println!("measuring again, since these look worse: {}", names.join("; "));
        worse = confirmed(worse, &compare(&before, &measure(runtime, true)));
    }
    verdict(&before, &now, &worse)
}

/// The same for a report in a file. It was measured only once, so a workload that a noisy
/// neighbour slowed may be named too.
pub(super) fn check_file(path: &str) -> Result<(), String> {
    let (before, now) = (committed()?, read(path)?);
    verdict(&before, &now, &compare(&before, &now))
}

fn verdict(before: &Report, now: &Report, worse: &[Worse]) -> Result<(), String> {
    unmeasured(before, now).iter().for_each(|work| println!("not measured this time: {work}"));
    if worse.is_empty() {
        println!("nothing is worse than in the report of commit {}", before.machine.commit);
        return Ok(());
    }
    let line = |worse: &Worse| {
        format!(
            "worse: {}, {:.2} times (noise ends at {:.2})",
            worse.work, worse.times, worse.noise
        )
    };
    Err(worse.iter().map(line).collect::<Vec<_>>().join("\n"))
}
