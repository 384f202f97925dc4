//! Sorted names on the wire: how much each shares with the one before, how long the rest is, and all the rests.

use crate::codec::columns::{BLOCK, read_block, write_block};
use crate::codec::varint::{Reader, write_varint};
use crate::dictionary::NameList;
use crate::error::DecodeError;
use crate::names::NAME_BYTES_MAX;

/// `count (shared-block rest-block)* rests`.
pub(crate) fn write(out: &mut Vec<u8>, names: &NameList) {
    write_varint(out, names.len() as u64);
    let (mut shared, mut rest, mut rests) = ([0u64; BLOCK], [0u64; BLOCK], Vec::with_capacity(names.arena.len() / 2));
    let mut before: &[u8] = &[];
    for start in (0..names.len()).step_by(BLOCK) {
        let count = BLOCK.min(names.len() - start);
        for at in 0..count {
            let name = names.name((start + at) as u32).as_bytes();
            let common = before.iter().zip(name).take_while(|(a, b)| a == b).count();
            shared[at] = common as u64;
            rest[at] = (name.len() - common) as u64;
            rests.extend_from_slice(&name[common..]);
            before = name;
        }
        write_block(out, &shared[..count]);
        write_block(out, &rest[..count]);
    }
    out.extend_from_slice(&rests);
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Result<NameList, DecodeError> {
    // Each name but the first has a byte of its own.
    let count = reader.varint()?;
    if count > reader.left() as u64 + 1 {
        return Err(DecodeError::Truncated);
    }
    let count = count as usize;
    let mut lengths: Vec<(u8, u8)> = Vec::with_capacity(count);
    let mut bytes_total = 0;
    for start in (0..count).step_by(BLOCK) {
        let (mut shared, mut rest) = ([0u64; BLOCK], [0u64; BLOCK]);
        let taken = BLOCK.min(count - start);
        read_block(reader, &mut shared[..taken])?;
        read_block(reader, &mut rest[..taken])?;
        for (&shared, &rest) in shared.iter().zip(&rest).take(taken) {
            if shared > NAME_BYTES_MAX as u64 || rest > NAME_BYTES_MAX as u64 || shared + rest > NAME_BYTES_MAX as u64 {
                return Err(DecodeError::Invalid("a name has at most 255 bytes"));
            }
            bytes_total += rest as usize;
            lengths.push((shared as u8, rest as u8));
        }
    }
    build(&lengths, reader.take(bytes_total)?)
}

/// Names from their shared and own parts; refused unless they ascend strictly and are UTF-8.
fn build(lengths: &[(u8, u8)], mut rests: &[u8]) -> Result<NameList, DecodeError> {
    const ASCEND: DecodeError = DecodeError::Invalid("names ascend and are distinct");
    let arena_bytes = lengths.iter().map(|&(shared, rest)| usize::from(shared) + usize::from(rest)).sum();
    let mut arena: Vec<u8> = Vec::with_capacity(arena_bytes);
    let mut ends = Vec::with_capacity(lengths.len());
    let mut before = 0..0;
    for (at, &(shared, rest)) in lengths.iter().enumerate() {
        let (own, left) = rests.split_at(usize::from(rest));
        rests = left;
        let boundary = before.start + usize::from(shared);
        if boundary > before.end || (at > 0 && own.first() <= arena[..before.end].get(boundary)) {
            return Err(ASCEND);
        }
        let start = arena.len();
        arena.extend_from_within(before.start..boundary);
        arena.extend_from_slice(own);
        ends.push(u32::try_from(arena.len()).map_err(|_| DecodeError::Invalid("names take less than 4 GiB"))?);
        before = start..arena.len();
    }
    let arena = String::from_utf8(arena).map_err(|_| DecodeError::Invalid("names are UTF-8"))?;
    match ends.iter().all(|&end| arena.is_char_boundary(end as usize)) {
        true => Ok(NameList { arena, ends: ends.into() }),
        false => Err(DecodeError::Invalid("names are UTF-8")),
    }
}
