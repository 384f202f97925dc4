//! A replica's part in removals: it asks for them, and cleans up its own traces of removals and
//! resets.
//!
//! A removal is a reset and a request. A replica that holds the request drops its own cells as soon
//! as the reset covers all their amounts. The traces then go in three steps: first the resets of
//! cells that were dropped or began anew, then the origins of those cells, then the tombstones.
//! Each step waits until every enrolled replica has proved that it holds the previous one. In the
//! end the state is as if the counter had never existed.

use crate::dedup::settled::RememberedKeys;
use crate::error::WriteError;
use crate::lattice::cells::CleanupStep;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::keys::KeyId;
use crate::lattice::versions::{Version, VersionVector};
use crate::replica::state::Replica;
use crate::replica_id::ReplicaId;

/// The most cells, and the most tombstones, that one step examines for finished traces.
const CANDIDATES_MAX: usize = 10_000;

/// The versions that the enrolled replicas have proved they hold. This replica is one of them, and
/// must know all of them. With the default, which is empty, only steps that need no proof are
/// taken.
#[derive(Clone, Debug, Default)]
pub struct ProvenVersions {
    /// Versions that all of them hold.
    pub by_all: VersionVector,
    /// Versions that at least one of them holds.
    pub by_any: VersionVector,
}

/// The progress of a replica that cleans up its traces, see [`Replica::clean_up`].
#[derive(Clone, Debug, Default)]
pub struct Cleanup {
    /// The writer whose traces these are.
    writer: Option<ReplicaId>,
    /// Every reset that saw this replica's cells before this version has arrived here. For all
    /// replicas held this version, and everything that they held then is now held here.
    arrived: Version,
    /// The next value of `arrived`, and the versions to wait for.
    arriving: Option<(Version, VersionVector)>,
    /// The number of key renumberings for which the fields below are valid.
    renumberings: u64,
    /// The key to look at next.
    next: u32,
    /// The slot at which to look for finished origins and retractions next.
    next_trace: u32,
    /// True once a pass has looked at all of the replica's cells for these.
    traces_done: bool,
    ending: Option<TraceEnding>,
}

/// Traces that nothing in the state `held` refers to. They end once all replicas hold that state.
#[derive(Clone, Debug)]
struct TraceEnding {
    held: VersionVector,
    /// The keys of origins and retractions, with their versions.
    traces: Vec<(u32, Version)>,
    /// The tombstones up to this version; 0 for none.
    tombstones: Version,
}

impl Cleanup {
    /// The versions that every enrolled replica must prove it holds before the next step. They are
    /// the state in which finished traces were found, or else all versions held here.
    pub fn awaited(&self, map: &CounterMap) -> VersionVector {
        self.ending.as_ref().map_or_else(|| map.version_vector(), |ending| ending.held.clone())
    }
}

impl Replica {
    /// Asks for the removal of a counter: resets all its regions, pending adds included, and has
    /// every replica drop its cells. Adds that this replica has not seen stay, and the counter with
    /// them. Returns false if nothing of the counter is held.
    ///
    /// # Complexity
    /// O(regions * writers).
    ///
    /// # Errors
    /// `Left` if this replica has left. Nothing changed.
    ///
    /// # Examples
    /// ```
    /// use counter_core::{Cleanup, Replica, ReplicaId, ProvenVersions};
    /// let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
    /// ord.add("clicks", 5)?;
    /// assert!(ord.remove("clicks")?);
    /// assert_eq!(ord.total("clicks"), 0);
    /// // No other replica has to hold it, so all traces go.
    /// let mut work = Cleanup::default();
    /// let held = |ord: &Replica| ord.map().version_vector();
    /// while ord
    ///     .clean_up(&mut work, &ProvenVersions { by_all: held(&ord), by_any: held(&ord) }, 100)
    ///     .is_some()
    /// {}
    /// assert_eq!(ord.map().cell_count(), 0);
    /// # Ok::<(), counter_core::WriteError>(())
    /// ```
    pub fn remove(&mut self, counter: &str) -> Result<bool, WriteError> {
        self.hand_over_counter(counter);
        self.flush();
        if self.has_left() {
            return Err(WriteError::Left);
        }
        let (id, mut asked) = (self.id(), false);
        let (upto, mut remembered) = (self.version(), RememberedKeys::default());
        for key in self.map().keys_of(counter) {
            self.note_settled(KeyId(key), upto, &mut remembered);
            asked |= self.map_mut().cells_mut().request_removal(id, key).is_some();
        }
        Ok(asked)
    }

    /// True if [`clean_up`](Self::clean_up) may have something to do, now or later.
    pub fn has_traces(&self) -> bool {
        self.map().cells().has_traces(self.id())
    }

    /// Cleans up traces of resets and removals as far as `shown` makes that safe. Looks at
    /// `keys_max` keys at most. Returns the changed keys; None if there was nothing to do. No value
    /// changes here.
    ///
    /// # Complexity
    /// O(keys looked at * writers).
    pub fn clean_up(
        &mut self,
        work: &mut Cleanup,
        shown: &ProvenVersions,
        keys_max: usize,
    ) -> Option<Vec<KeyId>> {
        let id = self.id();
        if self.has_left() || self.map().is_ended(id) {
            return None;
        }
        if work.writer != Some(id) {
            *work = Cleanup { writer: Some(id), ..Cleanup::default() };
        }
        if work.renumberings != self.map().renumberings() {
            (work.renumberings, work.next, work.ending) = (self.map().renumberings(), 0, None);
        }
        let (before, arrived) = (self.version(), work.arrived);
        self.note_arrived(work, shown);
        self.end_traces(work, &shown.by_all);
        let keys: Vec<u32> = self.map().cells().adjusted_from(work.next).take(keys_max).collect();
        work.next = if keys.len() < keys_max { 0 } else { keys.last().map_or(0, |last| last + 1) };
        let (mut changed, mut remembered) = (Vec::new(), RememberedKeys::default());
        for key in keys {
            let Some(step) = self.map().cells().next_step(id, key, &shown.by_all) else { continue };
            let settled = match &step {
                CleanupStep::Drop => self.version(),
                CleanupStep::Rewrite { settled, .. } => *settled,
            };
            self.note_settled(KeyId(key), settled, &mut remembered);
            self.map_mut().cells_mut().take_step(id, key, step);
            changed.push(KeyId(key));
        }
        if work.ending.is_none() {
            let from = work.next_trace;
            let (traces, next) =
                self.map().cells().finished_traces(id, work.arrived, from, CANDIDATES_MAX);
            work.next_trace = next;
            work.traces_done |= next == 0;
            let tombstones =
                self.map().cells().finished_tombstones(id, work.arrived, CANDIDATES_MAX);
            if !traces.is_empty() || tombstones > 0 {
                let held = self.map().version_vector();
                work.ending = Some(TraceEnding { held, traces, tombstones });
                return Some(changed);
            }
        }
        let is_one_pass = work.next == 0 && (work.traces_done || work.ending.is_some());
        work.traces_done &= !is_one_pass;
        let is_under_way = self.version() > before || work.arrived > arrived || !is_one_pass;
        is_under_way.then_some(changed)
    }

    /// Raises `arrived`, once everything that it waits for is held here.
    fn note_arrived(&self, work: &mut Cleanup, shown: &ProvenVersions) {
        let upto = shown.by_all.get(self.id());
        if work.arriving.is_none() && upto > work.arrived {
            work.arriving = Some((upto, shown.by_any.clone()));
        }
        if let Some((upto, by_any)) = work.arriving.take() {
            let is_held =
                by_any.iter().all(|(writer, upto)| self.map().counted_up_to(writer) >= upto);
            match is_held {
                true => work.arrived = upto,
                false => work.arriving = Some((upto, by_any)),
            }
        }
    }

    /// Ends the traces that were found finished, once all replicas hold the state in which they
    /// were found.
    fn end_traces(&mut self, work: &mut Cleanup, stable: &VersionVector) {
        let id = self.id();
        let Some(ending) = work.ending.take() else { return };
        let is_held = ending
            .held
            .iter()
            .all(|(writer, upto)| stable.get(writer) >= upto || self.map().is_folded(writer));
        if !is_held {
            work.ending = Some(ending);
            return;
        }
        self.map_mut().cells_mut().end_traces(id, &ending.traces);
        if ending.tombstones > 0 {
            self.map_mut().change_record(id, |record| record.forget(ending.tombstones));
        }
    }
}
