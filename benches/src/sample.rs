//! Times of interleaved rounds. The contenders take turns, so a noisy neighbour slows all of them
//! alike.

use crate::processors::Processor;

/// The result of one round of one contender.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Nanoseconds for one operation.
    pub nanoseconds: f64,
    /// True if the answer was right.
    pub right: bool,
}

/// The rounds of one contender.
#[derive(Clone, Debug)]
pub struct Series {
    /// The contender.
    pub name: String,
    /// Nanoseconds for one operation, or another measure, ascending.
    values: Vec<f64>,
    /// True if every answer was right.
    pub right: bool,
}

impl Series {
    /// The series of these samples. There is at least one.
    pub fn new(name: String, samples: &[Sample]) -> Self {
        let right = samples.iter().all(|sample| sample.right);
        Self { right, ..Self::of(name, samples.iter().map(|sample| sample.nanoseconds).collect()) }
    }

    /// The series of these figures, all of right answers. There is at least one.
    pub(crate) fn of(name: String, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { name, values, right: true }
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Half the distance between the quartiles, as a part of the median.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / 2.0 / self.median()
    }

    /// The value that 99 of 100 rounds stay within. With fewer than 100 it is the slowest round.
    pub fn p99(&self) -> f64 {
        let last = self.values.len() - 1;
        self.values[(last as f64 * 0.99).ceil() as usize]
    }

    fn quantile(&self, at: f64) -> f64 {
        let last = self.values.len() - 1;
        self.values[(last as f64 * at).round() as usize]
    }
}

/// A contender, and one round of it.
pub type Turn<'a> = (String, Box<dyn FnMut() -> Sample + 'a>);

/// Runs `rounds` rounds of each in turn (A B C, A B C), after a first one that is not counted.
pub fn interleave(rounds: usize, turns: Vec<Turn<'_>>) -> Vec<Series> {
    interleave_by(rounds, turns, |_, turn| turn())
}

/// As [`interleave`], with each round on one processor and the processors in turn. If others on the
/// host slow a processor, they slow all contenders.
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
