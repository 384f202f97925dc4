//! Bytes of marks, in a part of a table and beside one click.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::amounts::AMOUNT_MAX;
use crate::codec::varint::{Reader, unzigzag, varint_bytes, write_varint, zigzag};
use crate::delta::Span;
use crate::error::DecodeError;
use crate::mark::{Add, ID_BYTES_MAX, ID_WINDOW, Mark, RUNS_MAX, Run, Said, Window};
use crate::marks::MARKS_MAX;
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;

const KIND_CLIENT: u8 = 0;
const KIND_SINGLE: u8 = 1;
const KIND_TAKEN_BACK: u8 = 2;

/// The fewest bytes of a mark: version, kind, an empty name, an amount.
const MARK_BYTES_MIN: usize = 4;

/// `count (version-step kind name said)*`, versions ascending: the first from the span's `after`.
pub(super) fn write(out: &mut Vec<u8>, after: Version, marks: &[Mark]) {
    write_varint(out, marks.len() as u64);
    let mut before = after;
    for mark in marks {
        write_varint(out, mark.version - before - 1);
        before = mark.version;
        write_mark(out, mark);
    }
}

/// `kind name said`.
pub(crate) fn write_mark(out: &mut Vec<u8>, mark: &Mark) {
    out.push(match mark.said {
        Said::Client(_) => KIND_CLIENT,
        Said::Single(_) => KIND_SINGLE,
        Said::TakenBack(_) => KIND_TAKEN_BACK,
    });
    write_name(out, &mark.name);
    match &mark.said {
        Said::Client(window) => write_window(out, window, true),
        Said::Single(add) | Said::TakenBack(add) => write_add(out, *add, true),
    }
}

pub(super) fn write_name(out: &mut Vec<u8>, name: &[u8]) {
    write_varint(out, name.len() as u64);
    out.extend_from_slice(name);
}

/// `last applied-in-a-row rest count (run-length add)*`.
pub(super) fn write_window(out: &mut Vec<u8>, window: &Window, with_keys: bool) {
    write_varint(out, window.last);
    let row = window.applied.trailing_ones();
    out.push(row as u8);
    write_varint(out, window.applied.checked_shr(row).unwrap_or(0));
    out.push(window.runs.len() as u8);
    for run in &window.runs {
        out.push(run.count);
        write_add(out, run.add, with_keys);
    }
}

/// `amount [key]`, the amount in zigzag; without a key where it is 0 or the key is given elsewhere.
fn write_add(out: &mut Vec<u8>, add: Add, with_key: bool) {
    write_varint(out, zigzag(add.amount));
    if with_key && add.amount != 0 {
        write_varint(out, u64::from(add.key));
    }
}

/// No encoding of this mark is longer.
pub(crate) fn bytes_max(mark: &Mark) -> usize {
    let add = |add: Add| varint_bytes(zigzag(add.amount)) + 5;
    let said = match &mark.said {
        Said::Client(window) => 23 + window.runs.iter().map(|run| 1 + add(run.add)).sum::<usize>(),
        Said::Single(one) | Said::TakenBack(one) => add(*one),
    };
    13 + mark.name.len() + said
}

pub(super) fn read(reader: &mut Reader<'_>, span: Span, keys: usize) -> Result<Vec<Mark>, DecodeError> {
    let count = reader.count(MARK_BYTES_MIN)?;
    if count == 0 || count > MARKS_MAX * crate::mark::KINDS {
        return Err(DecodeError::Invalid("a part has marks where it says so, and no more than a writer may have"));
    }
    let mut marks: Vec<Mark> = Vec::new();
    let mut before = span.after;
    for _ in 0..count {
        let step = reader.varint()?;
        let version = before.checked_add(step).filter(|&version| version < span.upto).map(|version| version + 1);
        let version = version.ok_or(DecodeError::Invalid("versions lie in their span"))?;
        marks.push(read_mark(reader, version, keys)?);
        before = version;
    }
    check_distinct(&marks)?;
    Ok(marks)
}

fn check_distinct(marks: &[Mark]) -> Result<(), DecodeError> {
    let mut names: Vec<(usize, &[u8])> = marks.iter().map(|mark| (mark.said.kind() as usize, &*mark.name)).collect();
    names.sort_unstable();
    match names.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(DecodeError::Invalid("no mark comes twice")),
        false => Ok(()),
    }
}

fn read_mark(reader: &mut Reader<'_>, version: Version, keys: usize) -> Result<Mark, DecodeError> {
    let kind = reader.byte()?;
    let prefix = if kind == KIND_TAKEN_BACK { ReplicaId::BYTES } else { 0 };
    let name = read_name(reader, prefix)?;
    let said = match kind {
        KIND_CLIENT => Said::Client(read_window(reader, |reader| read_add(reader, keys))?),
        KIND_SINGLE => Said::Single(read_add(reader, keys)?),
        KIND_TAKEN_BACK => Said::TakenBack(read_add(reader, keys)?),
        _ => return Err(DecodeError::Invalid("a mark's kind is known")),
    };
    Ok(Mark { version, name, said })
}

/// A name of 1 to 64 bytes of UTF-8, after `prefix` bytes of any kind.
pub(super) fn read_name(reader: &mut Reader<'_>, prefix: usize) -> Result<Arc<[u8]>, DecodeError> {
    let name = reader.counted_bytes()?;
    if name.len() <= prefix || name.len() > prefix + ID_BYTES_MAX {
        return Err(DecodeError::Invalid("an id has 1 to 64 bytes"));
    }
    match std::str::from_utf8(&name[prefix..]) {
        Ok(_) => Ok(name.into()),
        Err(_) => Err(DecodeError::Invalid("ids are UTF-8")),
    }
}

pub(super) fn read_window(
    reader: &mut Reader<'_>,
    mut read_add: impl FnMut(&mut Reader<'_>) -> Result<Add, DecodeError>,
) -> Result<Window, DecodeError> {
    const BITS: DecodeError = DecodeError::Invalid("a window has 64 bits, of sequence numbers from 0");
    let (last, row, rest) = (reader.varint()?, u32::from(reader.byte()?), reader.varint()?);
    if !(1..=64).contains(&row) || rest & 1 == 1 || rest.leading_zeros() < row {
        return Err(BITS);
    }
    let applied = u64::MAX >> (64 - row) | rest.checked_shl(row).unwrap_or(0);
    if last < ID_WINDOW - 1 && applied >> (last + 1) != 0 {
        return Err(BITS);
    }
    let count = usize::from(reader.byte()?);
    let mut runs: SmallVec<[Run; 1]> = SmallVec::new();
    let mut adds = 0;
    for _ in 0..count {
        let run = Run { count: reader.byte()?, add: read_add(reader)? };
        adds += u32::from(run.count);
        if run.count == 0 || runs.len() == RUNS_MAX || runs.last().is_some_and(|last| last.add == run.add) {
            return Err(DecodeError::Invalid("runs of adds are as few as can be, eight at the most"));
        }
        runs.push(run);
    }
    let ends_known = runs.last().is_none_or(|run| run.add.amount != 0);
    match adds <= applied.count_ones() && ends_known {
        true => Ok(Window { last, applied, runs }),
        false => Err(DecodeError::Invalid("runs of adds name adds that were applied, and end with a known one")),
    }
}

fn read_add(reader: &mut Reader<'_>, keys: usize) -> Result<Add, DecodeError> {
    match read_amount(reader)? {
        0 => Ok(Add::default()),
        amount => match reader.varint()? {
            key if key < keys as u64 => Ok(Add { key: key as u32, amount }),
            _ => Err(DecodeError::Invalid("an index lies in its dictionary")),
        },
    }
}

/// An amount alone, of the one key that there is.
pub(super) fn read_amount(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    let amount = unzigzag(reader.varint()?);
    match amount.unsigned_abs() <= AMOUNT_MAX {
        true => Ok(amount),
        false => Err(DecodeError::Invalid("an add is at most 2^32")),
    }
}
