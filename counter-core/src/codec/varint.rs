//! Varints, and a reader of hostile bytes that checks every length before it allocates.

use crate::error::DecodeError;
use crate::lattice::cell::amounts::CELL_MAX;
use crate::replica_id::ReplicaId;

/// Appends `value` in base 128, least significant group first (LEB128); 1 to 10 bytes.
pub(crate) fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes that [`write_varint`] takes for `value`.
pub(crate) const fn varint_bytes(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Maps small differences of either sign to small numbers: 0, -1, 1, -2, …
pub(crate) const fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A reader of hostile bytes, from their front.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&first, rest) = self.bytes.split_first().ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(first)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        if count > self.bytes.len() {
            return Err(DecodeError::Truncated);
        }
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        Ok(taken)
    }

    /// A varint in its shortest form. Any other is refused, so that equal states have equal bytes.
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::Invalid("a varint must fit in 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if byte == 0 {
                    Err(DecodeError::Invalid("a varint must be in its shortest form"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(DecodeError::Invalid("a varint must fit in 64 bits"))
    }

    /// The number of items that follow, each of which takes at least `bytes_min` of the bytes left.
    pub(crate) fn count(&mut self, bytes_min: usize) -> Result<usize, DecodeError> {
        let count = self.varint()?;
        match count <= (self.left() / bytes_min.max(1)) as u64 {
            true => Ok(count as usize),
            false => Err(DecodeError::Truncated),
        }
    }

    pub(crate) fn counted_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = self.count(1)?;
        self.take(count)
    }

    pub(crate) fn replica(&mut self) -> Result<ReplicaId, DecodeError> {
        let mut id = [0; ReplicaId::BYTES];
        id.copy_from_slice(self.take(ReplicaId::BYTES)?);
        Ok(ReplicaId::from_bytes(id))
    }

    /// Increments or decrements, within a writer's bound.
    pub(crate) fn amount(&mut self) -> Result<u64, DecodeError> {
        let amount = self.varint()?;
        match amount <= CELL_MAX {
            true => Ok(amount),
            false => Err(DecodeError::Invalid("a cell's amounts must be at most 2^62")),
        }
    }

    /// Increments or decrements of a cell and everything that it absorbed: at most twice a cell's
    /// bound.
    pub(crate) fn sum(&mut self) -> Result<u64, DecodeError> {
        let sum = self.varint()?;
        match sum <= 2 * CELL_MAX {
            true => Ok(sum),
            false => {
                Err(DecodeError::Invalid("a cell with its absorbed amounts must be at most 2^63"))
            }
        }
    }

    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        match self.bytes.is_empty() {
            true => Ok(()),
            false => Err(DecodeError::TrailingBytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_read_back_with_the_counted_bytes() {
        for value in (0..64).flat_map(|shift| [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift])
        {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            assert_eq!(out.len(), varint_bytes(value), "{value}");
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn long_and_overlong_varints_are_refused() {
        assert!(Reader::new(&[0x80, 0x00]).varint().is_err());
        assert!(Reader::new(&[0xff; 11]).varint().is_err());
        assert_eq!(Reader::new(&[0x80]).varint(), Err(DecodeError::Truncated));
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).count(1),
            Err(DecodeError::Truncated)
        );
    }

    #[test]
    fn zigzag_is_its_own_way_back() {
        for difference in [0, 1, -1, i64::MAX, i64::MIN, 993, -993] {
            assert_eq!(unzigzag(zigzag(difference)), difference);
        }
    }
}
