//! Times of interleaved rounds: the contenders take turns, so that a noisy neighbour meets all of
//! them alike.

use crate::processors::Processor;

/// What one round of one contender gave.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Nanoseconds an operation.
    pub nanoseconds: f64,
    /// Whether the answer was right.
    pub right: bool,
}

/// The rounds of one contender.
#[derive(Clone, Debug)]
pub struct Series {
    /// Whose.
    pub name: String,
    /// Nanoseconds an operation, or what else was counted; ascending.
    values: Vec<f64>,
    /// Whether every answer was right. A contender that is wrong is shown as wrong, not as fast.
    pub right: bool,
}

impl Series {
    /// The series of these samples, of which there is one at least.
    pub fn new(name: String, samples: &[Sample]) -> Self {
        let right = samples.iter().all(|sample| sample.right);
        Self { right, ..Self::of(name, samples.iter().map(|sample| sample.nanoseconds).collect()) }
    }

    /// The series of these figures, of which there is one at least, all of right answers.
    pub(crate) fn of(name: String, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { name, values, right: true }
    }

    /// The median, in nanoseconds an operation or what else was counted.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Half the distance of the quartiles, as a part of the median.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / 2.0 / self.median()
    }

    fn quantile(&self, at: f64) -> f64 {
        let last = self.values.len() - 1;
        self.values[(last as f64 * at).round() as usize]
    }
}

/// A contender and what one round of it does.
pub type Turn<'a> = (String, Box<dyn FnMut() -> Sample + 'a>);

/// Runs `rounds` rounds of each in turn (A B C, A B C), after one that is not counted.
pub fn interleave(rounds: usize, turns: Vec<Turn<'_>>) -> Vec<Series> {
    interleave_by(rounds, turns, |_, turn| turn())
}

/// As [`interleave`], each round on one processor, and the processors in turn: where others on the
/// host slow one of them, they slow all contenders.
pub fn interleave_pinned(rounds: usize, turns: Vec<Turn<'_>>) -> Vec<Series> {
    let processors = Processor::usable();
    interleave_by(rounds, turns, |round, turn| processors[round % processors.len()].run(turn))
}

fn interleave_by(
    rounds: usize,
    mut turns: Vec<Turn<'_>>,
    run: impl Fn(usize, &mut dyn FnMut() -> Sample) -> Sample,
) -> Vec<Series> {
    let mut samples: Vec<Vec<Sample>> = turns.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..=rounds {
        for ((_, turn), samples) in turns.iter_mut().zip(&mut samples) {
            let sample = run(round, turn);
            if round > 0 || !sample.right {
                samples.push(sample);
            }
        }
    }
    turns.into_iter().zip(samples).map(|((name, _), samples)| Series::new(name, &samples)).collect()
}
