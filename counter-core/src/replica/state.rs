//! A replica: a map and the one writer that writes here. Any thread adds, and a flush turns the
//! adds into cells.

use crate::dedup::clients::Clients;
use crate::dedup::settled::RememberedKeys;
use crate::error::WriteError;
use crate::lattice::cell::amounts::{Amounts, NEARLY_FULL};
use crate::lattice::counter_map::{CounterMap, CounterPage};
use crate::lattice::delta::Span;
use crate::lattice::keys::KeyId;
use crate::lattice::keys::names::is_name;
use crate::lattice::state_hash::StateHash;
use crate::lattice::versions::Version;
use crate::pending::block::Wake;
use crate::pending::by_name::Side;
use crate::pending::handle::CounterHandle;
use crate::pending::handle_table::HandleTable;
use crate::pending::slot::Fullness;
use crate::replica::bucket::{BucketName, WindowWidth};
use crate::replica::garbage::Garbage;
use crate::replica::unflushed::Unflushed;
use crate::replica_id::ReplicaId;

/// A map together with the one writer that writes here.
///
/// Adds are pending until [`flush`](Self::flush) writes them as cells. Send the cells to other
/// replicas as deltas of [`map`](Self::map), and join theirs with [`join_delta`](Self::join_delta).
/// The values that this type returns include pending adds; those of the map do not.
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
    /// The handles, with the adds that are pending.
    handles: HandleTable,
    /// The keys whose cells are gone.
    garbage: Garbage,
    /// Changes that were written at once, such as adds with an id.
    unflushed: Unflushed,
    /// The clients that sent adds with an id to this replica.
    clients: Clients,
    /// The name of the bucket that was added to last.
    bucket_name: BucketName,
}

/// The result of a flush.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// The span of this replica's versions that it reports; None if nothing changed.
    pub span: Option<Span>,
    /// The changed keys: first those written at once, then those written by this flush in version
    /// order.
    pub changed: Vec<KeyId>,
}

impl Replica {
    /// A replica of a new map, which holds only its record.
    ///
    /// # Errors
    /// `NameOutOfRange` if no region may have that name.
    pub fn new(id: ReplicaId, region: &str) -> Result<Self, WriteError> {
        Self::with_map(id, region, CounterMap::new())
    }

    /// A replica that continues from a map, such as one loaded from disk or one with other bounds.
    /// Writes the replica's record, unless the map has it already. O(writers).
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
        Ok(Self {
            id,
            region: region.into(),
            map,
            handles: HandleTable::default(),
            garbage: Garbage::default(),
            unflushed: Unflushed::default(),
            clients: Clients::default(),
            bucket_name: BucketName::default(),
        })
    }

    /// The id of the writer.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// The region that adds go to.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The map, without pending adds.
    pub fn map(&self) -> &CounterMap {
        &self.map
    }

    /// Flushes, and returns the map. Adds to handles that still exist are then lost.
    pub fn into_map(mut self) -> CounterMap {
        self.flush();
        self.map
    }

    /// The hash of the whole state, see [`CounterMap::state_hash`].
    pub fn state_hash(&mut self) -> StateHash {
        self.map.state_hash()
    }

    pub(crate) fn map_mut(&mut self) -> &mut CounterMap {
        &mut self.map
    }

    /// Sets the function that the first add after a flush calls, on the thread of that add.
    /// Existing handles keep the one they were made with.
    pub fn set_wake(&mut self, wake: Wake) {
        self.handles.set_wake(wake);
    }

    /// The handle that adds to this region of a counter. The first call makes it, and later calls
    /// find it again.
    ///
    /// # Complexity
    /// One hash. 8 bytes per counter besides the map's own, and 80 KiB for each 4,096 counters.
    ///
    /// # Errors
    /// `NameOutOfRange` or `TooManyCounters`. No handle was made.
    pub fn counter(&mut self, counter: &str) -> Result<CounterHandle, WriteError> {
        let at = self.handle_of(counter)?;
        Ok(self.handles.shared(at))
    }

    /// Adds `amount`, 1 to 2^32, to this region of a counter by its name. Adds before a flush
    /// become one version.
    ///
    /// # Complexity
    /// One hash and one comparison of the name.
    ///
    /// # Errors
    /// As for [`CounterHandle::add`] and [`counter`](Self::counter). Nothing was added.
    #[inline]
    pub fn add(&mut self, counter: &str, amount: u64) -> Result<(), WriteError> {
        self.raise(counter, Side::Increments, amount)
    }

    /// Subtracts `amount`, as [`add`](Self::add) adds.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[inline]
    pub fn subtract(&mut self, counter: &str, amount: u64) -> Result<(), WriteError> {
        self.raise(counter, Side::Decrements, amount)
    }

    #[inline]
    fn raise(&mut self, counter: &str, side: Side, amount: u64) -> Result<(), WriteError> {
        match self.find(counter) {
            Some(at) if self.is_ready(at) => self.handles.raise(at, side, amount),
            _ => self.raise_first(counter, side, amount),
        }
    }

    /// The slow path of [`raise`](Self::raise): the counter has no handle with room for adds by
    /// name.
    #[cold]
    fn raise_first(&mut self, counter: &str, side: Side, amount: u64) -> Result<(), WriteError> {
        let at = self.covered_handle_of(counter)?;
        self.handles.raise(at, side, amount)
    }

    /// The handle of a counter, made now if there is none.
    fn handle_of(&mut self, counter: &str) -> Result<usize, WriteError> {
        match self.find(counter) {
            Some(at) if !self.is_dead(at) => Ok(at),
            Some(at) => self.revive(counter, at),
            None => self.new_handle(counter),
        }
    }

    /// The handle of a counter, if it has one.
    #[inline]
    fn find(&self, counter: &str) -> Option<usize> {
        self.handles.of_counter(self.map.counter_number(counter)?)
    }

    /// True if the counter of a handle had cells and has none any more.
    #[inline]
    fn is_dead(&self, at: usize) -> bool {
        self.map.dead_count() > 0 && self.map.is_dead(self.handles.key(at))
    }

    /// Creates a counter again that has a handle but no cell.
    #[cold]
    fn revive(&mut self, counter: &str, at: usize) -> Result<usize, WriteError> {
        self.check_not_ended(counter)?;
        self.map.intern(counter, &self.region).map(|_| at)
    }

    #[cold]
    fn new_handle(&mut self, counter: &str) -> Result<usize, WriteError> {
        self.check_not_ended(counter)?;
        let key = self.map.intern(counter, &self.region)?;
        Ok(self.make_handle(key))
    }

    fn check_not_ended(&self, counter: &str) -> Result<(), WriteError> {
        match self.map.counter_number(counter) {
            Some(number) if self.map.cells().expiries().has_ended(number) => {
                Err(WriteError::Expired)
            }
            _ => Ok(()),
        }
    }

    /// Makes a handle for a key that has none.
    fn make_handle(&mut self, key: KeyId) -> usize {
        let full = fullness(&self.map, self.id, key);
        self.handles.make(key, self.map.counter_of(key), full)
    }

    /// True if a handle accepts adds by name: its counter is not dead, and it has room for them.
    #[inline]
    fn is_ready(&self, at: usize) -> bool {
        !self.is_dead(at) && self.handles.is_covered(at)
    }

    /// Like [`handle_of`](Self::handle_of), with room for adds by name.
    fn covered_handle_of(&mut self, counter: &str) -> Result<usize, WriteError> {
        let at = self.handle_of(counter)?;
        self.cover(at);
        Ok(at)
    }

    /// Makes room for adds by name at a handle, and at all others.
    fn cover(&mut self, at: usize) {
        if !self.handles.is_covered(at) {
            let (map, id) = (&self.map, self.id);
            let has_ended = |key| map.cells().expiries().has_ended(map.counter_of(key));
            self.handles.cover(|key| (has_ended(key), fullness(map, id, key)));
        }
    }

    /// Adds to a window's bucket.
    #[inline]
    pub(super) fn add_to_bucket(
        &mut self,
        (window, width): (&str, WindowWidth),
        amount: u64,
        now_ms: u64,
    ) -> Result<(), WriteError> {
        let number = self.map.counter_number(self.bucket_name.of(window, width, now_ms));
        let at = match number.and_then(|number| self.handles.of_counter(number)) {
            Some(at) if self.is_ready(at) => at,
            _ => self.new_bucket(window, width, now_ms)?,
        };
        self.handles.raise(at, Side::Increments, amount)
    }

    /// The handle of a bucket, made now if there is none, with room for adds by name.
    #[cold]
    fn new_bucket(
        &mut self,
        window: &str,
        width: WindowWidth,
        now_ms: u64,
    ) -> Result<usize, WriteError> {
        if !is_name(window) {
            return Err(WriteError::NameOutOfRange);
        }
        let bucket = self.bucket_name.of(window, width, now_ms);
        let key = self.map.intern_bucket(bucket, &self.region)?;
        let handle = self.handles.of_counter(self.map.counter_of(key));
        let at = handle.unwrap_or_else(|| self.make_handle(key));
        self.cover(at);
        Ok(at)
    }

    /// True if [`collect_garbage`](Self::collect_garbage) is worth its cost: half of all keys have
    /// no cells.
    pub fn has_garbage(&self) -> bool {
        self.garbage.is_worth_collecting(&self.map)
    }

    /// Reclaims the memory of counters that are gone: their names and keys, and the slots of their
    /// handles. Every [`KeyId`] changes. Existing handles keep working.
    ///
    /// # Complexity
    /// O(cells): about 0.4 s for 1,000,000 with as many dead keys. Amortized O(1) per removed
    /// counter, if it is called where [`has_garbage`](Self::has_garbage) returns true.
    pub fn collect_garbage(&mut self) {
        self.garbage.collect(&mut self.map, &mut self.handles, &mut self.unflushed);
    }

    /// Continues as another writer: `id` writes the pending adds and all later ones. Returns the
    /// keys whose values changed.
    ///
    /// For a process whose incarnation others have ended, or that is not the only one under its id.
    /// The cells written so far stay, as those of another writer. But if others ended that
    /// incarnation, this replica forgets its cells and pulls them from the others. Changes that the
    /// others did not hold are lost.
    ///
    /// # Complexity
    /// O(handles log writers), and O(own cells * writers) if others ended the incarnation.
    ///
    /// # Errors
    /// None: the region was accepted before.
    pub fn renew(&mut self, id: ReplicaId) -> Result<Vec<KeyId>, WriteError> {
        let changed =
            if self.map.is_ended(self.id) { self.map.unlearn(self.id) } else { Vec::new() };
        self.map.set_region(id, &self.region)?;
        self.id = id;
        self.clients = Clients::default();
        self.close_full();
        Ok(changed)
    }

    /// Changes this replica's id: everything that it has written becomes the work of `id`, under
    /// the same versions. Call it only while no other replica holds any of it. Returns false, and
    /// changes nothing, if something of `id` is held here.
    ///
    /// # Complexity
    /// O(own cells).
    pub fn rename(&mut self, id: ReplicaId) -> bool {
        let renamed = self.map.rename(self.id, id);
        self.id = if renamed { id } else { self.id };
        renamed
    }

    /// Refuses adds to cells without room for another flush.
    pub(crate) fn close_full(&mut self) {
        let (map, id) = (&self.map, self.id);
        self.handles.close_full(|key| fullness(map, id, key));
    }

    /// True if something was added since the last flush.
    pub fn has_pending(&self) -> bool {
        !self.unflushed.is_empty() || self.handles.has_pending()
    }

    /// Makes sure that the next flush takes every add that has returned, as
    /// [`CounterHandle::hand_over`] does for one counter and one thread.
    ///
    /// For a last flush, the caller closes a gate with a sequentially consistent store, calls this,
    /// and flushes. A thread that adds, and then finds the gate still open with a sequentially
    /// consistent load, knows that its add is in that flush.
    ///
    /// # Complexity
    /// O(counters that have a handle here).
    pub fn hand_over(&self) {
        self.handles.hand_over_all();
    }

    /// Writes pending adds as cells, one version for each key.
    ///
    /// # Complexity
    /// O(changed), plus 64 words for each block of 4,096 counters in which a handle added.
    pub fn flush(&mut self) -> Flushed {
        if self.has_left() {
            return Flushed::default();
        }
        let (since, written) = self.unflushed.take();
        let after = since.unwrap_or(self.version());
        let mut changed = Vec::with_capacity(written.len() + self.handles.dirty_count());
        changed.extend(written);
        let Self { map, handles, id, .. } = self;
        handles.drain(|key, amounts| {
            changed.push(key);
            write(map, *id, key, amounts)
        });
        let upto = self.version();
        Flushed { span: (upto > after).then_some(Span { replica: self.id, after, upto }), changed }
    }

    /// The latest version of this replica.
    pub fn version(&self) -> Version {
        self.map.seen_of(self.id)
    }

    /// A counter's total, pending adds included. O(1).
    pub fn total(&self, counter: &str) -> i128 {
        self.map.total(counter) + self.pending(counter)
    }

    /// A counter's value in one region, pending adds included. O(1).
    pub fn value(&self, counter: &str, region: &str) -> i128 {
        self.map.value(counter, region)
            + if region == self.region { self.pending(counter) } else { 0 }
    }

    /// A page of counters, as [`CounterMap::counters_after`] lists them, pending adds included. It
    /// has the same complexity.
    pub fn counters_after(&self, prefix: &str, after: &str, max: usize) -> CounterPage<'_> {
        self.map.list(prefix, after, max, |number| {
            let pending = self.handles.pending(self.handles.of_counter(number)?);
            (pending != Amounts::default()).then(|| pending.net())
        })
    }

    fn pending(&self, counter: &str) -> i128 {
        self.find(counter).map_or(0, |at| self.handles.pending(at).net())
    }

    /// Resets one region of a counter, pending adds included, see [`CounterMap::reset`]. Returns
    /// the version of the change; None if there was nothing to reset.
    ///
    /// # Complexity
    /// A flush, and O(writers).
    ///
    /// # Errors
    /// `Left` if this replica has left. Nothing was reset.
    pub fn reset(&mut self, counter: &str, region: &str) -> Result<Option<Version>, WriteError> {
        self.hand_over_counter(counter);
        self.flush();
        if self.has_left() {
            return Err(WriteError::Left);
        }
        if let Some(key) = self.map.cells().keys().find(counter, region) {
            let upto = self.version();
            self.note_settled(KeyId(key), upto, &mut RememberedKeys::default());
        }
        Ok(self.map.reset(self.id, counter, region))
    }

    /// Makes sure that the next flush takes every returned add to a counter.
    pub(crate) fn hand_over_counter(&self, counter: &str) {
        if let Some(at) = self.find(counter) {
            self.handles.hand_over(at);
        }
    }

    pub(crate) fn clients_mut(&mut self) -> &mut Clients {
        &mut self.clients
    }

    /// Writes an amount into this replica's cell at once. The next flush reports it.
    pub(crate) fn write_now(&mut self, key: KeyId, amount: i64) -> Result<(), WriteError> {
        let size = amount.unsigned_abs();
        let by = match amount > 0 {
            true => Amounts { increments: size, decrements: 0 },
            false => Amounts { increments: 0, decrements: size },
        };
        let before = self.version();
        self.map.change_key(self.id, key, by)?;
        self.note_unflushed(before, key);
        Ok(())
    }

    /// Notes a change of this replica's cell at a key, after version `before`. The next flush
    /// reports it.
    pub(crate) fn note_unflushed(&mut self, before: Version, key: KeyId) {
        self.unflushed.note(before, key);
    }

    /// Writes an expiry into this replica's cell at once. The next flush reports it.
    pub(crate) fn write_expiry(&mut self, key: KeyId, expires_at: u64) {
        let before = self.version();
        self.map.cells_mut().raise_expiry(self.id, key, expires_at);
        self.unflushed.note(before, key);
    }

    /// Refuses adds to a counter, by its number. Returns true if earlier adds are still pending.
    /// The next flush takes all of them.
    pub(crate) fn end_adds(&mut self, counter: u32) -> bool {
        self.handles.of_counter(counter).is_some_and(|at| self.handles.end_adds(at))
    }

    /// Accepts adds to a counter again, by its number.
    pub(crate) fn reopen_adds(&mut self, counter: u32) {
        if let Some(at) = self.handles.of_counter(counter) {
            self.handles.reopen_adds(at);
        }
    }

    /// The key of a counter in this region, if this replica's cell has room for an amount of this
    /// sign.
    pub(crate) fn key_with_room(
        &mut self,
        counter: &str,
        amount: i64,
    ) -> Result<KeyId, WriteError> {
        let key = self.key_of(counter)?;
        if self.map.cells().expiries().has_ended(self.map.counter_of(key)) {
            return Err(WriteError::Expired);
        }
        let Fullness { increments_full, decrements_full } = fullness(&self.map, self.id, key);
        match if amount > 0 { increments_full } else { decrements_full } {
            true => Err(WriteError::CellFull),
            false => Ok(key),
        }
    }

    /// The key of a counter in this region, made now if it is new.
    pub(crate) fn key_of(&mut self, counter: &str) -> Result<KeyId, WriteError> {
        self.handle_of(counter).map(|at| self.handles.key(at))
    }

    /// Checks that an add by name would be accepted.
    pub(crate) fn check_room_by_name(
        &mut self,
        counter: &str,
        amount: i64,
    ) -> Result<(), WriteError> {
        let at = self.covered_handle_of(counter)?;
        self.handles.check(at, Side::of(amount))
    }

    /// Adds by name an amount that [`check_room_by_name`](Self::check_room_by_name) has accepted.
    pub(crate) fn put_by_name(&mut self, counter: &str, amount: i64) -> Result<(), WriteError> {
        let at = self.covered_handle_of(counter)?;
        self.handles.put(at, Side::of(amount), amount.unsigned_abs());
        Ok(())
    }
}

/// Writes pending amounts into this replica's cell. They fit, because adds are refused above
/// [`NEARLY_FULL`].
fn write(map: &mut CounterMap, id: ReplicaId, key: KeyId, amounts: Amounts) -> Fullness {
    let written = map.change_key(id, key, amounts);
    debug_assert!(written.is_ok(), "a cell has room for what was let in");
    fullness(map, id, key)
}

fn fullness(map: &CounterMap, id: ReplicaId, key: KeyId) -> Fullness {
    // Absorbed amounts are included, because rebasing will make them its own.
    let cell = map.cells().total_of(id, key);
    Fullness {
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
