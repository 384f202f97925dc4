//! Tombstones on the wire, in the order of their versions. Neighbours share the start of their
//! names.

use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::lattice::delta::{Span, Tombstone};
use crate::lattice::keys::names::READ_NAME_BYTES_MAX;
use crate::lattice::versions::Version;
use crate::lattice::writer::tombstones::{KeyBytes, names_of};

/// The fewest bytes of one tombstone: a distance, two lengths.
const BYTES_MIN: usize = 3;

/// `count (version-before-1 shared rest rest-bytes)*`.
pub(crate) fn write(out: &mut Vec<u8>, after: Version, tombstones: &[Tombstone]) {
    write_varint(out, tombstones.len() as u64);
    let (mut version, mut before) = (after, &[][..]);
    for tombstone in tombstones {
        let key = tombstone.key.as_slice();
        let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
        write_varint(out, tombstone.version - version - 1);
        write_varint(out, shared as u64);
        write_varint(out, (key.len() - shared) as u64);
        out.extend_from_slice(&key[shared..]);
        (version, before) = (tombstone.version, key);
    }
}

pub(crate) fn read(reader: &mut Reader<'_>, span: Span) -> Result<Vec<Tombstone>, DecodeError> {
    let count = reader.count(BYTES_MIN)?;
    let mut tombstones: Vec<Tombstone> = Vec::with_capacity(count);
    for _ in 0..count {
        let before = tombstones.last();
        let version = before.map_or(span.after, |before| before.version);
        let version = reader
            .varint()?
            .checked_add(1)
            .and_then(|distance| version.checked_add(distance))
            .filter(|&version| version <= span.upto)
            .ok_or(DecodeError::Invalid("versions must lie in their span"))?;
        let before = before.map_or(&[][..], |before| &before.key);
        let (shared, rest) = (reader.varint()?, reader.counted_bytes()?);
        let start = usize::try_from(shared).ok().and_then(|shared| before.get(..shared)).ok_or(
            DecodeError::Invalid("a shared prefix must not be longer than the name before"),
        )?;
        if rest.first().is_some_and(|first| before.get(start.len()) == Some(first)) {
            return Err(DecodeError::Invalid("a shared prefix must be maximal"));
        }
        let mut key = KeyBytes::with_capacity(start.len() + rest.len());
        key.extend_from_slice(start);
        key.extend_from_slice(rest);
        check(&key)?;
        tombstones.push(Tombstone { version, key });
    }
    match tombstones.is_empty() {
        true => Err(DecodeError::Invalid("a part with the flag for tombstones must have some")),
        false => Ok(tombstones),
    }
}

fn check(key: &[u8]) -> Result<(), DecodeError> {
    match names_of(key) {
        Some((counter, region)) if !counter.is_empty() && region.len() <= READ_NAME_BYTES_MAX => {
            Ok(())
        }
        _ => Err(DecodeError::Invalid("a tombstone must name a counter and a region")),
    }
}

/// An upper bound on the bytes of one tombstone.
pub(crate) fn bytes_max(key: &[u8]) -> usize {
    key.len() + 16
}
