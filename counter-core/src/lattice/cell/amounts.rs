//! The two running totals of a PN-counter, and their bounds.

/// The largest amount that one call adds or subtracts: 2^32.
pub const AMOUNT_MAX: u64 = 1 << 32;

/// The largest sum of a cell's increments, or of its decrements: 2^62. Sums of these never wrap in
/// a u64.
pub const CELL_MAX: u64 = 1 << 62;

/// Adds are refused above this total. The 2^60 of room above it hold two more flushes. Each flush
/// adds at most 2^56 per lane, and 2^56 by name.
pub(crate) const NEARLY_FULL: u64 = CELL_MAX - (1 << 60);

/// The two running totals of a PN-counter's writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amounts {
    /// The sum of additions, without those that its writer subtracted after a reset.
    pub increments: u64,
    /// The sum of subtractions, without those that its writer subtracted after a reset.
    pub decrements: u64,
}

impl Amounts {
    /// Increments minus decrements.
    pub fn net(self) -> i128 {
        i128::from(self.increments) - i128::from(self.decrements)
    }

    /// The sum of each part. Only for pending amounts and cells, whose sums fit in 64 bits.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            increments: self.increments + other.increments,
            decrements: self.decrements + other.decrements,
        }
    }

    /// The greater of each part: the least upper bound.
    pub fn join(self, other: Self) -> Self {
        Self {
            increments: self.increments.max(other.increments),
            decrements: self.decrements.max(other.decrements),
        }
    }

    /// Like [`plus`](Self::plus), for amounts from untrusted peers.
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

    /// True if each part is at most `bound`.
    pub(crate) fn is_within(self, bound: u64) -> bool {
        self.increments <= bound && self.decrements <= bound
    }

    /// The excess over `baseline`, each part at least 0.
    pub fn above(self, baseline: Self) -> Self {
        Self {
            increments: self.increments.saturating_sub(baseline.increments),
            decrements: self.decrements.saturating_sub(baseline.decrements),
        }
    }
}
