//! A node's data directory, as far as a story needs it: the states that a start may find there.

use counter_core::CounterMap;

use super::super::ledger::Seen;

/// The most copies kept for a restore.
const COPIES_MAX: usize = 32;

/// A data directory, with earlier copies of it.
///
/// A process that ended without lag left everything that it held. In any other case a start goes on
/// from the last commit, or from an earlier copy. Each of these states is kept with what the
/// process had shown by then, because the node must show that again.
#[derive(Default)]
pub(super) struct Directory {
    /// States that commits wrote, the latest last.
    copies: Vec<(CounterMap, Seen)>,
    lags: bool,
    is_full: bool,
    /// The account of the process when it ended, if the directory holds all of that.
    at_end: Option<Seen>,
}

impl Directory {
    /// Stops commits or resumes them. They may stop because the disk is full.
    pub(super) fn set_lag(&mut self, lags: bool, is_full: bool) {
        (self.lags, self.is_full) = (lags, is_full);
    }

    /// True if the disk is full. Its node refuses adds then.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// True if commits have stopped.
    pub(super) fn lags(&self) -> bool {
        self.lags
    }

    /// Writes a commit.
    pub(super) fn commit(&mut self, map: CounterMap, seen: Seen) {
        if self.copies.len() == COPIES_MAX {
            self.copies.remove(0);
        }
        self.copies.push((map, seen));
    }

    /// The process ended. `seen` is what it had shown, if it left everything that it held.
    pub(super) fn end(&mut self, seen: Option<Seen>) {
        self.at_end = seen;
    }

    /// The account that the node must show after a start from here.
    pub(super) fn seen(&self) -> Option<&Seen> {
        self.at_end.as_ref().or_else(|| self.copies.last().map(|(_, seen)| seen))
    }

    /// A process starts from here, or from the copy made `back` commits before the last. Copies
    /// later than that are gone. Returns what the last process had shown by then, and the state,
    /// unless it is everything that the last process held.
    pub(super) fn start(&mut self, back: Option<usize>) -> (Seen, Option<CounterMap>) {
        self.set_lag(false, false);
        if let Some(seen) = self.at_end.take().filter(|_| back.is_none()) {
            return (seen, None);
        }
        let kept = self.copies.len().saturating_sub(back.unwrap_or(0)).max(1);
        self.copies.truncate(kept);
        let (map, seen) = self.copies.last().cloned().unwrap_or_default();
        (seen, Some(map))
    }
}
