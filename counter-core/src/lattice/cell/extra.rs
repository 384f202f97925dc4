//! The part of a cell that few cells have.

use crate::codec::fields::Fields;
use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::incarnation::absorbed::AbsorbedTree;
use crate::lattice::cell::resets::{Origin, Resets, read_above_0};
use crate::lattice::cell::retractions::Retractions;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// The part of a cell that few cells have: traces of a reset, a removal, absorbed incarnations or
/// adds that were taken back, an expiry, and fields of later releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CellExtra {
    pub(crate) resets: Resets,
    /// The version at which the cell absorbed `absorbed`; 0 if it absorbed nothing.
    pub(crate) absorbed_at: Version,
    /// Amounts that it has absorbed and not yet rebased.
    pub(crate) absorbed: AbsorbedTree,
    pub(crate) origin: Origin,
    /// The version at which the writer asked for the removal of the counter. 0 if it did not ask,
    /// or the removal is complete.
    pub(crate) removal: Version,
    /// The time after which the counter expires, in milliseconds since the start of 1970; 0 for
    /// never. The latest time in a counter's cells counts. It does not affect the value.
    pub(crate) expires_at: u64,
    /// Adds that were taken back, and that a reset may have cleared before.
    pub(crate) retractions: Retractions,
    /// Fields that this release does not know, kept byte for byte.
    pub(crate) unknown: Fields,
}

const FIELD_CLEARED: u64 = 1;
const FIELD_ABSORBED: u64 = 3;
const FIELD_ORIGIN: u64 = 4;
const FIELD_REMOVAL: u64 = 5;
const FIELD_ABSORBED_ORIGINS: u64 = 6;
const FIELD_EXPIRES_AT: u64 = 7;
const FIELD_RETRACTIONS: u64 = 8;

impl CellExtra {
    pub(crate) fn is_empty(&self) -> bool {
        !self.adjusts_values() && self.expires_at == 0 && self.unknown.is_empty()
    }

    /// True if the key's value is no longer a plain sum of amounts because of it.
    pub(crate) fn adjusts_values(&self) -> bool {
        !self.resets.is_empty()
            || !self.absorbed.is_empty()
            || !self.retractions.is_empty()
            || self.has_removal_traces()
    }

    /// True if the cell began anew or asks for a removal. Only format 3 can express that.
    pub(crate) fn has_removal_traces(&self) -> bool {
        self.origin.is_set() || self.removal > 0 || self.absorbed.has_origins()
    }

    /// Replaces the id `from` by `to`.
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId) {
        self.resets.rename(from, to);
        self.retractions.rename(from, to);
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if !self.adjusts_values() && self.expires_at == 0 {
            return self.unknown.write(out);
        }
        let mut fields = self.unknown.clone();
        if !self.resets.is_empty() {
            fields.set(FIELD_CLEARED, self.resets.to_bytes());
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
        if !self.retractions.is_empty() {
            fields.set(FIELD_RETRACTIONS, self.retractions.to_bytes());
        }
        fields.write(out);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut unknown = Fields::read(reader)?;
        let resets = unknown
            .take(FIELD_CLEARED)
            .map_or(Ok(Resets::default()), |bytes| Resets::read(&bytes))?;
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
        let retractions = unknown
            .take(FIELD_RETRACTIONS)
            .map_or(Ok(Retractions::default()), |bytes| Retractions::read(&bytes))?;
        let extra = Self {
            resets,
            absorbed_at,
            absorbed,
            origin,
            removal,
            expires_at,
            retractions,
            unknown,
        };
        match extra.is_empty() {
            true => Err(DecodeError::Invalid("the extra fields of a cell must not be empty")),
            false => Ok(extra),
        }
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

    fn read(bytes: &[u8]) -> Result<CellExtra, DecodeError> {
        let mut reader = Reader::new(bytes);
        let extra = CellExtra::read(&mut reader)?;
        reader.finish().map(|()| extra)
    }

    #[test]
    fn any_expiry_above_0_is_read_back_and_no_other() {
        for expires_at in [1, 127, 128, 1_700_000_000_000, u64::MAX] {
            let (extra, mut bytes) = (CellExtra { expires_at, ..CellExtra::default() }, Vec::new());
            extra.write(&mut bytes);
            assert_eq!(read(&bytes), Ok(extra));
            assert!((1..bytes.len()).all(|upto| read(&bytes[..upto]).is_err()));
        }
        for bad in [&[1, 7, 1, 0][..], &[1, 7, 2, 1, 1], &[1, 7, 0], &[1, 7, 2, 0x80, 0]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
