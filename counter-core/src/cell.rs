//! What one replica has written for one key: running totals, and what it has reset.

use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::fields::Fields;
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;

/// The most that one call adds or subtracts: 2^32.
pub const AMOUNT_MAX: u64 = 1 << 32;

/// The most that a cell's increments, or its decrements, come to: 2^62. No sum of u64 parts wraps on the way.
pub const CELL_MAX: u64 = 1 << 62;

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
        Self { increments: self.increments + other.increments, decrements: self.decrements + other.decrements }
    }

    /// The greater of each part: their least upper bound.
    pub fn join(self, other: Self) -> Self {
        Self { increments: self.increments.max(other.increments), decrements: self.decrements.max(other.decrements) }
    }

    /// What is left above `floor`, each part at least 0.
    pub fn above(self, floor: Self) -> Self {
        Self { increments: self.increments.saturating_sub(floor.increments), decrements: self.decrements.saturating_sub(floor.decrements) }
    }
}

/// What one replica has written for one key. Only that replica writes it; a greater `version` replaces the whole cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The writer's sequence number of this state of the cell.
    pub version: Version,
    /// Running totals, never increments: so loss, duplication and reordering are harmless.
    pub amounts: Amounts,
    /// What else the cell says; empty for most.
    pub(crate) extra: Extra,
}

impl Cell {
    /// What this cell's writer has reset of each replica: the amounts it had seen of them.
    pub fn cleared(&self) -> &[(ReplicaId, Amounts)] {
        &self.extra.cleared
    }
}

/// What few cells have: the traces of a reset, and fields of later releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extra {
    /// Sorted by replica, none twice.
    pub(crate) cleared: Vec<(ReplicaId, Amounts)>,
    /// Fields that this release does not know, kept byte for byte.
    pub(crate) unknown: Fields,
}

const FIELD_CLEARED: u64 = 1;

impl Extra {
    pub(crate) fn is_empty(&self) -> bool {
        self.cleared.is_empty() && self.unknown.is_empty()
    }

    /// Raises what is cleared of `replica`.
    pub(crate) fn clear(&mut self, replica: ReplicaId, amounts: Amounts) {
        match self.cleared.binary_search_by_key(&replica, |entry| entry.0) {
            Ok(at) => self.cleared[at].1 = self.cleared[at].1.join(amounts),
            Err(at) => self.cleared.insert(at, (replica, amounts)),
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if self.cleared.is_empty() {
            return self.unknown.write(out);
        }
        let mut cleared = Vec::with_capacity(self.cleared.len() * (ReplicaId::BYTES + 4));
        write_varint(&mut cleared, self.cleared.len() as u64);
        for (replica, amounts) in &self.cleared {
            cleared.extend_from_slice(&replica.to_bytes());
            write_varint(&mut cleared, amounts.increments);
            write_varint(&mut cleared, amounts.decrements);
        }
        let mut fields = self.unknown.clone();
        fields.set(FIELD_CLEARED, cleared);
        fields.write(out);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut unknown = Fields::read(reader)?;
        let cleared = match unknown.take(FIELD_CLEARED) {
            Some(bytes) => read_cleared(&bytes)?,
            None => Vec::new(),
        };
        let extra = Self { cleared, unknown };
        match extra.is_empty() {
            true => Err(DecodeError::Invalid("a cell without extras has no extras")),
            false => Ok(extra),
        }
    }
}

fn read_cleared(bytes: &[u8]) -> Result<Vec<(ReplicaId, Amounts)>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = reader.count(ReplicaId::BYTES + 2)?;
    let mut cleared: Vec<(ReplicaId, Amounts)> = Vec::with_capacity(count);
    for _ in 0..count {
        let replica = reader.replica()?;
        let amounts = Amounts { increments: reader.amount()?, decrements: reader.amount()? };
        if cleared.last().is_some_and(|last| last.0 >= replica) {
            return Err(DecodeError::Invalid("cleared replicas ascend"));
        }
        cleared.push((replica, amounts));
    }
    reader.finish()?;
    match cleared.is_empty() {
        true => Err(DecodeError::Invalid("a cell that cleared nothing says nothing of it")),
        false => Ok(cleared),
    }
}
