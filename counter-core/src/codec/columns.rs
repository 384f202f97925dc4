//! Columns of numbers in blocks of 128, each block in the shortest of four forms.
//!
//! The first byte of a block names its form. 0 to 64: each number's distance from the smallest, in
//! that many bits (0: all numbers are equal). 65 to 129: each number's difference from the one
//! before it, minus the smallest difference, in (form - 65) bits (65: all differences are equal).
//! 131: runs of equal differences. 130: one varint each.

use crate::codec::varint::{Reader, unzigzag, varint_bytes, write_varint, zigzag};
use crate::error::DecodeError;

/// The most numbers in a block.
pub(crate) const BLOCK: usize = 128;

/// The fewest bytes that a block takes: its form and one varint.
pub(crate) const BLOCK_BYTES_MIN: usize = 2;

const DIFFERENCES: u8 = 65;
const VARINTS: u8 = 130;
const RUNS: u8 = 131;

/// Appends 1 to 128 numbers in the form that takes the fewest bytes. Among equals it takes the
/// first form in the list above.
pub(crate) fn write_block(out: &mut Vec<u8>, values: &[u64]) {
    debug_assert!(!values.is_empty() && values.len() <= BLOCK, "a block holds 1 to 128 numbers");
    let first = values[0];
    // The bits that are set in some number, and the bits in which numbers differ.
    let (set, differs) = values
        .iter()
        .fold((0, 0), |(set, differs), &value| (set | value, differs | (value ^ first)));
    if differs == 0 {
        out.push(0);
        return write_varint(out, first);
    }
    let mut steps = [0u64; BLOCK - 1];
    let steps = &mut steps[..values.len() - 1];
    steps
        .iter_mut()
        .zip(values)
        .zip(&values[1..])
        .for_each(|((step, &before), &value)| *step = value.wrapping_sub(before));
    let stats = if set < NARROW {
        BlockStats::of_narrow(values, steps)
    } else {
        BlockStats::of_wide(values, steps)
    };
    stats.write(out, values, steps);
}

/// Numbers below this, and the steps between them, fit in 32 bits, so four are compared at once.
const NARROW: u64 = 1 << 31;

/// The numbers that decide the form of a block.
struct BlockStats {
    least: u64,
    greatest: u64,
    least_step: i64,
    greatest_step: i64,
    /// The number of steps that differ from the one before.
    step_changes: usize,
}

impl BlockStats {
    fn of_wide(values: &[u64], steps: &[u64]) -> Self {
        let (least, greatest) = values.iter().fold((u64::MAX, 0), |(least, greatest), &value| {
            (least.min(value), greatest.max(value))
        });
        let (mut least_step, mut greatest_step) = (i64::MAX, i64::MIN);
        for &step in steps {
            least_step = least_step.min(step as i64);
            greatest_step = greatest_step.max(step as i64);
        }
        Self { least, greatest, least_step, greatest_step, step_changes: step_changes_of(steps) }
    }

    fn of_narrow(values: &[u64], steps: &[u64]) -> Self {
        let mut narrow = [0i32; BLOCK];
        let (least, greatest) = extremes(narrow_of(&mut narrow, values));
        let steps = narrow_of(&mut narrow, steps);
        let (least_step, greatest_step) = extremes(steps);
        Self {
            least: least as u64,
            greatest: greatest as u64,
            least_step: i64::from(least_step),
            greatest_step: i64::from(greatest_step),
            step_changes: step_changes_of(steps),
        }
    }

    fn write(&self, out: &mut Vec<u8>, values: &[u64], steps: &[u64]) {
        let Self { least, least_step, step_changes, .. } = *self;
        let (width, step_width) =
            (bits(self.greatest - least), bits(self.greatest_step.wrapping_sub(least_step) as u64));
        let plain_bytes = 1 + varint_bytes(least) + packed_bytes(values.len(), width);
        let first_bytes = 1 + varint_bytes(values[0]);
        let steps_bytes =
            first_bytes + varint_bytes(zigzag(least_step)) + packed_bytes(steps.len(), step_width);
        let best = plain_bytes.min(steps_bytes);
        // A run takes at least two bytes, and a varint at least one. These bounds usually rule both
        // forms out cheaply.
        let mut starts = [0u8; BLOCK];
        let runs = if first_bytes + 2 * (step_changes + 1) < best {
            run_starts(&mut starts, steps)
        } else {
            &[]
        };
        let runs_bytes =
            if runs.is_empty() { usize::MAX } else { first_bytes + bytes_of_runs(runs, steps) };
        let may_be_varints = 1 + values.len() < best.min(runs_bytes);
        let varints_bytes = if may_be_varints {
            1 + values.iter().map(|&value| varint_bytes(value)).sum::<usize>()
        } else {
            usize::MAX
        };
        if plain_bytes <= steps_bytes && plain_bytes <= runs_bytes && plain_bytes <= varints_bytes {
            out.push(width);
            write_varint(out, least);
            pack(out, values, least, width);
        } else if steps_bytes <= runs_bytes && steps_bytes <= varints_bytes {
            out.push(DIFFERENCES + step_width);
            write_varint(out, values[0]);
            write_varint(out, zigzag(least_step));
            pack(out, steps, least_step as u64, step_width);
        } else if runs_bytes <= varints_bytes {
            out.push(RUNS);
            write_varint(out, values[0]);
            for_runs(runs, steps, |step, length| {
                write_varint(out, zigzag(step));
                write_varint(out, length);
            });
        } else {
            out.push(VARINTS);
            values.iter().for_each(|&value| write_varint(out, value));
        }
    }
}

fn narrow_of<'a>(out: &'a mut [i32; BLOCK], values: &[u64]) -> &'a [i32] {
    let out = &mut out[..values.len()];
    out.iter_mut().zip(values).for_each(|(narrow, &value)| *narrow = value as i32);
    out
}

fn extremes(values: &[i32]) -> (i32, i32) {
    values.iter().fold((i32::MAX, i32::MIN), |(least, greatest), &value| {
        (least.min(value), greatest.max(value))
    })
}

fn step_changes_of<T: PartialEq>(steps: &[T]) -> usize {
    // Counted in 32 bits, four at once.
    steps.iter().zip(&steps[1..]).map(|(before, step)| u32::from(step != before)).sum::<u32>()
        as usize
}

/// The starts of runs of equal steps.
fn run_starts<'a>(starts: &'a mut [u8; BLOCK], steps: &[u64]) -> &'a [u8] {
    let mut count = 1;
    for at in 1..steps.len() {
        starts[count] = at as u8;
        count += usize::from(steps[at] != steps[at - 1]);
    }
    &starts[..count]
}

fn for_runs(starts: &[u8], steps: &[u64], mut each: impl FnMut(i64, u64)) {
    let ends = starts[1..].iter().map(|&next| usize::from(next)).chain([steps.len()]);
    for (&start, end) in starts.iter().zip(ends) {
        each(steps[usize::from(start)] as i64, (end - usize::from(start)) as u64);
    }
}

fn bytes_of_runs(starts: &[u8], steps: &[u64]) -> usize {
    let mut bytes = 0;
    for_runs(starts, steps, |step, length| {
        bytes += varint_bytes(zigzag(step)) + varint_bytes(length)
    });
    bytes
}

const fn bits(value: u64) -> u8 {
    64 - value.leading_zeros() as u8
}

const fn packed_bytes(count: usize, width: u8) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Packs the values less `least`, in `width` bits each, little-endian.
fn pack(out: &mut Vec<u8>, values: &[u64], least: u64, width: u8) {
    match width {
        0 => {}
        1..=8 => pack_by::<8>(out, values, least, width),
        9..=16 => pack_by::<4>(out, values, least, width),
        17..=32 => pack_by::<2>(out, values, least, width),
        _ => pack_by::<1>(out, values, least, width),
    }
}

/// Combines `N` numbers, which fit in 64 bits, before it appends them. So groups do not wait for
/// each other.
fn pack_by<const N: usize>(out: &mut Vec<u8>, values: &[u64], least: u64, width: u8) {
    let (width, bytes) = (u32::from(width), packed_bytes(values.len(), width));
    let mut packed = [0u8; 8 * BLOCK + 8];
    let (mut held, mut filled, mut at) = (0u64, 0u32, 0);
    for group in values.chunks(N) {
        let mut word = 0;
        for (place, &value) in (0..).zip(group) {
            word |= value.wrapping_sub(least) << (place * width);
        }
        held |= word << filled;
        filled += group.len() as u32 * width;
        if filled >= 64 {
            packed[at..at + 8].copy_from_slice(&held.to_le_bytes());
            at += 8;
            filled -= 64;
            // The bits of the group that did not fit.
            held = if filled == 0 { 0 } else { word >> (group.len() as u32 * width - filled) };
        }
    }
    packed[at..at + 8].copy_from_slice(&held.to_le_bytes());
    out.extend_from_slice(&packed[..bytes]);
}

fn unpack(
    reader: &mut Reader<'_>,
    width: u8,
    least: u64,
    out: &mut [u64],
) -> Result<(), DecodeError> {
    let packed = reader.take(packed_bytes(out.len(), width))?;
    if width == 0 {
        out.fill(least);
        return Ok(());
    }
    let mut padded = [0u8; 8 * BLOCK + 16];
    padded[..packed.len()].copy_from_slice(packed);
    let (width, mask) = (usize::from(width), u64::MAX >> (64 - width));
    let word = |byte: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&padded[byte..byte + 8]);
        u64::from_le_bytes(word)
    };
    // A number of at most 57 bits lies in the eight bytes that begin with the byte of its first
    // bit.
    if width <= 57 {
        for (at, value) in out.iter_mut().enumerate() {
            let bit = at * width;
            *value = (word(bit / 8) >> (bit % 8) & mask).wrapping_add(least);
        }
        return Ok(());
    }
    for (at, value) in out.iter_mut().enumerate() {
        let (byte, shift) = (at * width / 8, at * width % 8);
        let both = u128::from(word(byte)) | u128::from(word(byte + 8)) << 64;
        *value = ((both >> shift) as u64 & mask).wrapping_add(least);
    }
    Ok(())
}

/// Fills `out`, which holds at most 128 numbers.
pub(crate) fn read_block(reader: &mut Reader<'_>, out: &mut [u64]) -> Result<(), DecodeError> {
    match reader.byte()? {
        width @ 0..=64 => {
            let least = reader.varint()?;
            unpack(reader, width, least, out)?;
        }
        form @ DIFFERENCES..VARINTS => {
            let first = reader.varint()?;
            let least_step = unzigzag(reader.varint()?) as u64;
            unpack(reader, form - DIFFERENCES, least_step, &mut out[1..])?;
            out[0] = first;
            let mut last = first;
            for value in &mut out[1..] {
                last = last.wrapping_add(*value);
                *value = last;
            }
        }
        VARINTS => {
            for value in out {
                *value = reader.varint()?;
            }
        }
        RUNS => read_runs(reader, out)?,
        _ => return Err(DecodeError::Invalid("a block's form must be 0 to 131")),
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
            return Err(DecodeError::Invalid("runs must fill their block"));
        }
        let (mut value, end) = (out[at - 1], at + length as usize);
        for next in &mut out[at..end] {
            value = value.wrapping_add(step);
            *next = value;
        }
        at = end;
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
        fn any_block_reads_back(
            values in prop::collection::vec(any::<u64>(), 1..=BLOCK),
        ) {
            let values: Vec<u64> = values.into_iter().map(|value| value >> (value % 64)).collect();
            round_trip(&values);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            count in 1..=BLOCK,
        ) {
            let _ = read_block(&mut Reader::new(&bytes), &mut vec![0; count]);
        }
    }
}
