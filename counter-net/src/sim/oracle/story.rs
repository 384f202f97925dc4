//! A story: the steps of one seed, to be played, printed or shortened.

use super::mix::Mix;
use super::plot::{Step, steps};
use super::stage::Stage;
use crate::sim::Failure;

/// The story of one seed.
#[derive(Clone, Debug)]
pub struct Story {
    mix: Mix,
    seed: u64,
    steps: Vec<Step>,
}

impl Story {
    /// The story that a mix and a seed make.
    pub fn new(mix: &Mix, seed: u64) -> Self {
        Self { mix: mix.clone(), seed, steps: steps(mix, seed) }
    }

    /// The number of its steps.
    #[expect(clippy::len_without_is_empty, reason = "a story begins with a node")]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Plays it to the end.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn play(&self) -> Result<(), Failure> {
        Stage::new(&self.mix, self.seed, false).play(&self.steps)
    }

    /// Plays it, and prints each step with what the nodes show after it.
    ///
    /// # Errors
    /// As [`play`](Self::play).
    pub fn print(&self) -> Result<(), Failure> {
        let mut stage = Stage::new(&self.mix, self.seed, true);
        let played = stage.play(&self.steps);
        println!("     {}", stage.picture());
        played
    }

    /// Leaves out steps as long as the rest still fails in the same way. Takes at most `tries`
    /// plays.
    pub fn shrink(mut self, tries: usize) -> Self {
        let Err(failure) = self.play() else { return self };
        let kind = kind(&failure);
        let (mut left, mut size) = (tries, self.steps.len().div_ceil(2));
        while size > 0 && left > 0 {
            let mut at = 0;
            while at < self.steps.len() && left > 0 {
                let mut less = self.clone();
                less.steps.drain(at..(at + size).min(self.steps.len()));
                left -= 1;
                if less.play().is_err_and(|failure| self::kind(&failure) == kind) {
                    self = less
                } else {
                    at += size
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        self
    }
}

/// The words of a failure, without its numbers and names.
fn kind(failure: &Failure) -> String {
    let text = failure.to_string();
    let words = text.lines().next().unwrap_or_default().split_whitespace();
    words
        .filter(|word| word.chars().all(|letter| letter.is_alphabetic() || letter == ','))
        .collect::<Vec<_>>()
        .join(" ")
}
