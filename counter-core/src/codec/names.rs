//! Sorted names on the wire. Each name has two numbers: the bytes that it shares with the name
//! before, and the bytes that follow these. The following bytes of all names come last.

use crate::codec::columns::{BLOCK, read_block, write_block};
use crate::codec::dictionary::NameList;
use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::lattice::keys::names::{NameSlice, READ_NAME_BYTES_MAX};

/// `count (shared-block rest-block)* rests`.
pub(crate) fn write(out: &mut Vec<u8>, names: NameSlice<'_>) {
    let (arena, count) = (names.arena.as_bytes(), names.ends.len());
    write_varint(out, count as u64);
    let (mut shared, mut rest, mut rests) =
        ([0u64; BLOCK], [0u64; BLOCK], Vec::with_capacity(arena.len() / 2));
    let (mut before, mut start) = (0, 0);
    for block in names.ends.chunks(BLOCK) {
        for (at, &end) in block.iter().enumerate() {
            let end = end as usize;
            let common = common_bytes(arena, before, start, end);
            shared[at] = common as u64;
            rest[at] = (end - start - common) as u64;
            match &arena[start + common..end] {
                [byte] => rests.push(*byte),
                bytes => rests.extend_from_slice(bytes),
            }
            (before, start) = (start, end);
        }
        write_block(out, &shared[..block.len()]);
        write_block(out, &rest[..block.len()]);
    }
    out.extend_from_slice(&rests);
}

/// The number of bytes that the name at `start..end` shares with the one before it, at
/// `before..start`.
fn common_bytes(arena: &[u8], before: usize, start: usize, end: usize) -> usize {
    let most = (start - before).min(end - start);
    let mut common = 0;
    while let (Some(a), Some(b)) =
        (arena[before + common..].first_chunk::<8>(), arena[start + common..].first_chunk::<8>())
    {
        let differs = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differs != 0 || common + 8 >= most {
            return most.min(common + differs.trailing_zeros() as usize / 8);
        }
        common += 8;
    }
    let left =
        arena[before + common..before + most].iter().zip(&arena[start + common..start + most]);
    common + left.take_while(|(a, b)| a == b).count()
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Result<NameList, DecodeError> {
    // Each name but the first has at least one byte of its own.
    let count = reader.varint()?;
    if count > reader.left() as u64 + 1 {
        return Err(DecodeError::Truncated);
    }
    let count = count as usize;
    let mut lengths: Vec<(u8, u8)> = Vec::with_capacity(count);
    let mut bytes_total = 0;
    for start in (0..count).step_by(BLOCK) {
        let (mut shared, mut rest) = ([0u64; BLOCK], [0u64; BLOCK]);
        let in_block = BLOCK.min(count - start);
        read_block(reader, &mut shared[..in_block])?;
        read_block(reader, &mut rest[..in_block])?;
        for (&shared, &rest) in shared.iter().zip(&rest).take(in_block) {
            if shared > READ_NAME_BYTES_MAX as u64
                || rest > READ_NAME_BYTES_MAX as u64
                || shared + rest > READ_NAME_BYTES_MAX as u64
            {
                return Err(DecodeError::Invalid("a name must have at most 255 bytes"));
            }
            bytes_total += rest as usize;
            lengths.push((shared as u8, rest as u8));
        }
    }
    build(&lengths, reader.take(bytes_total)?)
}

/// All short copies have this length. The excess is overwritten afterwards.
const COPY: usize = 16;

/// Copies `count` bytes from `from` to `to`, and perhaps some bytes after them.
fn copy_within(arena: &mut [u8], from: usize, to: usize, count: usize) {
    match arena[from..].first_chunk::<COPY>() {
        Some(&chunk) if count <= COPY => arena[to..to + COPY].copy_from_slice(&chunk),
        _ => arena.copy_within(from..from + count, to),
    }
}

/// Builds names from their shared and own parts. Refuses them unless they ascend strictly and are
/// UTF-8.
fn build(lengths: &[(u8, u8)], mut rests: &[u8]) -> Result<NameList, DecodeError> {
    const ASCEND: DecodeError = DecodeError::Invalid("names must ascend and be distinct");
    let arena_bytes =
        lengths.iter().map(|&(shared, rest)| usize::from(shared) + usize::from(rest)).sum();
    let mut arena = vec![0; arena_bytes + COPY];
    let mut ends = Vec::with_capacity(lengths.len());
    let (mut before, mut start) = (0, 0);
    for &(shared, rest) in lengths {
        let (own, left) = rests.split_at(usize::from(rest));
        let boundary = before + usize::from(shared);
        if boundary > start || !ends.is_empty() && own.first() <= arena[..start].get(boundary) {
            return Err(ASCEND);
        }
        copy_within(&mut arena, before, start, usize::from(shared));
        let own_start = start + usize::from(shared);
        match rests.first_chunk::<8>() {
            // The next name overwrites the excess.
            Some(chunk) if own.len() <= 8 => arena[own_start..own_start + 8].copy_from_slice(chunk),
            _ => arena[own_start..own_start + own.len()].copy_from_slice(own),
        }
        rests = left;
        (before, start) = (start, own_start + own.len());
        ends.push(
            u32::try_from(start)
                .map_err(|_| DecodeError::Invalid("names must take less than 4 GiB"))?,
        );
    }
    arena.truncate(arena_bytes);
    let arena =
        String::from_utf8(arena).map_err(|_| DecodeError::Invalid("names must be UTF-8"))?;
    match arena.is_ascii() || ends.iter().all(|&end| arena.is_char_boundary(end as usize)) {
        true => Ok(NameList { arena, ends: ends.into() }),
        false => Err(DecodeError::Invalid("names must be UTF-8")),
    }
}
