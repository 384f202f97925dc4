//! Columns of numbers in blocks of 128, each block in the shortest of four forms.
//!
//! The first byte of a block says how the rest is read: 0-64, distance from the smallest, that many bits each (0: all the same);
//! 65-129, differences to the one before, less the smallest difference, that many bits less 65 (65: an even staircase);
//! 130, one varint each; 131, runs of equal differences.

use crate::codec::varint::{Reader, unzigzag, varint_bytes, write_varint, zigzag};
use crate::error::DecodeError;

/// Numbers in a block.
pub(crate) const BLOCK: usize = 128;

/// The fewest bytes that a block takes: its form and one varint.
pub(crate) const BLOCK_BYTES_MIN: usize = 2;

const DIFFERENCES: u8 = 65;
const VARINTS: u8 = 130;
const RUNS: u8 = 131;

/// Appends 1 to 128 numbers. Of the forms that take the fewest bytes the first in the order of the module's list is written.
pub(crate) fn write_block(out: &mut Vec<u8>, values: &[u64]) {
    debug_assert!(!values.is_empty() && values.len() <= BLOCK, "a block holds 1 to 128 numbers");
    if values.iter().all(|value| *value == values[0]) {
        out.push(0);
        return write_varint(out, values[0]);
    }
    let (least, greatest) = values.iter().fold((u64::MAX, 0), |(least, greatest), &value| (least.min(value), greatest.max(value)));
    let (mut least_step, mut greatest_step, mut turns) = (i64::MAX, i64::MIN, 0usize);
    let mut before = values[1].wrapping_sub(values[0]) as i64;
    for step in steps_of(values) {
        least_step = least_step.min(step);
        greatest_step = greatest_step.max(step);
        turns += usize::from(step != before);
        before = step;
    }
    let (width, step_width) = (bits(greatest - least), bits(greatest_step.wrapping_sub(least_step) as u64));
    let plain = 1 + varint_bytes(least) + packed_bytes(values.len(), width);
    let first = 1 + varint_bytes(values[0]);
    let steps = first + varint_bytes(zigzag(least_step)) + packed_bytes(values.len() - 1, step_width);
    let best = plain.min(steps);
    // Two bytes a run and one a varint at the least: mostly that settles it.
    let runs = if first + 2 * (turns + 1) < best { first + runs_bytes(values) } else { usize::MAX };
    let varints =
        if 1 + values.len() < best.min(runs) { 1 + values.iter().map(|&value| varint_bytes(value)).sum::<usize>() } else { usize::MAX };
    if plain <= steps && plain <= runs && plain <= varints {
        out.push(width);
        write_varint(out, least);
        pack(out, values.iter().map(|value| value - least), width);
    } else if steps <= runs && steps <= varints {
        out.push(DIFFERENCES + step_width);
        write_varint(out, values[0]);
        write_varint(out, zigzag(least_step));
        pack(out, steps_of(values).map(|step| step.wrapping_sub(least_step) as u64), step_width);
    } else if runs <= varints {
        out.push(RUNS);
        write_varint(out, values[0]);
        for_runs(values, |step, length| {
            write_varint(out, zigzag(step));
            write_varint(out, length);
        });
    } else {
        out.push(VARINTS);
        values.iter().for_each(|&value| write_varint(out, value));
    }
}

fn runs_bytes(values: &[u64]) -> usize {
    let mut bytes = 0;
    for_runs(values, |step, length| bytes += varint_bytes(zigzag(step)) + varint_bytes(length));
    bytes
}

fn steps_of(values: &[u64]) -> impl Iterator<Item = i64> + '_ {
    values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as i64)
}

fn for_runs(values: &[u64], mut each: impl FnMut(i64, u64)) {
    let mut steps = steps_of(values);
    let Some(mut current) = steps.next() else { return };
    let mut length = 1;
    for step in steps {
        if step == current {
            length += 1;
        } else {
            each(current, length);
            (current, length) = (step, 1);
        }
    }
    each(current, length);
}

const fn bits(value: u64) -> u8 {
    64 - value.leading_zeros() as u8
}

const fn packed_bytes(count: usize, width: u8) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Little-endian bit packing, `width` bits a number.
fn pack(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u8) {
    if width == 0 {
        return;
    }
    let (width, mut held, mut filled) = (u32::from(width), 0u64, 0u32);
    for value in values {
        held |= value << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&held.to_le_bytes());
            filled -= 64;
            // What of the value did not fit: all its bits but those that did.
            held = if filled == 0 { 0 } else { value >> (width - filled) };
        }
    }
    out.extend_from_slice(&held.to_le_bytes()[..filled.div_ceil(8) as usize]);
}

fn unpack(reader: &mut Reader<'_>, width: u8, out: &mut [u64]) -> Result<(), DecodeError> {
    let packed = reader.take(packed_bytes(out.len(), width))?;
    if width == 0 {
        out.fill(0);
        return Ok(());
    }
    let (width, mask) = (usize::from(width), u64::MAX >> (64 - width));
    for (at, value) in out.iter_mut().enumerate() {
        let (byte, shift) = (at * width / 8, at * width % 8);
        let mut word = [0; 16];
        match packed.get(byte..byte + 16) {
            Some(whole) => word.copy_from_slice(whole),
            None => word[..packed.len() - byte].copy_from_slice(&packed[byte..]),
        }
        *value = (u128::from_le_bytes(word) >> shift) as u64 & mask;
    }
    Ok(())
}

/// Reads as many numbers as `out` holds, at most 128.
pub(crate) fn read_block(reader: &mut Reader<'_>, out: &mut [u64]) -> Result<(), DecodeError> {
    match reader.byte()? {
        width @ 0..=64 => {
            let least = reader.varint()?;
            unpack(reader, width, out)?;
            out.iter_mut().for_each(|value| *value = value.wrapping_add(least));
        }
        form @ DIFFERENCES..VARINTS => {
            let first = reader.varint()?;
            let least_step = unzigzag(reader.varint()?) as u64;
            unpack(reader, form - DIFFERENCES, &mut out[1..])?;
            out[0] = first;
            for at in 1..out.len() {
                out[at] = out[at].wrapping_add(least_step).wrapping_add(out[at - 1]);
            }
        }
        VARINTS => {
            for value in out {
                *value = reader.varint()?;
            }
        }
        RUNS => read_runs(reader, out)?,
        _ => return Err(DecodeError::Invalid("a block's form is 0 to 131")),
    }
    Ok(())
}

fn read_runs(reader: &mut Reader<'_>, out: &mut [u64]) -> Result<(), DecodeError> {
    out[0] = reader.varint()?;
    let mut at = 1;
    while at < out.len() {
        let step = unzigzag(reader.varint()?) as u64;
        let length = reader.varint()?;
        if length == 0 || length > (out.len() - at) as u64 {
            return Err(DecodeError::Invalid("runs fill their block"));
        }
        for _ in 0..length {
            out[at] = out[at - 1].wrapping_add(step);
            at += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[u64]) -> usize {
        let mut out = Vec::new();
        write_block(&mut out, values);
        let mut read = vec![0; values.len()];
        let mut reader = Reader::new(&out);
        read_block(&mut reader, &mut read).unwrap();
        reader.finish().unwrap();
        assert_eq!(read, values);
        out.len()
    }

    #[test]
    fn regular_blocks_are_tiny() {
        assert_eq!(round_trip(&[7; 128]), 2);
        assert_eq!(round_trip(&(0..128).map(|i| 1000 + 3 * i).collect::<Vec<u64>>()), 4);
        assert!(round_trip(&(0..128).map(|i| (7 * i) % 1000 + 1).collect::<Vec<u64>>()) <= 10);
        assert_eq!(round_trip(&[5]), 2);
    }

    #[test]
    fn extremes_read_back() {
        round_trip(&[0, u64::MAX, 0, u64::MAX, 1]);
        round_trip(&[u64::MAX; 3]);
        round_trip(&[u64::MAX, 0]);
    }

    proptest! {
        #[test]
        fn any_block_reads_back(values in prop::collection::vec(any::<u64>().prop_map(|value| value >> (value % 64)), 1..=BLOCK)) {
            round_trip(&values);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 1..=BLOCK) {
            let _ = read_block(&mut Reader::new(&bytes), &mut vec![0; count]);
        }
    }
}
