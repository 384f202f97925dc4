//! The versions of the adds in the chunks of a delta: an item of its own, after the body. Earlier
//! releases skip it, so it needs no format of its own.

use smallvec::SmallVec;

use crate::codec::varint::{Reader, unzigzag, write_varint, zigzag};
use crate::dedup::chunk::ClientChunk;
use crate::dedup::entry::{DedupEntry, EntryBody};
use crate::error::DecodeError;
use crate::lattice::delta::DeltaPart;
use crate::lattice::versions::Version;

/// Bit in the head of a chunk's versions: the first step is not 0, and comes first.
const FLAG_FIRST: u64 = 1;

/// `(head step*)*`, for each chunk in the order of the body that is not implied. The head is
/// twice the number of steps after the first, with a flag. A step is a zigzag varint: by how much
/// the version is below that of the number before, and for the first number below the entry's
/// latest add. The last step written stands for all further ones. A head of 0 alone means that the
/// versions are unknown. Empty if all are implied or unknown.
pub(super) fn write(parts: &[DeltaPart]) -> Vec<u8> {
    let mut out = Vec::new();
    if chunks(parts).any(|(entry, chunk)| !is_implied(entry, chunk) && chunk.has_versions()) {
        chunks(parts).for_each(|(entry, chunk)| write_chunk(&mut out, entry, chunk));
    }
    out
}

/// Reads the bytes of [`write`], and completes the chunks. Without bytes the versions are unknown.
pub(super) fn read(bytes: Option<&[u8]>, parts: &mut [DeltaPart]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes.unwrap_or_default());
    let entries = parts.iter_mut().flat_map(|part| part.dedup.iter_mut());
    for entry in entries {
        let (first, EntryBody::Client(chunk)) = (entry.fresh, &mut entry.body) else { continue };
        let count = chunk.len() as usize;
        if count == 1 && entry.source.is_none() {
            chunk.set_versions(SmallVec::from_slice(&[first]));
        } else if bytes.is_some() {
            chunk.set_versions(read_chunk(&mut reader, first, count)?);
        }
    }
    reader.finish()?;
    match bytes {
        None => Ok(()),
        Some(bytes) if !bytes.is_empty() && bytes == write(parts) => Ok(()),
        Some(_) => Err(DecodeError::Invalid("the versions of adds must have their shortest form")),
    }
}

fn chunks(parts: &[DeltaPart]) -> impl Iterator<Item = (&DedupEntry, &ClientChunk)> {
    parts.iter().flat_map(|part| &part.dedup).filter_map(|entry| match &entry.body {
        EntryBody::Client(chunk) => Some((entry, chunk)),
        _ => None,
    })
}

/// True if the version needs no bytes: a single add of the entry's holder is its latest add.
fn is_implied(entry: &DedupEntry, chunk: &ClientChunk) -> bool {
    chunk.len() == 1 && entry.source.is_none()
}

fn write_chunk(out: &mut Vec<u8>, entry: &DedupEntry, chunk: &ClientChunk) {
    if is_implied(entry, chunk) {
        return;
    }
    let mut before = entry.fresh;
    let steps: SmallVec<[u64; 8]> = chunk
        .versions()
        .iter()
        .map(
            |&version| zigzag(std::mem::replace(&mut before, version).wrapping_sub(version) as i64),
        )
        .collect();
    let Some((&first, steps)) = steps.split_first() else { return out.push(0) };
    let again = steps.iter().rev().take_while(|step| steps.last() == Some(step)).count();
    let steps = &steps[..steps.len() - again.saturating_sub(1)];
    let is_first_0 = first == 0 && !steps.is_empty();
    write_varint(out, (steps.len() as u64) << 1 | if is_first_0 { 0 } else { FLAG_FIRST });
    let first = (!is_first_0).then_some(&first);
    first.into_iter().chain(steps).for_each(|&step| write_varint(out, step));
}

fn read_chunk(
    reader: &mut Reader<'_>,
    first: Version,
    count: usize,
) -> Result<SmallVec<[Version; 1]>, DecodeError> {
    let head = reader.varint()?;
    if head == 0 {
        return Ok(SmallVec::new());
    }
    let mut step = if head & FLAG_FIRST != 0 { reader.varint()? } else { 0 };
    let (mut left, mut before) = (head >> 1, first);
    if left >= count as u64 {
        return Err(DecodeError::Invalid("a chunk must have a version for each of its adds"));
    }
    let mut versions = SmallVec::with_capacity(count);
    for at in 0..count {
        if at > 0 && left > 0 {
            (step, left) = (reader.varint()?, left - 1);
        }
        before = before.wrapping_sub(unzigzag(step) as u64);
        versions.push(before);
    }
    Ok(versions)
}
