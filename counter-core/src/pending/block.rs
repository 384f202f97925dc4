//! Pending amounts of neighbouring counters, in lanes, with the marks by which a flush finds those
//! that have some.
//!
//! Whoever finds 0 where it adds is the first since the last flush and says so: in the block's
//! bitmap, and, where that was empty, in the dirty's, that of all blocks, and, where that was empty
//! too, by a wake. A flush takes them in the opposite order: dirty, blocks, amounts. So an amount
//! is either taken by this flush or met by the next: none is lost.
//!
//! Threads add in the base, all of them. Where they often meet at one counter, each turns to a
//! lane, which has slots of its own for the counters of the block. So these do not wait for each
//! other's cache lines, and a million counters that are added to now and then have the base alone.

use crate::error::WriteError;
use crate::lattice::amounts::{AMOUNT_MAX, Amounts};
use crate::pending::bitmap::Bitmap;
use crate::pending::lane::{LANES, lane};
use crate::pending::slot::{CHUNK, FULL, PENDING_MAX, Place, Room, Slot, refuse_beyond};
use crate::pending::sync::{Arc, AtomicU64, OnceLock, Ordering};

/// An add that finds a multiple of this pending looks whether other threads add to the same counter
/// at the same time.
const SAMPLED: u64 = 1 << 10;

/// Threads meet often from so many looks that found another between two flushes on.
const OFTEN: u64 = 16;

/// Called by the first add after a flush, on its thread: it must be short and must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// One lane's slots of a block: 64 KiB.
type Lane = Arc<[Slot; CHUNK]>;

/// The gate of a block that has the base alone, and room in every cell: whoever adds has nothing to
/// ask.
const OPEN: u64 = 0;

/// In the gate once a lane is made: then threads look which is theirs.
const LANED: u64 = 1;

/// In the gate from when some counter was full or too much was pending: then adds look before they
/// add. Whoever adds beyond a bound sets it, so no thread does twice.
const GUARDED: u64 = 2;

/// Pending amounts of [`CHUNK`] counters: 64 KiB a lane.
pub(crate) struct Block {
    /// [`OPEN`], or which of [`LANED`] and [`GUARDED`] hold.
    gate: Apart<AtomicU64>,
    /// Lane 0, where the threads of lanes that are not made add too. It lies here, not behind a
    /// pointer: an atomic addition waits until its address is known.
    base: Apart<[Slot; CHUNK]>,
    /// The other lanes that were made: lane n is at n - 1.
    lanes: [OnceLock<Lane>; LANES - 1],
    moving: Apart<Moving>,
    /// Which blocks have something pending, and which of them this is.
    dirty: Arc<DirtySet>,
    number: usize,
    wake: Wake,
}

/// Which blocks have something pending, numbered modulo [`CHUNK`].
pub(crate) type DirtySet = Apart<Bitmap>;

/// In cache lines of its own, so that who reads its neighbours does not wait for who writes here,
/// nor the other way round.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// What adds and flushes write besides amounts.
struct Moving {
    pending: Bitmap,
    /// Which lanes somebody makes or has made, a bit each.
    claimed: AtomicU64,
    /// How often threads without a lane here met others at a counter since the last flush.
    meetings: AtomicU64,
}

impl Block {
    /// The block of a number, whose counters' adds are told on the dirty.
    pub(crate) fn new(number: usize, dirty: Arc<DirtySet>, wake: Wake) -> Arc<Self> {
        let moving = Moving {
            pending: Bitmap::default(),
            claimed: AtomicU64::new(0),
            meetings: AtomicU64::new(0),
        };
        let lanes: [OnceLock<Lane>; LANES - 1] = std::array::from_fn(|_| OnceLock::new());
        // loom does not see into the making of a lane by a thread of its own.
        if cfg!(loom) {
            lanes.iter().for_each(|lane| drop(lane.set(slots())));
        }
        let gate = Apart(AtomicU64::new(if cfg!(loom) { LANED } else { OPEN }));
        let base = std::array::from_fn(|_| Slot::default());
        Arc::new(Self {
            gate,
            base: Apart(base),
            lanes,
            moving: Apart(moving),
            dirty,
            number,
            wake,
        })
    }

    pub(crate) fn pending(&self, place: Place) -> Amounts {
        self.sum(place, Slot::amounts)
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

    /// Takes what is pending, counter by counter. `each` says whether a part of its cell is full
    /// now.
    pub(crate) fn drain(&self, mut each: impl FnMut(usize, Amounts) -> Room) {
        self.moving.0.meetings.store(0, Ordering::Relaxed);
        self.moving.0.pending.take(|counter| {
            let amounts = self.sum(Place::of(counter), Slot::take);
            if amounts != Amounts::default() {
                let room = each(counter, amounts);
                self.close(counter, room);
            }
        });
    }

    /// Refuses adds to the parts that are full. A lane that is being made meanwhile is closed at
    /// the next flush: there is room for that.
    pub(crate) fn close(&self, at: usize, room: Room) {
        if room.increments_full || room.decrements_full {
            self.gate.0.fetch_or(GUARDED, Ordering::AcqRel);
        }
        self.slots(Place::of(at)).for_each(|slot| slot.close(room));
    }

    /// Adds: one `fetch_add`. `lane` says which lane the thread has, where that matters.
    ///
    /// # Errors
    /// `AmountOutOfRange`; `CellFull` or `NotFlushed` where it does not fit. Nothing was added
    /// then.
    #[inline]
    pub(crate) fn raise(
        &self,
        lane: impl FnOnce() -> usize,
        place: Place,
        part: impl Fn(&Slot) -> &AtomicU64,
        amount: u64,
    ) -> Result<(), WriteError> {
        if amount.wrapping_sub(1) >= AMOUNT_MAX {
            return Err(WriteError::AmountOutOfRange);
        }
        if self.gate.0.load(Ordering::Relaxed) != OPEN {
            return self.raise_in(lane(), place, part, amount);
        }
        self.add(place, &self.base.0[place.slot()], part, amount);
        Ok(())
    }

    /// [`raise`](Self::raise) where there are lanes, or adds look before they add.
    #[inline(never)]
    fn raise_in(
        &self,
        lane: usize,
        place: Place,
        part: impl Fn(&Slot) -> &AtomicU64,
        amount: u64,
    ) -> Result<(), WriteError> {
        let slot = self.slot(lane, place);
        if self.gate.0.load(Ordering::Relaxed) & GUARDED != 0 {
            refuse_beyond(part(slot))?;
        }
        self.add(place, slot, part, amount);
        Ok(())
    }

    #[inline]
    fn add(&self, place: Place, slot: &Slot, part: impl Fn(&Slot) -> &AtomicU64, amount: u64) {
        // Sequentially consistent for `Replica::hand_over`, at no cost: it is one instruction
        // either way.
        let before = part(slot).fetch_add(amount, Ordering::SeqCst);
        if before.is_multiple_of(SAMPLED) || before >= PENDING_MAX {
            self.first_or_last_or_sampled(place, slot, before);
        }
    }

    /// The slot at a place in a lane, or in the base where that lane is not made.
    #[inline]
    fn slot(&self, lane: usize, place: Place) -> &Slot {
        let made = self.lanes.get(lane.wrapping_sub(1)).and_then(OnceLock::get);
        &made.map_or(&self.base.0, |slots| &**slots)[place.slot()]
    }

    #[cold]
    fn first_or_last_or_sampled(&self, place: Place, slot: &Slot, before: u64) {
        if before & (FULL - 1) == 0 {
            self.tell(place.at());
        }
        if before >= PENDING_MAX {
            self.gate.0.fetch_or(GUARDED, Ordering::AcqRel);
        } else if before != 0 && std::ptr::eq(slot, self.slot(0, place)) && slot.moves() {
            self.meet();
        }
    }

    /// Gives the calling thread a lane, and makes it here where threads meet often.
    #[cold]
    fn meet(&self) {
        let lane = lane();
        let missing = self.lanes.get(lane.wrapping_sub(1)).is_some_and(|made| made.get().is_none());
        if missing && self.moving.0.meetings.fetch_add(1, Ordering::Relaxed) + 1 >= OFTEN {
            self.make_lane(lane);
        }
    }

    /// Makes a lane that is not the base, unless another thread does; waits for nobody.
    #[cold]
    fn make_lane(&self, lane: usize) {
        if self.moving.0.claimed.fetch_or(1 << lane, Ordering::AcqRel) & (1 << lane) != 0 {
            return;
        }
        let slots = slots();
        slots.iter().zip(self.base.0.iter()).for_each(|(slot, base)| slot.close(base.room()));
        let _ = self.lanes[lane - 1].set(slots);
        self.gate.0.fetch_or(LANED, Ordering::AcqRel);
    }

    /// Tells the next flush of a counter.
    #[cold]
    fn tell(&self, at: usize) {
        if self.moving.0.pending.set(at) && self.dirty.0.set(self.number % CHUNK) {
            (self.wake)();
        }
    }

    /// As [`tell`](Self::tell), also where another thread that added first has not told yet.
    pub(crate) fn tell_through(&self, place: Place) {
        self.moving.0.pending.set_through(place.at());
        if self.dirty.0.set_through(self.number % CHUNK) {
            (self.wake)();
        }
    }
}

fn slots() -> Lane {
    let slots: Arc<[Slot]> = (0..CHUNK).map(|_| Slot::default()).collect();
    slots.try_into().unwrap_or_else(|_| unreachable!("as many as a block has"))
}

#[cfg(test)]
impl Block {
    /// As if so much had been added in lane 0 already, and nobody had told of it.
    pub(crate) fn preload(&self, at: usize, amount: u64) {
        self.slot(0, Place::of(at)).increments.fetch_add(amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pending::lane::known_lane;

    fn block() -> Arc<Block> {
        Block::new(0, Arc::default(), Arc::new(|| {}))
    }

    fn add(block: &Block, at: usize) -> Result<(), WriteError> {
        block.raise(known_lane, Place::of(at), |slot| &slot.increments, 1)
    }

    fn drained(block: &Block) -> Vec<(usize, u64)> {
        let mut taken = Vec::new();
        block.drain(|at, amounts| {
            taken.push((at, amounts.increments));
            Room::default()
        });
        taken
    }

    #[test]
    fn threads_that_add_to_one_counter_at_the_same_time_turn_to_lanes_and_lose_nothing() {
        let block = block();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let adds = || {
            let mut added = 0;
            while block.gate.0.load(Ordering::Relaxed) == OPEN && std::time::Instant::now() < end {
                (0..10_000).for_each(|_| add(&block, 7).unwrap());
                added += 10_000;
            }
            added
        };
        let added: u64 = std::thread::scope(|scope| {
            [(); 3].map(|()| scope.spawn(adds)).map(|thread| thread.join().unwrap())
        })
        .iter()
        .sum();
        assert_eq!(
            block.gate.0.load(Ordering::Relaxed),
            LANED,
            "of three threads two run at once, on two processors"
        );
        assert_eq!(drained(&block), [(7, added)]);
    }

    #[test]
    fn threads_that_do_not_meet_need_no_lanes() {
        let block = block();
        std::thread::scope(|scope| {
            (0..4).for_each(|at| {
                drop(scope.spawn({
                    let block = &block;
                    move || (0..100_000).for_each(|_| add(block, at).unwrap())
                }))
            })
        });
        assert_eq!(block.gate.0.load(Ordering::Relaxed), OPEN);
        assert_eq!(drained(&block), [0, 1, 2, 3].map(|at| (at, 100_000)));
    }

    #[test]
    fn a_lane_is_made_where_a_counter_is_full_and_refuses_as_the_base_does() {
        let block = block();
        block.close(0, Room { increments_full: true, decrements_full: false });
        let meet_and_add = || {
            (0..OFTEN).for_each(|_| block.meet());
            (add(&block, 0), add(&block, 1))
        };
        let results = [(); 2 * LANES]
            .map(|()| std::thread::scope(|scope| scope.spawn(meet_and_add).join().unwrap()));
        assert_eq!(block.gate.0.load(Ordering::Relaxed), LANED | GUARDED);
        assert!(block.lanes.iter().all(|lane| lane.get().is_some()));
        assert_eq!(results, [(Err(WriteError::CellFull), Ok(())); 2 * LANES]);
        assert_eq!(drained(&block), [(1, 2 * LANES as u64)]);
    }
}
