//! Adding from any thread: pending amounts as atomics, drained into cells at a flush.
//!
//! An add is one `fetch_add`. Whoever finds 0 there is the first since the last flush and marks the slot: a bit in its word, and, where
//! the word was empty, a bit in the chunk's summary, and, where that was empty too, a wake. A flush takes them in the opposite
//! order: summary, words, amounts. So an amount is either taken by this flush or its mark is met by the next: none is lost.

use std::fmt;

use crate::cell::{AMOUNT_MAX, Amounts};
use crate::error::AddError;
use crate::sync::{Arc, AtomicU64, Ordering};

/// What a flush may find pending of one part of one counter, but for one add more a thread. Far above what comes together between
/// two flushes, far below what would wrap.
pub(crate) const PENDING_MAX: u64 = 1 << 56;

/// Set in a pending amount when its cell has no room for another flush: every add is refused from then on.
pub(crate) const FULL: u64 = 1 << 62;

/// Words of 64 marks in a chunk.
#[cfg(not(loom))]
const WORDS: usize = 64;
#[cfg(loom)]
const WORDS: usize = 1;
/// Counters in a word.
#[cfg(not(loom))]
const BITS: usize = 64;
#[cfg(loom)]
const BITS: usize = 2;

/// Counters in a chunk.
pub(crate) const CHUNK: usize = WORDS * BITS;

/// Called by the first add after a flush, on its thread: it must be short and must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Slot {
    increments: AtomicU64,
    decrements: AtomicU64,
}

/// Pending amounts of [`CHUNK`] counters: 64 KiB.
pub(crate) struct Chunk {
    summary: AtomicU64,
    words: Vec<AtomicU64>,
    slots: Vec<Slot>,
    wake: Wake,
}

impl Chunk {
    pub(crate) fn new(wake: Wake) -> Arc<Self> {
        let words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { summary: AtomicU64::new(0), words, slots: (0..CHUNK).map(|_| Slot::default()).collect(), wake })
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.summary.load(Ordering::Acquire) != 0
    }

    pub(crate) fn pending(&self, at: usize) -> Amounts {
        let part = |pending: &AtomicU64| pending.load(Ordering::Acquire) & (FULL - 1);
        let slot = &self.slots[place(at)];
        Amounts { increments: part(&slot.increments), decrements: part(&slot.decrements) }
    }

    /// Takes what is pending, counter by counter. `each` says whether a part of its cell is full now.
    pub(crate) fn drain(&self, mut each: impl FnMut(usize, Amounts) -> Room) {
        if self.summary.swap(0, Ordering::AcqRel) == 0 {
            return;
        }
        for (at, word) in self.words.iter().enumerate() {
            let mut marks = if word.load(Ordering::Relaxed) == 0 { 0 } else { word.swap(0, Ordering::AcqRel) };
            while marks != 0 {
                let counter = at * BITS + marks.trailing_zeros() as usize;
                marks &= marks - 1;
                let slot = &self.slots[place(counter)];
                let amounts = Amounts { increments: take(&slot.increments), decrements: take(&slot.decrements) };
                if amounts != Amounts::default() {
                    let room = each(counter, amounts);
                    self.close(counter, room);
                }
            }
        }
    }

    /// Refuses adds to the parts that are full.
    pub(crate) fn close(&self, at: usize, room: Room) {
        let slot = &self.slots[place(at)];
        close(&slot.increments, room.increments_full);
        close(&slot.decrements, room.decrements_full);
    }

    #[cold]
    fn mark(&self, at: usize) {
        if self.words[at / BITS].fetch_or(1 << (at % BITS), Ordering::AcqRel) == 0
            && self.summary.fetch_or(1 << (at / BITS), Ordering::AcqRel) == 0
        {
            (self.wake)();
        }
    }
}

/// Which parts of a cell have no room for another flush.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    pub(crate) increments_full: bool,
    pub(crate) decrements_full: bool,
}

/// Neighbours in number lie in different cache lines, so that threads that add to them do not slow each other.
fn place(at: usize) -> usize {
    (at % BITS) * WORDS + at / BITS
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

/// Adds to one counter of one replica, from any thread, without waiting for anything: one atomic addition.
///
/// Cheap to clone (16 bytes and a count). What is added is in the replica's own reads at once and in its cells at the next flush.
#[derive(Clone)]
pub struct Tally {
    chunk: Arc<Chunk>,
    at: usize,
}

impl Tally {
    pub(crate) fn new(chunk: Arc<Chunk>, at: usize) -> Self {
        debug_assert!(at < CHUNK, "a tally lies in its chunk");
        Self { chunk, at }
    }

    /// Adds `amount`, 1 to 2^32. Wait-free: one `fetch_add`, and for the first add after a flush two more and the wake.
    ///
    /// # Errors
    /// `AmountOutOfRange`; `CellFull` or `NotFlushed` where it does not fit. Nothing was added then.
    pub fn add(&self, amount: u64) -> Result<(), AddError> {
        self.raise(&self.slot().increments, amount)
    }

    /// Subtracts `amount`, 1 to 2^32, just as [`add`](Self::add) adds.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn subtract(&self, amount: u64) -> Result<(), AddError> {
        self.raise(&self.slot().decrements, amount)
    }

    /// What was added and subtracted since the last flush.
    pub fn pending(&self) -> Amounts {
        self.chunk.pending(self.at)
    }

    fn slot(&self) -> &Slot {
        &self.chunk.slots[place(self.at)]
    }

    #[inline]
    fn raise(&self, pending: &AtomicU64, amount: u64) -> Result<(), AddError> {
        if amount.wrapping_sub(1) >= AMOUNT_MAX {
            return Err(AddError::AmountOutOfRange);
        }
        let before = pending.fetch_add(amount, Ordering::AcqRel);
        if before.wrapping_sub(1) < PENDING_MAX - 1 {
            return Ok(());
        }
        self.first_or_too_much(pending, before, amount)
    }

    #[cold]
    fn first_or_too_much(&self, pending: &AtomicU64, before: u64, amount: u64) -> Result<(), AddError> {
        if before == 0 {
            self.chunk.mark(self.at);
            return Ok(());
        }
        take_back(pending, amount)
    }
}

/// Takes an amount back that was one too many. If a flush has it already, and less than it is pending now, it counts as added.
fn take_back(pending: &AtomicU64, amount: u64) -> Result<(), AddError> {
    let mut seen = pending.load(Ordering::Acquire);
    loop {
        if seen & (FULL - 1) < amount {
            return Ok(());
        }
        match pending.compare_exchange_weak(seen, seen - amount, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) if seen & FULL != 0 => return Err(AddError::CellFull),
            Ok(_) => return Err(AddError::NotFlushed),
            Err(now) => seen = now,
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("pending", &self.pending()).finish_non_exhaustive()
    }
}
