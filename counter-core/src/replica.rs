//! A replica: one writer's own side of the map, with adds from any thread and a flush that makes
//! cells of them.

use std::sync::Arc;

use crate::dedup::Clients;
use crate::error::{JoinError, WriteError};
use crate::lattice::amounts::{Amounts, NEARLY_FULL};
use crate::lattice::counter_map::{CounterMap, Joined};
use crate::lattice::delta::{Delta, Span};
use crate::lattice::keys::KeyId;
use crate::lattice::keys::names::is_name;
use crate::lattice::state_hash::StateHash;
use crate::lattice::versions::vector::Version;
use crate::pending::block::{Block, DirtySet, Wake};
use crate::pending::by_name::{Local, Part, Unflushed};
use crate::pending::handle::CounterHandle;
use crate::pending::slot::{CHUNK, Place, Room};
use crate::pending::sync::{Ordering, fence};
use crate::replica_id::ReplicaId;

/// No handle.
const NONE: u32 = u32::MAX;

/// A map together with the one writer that writes here.
///
/// # Examples
/// ```
/// use counter_core::{Replica, ReplicaId, VersionVector};
/// let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
/// let clicks = ord.counter("clicks")?;
/// std::thread::scope(|threads| {
///     for _ in 0..4 {
///         threads.spawn(|| (0..1000).for_each(|_| clicks.add(1).unwrap()));
///     }
/// });
/// assert_eq!(ord.total("clicks"), 4000); // at once, before any flush
/// ord.flush();
/// let mut fra = Replica::new(ReplicaId::new(2, 1), "fra")?;
/// fra.join_delta(ord.map().delta_since(&VersionVector::new()))?;
/// assert_eq!(fra.total("clicks"), 4000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Replica {
    id: ReplicaId,
    region: String,
    map: CounterMap,
    blocks: Vec<Arc<Block>>,
    dirty: Arc<DirtySet>,
    /// The key of each handle, in the order of their making.
    keys: Vec<KeyId>,
    /// By the number of a counter's name in the map: its handle's, or NONE.
    handles: Vec<u32>,
    /// What was added by name, from the thread that has the replica; of no more handles than were
    /// added to by name.
    local: Local,
    /// Adds with an id, written at once.
    unflushed: Unflushed,
    /// Whose adds with an id came here.
    clients: Clients,
    wake: Wake,
}

/// What a flush wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// The own versions that it took; None where nothing was pending.
    pub span: Option<Span>,
    /// Keys that it changed, in the order of their versions.
    pub changed: Vec<KeyId>,
}

impl Replica {
    /// A replica of a new map, which holds its record and nothing else.
    ///
    /// # Errors
    /// `NameOutOfRange` where no region may have that name.
    pub fn new(id: ReplicaId, region: &str) -> Result<Self, WriteError> {
        Self::with_map(id, region, CounterMap::new())
    }

    /// A replica that continues from a map, such as one that was loaded from a disk, or one with
    /// other bounds. Writes its record unless the map has it already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_map(id: ReplicaId, region: &str, mut map: CounterMap) -> Result<Self, WriteError> {
        if !is_name(region) {
            return Err(WriteError::NameOutOfRange);
        }
        if map.record(id).is_none_or(|record| record.region != region) {
            map.set_region(id, region)?;
        }
        let wake: Wake = Arc::new(|| {});
        Ok(Self {
            id,
            region: region.into(),
            map,
            blocks: Vec::new(),
            dirty: Arc::default(),
            keys: Vec::new(),
            handles: Vec::new(),
            local: Local::default(),
            unflushed: Unflushed::default(),
            clients: Clients::default(),
            wake,
        })
    }

    /// Who writes here.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// Where it runs: adds go to this region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// All that is held, without what is pending.
    pub fn map(&self) -> &CounterMap {
        &self.map
    }

    /// Flushes, and gives the map back. Handles that are still around add to nothing from now on.
    pub fn into_map(mut self) -> CounterMap {
        self.flush();
        self.map
    }

    /// The hash of the whole state, as [`CounterMap::state_hash`].
    pub fn state_hash(&mut self) -> StateHash {
        self.map.state_hash()
    }

    pub(crate) fn map_mut(&mut self) -> &mut CounterMap {
        &mut self.map
    }

    /// What the first add after a flush calls, from its thread. Handles made before keep what they
    /// were made with.
    pub fn set_wake(&mut self, wake: Wake) {
        self.wake = wake;
    }

    /// The handle that adds to this region of a counter; made once a counter, then found again: one
    /// hash. 24 bytes a counter beside the map's own, 64 KiB of 4,096 at a time.
    ///
    /// # Errors
    /// `NameOutOfRange` or `TooManyCounters`: no handle was made.
    pub fn counter(&mut self, counter: &str) -> Result<CounterHandle, WriteError> {
        let at = self.number(counter)?;
        Ok(CounterHandle::new(self.blocks[at / CHUNK].clone(), at % CHUNK))
    }

    /// Adds `amount`, 1 to 2^32, to this region of a counter by its name. One hash and one
    /// comparison of the name; what comes before a flush comes to one version.
    ///
    /// # Errors
    /// As [`CounterHandle::add`] and [`handle`](Self::handle); nothing was added.
    #[inline]
    pub fn add(&mut self, counter: &str, amount: u64) -> Result<(), WriteError> {
        let at = self.number_with_local(counter)?;
        self.local.raise(at, Part::Increments, amount)
    }

    /// Subtracts `amount` just as [`add`](Self::add) adds.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[inline]
    pub fn subtract(&mut self, counter: &str, amount: u64) -> Result<(), WriteError> {
        let at = self.number_with_local(counter)?;
        self.local.raise(at, Part::Decrements, amount)
    }

    #[inline]
    fn number(&mut self, counter: &str) -> Result<usize, WriteError> {
        match self.find(counter) {
            Some(at) => Ok(at),
            None => self.new_handle(counter),
        }
    }

    /// The handle of a counter that has one.
    #[inline]
    fn find(&self, counter: &str) -> Option<usize> {
        let number = self.map.counter_number(counter)? as usize;
        self.handles.get(number).filter(|at| **at != NONE).map(|at| *at as usize)
    }

    /// As [`number`](Self::number), with room for what is pending by name.
    #[inline]
    fn number_with_local(&mut self, counter: &str) -> Result<usize, WriteError> {
        let at = self.number(counter)?;
        if at >= self.local.len() {
            self.grow_local();
        }
        Ok(at)
    }

    #[cold]
    fn grow_local(&mut self) {
        for (at, key) in self.keys.iter().enumerate().skip(self.local.len()) {
            self.local.push();
            self.local.close(at, room(&self.map, self.id, *key));
        }
    }

    #[cold]
    fn new_handle(&mut self, counter: &str) -> Result<usize, WriteError> {
        let key = self.map.intern(counter, &self.region)?;
        let (at, number) = (self.keys.len(), self.map.counter_of(key) as usize);
        self.keys.push(key);
        self.handles.resize(self.handles.len().max(number + 1), NONE);
        self.handles[number] = at as u32;
        if at.is_multiple_of(CHUNK) {
            self.blocks.push(Block::new(self.blocks.len(), self.dirty.clone(), self.wake.clone()));
        }
        // A map that was loaded may hold a full cell already.
        self.blocks[at / CHUNK].close(at % CHUNK, room(&self.map, self.id, key));
        Ok(at)
    }

    /// Goes on as another writer: what is pending here and what is added from now on is written by
    /// `id`. What was written before stays as it is, as another's cells; but where others ended
    /// that incarnation, it is forgotten, to be pulled as they have it: what they did not have of
    /// it when they did so is lost. For a process whose own incarnation was ended by others, or
    /// that is not the only one under its id. Returns the keys whose values changed.
    ///
    /// # Errors
    /// `NameOutOfRange` never: the region was accepted before.
    pub fn renew(&mut self, id: ReplicaId) -> Result<Vec<KeyId>, WriteError> {
        let changed =
            if self.map.is_ended(self.id) { self.map.unlearn(self.id) } else { Vec::new() };
        self.map.set_region(id, &self.region)?;
        self.id = id;
        self.clients = Clients::default();
        self.close_full();
        Ok(changed)
    }

    /// Takes another number: whatever it has written was written by `id`, under the same versions.
    /// That is exact only while nobody else holds anything of it. False, and nothing changed, where
    /// something of `id` is held here.
    ///
    /// # Complexity
    /// O(own cells).
    pub fn rename(&mut self, id: ReplicaId) -> bool {
        let renamed = self.map.rename(self.id, id);
        self.id = if renamed { id } else { self.id };
        renamed
    }

    /// Refuses adds to what has no room for another flush.
    pub(crate) fn close_full(&mut self) {
        for (at, &key) in self.keys.iter().enumerate() {
            let room = room(&self.map, self.id, key);
            self.local.close(at, room);
            self.blocks[at / CHUNK].close(at % CHUNK, room);
        }
    }

    /// Whether something was added since the last flush.
    pub fn has_pending(&self) -> bool {
        !self.local.is_empty() || !self.unflushed.is_empty() || self.dirty.0.any()
    }

    /// Makes sure that the next flush takes every add that has returned, as
    /// [`CounterHandle::hand_over`] does for one counter and one thread.
    ///
    /// For a last flush: close a gate with a sequentially consistent store, then call this, then
    /// flush. An add after which a sequentially consistent load still finds the gate open is in
    /// that flush.
    ///
    /// # Complexity
    /// O(counters that have a handle here).
    pub fn hand_over(&self) {
        fence(Ordering::SeqCst);
        for at in 0..self.keys.len() {
            let (block, place) = (&self.blocks[at / CHUNK], Place::of(at % CHUNK));
            if block.pending(place) != Amounts::default() {
                block.tell_through(place);
            }
        }
    }

    /// Makes cells of what is pending, one version a key.
    ///
    /// # Complexity
    /// O(changed), and a look at 64 words for each 4,096 counters of which one was added to by a
    /// handle.
    pub fn flush(&mut self) -> Flushed {
        if self.has_left() {
            return Flushed::default();
        }
        let unflushed = std::mem::take(&mut self.unflushed);
        let after = unflushed.after.unwrap_or(self.version());
        let mut changed: Vec<KeyId> =
            Vec::with_capacity(unflushed.changed.len() + self.local.marked());
        changed.extend(unflushed.changed);
        let Self { map, local, blocks, dirty, keys, id, .. } = self;
        dirty.0.take(|number| {
            for number in (number..blocks.len()).step_by(CHUNK) {
                blocks[number].drain(|slot, amounts| {
                    let at = number * CHUNK + slot;
                    changed.push(keys[at]);
                    // What was added by name goes into the same version: a key that moved twice
                    // could not be cut from this flush.
                    let room = write(map, *id, keys[at], amounts.plus(local.take(at)));
                    local.close(at, room);
                    room
                });
            }
        });
        local.drain(|at, amounts| {
            changed.push(keys[at]);
            let room = write(map, *id, keys[at], amounts);
            blocks[at / CHUNK].close(at % CHUNK, room);
            room
        });
        let upto = self.version();
        Flushed { span: (upto > after).then_some(Span { replica: self.id, after, upto }), changed }
    }

    /// The latest own version.
    pub fn version(&self) -> Version {
        self.map.seen_of(self.id)
    }

    /// A counter's total, with what is pending here.
    pub fn total(&self, counter: &str) -> i128 {
        self.map.total(counter) + self.pending(counter)
    }

    /// A counter's value in one region, with what is pending here.
    pub fn value(&self, counter: &str, region: &str) -> i128 {
        self.map.value(counter, region)
            + if region == self.region { self.pending(counter) } else { 0 }
    }

    fn pending(&self, counter: &str) -> i128 {
        self.find(counter).map_or(0, |at| {
            self.blocks[at / CHUNK].pending(Place::of(at % CHUNK)).net()
                + self.local.pending(at).net()
        })
    }

    /// Resets one region of a counter, what is pending included: see [`CounterMap::reset`]. Returns
    /// the version of the change.
    ///
    /// # Errors
    /// `Left`, or as [`CounterMap::reset`].
    pub fn reset(&mut self, counter: &str, region: &str) -> Result<Option<Version>, WriteError> {
        if let Some(at) = self.find(counter) {
            self.blocks[at / CHUNK].tell_through(Place::of(at % CHUNK));
        }
        self.flush();
        if self.has_left() {
            return Err(WriteError::Left);
        }
        self.map.reset(self.id, counter, region)
    }

    /// Joins a delta, except what it says of this replica itself: only it writes its cells. A span
    /// of its own that ends after what it has written is reported as `own_ahead`: another process
    /// writes under the same id.
    ///
    /// # Errors
    /// As [`CounterMap::join_delta`].
    pub fn join_delta(&mut self, mut delta: Delta) -> Result<Joined, JoinError> {
        let own_ahead = self.strip_own(&mut delta);
        let mut joined = self.map.join_delta(&delta)?;
        joined.own_ahead = own_ahead;
        self.settle(&mut joined);
        Ok(joined)
    }

    /// As [`CounterMap::repair`], except what the delta says of this replica itself.
    ///
    /// # Errors
    /// As [`CounterMap::repair`].
    pub fn repair(&mut self, mut delta: Delta) -> Result<Joined, JoinError> {
        let own_ahead = self.strip_own(&mut delta);
        let mut joined = self.map.repair(&delta)?;
        joined.own_ahead = own_ahead;
        self.settle(&mut joined);
        Ok(joined)
    }

    fn settle(&mut self, joined: &mut Joined) {
        if !joined.entries.is_empty() && !self.has_left() {
            let taken_back = self.take_back_repeats(&joined.entries);
            joined.own_changed = !taken_back.is_empty();
            joined.changed.extend(taken_back);
        }
    }

    pub(crate) fn clients_mut(&mut self) -> &mut Clients {
        &mut self.clients
    }

    pub(crate) fn unflushed_mut(&mut self) -> &mut Unflushed {
        &mut self.unflushed
    }

    /// The key of a counter here, where the own cell has room for an amount of this sign.
    pub(crate) fn key_with_room(
        &mut self,
        counter: &str,
        amount: i64,
    ) -> Result<KeyId, WriteError> {
        let at = self.number(counter)?;
        let key = self.keys[at];
        let Room { increments_full, decrements_full } = room(&self.map, self.id, key);
        match if amount > 0 { increments_full } else { decrements_full } {
            true => Err(WriteError::CellFull),
            false => Ok(key),
        }
    }

    fn strip_own(&self, delta: &mut Delta) -> Option<Version> {
        if delta.replicas().all(|replica| replica != self.id) {
            return None;
        }
        let own = delta.spans().find(|span| span.replica == self.id);
        delta.retain(|replica| replica != self.id);
        own.map(|span| span.upto).filter(|&upto| upto > self.version())
    }
}

/// Writes pending amounts into the own cell. They fit: adds are refused from [`NEARLY_FULL`] on.
fn write(map: &mut CounterMap, id: ReplicaId, key: KeyId, amounts: Amounts) -> Room {
    let written = map.change_key(id, key, amounts);
    debug_assert!(written.is_ok(), "a cell has room for what was let in");
    room(map, id, key)
}

fn room(map: &CounterMap, id: ReplicaId, key: KeyId) -> Room {
    // What it has taken over is its own before long.
    let cell = map.total_of(id, key);
    Room {
        increments_full: cell.increments > NEARLY_FULL,
        decrements_full: cell.decrements > NEARLY_FULL,
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("id", &self.id)
            .field("region", &self.region)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_handed_over_flush_takes_adds_that_nobody_told_of() {
        let mut replica = Replica::new(ReplicaId::new(1, 1), "ord").unwrap();
        replica.counter("clicks").unwrap();
        // Another thread added first, and has not told yet.
        replica.blocks[0].preload(0, 5);
        replica.flush();
        assert_eq!(replica.map().total("clicks"), 0, "this flush knows of nothing");
        replica.hand_over();
        replica.flush();
        assert_eq!(replica.map().total("clicks"), 5);
    }
}
