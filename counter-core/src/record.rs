//! The replica record: facts about one writer, once, instead of in every key's cell.

use crate::codec::varint::Reader;
use crate::error::DecodeError;
use crate::fields::Fields;
use crate::names::NAME_BYTES_MAX;
use crate::version_vector::Version;

const FIELD_REGION: u64 = 1;

/// What a replica says of itself. It has a version in its writer's sequence, as a cell has.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The writer's sequence number of this state of the record.
    pub version: Version,
    /// Where the replica runs.
    pub region: String,
    /// Fields that this release does not know, kept byte for byte.
    pub(crate) unknown: Fields,
}

impl Record {
    /// The record of a replica in `region`.
    pub(crate) fn new(version: Version, region: &str) -> Self {
        Self { version, region: region.into(), unknown: Fields::default() }
    }

    /// All but the version.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut fields = self.unknown.clone();
        fields.set(FIELD_REGION, self.region.as_bytes().to_vec());
        fields.write(out);
    }

    /// No encoding of this record is longer.
    pub(crate) fn bytes_max(&self) -> usize {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes.len() + 10
    }

    pub(crate) fn read(version: Version, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut unknown = Fields::read(reader)?;
        let region = unknown.take(FIELD_REGION).ok_or(DecodeError::Invalid("a record names its region"))?;
        let region = String::from_utf8(region).map_err(|_| DecodeError::Invalid("a region's name is UTF-8"))?;
        match region.len() <= NAME_BYTES_MAX {
            true => Ok(Self { version, region, unknown }),
            false => Err(DecodeError::Invalid("a name has at most 255 bytes")),
        }
    }
}
