//! From rows back to a map: the checkpoint's pages, then the deltas after it, with a line of progress for large states.

use std::time::{Duration, Instant};

use counter_core::{CounterMap, Delta, Span, Staging};

use super::checkpoint::Weight;

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Below this many cells, loading is not worth a line.
const REPORT_CELLS_MIN: usize = 100_000;

/// Takes rows in the order in which they were written.
pub(super) struct Loader {
    map: CounterMap,
    staging: Staging,
    /// Spans with something missing before them. A writer that was folded while a checkpoint was written may be in a delta and not in the pages.
    gaps: Vec<Span>,
    weight: Weight,
    began: Instant,
    reported: Instant,
}

impl Loader {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            map: CounterMap::new(),
            staging: Staging::new(usize::MAX),
            gaps: Vec::new(),
            weight: Weight::default(),
            began: now,
            reported: now,
        }
    }

    /// A page of the checkpoint: it counts when its writer's last one is here.
    pub(super) fn page(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.weight.checkpoint += bytes.len() as u64;
        let page = Delta::decode(bytes).map_err(|error| error.to_string())?;
        let complete = self.staging.push(page).map_err(|error| error.to_string())?;
        self.join(&complete)
    }

    /// A delta of the log.
    pub(super) fn delta(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.weight.appended(bytes.len());
        self.join(&Delta::decode(bytes).map_err(|error| error.to_string())?)
    }

    fn join(&mut self, delta: &Delta) -> Result<(), String> {
        let joined = self.map.join_delta(delta).map_err(|error| error.to_string())?;
        self.gaps.extend(joined.gaps);
        if self.reported.elapsed() > REPORT_INTERVAL {
            self.reported = Instant::now();
            tracing::info!(cells = self.map.cell_count() + self.staging.cell_count(), "loading the data directory");
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(CounterMap, Weight), String> {
        if let Some(gap) = self.gaps.iter().find(|gap| !self.map.is_folded(gap.replica) && self.map.seen_of(gap.replica) < gap.upto) {
            return Err(format!("versions after {} of replica {} are missing", self.map.seen_of(gap.replica), gap.replica));
        }
        if self.map.cell_count() >= REPORT_CELLS_MIN {
            tracing::info!(cells = self.map.cell_count(), took = ?self.began.elapsed(), "the data directory is loaded");
        }
        Ok((self.map, self.weight))
    }
}
