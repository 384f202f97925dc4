//! The two running totals of a PN-counter, and how far they go.

/// The most that one call adds or subtracts: 2^32.
pub const AMOUNT_MAX: u64 = 1 << 32;

/// The most that a cell's increments, or its decrements, come to: 2^62. No sum of u64 parts wraps
/// on the way.
pub const CELL_MAX: u64 = 1 << 62;

/// From here a cell may overflow with what two more flushes bring, 2^56 a lane each, and 2^56 by
/// name: 2^60 below its bound.
pub(crate) const NEARLY_FULL: u64 = CELL_MAX - (1 << 60);

/// The two running totals of a PN-counter's writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amounts {
    /// Sum of all that was added.
    pub increments: u64,
    /// Sum of all that was subtracted.
    pub decrements: u64,
}

impl Amounts {
    /// Increments minus decrements.
    pub fn net(self) -> i128 {
        i128::from(self.increments) - i128::from(self.decrements)
    }

    /// The sum of each part; neither comes near the end of 64 bits where both are pending.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            increments: self.increments + other.increments,
            decrements: self.decrements + other.decrements,
        }
    }

    /// The greater of each part: their least upper bound.
    pub fn join(self, other: Self) -> Self {
        Self {
            increments: self.increments.max(other.increments),
            decrements: self.decrements.max(other.decrements),
        }
    }

    /// As [`plus`](Self::plus), for what a stranger may have said.
    pub(crate) fn saturating_plus(self, other: Self) -> Self {
        let increments = self.increments.saturating_add(other.increments);
        Self { increments, decrements: self.decrements.saturating_add(other.decrements) }
    }

    /// The lesser of each part.
    pub(crate) fn within(self, bound: Self) -> Self {
        Self {
            increments: self.increments.min(bound.increments),
            decrements: self.decrements.min(bound.decrements),
        }
    }

    /// Whether each part is at most `bound`.
    pub(crate) fn is_within(self, bound: u64) -> bool {
        self.increments <= bound && self.decrements <= bound
    }

    /// What is left above `baseline`, each part at least 0.
    pub fn above(self, baseline: Self) -> Self {
        Self {
            increments: self.increments.saturating_sub(baseline.increments),
            decrements: self.decrements.saturating_sub(baseline.decrements),
        }
    }
}
