//! A bitmap with a summary: any thread sets bits, and one thread takes them all.
//!
//! A setter first sets the bit in its word, then the word's bit in the summary. A taker clears the
//! summary first, and then looks at every word. So it either takes a bit now, or leaves it in the
//! summary for the next one.

use crate::pending::sync::{AtomicU64, Ordering};

/// The number of words in a bitmap.
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
    /// One bit for each word.
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

    /// Sets a bit. Returns true if the bitmap was empty.
    pub(crate) fn set(&self, at: usize) -> bool {
        self.words[at / BITS].fetch_or(1 << (at % BITS), Ordering::AcqRel) == 0
            && self.summary.fetch_or(1 << (at / BITS), Ordering::AcqRel) == 0
    }

    /// Sets a bit even if another thread is in the middle of setting it: the next taker finds it.
    /// Returns true if the bitmap was empty.
    pub(crate) fn force_set(&self, at: usize) -> bool {
        self.words[at / BITS].fetch_or(1 << (at % BITS), Ordering::AcqRel);
        self.summary.fetch_or(1 << (at / BITS), Ordering::AcqRel) == 0
    }

    /// Takes every bit that is set, in order.
    pub(crate) fn take(&self, mut each: impl FnMut(usize)) {
        // Usually there is nothing, and a load is cheaper than a swap.
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
