//! The figures of all contenders for one workload, and the requirement on ours.

use serde::{Deserialize, Serialize};

use crate::sample::Series;

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds for one operation.
    Nanoseconds,
    /// Bytes, on the wire or of heap.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Operations a second. More is better.
    PerSecond,
}

/// The figure of one contender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The contender. Names that start with `bound` or `floor` stand for what the machine allows.
    pub name: String,
    /// The median of the runs, in the row's unit.
    pub value: f64,
    /// Half the distance between the quartiles, as a part of the median.
    pub spread: f64,
    /// The time that 99 of 100 rounds stayed within, or 99 of 100 operations if each was timed.
    /// With fewer than 100 it is the slowest. `None` if nothing was timed more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// True if every answer was right.
    pub right: bool,
    /// True if others published it, for a similar workload on another machine. It was not measured
    /// in this run.
    #[serde(default)]
    pub published: bool,
}

impl Figure {
    /// An exact and right figure, measured in this run.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, spread: 0.0, p99: None, right: true, published: false }
    }
}

/// The requirement on our figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// At least this many times better than the named contender.
    Better(f64, String),
    /// At most this many times the figure of the named contender.
    Within(f64, String),
    /// At most this value, in the row's unit.
    AtMost(f64),
    /// At least this value, in the row's unit.
    AtLeast(f64),
    /// No requirement: the figure is only shown.
    Shown,
}

/// One workload, and the figures of all contenders for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// A name that never changes, such as `w2.join.100000`. Reports are compared by it.
    pub id: String,
    /// A description of the workload.
    pub work: String,
    /// The unit of all figures.
    pub unit: Unit,
    /// Ours first.
    pub figures: Vec<Figure>,
    /// The requirement on ours.
    pub need: Need,
    /// A goal beyond the requirement, in words. May be empty.
    pub aim: String,
}

impl Row {
    /// A row of times.
    pub fn times(id: impl Into<String>, work: impl Into<String>, series: &[Series]) -> Self {
        let figure = |series: &Series| Figure {
            spread: series.spread(),
            p99: Some(series.p99()),
            right: series.right,
            ..Figure::new(&series.name, series.median())
        };
        Self::new(id, work, Unit::Nanoseconds, series.iter().map(figure).collect())
    }

    /// A row of exact figures.
    pub fn exact(
        id: impl Into<String>,
        work: impl Into<String>,
        unit: Unit,
        figures: &[(&str, f64)],
    ) -> Self {
        let figure = |&(name, value): &(&str, f64)| Figure::new(name, value);
        Self::new(id, work, unit, figures.iter().map(figure).collect())
    }

    /// A row of figures that were each taken several times, with their medians and spreads.
    pub fn runs(
        id: impl Into<String>,
        work: impl Into<String>,
        unit: Unit,
        runs: &[(&str, &[f64])],
    ) -> Self {
        let figure = |&(name, values): &(&str, &[f64])| {
            let series = Series::of(name.into(), values.to_vec());
            Figure { spread: series.spread(), ..Figure::new(name, series.median()) }
        };
        Self::new(id, work, unit, runs.iter().map(figure).collect())
    }

    fn new(
        id: impl Into<String>,
        work: impl Into<String>,
        unit: Unit,
        figures: Vec<Figure>,
    ) -> Self {
        Self {
            id: id.into(),
            work: work.into(),
            unit,
            figures,
            need: Need::Shown,
            aim: String::new(),
        }
    }

    /// Sets the requirement, and the goal beyond it.
    #[must_use]
    pub fn needs(self, need: Need, aim: &str) -> Self {
        Self { need, aim: aim.into(), ..self }
    }

    /// Adds a figure that was not measured in this run.
    #[must_use]
    pub fn published(mut self, name: &str, value: f64) -> Self {
        self.figures.push(Figure { published: true, ..Figure::new(name, value) });
        self
    }

    /// Adds a peer whose answer was wrong. Its figure reads *wrong*, however fast it was.
    #[must_use]
    pub fn wrong(mut self, name: &str) -> Self {
        self.figures.push(Figure { right: false, ..Figure::new(name, 0.0) });
        self
    }

    /// The figure of one contender.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// Our figure.
    pub fn ours(&self) -> Option<&Figure> {
        self.figure("ours")
    }

    /// The best that the machine allows, if it was measured. A fair bound goes before a floor,
    /// which is a raw loop.
    pub fn bound(&self) -> Option<&Figure> {
        let starting =
            |with: &str| self.figures.iter().find(|figure| figure.name.starts_with(with));
        starting("bound").or_else(|| starting("floor"))
    }

    /// How many times better ours is than the named contender, below 1 if it is worse. `None` if
    /// either answer is wrong, since there is nothing to compare.
    pub fn ratio(&self, name: &str) -> Option<f64> {
        let right = |figure: &&Figure| figure.right;
        let (ours, other) =
            (self.ours().filter(right)?.value, self.figure(name).filter(right)?.value);
        Some(if self.unit == Unit::PerSecond { ours / other } else { other / ours })
    }

    /// True if ours is right and meets the requirement. `None` if there is no requirement, or if
    /// the contender to compare with is missing or wrong.
    pub fn met(&self) -> Option<bool> {
        let ours = self.ours()?;
        if !ours.right {
            return Some(false);
        }
        // A published figure decides nothing.
        let ratio = |name: &str| {
            self.figure(name)
                .filter(|figure| !figure.published)
                .and_then(|figure| self.ratio(&figure.name))
        };
        Some(match &self.need {
            Need::Better(times, name) => ratio(name)? >= *times,
            Need::Within(times, name) => ratio(name)? * times >= 1.0,
            Need::AtMost(value) => ours.value <= *value,
            Need::AtLeast(value) => ours.value >= *value,
            Need::Shown => return None,
        })
    }
}
