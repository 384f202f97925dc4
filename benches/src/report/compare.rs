//! What got worse between two reports, by more than the noise of both.

use super::Report;
use crate::row::{Row, Unit};

/// One thing that is worse now.
#[derive(Clone, Debug, PartialEq)]
pub struct Worse {
    /// The work.
    pub work: String,
    /// How many times worse.
    pub times: f64,
    /// From how many times on it is no longer noise.
    pub noise: f64,
}

/// Names what is worse in `now`. Times are compared as ratios to the bound, or to `crdts`, of their own run, since the machine drifts;
/// where there is neither, only a doubling counts. Sizes are exact; instructions may move by 2 %.
pub fn compare(before: &Report, now: &Report) -> Vec<Worse> {
    let rows = now.rows.iter().filter_map(|row| worse(before.rows.iter().find(|old| old.id == row.id)?, row));
    let instructions = now.instructions.iter().filter_map(|(path, &count)| {
        let times = count as f64 / *before.instructions.get(path)? as f64;
        (times > 1.02).then(|| Worse { work: format!("instructions of {path}"), times, noise: 1.02 })
    });
    rows.chain(instructions).collect()
}

fn worse(before: &Row, now: &Row) -> Option<Worse> {
    let reference = before.bound().or_else(|| before.figure("crdts")).map(|figure| figure.name.clone());
    let (times, noise) = match (now.unit, reference) {
        (Unit::Bytes, _) => (now.ours()?.value / before.ours()?.value, 1.01),
        (Unit::Nanoseconds, Some(name)) => (before.ratio(&name)? / now.ratio(&name)?, 1.1 + noise(before, &name) + noise(now, &name)),
        (Unit::PerSecond, _) => (before.ours()?.value / now.ours()?.value, 2.0),
        _ => (now.ours()?.value / before.ours()?.value, 2.0),
    };
    let wrong = !now.ours()?.right;
    (wrong || times > noise).then(|| Worse { work: now.work.clone(), times, noise })
}

/// Twice the spreads of both whose ratio is taken.
fn noise(row: &Row, reference: &str) -> f64 {
    let spread = |name: &str| row.figure(name).map_or(0.0, |figure| figure.spread);
    2.0 * (spread("ours") + spread(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, crdts: f64, spread: f64) -> Row {
        let mut row = Row::exact("w", "work", Unit::Nanoseconds, &[("ours", ours), ("crdts", crdts)]);
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
}
