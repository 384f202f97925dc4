//! Times as quantiles, and as a histogram for the report.

use std::time::Duration;

/// Times, ascending.
#[derive(Clone, Debug)]
pub struct Quantiles {
    nanoseconds: Vec<f64>,
}

impl Quantiles {
    /// Of one time at least.
    pub fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut nanoseconds: Vec<f64> = times.into_iter().map(|time| time.as_nanos() as f64).collect();
        nanoseconds.sort_by(f64::total_cmp);
        Self { nanoseconds }
    }

    /// The time below which this part of all lies, in nanoseconds.
    pub fn at(&self, part: f64) -> f64 {
        let last = self.nanoseconds.len().saturating_sub(1);
        self.nanoseconds.get((last as f64 * part).ceil() as usize).copied().unwrap_or(f64::NAN)
    }

    /// (part, nanoseconds) at each hundredth: the curve of the report.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        (0..=100).map(|at| (f64::from(at), self.at(f64::from(at) / 100.0))).collect()
    }
}
