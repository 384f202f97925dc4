//! Loads a map from its rows: the checkpoint's pages, then the deltas after it. Logs the progress
//! of large states.

use std::time::{Duration, Instant};

use counter_core::{CounterMap, Delta, Joined, Span, Staging};

use super::checkpoint::Weight;

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Loading fewer cells than this is not logged.
const REPORT_CELLS_MIN: usize = 100_000;

/// Joins rows in the order in which they were written.
pub(super) struct Loader {
    map: CounterMap,
    staging: Staging,
    /// Spans with a gap before them. A writer that was folded while a checkpoint was written may be
    /// in a delta and not in the pages.
    gaps: Vec<Span>,
    weight: Weight,
    began: Instant,
    reported: Instant,
}

impl Loader {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            // Without bounds: everything that was written must be readable.
            map: CounterMap::with_bounds(usize::MAX, usize::MAX),
            staging: Staging::new(usize::MAX),
            gaps: Vec::new(),
            weight: Weight::default(),
            began: now,
            reported: now,
        }
    }

    /// Takes a page of the checkpoint. It takes effect with its writer's last page.
    pub(super) fn page(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.weight.page_loaded(bytes.len());
        let page = Delta::decode(bytes).map_err(|error| error.to_string())?;
        let complete = self.staging.push(page).map_err(|error| error.to_string())?;
        self.join(&complete)
    }

    /// Joins a delta of the log.
    pub(super) fn delta(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.weight.appended(bytes.len());
        let delta = Delta::decode(bytes).map_err(|error| error.to_string())?;
        let joined = self.map.join_logged(&delta).map_err(|error| error.to_string())?;
        self.note(joined);
        Ok(())
    }

    fn join(&mut self, delta: &Delta) -> Result<(), String> {
        let joined = self.map.join_delta(delta).map_err(|error| error.to_string())?;
        self.note(joined);
        Ok(())
    }

    fn note(&mut self, joined: Joined) {
        self.gaps.extend(joined.gaps);
        if self.reported.elapsed() > REPORT_INTERVAL {
            self.reported = Instant::now();
            tracing::info!(
                cells = self.map.cell_count() + self.staging.cell_count(),
                "loading the data directory"
            );
        }
    }

    pub(super) fn finish(self) -> Result<(CounterMap, Weight), String> {
        if let Some(gap) = self.gaps.iter().find(|gap| {
            !self.map.is_folded(gap.replica) && self.map.seen_of(gap.replica) < gap.upto
        }) {
            return Err(format!(
                "versions after {} of replica {} are missing",
                self.map.seen_of(gap.replica),
                gap.replica
            ));
        }
        if self.map.cell_count() >= REPORT_CELLS_MIN {
            tracing::info!(
                cells = self.map.cell_count(),
                took = ?self.began.elapsed(),
                "the data directory is loaded"
            );
        }
        Ok((self.map, self.weight))
    }
}

#[cfg(test)]
mod tests {
    use counter_core::{
        Cleanup, JoinError, ProvenVersions, REPLICAS_MAX, Replica, ReplicaId, VersionVector,
    };

    use super::*;

    /// An incarnation that ended, with its successor, which has everything of it and has not begun.
    fn incarnations() -> (Replica, Replica) {
        let [mut ended, mut successor] =
            [1, 2].map(|node| Replica::new(ReplicaId::new(node, 1 << 32), "ord").unwrap());
        for _ in 0..2 {
            ended.add("clicks", 5).unwrap();
            ended.flush();
        }
        successor.join_delta(ended.map().delta_since(&VersionVector::new())).unwrap();
        successor.claim(ended.id());
        (ended, successor)
    }

    fn fold(successor: &mut Replica) {
        let mut work = successor.absorb_round(None).unwrap();
        successor.absorb(&mut work, usize::MAX).unwrap();
        successor.fold(&mut work).unwrap();
    }

    #[test]
    fn writer_folded_during_a_checkpoint_is_not_missed() {
        let (ended, mut successor) = incarnations();
        let mut loader = Loader::new();
        // The first page: the successor as it was. Then a late delta of the ended incarnation, and
        // the fold; the page of that incarnation is never written.
        loader.page(&successor.map().delta_of(successor.id(), 0).unwrap().encode()).unwrap();
        let before = successor.map().version_vector();
        loader.delta(&ended.map().delta_of(ended.id(), 2).unwrap().encode()).unwrap();
        fold(&mut successor);
        loader.delta(&successor.map().delta_since(&before).encode()).unwrap();
        let (map, _) = loader.finish().unwrap();
        assert_eq!((map.total("clicks"), map.replicas().count()), (10, 1));
    }

    fn clean_up(replica: &mut Replica, shown: impl Fn() -> ProvenVersions) {
        let mut work = Cleanup::default();
        while replica.clean_up(&mut work, &shown(), 100).is_some() {}
    }

    #[test]
    fn cell_dropped_during_a_checkpoint_stays_dropped() {
        let mut replica = Replica::new(ReplicaId::new(1, 1), "ord").unwrap();
        for at in 0..200 {
            replica.add(&format!("visits:{at}"), 1).unwrap();
        }
        replica.flush();
        let (mut loader, mut cursor, mut pages) = (Loader::new(), None, Vec::new());
        let mut deltas = Vec::new();
        loop {
            let nothing = VersionVector::new();
            let page = replica.map().page_since(&nothing, None, cursor.as_ref(), 1_000);
            pages.push(page.delta.encode());
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            // Counters of the first page go between two pages, and all forget them. Of every second
            // one the log has the tombstone, of the others a whole state without it.
            let before = replica.map().version_vector();
            replica.remove(&format!("visits:{}", pages.len())).unwrap();
            if pages.len() % 2 == 0 {
                clean_up(&mut replica, ProvenVersions::default);
                deltas.push(replica.map().delta_since(&before).encode());
            }
            let before = replica.map().version_vector();
            loop {
                let version = replica.version();
                let held = replica.map().version_vector();
                clean_up(&mut replica, || ProvenVersions {
                    by_all: held.clone(),
                    by_any: held.clone(),
                });
                if replica.version() == version {
                    break;
                }
            }
            deltas.push(replica.map().delta_since(&before).encode());
        }
        assert!(pages.len() > 3 && replica.map().tombstone_count() == 0);
        pages.iter().for_each(|page| loader.page(page).unwrap());
        deltas.iter().for_each(|delta| loader.delta(delta).unwrap());
        let (map, _) = loader.finish().unwrap();
        assert_eq!(map.cell_count(), replica.map().cell_count());
        assert_eq!(map, *replica.map());
    }

    #[test]
    fn a_directory_above_the_bounds_is_read() {
        let mut written = CounterMap::new();
        for node in 0..=REPLICAS_MAX as u64 {
            written.set_region(ReplicaId::new(node, 1), "ord").unwrap();
        }
        let delta = written.delta_since(&VersionVector::new());
        assert_eq!(CounterMap::new().join_delta(&delta), Err(JoinError::TooManyReplicas));
        let mut loader = Loader::new();
        loader.delta(&delta.encode()).unwrap();
        assert_eq!(loader.finish().unwrap().0.replicas().count(), REPLICAS_MAX + 1);
    }

    #[test]
    fn missing_versions_of_unfolded_writer_are_damage() {
        let (ended, _) = incarnations();
        let mut loader = Loader::new();
        loader.delta(&ended.map().delta_of(ended.id(), 2).unwrap().encode()).unwrap();
        assert!(loader.finish().err().is_some_and(|reason| reason.contains("are missing")));
    }
}
