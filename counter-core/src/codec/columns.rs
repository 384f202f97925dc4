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

/// Appends 1 to 128 numbers.
pub(crate) fn write_block(out: &mut Vec<u8>, values: &[u64]) {
    debug_assert!(!values.is_empty() && values.len() <= BLOCK, "a block holds 1 to 128 numbers");
    if let &[value] = values {
        out.push(0);
        return write_varint(out, value);
    }
    let shape = Shape::of(values);
    let plain = 1 + varint_bytes(shape.least) + packed_bytes(values.len(), shape.width);
    let steps = 1 + varint_bytes(values[0]) + varint_bytes(zigzag(shape.least_step)) + packed_bytes(values.len() - 1, shape.step_width);
    let runs = 1 + varint_bytes(values[0]) + shape.runs_bytes;
    let best = plain.min(steps).min(runs).min(1 + shape.varints_bytes);
    if best == plain {
        out.push(shape.width);
        write_varint(out, shape.least);
        pack(out, values.iter().map(|value| value - shape.least), shape.width);
    } else if best == steps {
        out.push(DIFFERENCES + shape.step_width);
        write_varint(out, values[0]);
        write_varint(out, zigzag(shape.least_step));
        pack(out, steps_of(values).map(|step| step.wrapping_sub(shape.least_step) as u64), shape.step_width);
    } else if best == runs {
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

/// What decides between the forms.
struct Shape {
    least: u64,
    width: u8,
    least_step: i64,
    step_width: u8,
    varints_bytes: usize,
    runs_bytes: usize,
}

impl Shape {
    fn of(values: &[u64]) -> Self {
        let (mut least, mut greatest, mut varints_bytes) = (u64::MAX, 0, 0);
        for &value in values {
            least = least.min(value);
            greatest = greatest.max(value);
            varints_bytes += varint_bytes(value);
        }
        let (mut least_step, mut greatest_step) = (i64::MAX, i64::MIN);
        for step in steps_of(values) {
            least_step = least_step.min(step);
            greatest_step = greatest_step.max(step);
        }
        let mut runs_bytes = 0;
        if least_step != greatest_step {
            for_runs(values, |step, length| runs_bytes += varint_bytes(zigzag(step)) + varint_bytes(length));
        } else {
            runs_bytes = usize::MAX / 2;
        }
        let width = bits(greatest - least);
        Self { least, width, least_step, step_width: bits(greatest_step.wrapping_sub(least_step) as u64), varints_bytes, runs_bytes }
    }
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
    let (mut held, mut filled) = (0u128, 0u32);
    for value in values {
        held |= u128::from(value) << filled;
        filled += u32::from(width);
        if filled >= 64 {
            out.extend_from_slice(&(held as u64).to_le_bytes());
            held >>= 64;
            filled -= 64;
        }
    }
    out.extend_from_slice(&(held as u64).to_le_bytes()[..filled.div_ceil(8) as usize]);
}

fn unpack(reader: &mut Reader<'_>, width: u8, out: &mut [u64]) -> Result<(), DecodeError> {
    let packed = reader.take(packed_bytes(out.len(), width))?;
    if width == 0 {
        out.fill(0);
        return Ok(());
    }
    let mask = u64::MAX >> (64 - width);
    let (mut held, mut filled, mut words) = (0u128, 0u32, packed.chunks(8));
    for value in out {
        if filled < u32::from(width) {
            let mut word = [0; 8];
            let chunk = words.next().unwrap_or_default();
            word[..chunk.len()].copy_from_slice(chunk);
            held |= u128::from(u64::from_le_bytes(word)) << filled;
            filled += 64;
        }
        *value = held as u64 & mask;
        held >>= width;
        filled -= u32::from(width);
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
