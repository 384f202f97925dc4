//! `count` and `check-instructions`: instruction counts of the hot paths. They need no node, so
//! they also run in a build without the feature `system`.

use benches::report::{Machine, Report, compare_instructions, instructions};

use super::committed::{COMMITTED, committed, json, write};

/// Counts the instructions of every hot path. With `keep` the counts go into the committed report,
/// for a change that is worth its cost.
pub(crate) fn count(keep: bool) -> Result<(), String> {
    let counts = instructions()?;
    counts.iter().for_each(|(path, count)| println!("{path}: {count} instructions"));
    if !keep {
        return Ok(());
    }
    let before = committed()?;
    let here = Machine::here();
    if (&before.machine.rustc, &before.machine.processor) != (&here.rustc, &here.processor) {
        return Err("the committed report is of another compiler or processor: `report --keep` makes a new one".into());
    }
    write(COMMITTED, &json(&Report { instructions: counts, ..before })?)
}

/// Counts the instructions again. Fails with each path that takes more than in the committed
/// report. CI runs this.
pub(crate) fn check_instructions() -> Result<(), String> {
    let before = committed()?;
    let counts = match instructions() {
        Ok(counts) => counts,
        Err(line) => {
            println!("SKIPPED {line}");
            return Ok(());
        }
    };
    for (path, count) in &counts {
        let then = before.instructions.get(path).map_or_else(|| "none".into(), u64::to_string);
        println!("{path}: {count} instructions, {then} in the committed report");
    }
    let here = Machine::here();
    if before.machine.rustc != here.rustc {
        println!(
            "SKIPPED the verdict: the committed counts are of {}, this is {}",
            before.machine.rustc, here.rustc
        );
    }
    let lines: Vec<String> = compare_instructions(&before, &counts, &here)
        .iter()
        .map(|worse| {
            format!("worse: {}, {:.3} times (allowed {:.2})", worse.work, worse.times, worse.noise)
        })
        .collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{}\nif the change is worth it: `benches count --keep`, and commit {COMMITTED}",
            lines.join("\n")
        )),
    }
}
