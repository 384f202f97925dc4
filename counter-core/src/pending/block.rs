//! The pending amounts of 4,096 counters, in lanes. A bitmap shows a flush which counters have any.
//!
//! An add that finds 0 is the first since the last flush. It sets the counter's bit in the block.
//! If no bit was set there, it sets the block's bit in the dirty set. If that was empty too, it
//! calls [`Wake`]. A flush goes the other way: dirty set, blocks, amounts. So each amount is taken
//! by this flush or by the next.
//!
//! A lane is a set of slots, one for each counter of the block. All threads start in lane 0, the
//! base. Threads that often contend for one counter move to other lanes, so that they no longer
//! wait for each other's cache lines. Counters that are added to rarely need only the base.

use crate::error::WriteError;
use crate::lattice::cell::amounts::{AMOUNT_MAX, Amounts};
use crate::pending::bitmap::Bitmap;
use crate::pending::lane::{LANES, lane};
use crate::pending::slot::{
    AMOUNT, BLOCK_SLOTS, Fullness, PENDING_MAX, Slot, SlotIndex, check_open,
};
use crate::pending::sync::{Arc, AtomicU32, AtomicU64, OnceLock, Ordering};

/// An add checks for contention whenever the pending amount is a multiple of this.
const SAMPLE_EVERY: u64 = 1 << 10;

/// Contended samples between two flushes that trigger a new lane.
const CONTENDED_SAMPLES_MAX: u64 = 16;

/// Called by the first add after a flush, on that add's thread. It must be short and must not
/// block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The slots of one lane in a block: 64 KiB.
type Lane = Arc<[Slot; BLOCK_SLOTS]>;

/// The gate of a block without lanes and with room in every cell. Adds check nothing.
const OPEN: u64 = 0;

/// Gate bit: a lane exists, so threads look up theirs.
const LANED: u64 = 1;

/// Gate bit: a counter is full or has expired, or too much was pending. Adds then check before they
/// add. An add that passes a bound sets the bit, so no thread passes a bound twice.
const GUARDED: u64 = 2;

/// Pending amounts of [`BLOCK_SLOTS`] counters: 64 KiB per lane, and 16 KiB for the numbers of
/// handles.
pub(crate) struct Block {
    /// [`OPEN`], or the bits [`LANED`] and [`GUARDED`].
    gate: OwnCacheLines<AtomicU64>,
    /// Lane 0. Threads whose lane does not exist add here too. It is stored inline, because an
    /// atomic addition must wait for a pointer to be loaded.
    base: OwnCacheLines<[Slot; BLOCK_SLOTS]>,
    /// The other lanes, made on demand: lane n is at n - 1.
    lanes: [OnceLock<Lane>; LANES - 1],
    activity: OwnCacheLines<BlockActivity>,
    /// The number of handles of each counter. A place without handles may be given to another
    /// counter.
    handles: [AtomicU32; BLOCK_SLOTS],
    /// The blocks that have something pending, and the number of this one.
    dirty: Arc<DirtySet>,
    number: usize,
    wake: Wake,
}

/// The blocks that have something pending, numbered modulo [`BLOCK_SLOTS`].
pub(crate) type DirtySet = OwnCacheLines<Bitmap>;

/// A value in cache lines of its own, so that writes to it do not slow down reads of its
/// neighbours.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct OwnCacheLines<T>(pub(crate) T);

/// State that adds and flushes write, besides the amounts.
struct BlockActivity {
    pending: Bitmap,
    /// One bit for each lane that is made or being made.
    claimed: AtomicU64,
    /// Contended samples since the last flush, by threads without a lane here.
    contended_samples: AtomicU64,
}

impl Block {
    /// A block that reports its adds in `dirty` under `number`.
    pub(crate) fn new(number: usize, dirty: Arc<DirtySet>, wake: Wake) -> Arc<Self> {
        let activity = BlockActivity {
            pending: Bitmap::default(),
            claimed: AtomicU64::new(0),
            contended_samples: AtomicU64::new(0),
        };
        let lanes: [OnceLock<Lane>; LANES - 1] = std::array::from_fn(|_| OnceLock::new());
        // loom cannot model the making of a lane, so all lanes exist from the start.
        if cfg!(loom) {
            lanes.iter().for_each(|lane| drop(lane.set(slots())));
        }
        let gate = OwnCacheLines(AtomicU64::new(if cfg!(loom) { LANED } else { OPEN }));
        let base = std::array::from_fn(|_| Slot::default());
        Arc::new(Self {
            gate,
            base: OwnCacheLines(base),
            lanes,
            activity: OwnCacheLines(activity),
            handles: std::array::from_fn(|_| AtomicU32::new(0)),
            dirty,
            number,
            wake,
        })
    }

    /// Counts one more handle to a place.
    pub(crate) fn add_handle(&self, place: SlotIndex) {
        self.handles[place.at()].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one handle less. A thread that reads the lower count also sees its adds.
    pub(crate) fn drop_handle(&self, place: SlotIndex) {
        self.handles[place.at()].fetch_sub(1, Ordering::Release);
    }

    /// True if no handle to a place is left and nothing is pending there.
    pub(crate) fn is_free(&self, place: SlotIndex) -> bool {
        self.handles[place.at()].load(Ordering::Acquire) == 0
            && self.pending(place) == Amounts::default()
    }

    /// Prepares a [free](Self::is_free) place for another counter.
    pub(crate) fn reopen(&self, place: SlotIndex) {
        self.slots(place).for_each(Slot::reopen);
    }

    pub(crate) fn pending(&self, place: SlotIndex) -> Amounts {
        self.sum(place, Slot::amounts)
    }

    /// The sum over the existing lanes.
    fn sum(&self, place: SlotIndex, amounts: impl Fn(&Slot) -> Amounts) -> Amounts {
        self.slots(place).map(amounts).fold(Amounts::default(), Amounts::plus)
    }

    /// A counter's slots.
    fn slots(&self, place: SlotIndex) -> impl Iterator<Item = &Slot> {
        let made = self.lanes.iter().filter_map(OnceLock::get).map(move |lane| &lane[place.slot()]);
        std::iter::once(&self.base.0[place.slot()]).chain(made)
    }

    /// Takes the pending amounts, counter by counter. `each` returns which parts of the cell are
    /// full now.
    pub(crate) fn drain(&self, mut each: impl FnMut(usize, Amounts) -> Fullness) {
        self.activity.0.contended_samples.store(0, Ordering::Relaxed);
        self.activity.0.pending.take(|counter| {
            let amounts = self.sum(SlotIndex::of(counter), Slot::take);
            if amounts != Amounts::default() {
                let full = each(counter, amounts);
                self.close(counter, full);
            }
        });
    }

    /// Refuses adds to the parts that are full. A lane that another thread is making right now is
    /// closed by the next flush, which still has room.
    pub(crate) fn close(&self, at: usize, full: Fullness) {
        if full.increments_full || full.decrements_full {
            self.gate.0.fetch_or(GUARDED, Ordering::AcqRel);
        }
        self.slots(SlotIndex::of(at)).for_each(|slot| slot.close(full));
    }

    /// Refuses all adds to a counter because it has expired, or accepts them again. A lane that
    /// another thread is making right now is closed by the next call.
    pub(crate) fn set_ended(&self, place: SlotIndex, is_ended: bool) {
        if is_ended {
            self.gate.0.fetch_or(GUARDED, Ordering::AcqRel);
        }
        self.slots(place).for_each(|slot| slot.set_ended(is_ended));
    }

    /// Adds with one `fetch_add`. `lane` returns the thread's lane, and is called only if there are
    /// lanes or bounds to check.
    ///
    /// # Errors
    /// `AmountOutOfRange`, `CellFull`, `NotFlushed` or `Expired`. Nothing was added.
    #[inline]
    pub(crate) fn raise(
        &self,
        lane: impl FnOnce() -> usize,
        place: SlotIndex,
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

    /// The slow path of [`raise`](Self::raise): there are lanes, or adds check before they add.
    #[inline(never)]
    fn raise_in(
        &self,
        lane: usize,
        place: SlotIndex,
        part: impl Fn(&Slot) -> &AtomicU64,
        amount: u64,
    ) -> Result<(), WriteError> {
        let slot = self.slot(lane, place);
        if self.gate.0.load(Ordering::Relaxed) & GUARDED != 0 {
            check_open(part(slot))?;
        }
        self.add(place, slot, part, amount);
        Ok(())
    }

    #[inline]
    fn add(&self, place: SlotIndex, slot: &Slot, part: impl Fn(&Slot) -> &AtomicU64, amount: u64) {
        // Sequentially consistent for `Replica::hand_over`, at no cost: it is one instruction
        // either way.
        let before = part(slot).fetch_add(amount, Ordering::SeqCst);
        if before.is_multiple_of(SAMPLE_EVERY) || before >= PENDING_MAX {
            self.after_rare_add(place, slot, before);
        }
    }

    /// The slot at a place in a lane, or in the base if that lane does not exist.
    #[inline]
    fn slot(&self, lane: usize, place: SlotIndex) -> &Slot {
        let made = self.lanes.get(lane.wrapping_sub(1)).and_then(OnceLock::get);
        &made.map_or(&self.base.0, |slots| &**slots)[place.slot()]
    }

    #[cold]
    fn after_rare_add(&self, place: SlotIndex, slot: &Slot, before: u64) {
        if before & AMOUNT == 0 {
            self.report(place.at());
        }
        if before >= PENDING_MAX {
            self.gate.0.fetch_or(GUARDED, Ordering::AcqRel);
        } else if before != 0 && std::ptr::eq(slot, self.slot(0, place)) && slot.is_contended() {
            self.note_contention();
        }
    }

    /// Gives the calling thread a lane. After enough contended samples, makes that lane in this
    /// block.
    #[cold]
    fn note_contention(&self) {
        let lane = lane();
        let missing = self.lanes.get(lane.wrapping_sub(1)).is_some_and(|made| made.get().is_none());
        if missing
            && self.activity.0.contended_samples.fetch_add(1, Ordering::Relaxed) + 1
                >= CONTENDED_SAMPLES_MAX
        {
            self.make_lane(lane);
        }
    }

    /// Makes a lane other than the base, unless another thread is making it. Never blocks.
    #[cold]
    fn make_lane(&self, lane: usize) {
        if self.activity.0.claimed.fetch_or(1 << lane, Ordering::AcqRel) & (1 << lane) != 0 {
            return;
        }
        let slots = slots();
        slots.iter().zip(self.base.0.iter()).for_each(|(slot, base)| slot.close_like(base));
        let _ = self.lanes[lane - 1].set(slots);
        self.gate.0.fetch_or(LANED, Ordering::AcqRel);
    }

    /// Reports a counter to the next flush.
    #[cold]
    fn report(&self, at: usize) {
        if self.activity.0.pending.set(at) && self.dirty.0.set(self.number % BLOCK_SLOTS) {
            (self.wake)();
        }
    }

    /// Like [`report`](Self::report), but also works if the thread that added first has not
    /// reported yet.
    pub(crate) fn force_report(&self, place: SlotIndex) {
        self.activity.0.pending.force_set(place.at());
        if self.dirty.0.force_set(self.number % BLOCK_SLOTS) {
            (self.wake)();
        }
    }
}

fn slots() -> Lane {
    let slots: Arc<[Slot]> = (0..BLOCK_SLOTS).map(|_| Slot::default()).collect();
    slots.try_into().unwrap_or_else(|_| unreachable!("as many as a block has"))
}

#[cfg(test)]
impl Block {
    /// Adds to lane 0 and reports nothing.
    pub(crate) fn preload(&self, at: usize, amount: u64) {
        self.slot(0, SlotIndex::of(at)).increments.fetch_add(amount, Ordering::AcqRel);
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
        block.raise(known_lane, SlotIndex::of(at), |slot| &slot.increments, 1)
    }

    fn drained(block: &Block) -> Vec<(usize, u64)> {
        let mut taken = Vec::new();
        block.drain(|at, amounts| {
            taken.push((at, amounts.increments));
            Fullness::default()
        });
        taken
    }

    #[test]
    fn contending_threads_get_lanes_and_lose_nothing() {
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
    fn new_lane_refuses_full_counters_as_the_base_does() {
        let block = block();
        block.close(0, Fullness { increments_full: true, decrements_full: false });
        let meet_and_add = || {
            (0..CONTENDED_SAMPLES_MAX).for_each(|_| block.note_contention());
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
