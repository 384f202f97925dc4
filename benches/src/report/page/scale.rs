//! Axes of the plots, linear or logarithmic: the position of a value, and the values written beside
//! the line.

/// One axis. It maps a range of values to a range of positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

/// With at most this many powers of ten, 2 and 5 are written between them.
const DECADES_WITH_ROUND_BETWEEN: f64 = 2.2;
const POWERS_MAX: usize = 7;

/// 1, 2 and 5 times each power of ten from below `low` to above `high`.
fn round_figures(low: f64, high: f64) -> impl Iterator<Item = f64> {
    let powers = low.log10().floor() as i32 - 1..=high.log10().ceil() as i32 + 1;
    powers.map(|power| 10_f64.powi(power)).flat_map(|power| [power, 2.0 * power, 5.0 * power])
}

impl Scale {
    /// An axis that ends with the values.
    pub(super) fn tight(
        values: impl Iterator<Item = f64> + Clone,
        log: bool,
        from: f64,
        to: f64,
    ) -> Self {
        let (low, high) =
            (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max));
        Self { low, high: if high > low { high } else { low + 1.0 }, log, from, to }
    }

    /// A logarithmic axis that ends at the next round values, so that no line lies on an edge
    /// without a value.
    pub(super) fn round(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let tight = Self::tight(values, true, from, to);
        let low = round_figures(tight.low, tight.high)
            .filter(|figure| *figure < tight.low * 1.001)
            .fold(f64::MIN_POSITIVE, f64::max);
        let high = round_figures(tight.low, tight.high)
            .filter(|figure| *figure > tight.high * 0.999)
            .fold(f64::MAX, f64::min);
        Self { low, high: if high > low { high } else { low * 2.0 }, ..tight }
    }

    /// The position of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = match self.log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + part * (self.to - self.from)
    }

    /// The values to write: quarters on a linear axis, else powers of ten, with 2 and 5 if there is
    /// room.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.log {
            return (0..=4)
                .map(|at| self.low + (self.high - self.low) * f64::from(at) / 4.0)
                .collect();
        }
        let within = |figure: &f64| (self.low * 0.999..=self.high * 1.001).contains(figure);
        let figures: Vec<f64> = round_figures(self.low, self.high).filter(within).collect();
        if (self.high / self.low).log10() <= DECADES_WITH_ROUND_BETWEEN {
            return figures;
        }
        let powers: Vec<f64> = figures
            .into_iter()
            .filter(|figure| (figure.log10() - figure.log10().round()).abs() < 1e-9)
            .collect();
        let step = powers.len().div_ceil(POWERS_MAX).max(1);
        powers.into_iter().step_by(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(low: f64, high: f64) -> Vec<f64> {
        Scale::round([low, high].into_iter(), 0.0, 1.0)
            .ticks()
            .iter()
            .map(|tick| (tick * 1e6).round() / 1e6)
            .collect()
    }

    #[test]
    fn few_powers_of_ten_have_two_and_five_between_them() {
        assert_eq!(round(0.9, 6.0), [0.5, 1.0, 2.0, 5.0, 10.0]);
        assert_eq!(round(30.0, 200_000.0), [100.0, 1_000.0, 10_000.0, 100_000.0]);
    }

    #[test]
    fn round_ends_enclose_all_values_even_a_single_one() {
        let scale = Scale::round([3.0, 700.0].into_iter(), 10.0, 110.0);
        assert!(scale.at(3.0) > 10.0 && scale.at(700.0) < 110.0);
        assert_eq!(round(4.0, 4.0), [2.0, 5.0]);
    }
}
