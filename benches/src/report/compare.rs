//! Comparison of two reports: each workload that got worse by more than the noise of both.

use std::collections::BTreeMap;

use super::{Machine, Report};
use crate::figures::row::{Row, Unit};

/// A workload that is worse now.
#[derive(Clone, Debug, PartialEq)]
pub struct Worse {
    /// The workload, in words.
    pub work: String,
    /// How many times worse.
    pub times: f64,
    /// The factor above which it is no longer noise.
    pub noise: f64,
}

/// Returns each workload that is worse in `now`.
///
/// The machine drifts, so a time is compared as its ratio to the bound, or to `crdts`, of the same
/// run. A time without either, a rate, and a size in a workload with processes are worse if they
/// doubled. An in-process size is worse from 1 % more. An instruction count is worse from 2 % more,
/// on the same compiler and processor. A wrong answer of ours is always worse.
pub fn compare(before: &Report, now: &Report) -> Vec<Worse> {
    let rows =
        now.rows.iter().filter_map(|row| match before.rows.iter().find(|old| old.id == row.id) {
            _ if row.ours().is_some_and(|ours| !ours.right) => Some(wrong(row)),
            Some(old) => worse(old, row),
            None => None,
        });
    rows.chain(compare_instructions(before, &now.instructions, &now.machine)).collect()
}

/// The same for instruction counts only. Empty if another compiler made them, because they cannot
/// be compared then.
pub fn compare_instructions(
    before: &Report,
    now: &BTreeMap<String, u64>,
    machine: &Machine,
) -> Vec<Worse> {
    // Another processor copies memory with other instructions.
    let noise = if before.machine.processor == machine.processor { 1.02 } else { 1.1 };
    let comparable = before.machine.rustc == machine.rustc;
    let worse = |(path, &count): (&String, &u64)| {
        let times = count as f64 / *before.instructions.get(path)? as f64;
        (times > noise).then(|| Worse { work: format!("instructions of {path}"), times, noise })
    };
    now.iter().filter(|_| comparable).filter_map(worse).collect()
}

/// The workloads of the first report that the second lacks. They may have got worse.
pub fn unmeasured<'a>(before: &'a Report, now: &Report) -> Vec<&'a str> {
    let measured = |row: &&Row| now.rows.iter().any(|new| new.id == row.id);
    before.rows.iter().filter(|row| !measured(row)).map(|row| row.work.as_str()).collect()
}

/// The workloads that both comparisons name. A noisy neighbour seldom hits the same one twice.
pub fn confirmed(first: Vec<Worse>, second: &[Worse]) -> Vec<Worse> {
    first.into_iter().filter(|worse| second.iter().any(|again| again.work == worse.work)).collect()
}

fn wrong(row: &Row) -> Worse {
    Worse { work: format!("{}, which is WRONG", row.work), times: f64::INFINITY, noise: 1.0 }
}

fn worse(before: &Row, now: &Row) -> Option<Worse> {
    let reference =
        before.bound().or_else(|| before.figure("crdts")).map(|figure| figure.name.clone());
    let ours = (before.ours()?, now.ours()?);
    let (times, noise) = match (now.unit, reference) {
        (Unit::Bytes, _) if now.id.starts_with('w') => (ours.1.value / ours.0.value, 1.01),
        (Unit::Nanoseconds, Some(name)) => (
            before.ratio(&name)? / now.ratio(&name)?,
            1.1 + noise(before, &name) + noise(now, &name),
        ),
        (Unit::PerSecond, _) => {
            (ours.0.value / ours.1.value, 2.0 + noise(before, "") + noise(now, ""))
        }
        _ => (ours.1.value / ours.0.value, 2.0 + noise(before, "") + noise(now, "")),
    };
    (times > noise).then(|| Worse { work: now.work.clone(), times, noise })
}

/// Twice the spreads of both figures of a ratio.
fn noise(row: &Row, reference: &str) -> f64 {
    let spread = |name: &str| row.figure(name).map_or(0.0, |figure| figure.spread);
    2.0 * (spread("ours") + spread(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, crdts: f64, spread: f64) -> Row {
        let mut row =
            Row::exact("w", "work", Unit::Nanoseconds, &[("ours", ours), ("crdts", crdts)]);
        row.figures.iter_mut().for_each(|figure| figure.spread = spread);
        row
    }

    #[test]
    fn slower_machine_is_not_worse() {
        assert_eq!(worse(&row(10.0, 100.0, 0.01), &row(20.0, 200.0, 0.01)), None);
    }

    #[test]
    fn lost_ratio_is_worse_unless_the_noise_is_as_large() {
        assert!(worse(&row(10.0, 100.0, 0.01), &row(13.0, 100.0, 0.01)).is_some());
        assert_eq!(worse(&row(10.0, 100.0, 0.03), &row(13.0, 100.0, 0.03)), None);
    }

    fn report(rows: Vec<Row>) -> Report {
        let (curves, instructions, skipped) = (Vec::new(), Default::default(), Vec::new());
        Report { machine: Machine::here(), quick: true, rows, curves, instructions, skipped }
    }

    #[test]
    fn wrong_answer_of_ours_is_always_worse() {
        let mut wrong = row(1.0, 100.0, 0.0);
        wrong.figures[0].right = false;
        assert_eq!(
            compare(&report(vec![row(10.0, 100.0, 0.0)]), &report(vec![wrong.clone()])).len(),
            1
        );
        assert_eq!(compare(&report(Vec::new()), &report(vec![wrong])).len(), 1);
    }

    #[test]
    fn work_missing_now_is_named() {
        assert_eq!(unmeasured(&report(vec![row(1.0, 1.0, 0.0)]), &report(Vec::new())), ["work"]);
        assert!(unmeasured(&report(Vec::new()), &report(vec![row(1.0, 1.0, 0.0)])).is_empty());
    }

    #[test]
    fn named_by_one_of_two_runs_is_noise() {
        let named = |work: &str| Worse { work: work.into(), times: 2.0, noise: 1.1 };
        assert_eq!(confirmed(vec![named("join"), named("add")], &[named("add")]), [named("add")]);
    }

    #[test]
    fn three_percent_more_instructions_are_worse_on_the_same_compiler() {
        let counts = |count| BTreeMap::from([("join".to_owned(), count)]);
        let machine = Machine { rustc: "1".into(), ..Machine::here() };
        let (rows, curves, skipped) = (Vec::new(), Vec::new(), Vec::new());
        let before = Report {
            machine: machine.clone(),
            quick: true,
            rows,
            curves,
            instructions: counts(100),
            skipped,
        };
        assert_eq!(compare_instructions(&before, &counts(101), &machine), []);
        assert_eq!(compare_instructions(&before, &counts(103), &machine).len(), 1);
        assert_eq!(
            compare_instructions(&before, &counts(103), &Machine { rustc: "2".into(), ..machine }),
            []
        );
    }
}
