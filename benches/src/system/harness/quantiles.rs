//! Times as quantiles and as a histogram, and how much the quantiles move within a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Times, ascending, of the whole run and of each fifth of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quantiles {
    nanoseconds: Vec<f64>,
    fifths: Vec<Vec<f64>>,
}

fn ascending(mut nanoseconds: Vec<f64>) -> Vec<f64> {
    nanoseconds.sort_by(f64::total_cmp);
    nanoseconds
}

fn at(nanoseconds: &[f64], part: f64) -> f64 {
    let last = nanoseconds.len().saturating_sub(1);
    nanoseconds.get((last as f64 * part).ceil() as usize).copied().unwrap_or(f64::NAN)
}

impl Quantiles {
    /// Takes the times in the order in which they were measured. There is at least one.
    pub fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let nanoseconds: Vec<f64> = times.into_iter().map(|time| time.as_nanos() as f64).collect();
        let fifths = nanoseconds
            .chunks(nanoseconds.len().div_ceil(5).max(1))
            .map(|fifth| ascending(fifth.to_vec()))
            .collect();
        Self { nanoseconds: ascending(nanoseconds), fifths }
    }

    /// The time that this part of all times stays below, in nanoseconds.
    pub fn at(&self, part: f64) -> f64 {
        at(&self.nanoseconds, part)
    }

    /// The same quantile of each fifth of the run.
    pub fn of_fifths(&self, part: f64) -> Vec<f64> {
        self.fifths.iter().map(|fifth| at(fifth, part)).collect()
    }

    /// The histogram: points of (upper end of a bucket in nanoseconds, count). Five buckets make a
    /// doubling.
    pub fn histogram(&self) -> Vec<(f64, f64)> {
        let Some(&least) = self.nanoseconds.first() else { return Vec::new() };
        let least = least.max(1.0);
        let bucket = |time: f64| ((time.max(least) / least).log2() * 5.0) as usize;
        let mut counts = vec![0.0; self.nanoseconds.last().map_or(0, |most| bucket(*most)) + 1];
        self.nanoseconds.iter().for_each(|time| counts[bucket(*time)] += 1.0);
        counts
            .into_iter()
            .enumerate()
            .map(|(place, count)| (least * 2_f64.powf((place + 1) as f64 / 5.0), count))
            .collect()
    }

    /// The curve of the report: (part, nanoseconds) at each hundredth.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        (0..=100).map(|at| (f64::from(at), self.at(f64::from(at) / 100.0))).collect()
    }
}
