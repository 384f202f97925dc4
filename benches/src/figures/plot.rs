//! The curves of the report's plots.

use serde::{Deserialize, Serialize};

/// The points of one contender in one plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The plot that it belongs to.
    pub plot: String,
    /// The contender.
    pub name: String,
    /// Points (x, y), by ascending x.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve of these points.
    pub fn new(plot: &str, name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { plot: plot.into(), name: name.into(), points }
    }

    /// The power of x that the curve grows with: its slope in a plot of logarithms, by least
    /// squares. `None` below two points.
    pub fn slope(&self) -> Option<f64> {
        let points: Vec<(f64, f64)> = self.points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        let count = points.len() as f64;
        let (mean_x, mean_y) = (
            points.iter().map(|p| p.0).sum::<f64>() / count,
            points.iter().map(|p| p.1).sum::<f64>() / count,
        );
        let variance: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
        let covariance: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
        (points.len() > 1 && variance > 0.0).then(|| covariance / variance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_of_a_square_is_two() {
        let curve =
            Curve::new("plot", "square", vec![(1.0, 3.0), (10.0, 300.0), (100.0, 30_000.0)]);
        assert!((curve.slope().unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(Curve::new("plot", "point", vec![(1.0, 1.0)]).slope(), None);
    }
}
