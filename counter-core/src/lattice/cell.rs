//! A cell: one replica's running totals for one key, and what it has reset.

use crate::codec::fields::Fields;
use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::incarnation::absorbed::AbsorbedTree;
use crate::lattice::amounts::Amounts;
use crate::lattice::versions::vector::Version;
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
    pub(crate) extra: Extra,
}

/// The part of a cell that every cell has: 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain {
    pub(crate) version: Version,
    pub(crate) amounts: Amounts,
}

/// The amounts of one replica that a reset cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cleared {
    /// The version of that replica's cell that the reset saw.
    pub version: Version,
    /// The amounts of that cell, with those that it had absorbed.
    pub amounts: Amounts,
}

impl Cleared {
    /// A replica that saw the later version also saw everything in the earlier one.
    pub(crate) fn join(self, other: Self) -> Self {
        Self { version: self.version.max(other.version), amounts: self.amounts.join(other.amounts) }
    }
}

impl Cell {
    /// The amounts that this cell's writer has reset, by replica, in the order of ids.
    pub fn cleared(&self) -> &[(ReplicaId, Cleared)] {
        &self.extra.cleared
    }

    /// Its own amounts and those that it has absorbed.
    pub fn total(&self) -> Amounts {
        self.amounts.plus(self.extra.absorbed.total())
    }
}

/// The part of a cell that few cells have: traces of a reset or of absorbed incarnations, and
/// fields of later releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extra {
    /// Sorted by replica, none twice.
    pub(crate) cleared: Vec<(ReplicaId, Cleared)>,
    /// The version at which the cell absorbed `absorbed`; 0 if it absorbed nothing.
    pub(crate) absorbed_at: Version,
    /// Amounts that it has absorbed and not yet rebased.
    pub(crate) absorbed: AbsorbedTree,
    /// Fields that this release does not know, kept byte for byte.
    pub(crate) unknown: Fields,
}

const FIELD_CLEARED: u64 = 1;
const FIELD_ABSORBED: u64 = 3;

/// The fewest bytes of one cleared replica.
const CLEARED_BYTES_MIN: usize = ReplicaId::BYTES + 3;

impl Extra {
    pub(crate) fn is_empty(&self) -> bool {
        !self.shapes_values() && self.unknown.is_empty()
    }

    /// True if it makes the key's value more than a sum of amounts.
    pub(crate) fn shapes_values(&self) -> bool {
        !self.cleared.is_empty() || !self.absorbed.is_empty()
    }

    /// Clears more of `replica`.
    pub(crate) fn clear(&mut self, replica: ReplicaId, cleared: Cleared) {
        match self.cleared.binary_search_by_key(&replica, |entry| entry.0) {
            Ok(at) => self.cleared[at].1 = self.cleared[at].1.join(cleared),
            Err(at) => self.cleared.insert(at, (replica, cleared)),
        }
    }

    /// Writes `to` wherever it names `from`.
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId) {
        self.cleared.iter_mut().filter(|entry| entry.0 == from).for_each(|entry| entry.0 = to);
        self.cleared.sort_unstable_by_key(|entry| entry.0);
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if !self.shapes_values() {
            return self.unknown.write(out);
        }
        let mut fields = self.unknown.clone();
        if !self.cleared.is_empty() {
            fields.set(FIELD_CLEARED, self.cleared_bytes());
        }
        if !self.absorbed.is_empty() {
            let mut absorbed = Vec::new();
            write_varint(&mut absorbed, self.absorbed_at);
            self.absorbed.write(&mut absorbed);
            fields.set(FIELD_ABSORBED, absorbed);
        }
        fields.write(out);
    }

    fn cleared_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.cleared.len() * (ReplicaId::BYTES + 6));
        write_varint(&mut bytes, self.cleared.len() as u64);
        for (replica, Cleared { version, amounts }) in &self.cleared {
            bytes.extend_from_slice(&replica.to_bytes());
            [*version, amounts.increments, amounts.decrements]
                .into_iter()
                .for_each(|number| write_varint(&mut bytes, number));
        }
        bytes
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut unknown = Fields::read(reader)?;
        let cleared =
            unknown.take(FIELD_CLEARED).map_or(Ok(Vec::new()), |bytes| read_cleared(&bytes))?;
        let (absorbed_at, absorbed) = unknown
            .take(FIELD_ABSORBED)
            .map_or(Ok((0, AbsorbedTree::default())), |bytes| read_absorbed(&bytes))?;
        let extra = Self { cleared, absorbed_at, absorbed, unknown };
        match extra.is_empty() {
            true => Err(DecodeError::Invalid("the extra fields of a cell are not empty")),
            false => Ok(extra),
        }
    }
}

fn read_cleared(bytes: &[u8]) -> Result<Vec<(ReplicaId, Cleared)>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = reader.count(CLEARED_BYTES_MIN)?;
    let mut cleared: Vec<(ReplicaId, Cleared)> = Vec::with_capacity(count);
    for _ in 0..count {
        let (replica, version) = (reader.replica()?, reader.varint()?);
        let amounts = Amounts { increments: reader.sum()?, decrements: reader.sum()? };
        if cleared.last().is_some_and(|last| last.0 >= replica) {
            return Err(DecodeError::Invalid("cleared replicas ascend"));
        }
        cleared.push((replica, Cleared { version, amounts }));
    }
    reader.finish()?;
    match cleared.is_empty() {
        true => Err(DecodeError::Invalid("the field of cleared replicas is not empty")),
        false => Ok(cleared),
    }
}

fn read_absorbed(bytes: &[u8]) -> Result<(Version, AbsorbedTree), DecodeError> {
    let mut reader = Reader::new(bytes);
    let (absorbed_at, absorbed) = (reader.varint()?, AbsorbedTree::read(&mut reader)?);
    reader.finish()?;
    match absorbed_at > 0 && !absorbed.is_empty() {
        true => Ok((absorbed_at, absorbed)),
        false => Err(DecodeError::Invalid("the field of absorbed cells is not empty")),
    }
}
