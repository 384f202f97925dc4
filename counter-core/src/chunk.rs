//! Pending amounts of neighbouring counters, in lanes, with the marks by which a flush finds those that have some.
//!
//! Whoever finds 0 where it adds is the first since the last flush and says so: in the chunk's bitmap, and, where that was empty, in the board's, that of
//! all chunks, and, where that was empty too, by a wake. A flush takes them in the opposite order: board, chunks, amounts. So an amount is either
//! taken by this flush or met by the next: none is lost.
//!
//! Threads add in lanes: each has slots of its own for the counters of a chunk, made when the chunk proves busy with several threads. So these
//! do not wait for each other's cache lines, and a million counters that are added to now and then have one lane.

use crate::amounts::{AMOUNT_MAX, Amounts};
use crate::bitmap::{BITS, Bitmap, WORDS};
use crate::error::AddError;
use crate::lane::{LANES, lane, sampled};
use crate::sync::{Arc, AtomicU64, OnceLock, Ordering};

/// What a flush may find pending of one part of one counter in one lane, but for one add more a thread. Far above what comes together between
/// two flushes, far below what would wrap.
pub(crate) const PENDING_MAX: u64 = 1 << 56;

/// Set in a pending amount when its cell has no room for another flush: every add is refused from then on.
pub(crate) const FULL: u64 = 1 << 62;

/// Counters in a chunk.
pub(crate) const CHUNK: usize = WORDS * BITS;

/// A chunk is busy with several threads from so many samples of 64 adds between two flushes on.
const BUSY: u64 = 64;

/// Called by the first add after a flush, on its thread: it must be short and must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) increments: AtomicU64,
    pub(crate) decrements: AtomicU64,
}

/// Slots of 128 bytes, which is what processors fetch at once.
#[cfg(not(loom))]
const APART: usize = 8;
#[cfg(loom)]
const APART: usize = 2;

/// How many counters follow each other until one lies beside the first.
const ROUND: usize = CHUNK / APART;

/// Where a counter's slots are in their lanes. Neighbours in number lie 128 bytes apart, so that threads that add to them do not slow each other, and no
/// further, so that a few dozen of them find room in a cache whose lines are chosen by the low bits of addresses.
#[derive(Clone, Copy)]
pub(crate) struct Place(u32);

impl Place {
    pub(crate) fn of(at: usize) -> Self {
        debug_assert!(at < CHUNK, "a counter lies in its chunk");
        Self(((at % ROUND) * APART + at / ROUND) as u32)
    }

    /// Its number in the chunk.
    fn at(self) -> usize {
        self.slot() / APART + (self.slot() % APART) * ROUND
    }

    #[inline]
    fn slot(self) -> usize {
        self.0 as usize % CHUNK
    }
}

/// One lane's slots of a chunk: 64 KiB.
type Lane = Arc<[Slot; CHUNK]>;

/// What the gate says when some counter is full or too much is pending: no thread's lane.
const GUARDED: u64 = u64::MAX;

/// Pending amounts of [`CHUNK`] counters: 64 KiB a lane.
pub(crate) struct Chunk {
    /// The lane whose threads add to the base without another look: that of the thread that made the chunk. [`GUARDED`] from when some counter was
    /// full or too much was pending: then adds look before they add. Whoever adds beyond a bound sets it, so no thread does twice.
    gate: Apart<AtomicU64>,
    /// That lane's slots, where the threads of lanes that are not made add too. They lie here, not behind a pointer: an atomic addition waits until its
    /// address is known.
    base: Apart<[Slot; CHUNK]>,
    /// The slots of the other lanes that were made.
    lanes: [OnceLock<Lane>; LANES],
    first: usize,
    moving: Apart<Moving>,
    /// Which chunks have something pending, and which of them this is.
    board: Arc<Board>,
    number: usize,
    wake: Wake,
}

/// Which chunks have something pending, numbered modulo [`CHUNK`].
pub(crate) type Board = Apart<Bitmap>;

/// In cache lines of its own, so that who reads its neighbours does not wait for who writes here, nor the other way round.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// What adds and flushes write besides amounts.
struct Moving {
    pending: Bitmap,
    /// Which lanes somebody makes or has made, a bit each.
    claimed: AtomicU64,
    /// Samples of adds by threads of other lanes than the base since the last flush.
    foreign: AtomicU64,
}

impl Chunk {
    /// The chunk of a number, whose counters' adds are told on the board.
    pub(crate) fn new(number: usize, board: Arc<Board>, wake: Wake) -> Arc<Self> {
        let first = lane();
        let moving = Moving { pending: Bitmap::default(), claimed: AtomicU64::new(1 << first), foreign: AtomicU64::new(0) };
        let lanes: [OnceLock<Lane>; LANES] = std::array::from_fn(|_| OnceLock::new());
        // loom does not see into the making of a lane by a thread of its own.
        if cfg!(loom) {
            lanes.iter().enumerate().filter(|(lane, _)| *lane != first).for_each(|(_, lane)| drop(lane.set(slots())));
        }
        let base = std::array::from_fn(|_| Slot::default());
        let gate = Apart(AtomicU64::new(first as u64));
        Arc::new(Self { gate, base: Apart(base), lanes, first, moving: Apart(moving), board, number, wake })
    }

    pub(crate) fn pending(&self, place: Place) -> Amounts {
        let part = |pending: &AtomicU64| pending.load(Ordering::Acquire) & (FULL - 1);
        self.sum(place, |slot| Amounts { increments: part(&slot.increments), decrements: part(&slot.decrements) })
    }

    /// The sum over the lanes that are there.
    fn sum(&self, place: Place, amounts: impl Fn(&Slot) -> Amounts) -> Amounts {
        self.slots(place).map(amounts).fold(Amounts::default(), Amounts::plus)
    }

    /// A counter's slots.
    fn slots(&self, place: Place) -> impl Iterator<Item = &Slot> {
        let made = self.lanes.iter().filter_map(OnceLock::get).map(move |lane| &lane[place.slot()]);
        std::iter::once(&self.base.0[place.slot()]).chain(made)
    }

    /// Takes what is pending, counter by counter. `each` says whether a part of its cell is full now.
    pub(crate) fn drain(&self, mut each: impl FnMut(usize, Amounts) -> Room) {
        self.moving.0.foreign.store(0, Ordering::Relaxed);
        self.moving.0.pending.take(|counter| {
            let amounts =
                self.sum(Place::of(counter), |slot| Amounts { increments: take(&slot.increments), decrements: take(&slot.decrements) });
            if amounts != Amounts::default() {
                let room = each(counter, amounts);
                self.close(counter, room);
            }
        });
    }

    /// Refuses adds to the parts that are full. A lane that is being made meanwhile is closed at the next flush: there is room for that.
    pub(crate) fn close(&self, at: usize, room: Room) {
        if room.increments_full || room.decrements_full {
            self.gate.0.store(GUARDED, Ordering::Release);
        }
        for slot in self.slots(Place::of(at)) {
            close(&slot.increments, room.increments_full);
            close(&slot.decrements, room.decrements_full);
        }
    }

    /// Adds in a lane: one `fetch_add` where it is the gate's.
    ///
    /// # Errors
    /// `AmountOutOfRange`; `CellFull` or `NotFlushed` where it does not fit. Nothing was added then.
    #[inline]
    pub(crate) fn raise(&self, lane: usize, place: Place, part: impl Fn(&Slot) -> &AtomicU64, amount: u64) -> Result<(), AddError> {
        if amount.wrapping_sub(1) >= AMOUNT_MAX {
            return Err(AddError::AmountOutOfRange);
        }
        let gate = self.gate.0.load(Ordering::Relaxed);
        let pending = if gate == lane as u64 {
            part(&self.base.0[place.slot()])
        } else {
            let pending = part(self.slot(lane, place));
            if gate == GUARDED {
                refuse_beyond(pending)?;
            }
            pending
        };
        let before = pending.fetch_add(amount, Ordering::AcqRel);
        if before.wrapping_sub(1) >= PENDING_MAX - 1 {
            self.first_or_last(place, before);
        }
        Ok(())
    }

    #[cold]
    fn first_or_last(&self, place: Place, before: u64) {
        if before & (FULL - 1) == 0 {
            self.tell(place.at());
        }
        if before >= PENDING_MAX {
            self.gate.0.store(GUARDED, Ordering::Release);
        }
    }

    /// The slot at a place in a lane, or in the base where that lane is not made.
    #[inline]
    fn slot(&self, lane: usize, place: Place) -> &Slot {
        match self.lanes.get(lane).and_then(OnceLock::get) {
            Some(slots) => &slots[place.slot()],
            None => {
                if lane != self.first && sampled() {
                    self.sample();
                }
                &self.base.0[place.slot()]
            }
        }
    }

    /// Gives the calling thread a lane, and makes that lane here where the chunk proves busy.
    #[cold]
    fn sample(&self) {
        let lane = lane();
        if lane != self.first && self.lanes[lane].get().is_none() && self.moving.0.foreign.fetch_add(1, Ordering::Relaxed) + 1 >= BUSY {
            self.make_lane(lane);
        }
    }

    /// Makes a lane, unless another thread does; waits for nobody.
    #[cold]
    fn make_lane(&self, lane: usize) {
        if self.moving.0.claimed.fetch_or(1 << lane, Ordering::AcqRel) & (1 << lane) != 0 {
            return;
        }
        let slots = slots();
        for (slot, base) in slots.iter().zip(self.base.0.iter()) {
            slot.increments.store(base.increments.load(Ordering::Acquire) & FULL, Ordering::Release);
            slot.decrements.store(base.decrements.load(Ordering::Acquire) & FULL, Ordering::Release);
        }
        let _ = self.lanes[lane].set(slots);
    }

    /// Tells the next flush of a counter.
    #[cold]
    fn tell(&self, at: usize) {
        if self.moving.0.pending.set(at) && self.board.0.set(self.number % CHUNK) {
            (self.wake)();
        }
    }

    /// As [`tell`](Self::tell), also where another thread that added first has not told yet.
    pub(crate) fn tell_through(&self, place: Place) {
        self.moving.0.pending.set_through(place.at());
        if self.board.0.set_through(self.number % CHUNK) {
            (self.wake)();
        }
    }
}

fn slots() -> Lane {
    let slots: Arc<[Slot]> = (0..CHUNK).map(|_| Slot::default()).collect();
    slots.try_into().unwrap_or_else(|_| unreachable!("as many as a chunk has"))
}

/// Which parts of a cell have no room for another flush.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    pub(crate) increments_full: bool,
    pub(crate) decrements_full: bool,
}

/// Only a flush sets FULL, and one flush runs at a time: what is seen of it stays.
fn take(pending: &AtomicU64) -> u64 {
    match pending.load(Ordering::Acquire) {
        seen if seen & (FULL - 1) == 0 => 0,
        seen => pending.swap(seen & FULL, Ordering::AcqRel) & (FULL - 1),
    }
}

fn close(pending: &AtomicU64, full: bool) {
    if full {
        pending.fetch_or(FULL, Ordering::AcqRel);
    }
}

/// Refuses before anything is added: an amount that was there for a moment could be in a flush already.
#[cold]
fn refuse_beyond(pending: &AtomicU64) -> Result<(), AddError> {
    match pending.load(Ordering::Acquire) {
        seen if seen & FULL != 0 => Err(AddError::CellFull),
        seen if seen >= PENDING_MAX => Err(AddError::NotFlushed),
        _ => Ok(()),
    }
}

#[cfg(all(loom, test))]
impl Chunk {
    /// As if so much had been added in lane 0 already.
    pub(crate) fn preload(&self, at: usize, amount: u64) {
        self.slot(0, Place::of(at)).increments.fetch_add(amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_place_of_its_own_and_is_known_by_it() {
        let mut places: Vec<usize> = (0..CHUNK).map(|at| Place::of(at).slot()).collect();
        assert!((0..CHUNK).all(|at| Place::of(at).at() == at));
        places.sort_unstable();
        assert!(places.into_iter().eq(0..CHUNK));
    }
}
