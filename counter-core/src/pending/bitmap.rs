//! Which of many things have something pending: a bit each, set by any thread and taken by one.
//!
//! Who sets a bit sets the word's first and the summary's then; who takes them goes the other way,
//! and looks at all words. So what is set is either taken now, or its bit in the summary is met by
//! the next who takes.

use crate::pending::sync::{AtomicU64, Ordering};

/// Words of a bitmap.
#[cfg(not(loom))]
pub(crate) const WORDS: usize = 64;
#[cfg(loom)]
pub(crate) const WORDS: usize = 1;
/// Bits in a word.
#[cfg(not(loom))]
pub(crate) const BITS: usize = 64;
#[cfg(loom)]
pub(crate) const BITS: usize = 2;

pub(crate) struct Bitmap {
    /// A bit a word.
    summary: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Default for Bitmap {
    fn default() -> Self {
        Self { summary: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Bitmap {
    pub(crate) fn any(&self) -> bool {
        self.summary.load(Ordering::Acquire) != 0
    }

    /// Whether none was set before.
    pub(crate) fn set(&self, at: usize) -> bool {
        self.words[at / BITS].fetch_or(1 << (at % BITS), Ordering::AcqRel) == 0
            && self.summary.fetch_or(1 << (at / BITS), Ordering::AcqRel) == 0
    }

    /// Sets what somebody else may be in the middle of setting: after this it is there for whoever
    /// takes next. Whether none was set before.
    pub(crate) fn set_through(&self, at: usize) -> bool {
        self.words[at / BITS].fetch_or(1 << (at % BITS), Ordering::AcqRel);
        self.summary.fetch_or(1 << (at / BITS), Ordering::AcqRel) == 0
    }

    /// Takes all that are set, in their order.
    pub(crate) fn take(&self, mut each: impl FnMut(usize)) {
        // A look is cheaper than a swap, and mostly there is nothing.
        if !self.any() {
            return;
        }
        self.summary.swap(0, Ordering::AcqRel);
        for (at, word) in self.words.iter().enumerate() {
            let mut bits =
                if word.load(Ordering::Relaxed) == 0 { 0 } else { word.swap(0, Ordering::AcqRel) };
            while bits != 0 {
                each(at * BITS + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}
