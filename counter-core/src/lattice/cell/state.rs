//! A whole cell: one replica's running totals for one key.

use crate::lattice::cell::amounts::Amounts;
use crate::lattice::cell::extra::CellExtra;
use crate::lattice::cell::resets::Cleared;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// One replica's running totals for one key. Only that replica writes it, and a greater `version`
/// replaces the whole cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The writer's sequence number of this state of the cell.
    pub version: Version,
    /// Running totals, never increments, so loss, duplication and reordering are harmless.
    pub amounts: Amounts,
    /// The rest of the cell; empty for most.
    pub(crate) extra: CellExtra,
}

/// The part of a cell that every cell has: 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlainCell {
    pub(crate) version: Version,
    pub(crate) amounts: Amounts,
}

impl Cell {
    /// The amounts that this cell's writer has reset, by replica id, ascending.
    pub fn cleared(&self) -> &[(ReplicaId, Cleared)] {
        self.extra.resets.as_slice()
    }

    /// The time after which its writer drops it, in milliseconds since the start of 1970; None if
    /// it stays.
    pub fn expires_at(&self) -> Option<u64> {
        Some(self.extra.expires_at).filter(|&at| at > 0)
    }

    /// Its own amounts and those that it has absorbed.
    pub fn total(&self) -> Amounts {
        self.amounts.plus(self.extra.absorbed.total())
    }
}
