//! Lets time pass, for as long as a test wants or until something is true.

use std::time::Duration;

use super::Sim;
use crate::sim::Failure;

/// The pause between two looks at a condition. Measured times are exact to this.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Sim {
    /// Lets time run.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Lets time run, and calls `look` after every event.
    ///
    /// # Errors
    /// The first error of `look`. Time stops there.
    pub fn run_watched<E>(
        &mut self,
        time: Duration,
        mut look: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = self.now + time;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.step();
            look(self)?;
        }
        self.now = end;
        Ok(())
    }

    /// Lets time run until `done`, and returns how long that took, to 5 ms.
    ///
    /// # Errors
    /// The first thing that went wrong, or `NotConverged` after `limit`.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<Duration, Failure> {
        let start = self.now;
        loop {
            self.verdict()?;
            if done(self) {
                return Ok(self.now - start);
            }
            if self.now - start >= limit {
                return Err(Failure::NotConverged(format!(
                    "not within {limit:?}; {}",
                    self.summary()
                )));
            }
            self.run_for(LOOK_EVERY);
        }
    }

    /// Lets time run until all nodes that are up hold equal states, then compares each with the
    /// truth. Returns how long it took.
    ///
    /// # Errors
    /// The first thing that went wrong, or `NotConverged` after `limit`.
    pub fn run_until_converged(&mut self, limit: Duration) -> Result<Duration, Failure> {
        let took = self.run_until(limit, |sim| sim.is_converged())?;
        self.check()?;
        Ok(took)
    }

    /// World time since the start.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How many inputs all nodes together have taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }
}
