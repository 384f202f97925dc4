//! The amounts that resets cleared, and the origin from which a cell counts.

use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::lattice::cell::amounts::{Amounts, CELL_MAX};
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// Stands for the version of a writer's last state. No writer reaches it.
const LAST_VERSION: Version = 1 << 63;

/// The amounts of one replica that a reset cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cleared {
    /// The version of that replica's cell that the reset saw.
    pub version: Version,
    /// The amounts of that cell, with those that it had absorbed.
    pub amounts: Amounts,
}

impl Cleared {
    /// The later version includes everything in the earlier one, so the greater amounts hold. But
    /// if the cell began anew between the two, their amounts are not comparable, and the later one
    /// replaces the earlier.
    pub(crate) fn join(self, other: Self, origin: Origin) -> Self {
        let (later, earlier) =
            if self.version < other.version { (other, self) } else { (self, other) };
        match earlier.version < origin.version && origin.version <= later.version {
            true => later,
            false => Self { amounts: later.amounts.join(earlier.amounts), ..later },
        }
    }

    /// Clears an absorbed cell. Such a cell is its writer's last state, and its version is not
    /// kept.
    pub(crate) fn of_last(amounts: Amounts) -> Self {
        Self { version: LAST_VERSION, amounts }
    }
}

/// The amounts that one writer's resets of a key have cleared, by replica: each replica once, in
/// the order of ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resets(Vec<(ReplicaId, Cleared)>);

/// The fewest bytes of one cleared replica.
const CLEARED_BYTES_MIN: usize = ReplicaId::BYTES + 3;

impl Resets {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[(ReplicaId, Cleared)] {
        &self.0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ReplicaId, Cleared)> + '_ {
        self.0.iter().copied()
    }

    /// The cleared amounts of a replica.
    pub(crate) fn of(&self, replica: ReplicaId) -> Option<Cleared> {
        let at = self.0.binary_search_by_key(&replica, |entry| entry.0).ok()?;
        Some(self.0[at].1)
    }

    /// Clears these amounts of `replica` too. Its cell has this origin.
    pub(crate) fn clear(&mut self, replica: ReplicaId, cleared: Cleared, origin: Origin) {
        match self.0.binary_search_by_key(&replica, |entry| entry.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.join(cleared, origin),
            Err(at) => self.0.insert(at, (replica, cleared)),
        }
    }

    /// Keeps only the resets of some replicas.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(ReplicaId, Cleared) -> bool) {
        self.0.retain(|&(replica, cleared)| keeps(replica, cleared));
    }

    /// Replaces the version `from` by `to`.
    pub(crate) fn set_version(&mut self, from: Version, to: Version) {
        let dated = self.0.iter_mut().filter(|entry| entry.1.version == from);
        dated.for_each(|entry| entry.1.version = to);
    }

    /// Replaces the id `from` by `to`.
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId) {
        self.0.iter_mut().filter(|entry| entry.0 == from).for_each(|entry| entry.0 = to);
        self.0.sort_unstable_by_key(|entry| entry.0);
    }

    /// `count (replica version increments decrements)*`.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * (ReplicaId::BYTES + 6));
        write_varint(&mut bytes, self.0.len() as u64);
        for (replica, Cleared { version, amounts }) in &self.0 {
            bytes.extend_from_slice(&replica.to_bytes());
            [*version, amounts.increments, amounts.decrements]
                .into_iter()
                .for_each(|number| write_varint(&mut bytes, number));
        }
        bytes
    }

    /// Reads the bytes of [`to_bytes`](Self::to_bytes) of resets that are not empty.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let count = reader.count(CLEARED_BYTES_MIN)?;
        let mut cleared: Vec<(ReplicaId, Cleared)> = Vec::with_capacity(count);
        for _ in 0..count {
            let (replica, version) = (reader.replica()?, reader.varint()?);
            let amounts = Amounts { increments: reader.sum()?, decrements: reader.sum()? };
            if cleared.last().is_some_and(|last| last.0 >= replica) {
                return Err(DecodeError::Invalid("cleared replicas must ascend"));
            }
            cleared.push((replica, Cleared { version, amounts }));
        }
        reader.finish()?;
        match cleared.is_empty() {
            true => Err(DecodeError::Invalid("the field of cleared replicas must not be empty")),
            false => Ok(Self(cleared)),
        }
    }
}

/// The version at which a cell began anew, and the amounts that its writer subtracted then. A cell
/// begins anew after its writer dropped an earlier one, or subtracts the amounts that resets have
/// cleared.
///
/// A reset that saw an earlier version still includes those amounts, so `offset` is subtracted from
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// 0 if the cell never began anew, or if no replica holds a reset of an earlier version any
    /// more.
    pub(crate) version: Version,
    pub(crate) offset: Amounts,
}

impl Origin {
    /// The origin of a cell at a key whose earlier cell was dropped. Earlier resets clear nothing
    /// of it.
    pub(crate) fn after_drop(version: Version) -> Self {
        Self { version, offset: Amounts { increments: CELL_MAX, decrements: CELL_MAX } }
    }

    /// The amounts of a reset, counted from this origin.
    pub(crate) fn cleared(&self, seen: &Cleared) -> Amounts {
        match seen.version < self.version {
            true => seen.amounts.above(self.offset),
            false => seen.amounts,
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.version > 0
    }
}

impl Origin {
    /// `version increments decrements`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        [self.version, self.offset.increments, self.offset.decrements]
            .into_iter()
            .for_each(|number| write_varint(out, number));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = read_above_0(reader)?;
        let offset = Amounts { increments: reader.amount()?, decrements: reader.amount()? };
        Ok(Self { version, offset })
    }
}

pub(super) fn read_above_0(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match reader.varint()? {
        0 => Err(DecodeError::Invalid("a version or time in a cell's fields must be above 0")),
        number => Ok(number),
    }
}
