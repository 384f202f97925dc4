//! Numbered byte fields in canonical order. They hold everything in a cell besides its amounts and
//! everything in a record, including fields of later releases.

use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;

/// The most bytes of the fields of one cell or record: room for a reset that clears `REPLICAS_MAX`
/// replicas (3.4 MB).
pub(crate) const FIELDS_BYTES_MAX: usize = 1 << 22;

/// Field number -> bytes, ascending. Unknown fields are kept, hashed and passed on byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fields(Vec<(u64, Vec<u8>)>);

impl Fields {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a field out. After all known fields are taken, the ones that this release does not
    /// know are left.
    pub(crate) fn take(&mut self, number: u64) -> Option<Vec<u8>> {
        let at = self.0.binary_search_by_key(&number, |field| field.0).ok()?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn set(&mut self, number: u64, bytes: Vec<u8>) {
        match self.0.binary_search_by_key(&number, |field| field.0) {
            Ok(at) => self.0[at].1 = bytes,
            Err(at) => self.0.insert(at, (number, bytes)),
        }
    }

    /// `count (number length bytes)*`, numbers ascending.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.0.len() as u64);
        for (number, bytes) in &self.0 {
            write_varint(out, *number);
            write_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(2)?;
        let mut fields: Vec<(u64, Vec<u8>)> = Vec::with_capacity(count);
        let mut bytes_total = 0;
        for _ in 0..count {
            let number = reader.varint()?;
            if fields.last().is_some_and(|last| last.0 >= number) {
                return Err(DecodeError::Invalid("fields must ascend"));
            }
            let bytes = reader.counted_bytes()?;
            bytes_total += bytes.len();
            fields.push((number, bytes.to_vec()));
        }
        match bytes_total <= FIELDS_BYTES_MAX {
            true => Ok(Self(fields)),
            false => {
                Err(DecodeError::Invalid("the fields of a cell or record must take at most 4 MiB"))
            }
        }
    }
}
