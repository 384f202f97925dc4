//! A cell: one replica's running totals for one key, and the amounts that it has reset.

use crate::codec::fields::Fields;
use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::incarnation::absorbed::AbsorbedTree;
use crate::lattice::amounts::{Amounts, CELL_MAX};
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

/// Stands for the version of a writer's last state. No writer gets there.
const LAST_VERSION: Version = 1 << 63;

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
    /// A replica that saw the later version also saw everything in the earlier one. If only one of
    /// them counts from the cell's origin, it is the later one, and the amounts are not comparable.
    pub(crate) fn join(self, other: Self, origin: Origin) -> Self {
        let (later, earlier) =
            if self.version < other.version { (other, self) } else { (self, other) };
        match earlier.version < origin.version && origin.version <= later.version {
            true => later,
            false => Self { amounts: later.amounts.join(earlier.amounts), ..later },
        }
    }

    /// The clearing of an absorbed cell. That is its writer's last state, whose version is not
    /// kept.
    pub(crate) fn of_last(amounts: Amounts) -> Self {
        Self { version: LAST_VERSION, amounts }
    }
}

impl Cell {
    /// The amounts that this cell's writer has reset, by replica, in the order of ids.
    pub fn cleared(&self) -> &[(ReplicaId, Cleared)] {
        &self.extra.cleared
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

/// The version at which a cell began anew, and the amounts that were taken off it then. It began
/// anew because its writer dropped the cell before, or took off what resets had cleared.
///
/// A reset that saw an earlier version counts from before that: its cleared amounts lose `offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// 0 if the cell never began anew, or if no reset of an earlier version is left anywhere.
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

/// The part of a cell that few cells have: traces of a reset, a removal or absorbed incarnations,
/// an expiry, and fields of later releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extra {
    /// Sorted by replica, none twice.
    pub(crate) cleared: Vec<(ReplicaId, Cleared)>,
    /// The version at which the cell absorbed `absorbed`; 0 if it absorbed nothing.
    pub(crate) absorbed_at: Version,
    /// Amounts that it has absorbed and not yet rebased.
    pub(crate) absorbed: AbsorbedTree,
    pub(crate) origin: Origin,
    /// The version at which the writer asked for the removal of the counter; 0 if it did not, or if
    /// that is done.
    pub(crate) removal: Version,
    /// The time after which the counter ends, in milliseconds since the start of 1970; 0 if it does
    /// not. Of all cells of a counter the latest time counts. It shapes no value.
    pub(crate) expires_at: u64,
    /// Fields that this release does not know, kept byte for byte.
    pub(crate) unknown: Fields,
}

const FIELD_CLEARED: u64 = 1;
const FIELD_ABSORBED: u64 = 3;
const FIELD_ORIGIN: u64 = 4;
const FIELD_REMOVAL: u64 = 5;
const FIELD_ABSORBED_ORIGINS: u64 = 6;
const FIELD_EXPIRES_AT: u64 = 7;

/// The fewest bytes of one cleared replica.
const CLEARED_BYTES_MIN: usize = ReplicaId::BYTES + 3;

impl Extra {
    pub(crate) fn is_empty(&self) -> bool {
        !self.shapes_values() && self.expires_at == 0 && self.unknown.is_empty()
    }

    /// True if it makes the key's value more than a sum of amounts.
    pub(crate) fn shapes_values(&self) -> bool {
        !self.cleared.is_empty() || !self.absorbed.is_empty() || self.is_unsettled()
    }

    /// True if the cell began anew or asks for a removal, which releases before format 3 do not
    /// know.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.origin.is_set() || self.removal > 0 || self.absorbed.has_origins()
    }

    /// Clears more of `replica`, whose cell has this origin.
    pub(crate) fn clear(&mut self, replica: ReplicaId, cleared: Cleared, origin: Origin) {
        match self.cleared.binary_search_by_key(&replica, |entry| entry.0) {
            Ok(at) => self.cleared[at].1 = self.cleared[at].1.join(cleared, origin),
            Err(at) => self.cleared.insert(at, (replica, cleared)),
        }
    }

    /// Writes `to` wherever it names `from`.
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId) {
        self.cleared.iter_mut().filter(|entry| entry.0 == from).for_each(|entry| entry.0 = to);
        self.cleared.sort_unstable_by_key(|entry| entry.0);
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if !self.shapes_values() && self.expires_at == 0 {
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
        if self.absorbed.has_origins() {
            let mut origins = Vec::new();
            self.absorbed.write_origins(&mut origins);
            fields.set(FIELD_ABSORBED_ORIGINS, origins);
        }
        if self.origin.is_set() {
            let mut origin = Vec::new();
            self.origin.write(&mut origin);
            fields.set(FIELD_ORIGIN, origin);
        }
        if self.removal > 0 {
            let mut removal = Vec::new();
            write_varint(&mut removal, self.removal);
            fields.set(FIELD_REMOVAL, removal);
        }
        if self.expires_at > 0 {
            let mut expires_at = Vec::new();
            write_varint(&mut expires_at, self.expires_at);
            fields.set(FIELD_EXPIRES_AT, expires_at);
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
        let (absorbed_at, mut absorbed) = unknown
            .take(FIELD_ABSORBED)
            .map_or(Ok((0, AbsorbedTree::default())), |bytes| read_absorbed(&bytes))?;
        if let Some(bytes) = unknown.take(FIELD_ABSORBED_ORIGINS) {
            absorbed.read_origins(&bytes)?;
        }
        let origin = unknown
            .take(FIELD_ORIGIN)
            .map_or(Ok(Origin::default()), |bytes| read_all(&bytes, Origin::read))?;
        let removal =
            unknown.take(FIELD_REMOVAL).map_or(Ok(0), |bytes| read_all(&bytes, read_above_0))?;
        let expires_at =
            unknown.take(FIELD_EXPIRES_AT).map_or(Ok(0), |bytes| read_all(&bytes, read_above_0))?;
        let extra = Self { cleared, absorbed_at, absorbed, origin, removal, expires_at, unknown };
        match extra.is_empty() {
            true => Err(DecodeError::Invalid("the extra fields of a cell must not be empty")),
            false => Ok(extra),
        }
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

fn read_above_0(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match reader.varint()? {
        0 => Err(DecodeError::Invalid("a version or time in a cell's fields is above 0")),
        number => Ok(number),
    }
}

/// Reads a field's bytes to their end.
fn read_all<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

fn read_cleared(bytes: &[u8]) -> Result<Vec<(ReplicaId, Cleared)>, DecodeError> {
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
        false => Ok(cleared),
    }
}

fn read_absorbed(bytes: &[u8]) -> Result<(Version, AbsorbedTree), DecodeError> {
    let mut reader = Reader::new(bytes);
    let (absorbed_at, absorbed) = (reader.varint()?, AbsorbedTree::read(&mut reader)?);
    reader.finish()?;
    match absorbed_at > 0 && !absorbed.is_empty() {
        true => Ok((absorbed_at, absorbed)),
        false => Err(DecodeError::Invalid("the field of absorbed cells must not be empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Extra, DecodeError> {
        let mut reader = Reader::new(bytes);
        let extra = Extra::read(&mut reader)?;
        reader.finish().map(|()| extra)
    }

    #[test]
    fn any_expiry_above_0_is_read_back_and_no_other() {
        for expires_at in [1, 127, 128, 1_700_000_000_000, u64::MAX] {
            let (extra, mut bytes) = (Extra { expires_at, ..Extra::default() }, Vec::new());
            extra.write(&mut bytes);
            assert_eq!(read(&bytes), Ok(extra));
            assert!((1..bytes.len()).all(|upto| read(&bytes[..upto]).is_err()));
        }
        for bad in [&[1, 7, 1, 0][..], &[1, 7, 2, 1, 1], &[1, 7, 0], &[1, 7, 2, 0x80, 0]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
