//! Bytes of marks, in a part of a table and beside one click.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::amounts::AMOUNT_MAX;
use crate::codec::ids;
use crate::codec::varint::{Reader, unzigzag, varint_bytes, write_varint, zigzag};
use crate::delta::Span;
use crate::error::DecodeError;
use crate::mark::{Add, ID_WINDOW, Mark, RUNS_MAX, Run, Said, Window};
use crate::marks::MARKS_MAX;
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;

const KIND_CLIENT: u8 = 0;
const KIND_SINGLE: u8 = 1;
const KIND_TAKEN_BACK: u8 = 2;

/// In the head of a window: bits follow for what was applied besides the latest in a row.
const FLAG_REST: u8 = 0x40;
/// In the head of a window: runs follow, not one add that stands for all.
const FLAG_RUNS: u8 = 0x80;

/// The count of a run follows; else it is one add.
const RUN_COUNTED: u64 = 1;
/// No run follows this one.
const RUN_LAST: u64 = 2;

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
    write_name(out, mark);
    write_said(out, mark, true);
}

/// What was taken back begins with the 16 bytes of a replica.
fn write_name(out: &mut Vec<u8>, mark: &Mark) {
    let (replica, id) = mark.name.split_at(if matches!(mark.said, Said::TakenBack(_)) { ReplicaId::BYTES } else { 0 });
    out.extend_from_slice(replica);
    ids::write(out, id);
}

fn write_said(out: &mut Vec<u8>, mark: &Mark, with_keys: bool) {
    match &mark.said {
        Said::Client(window) => write_window(out, window, with_keys),
        Said::Single(add) | Said::TakenBack(add) => write_add(out, *add, with_keys),
    }
}

/// `name said` of a client's or a single id's mark, whose adds are all of the one key that there is.
pub(super) fn write_of_one_key(out: &mut Vec<u8>, mark: &Mark) {
    write_name(out, mark);
    write_said(out, mark, false);
}

/// `last head [rest] (add | run*)`, the head being the applied in a row less one and two flags.
fn write_window(out: &mut Vec<u8>, window: &Window, with_keys: bool) {
    write_varint(out, window.last);
    let row = window.applied.trailing_ones();
    let rest = window.applied.checked_shr(row).unwrap_or(0);
    let alike = all_alike(window);
    out.push((row - 1) as u8 | if rest != 0 { FLAG_REST } else { 0 } | if alike.is_none() { FLAG_RUNS } else { 0 });
    if rest != 0 {
        write_varint(out, rest);
    }
    match alike {
        Some(add) => write_add(out, add, with_keys),
        None => write_runs(out, &window.runs, with_keys),
    }
}

/// What every add in the window added, where it is the same for all.
fn all_alike(window: &Window) -> Option<Add> {
    match window.runs.as_slice() {
        [run] if u32::from(run.count) == window.applied.count_ones() => Some(run.add),
        _ => None,
    }
}

/// `(amount-and-flags [count] [key])*`, the flags lowest; a single unknown add for no runs at all.
fn write_runs(out: &mut Vec<u8>, runs: &[Run], with_keys: bool) {
    const NONE: &[Run] = &[Run { count: 1, add: Add { key: 0, amount: 0 } }];
    let runs = if runs.is_empty() { NONE } else { runs };
    for (at, run) in runs.iter().enumerate() {
        let last = if at + 1 == runs.len() { RUN_LAST } else { 0 };
        write_varint(out, zigzag(run.add.amount) << 2 | last | if run.count > 1 { RUN_COUNTED } else { 0 });
        if run.count > 1 {
            out.push(run.count);
        }
        write_key(out, run.add, with_keys);
    }
}

/// `amount [key]`, the amount in zigzag.
fn write_add(out: &mut Vec<u8>, add: Add, with_key: bool) {
    write_varint(out, zigzag(add.amount));
    write_key(out, add, with_key);
}

/// Nothing where the amount is not known or the key is given elsewhere.
fn write_key(out: &mut Vec<u8>, add: Add, with_key: bool) {
    if with_key && add.amount != 0 {
        write_varint(out, u64::from(add.key));
    }
}

/// No encoding of this mark is longer.
pub(crate) fn bytes_max(mark: &Mark) -> usize {
    let add = |add: Add| varint_bytes(zigzag(add.amount) << 2) + 5;
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
    let name = read_name(reader, if kind == KIND_TAKEN_BACK { ReplicaId::BYTES } else { 0 })?;
    let said = read_said(reader, kind, |reader, amount| read_key(reader, amount, keys))?;
    Ok(Mark { version, name, said })
}

/// What [`write_of_one_key`] wrote.
pub(super) fn read_of_one_key(reader: &mut Reader<'_>, version: Version, is_client: bool) -> Result<Mark, DecodeError> {
    let name = read_name(reader, 0)?;
    let said = read_said(reader, if is_client { KIND_CLIENT } else { KIND_SINGLE }, |_, amount| Ok(Add { key: 0, amount }))?;
    Ok(Mark { version, name, said })
}

fn read_said(
    reader: &mut Reader<'_>,
    kind: u8,
    add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>,
) -> Result<Said, DecodeError> {
    match kind {
        KIND_CLIENT => Ok(Said::Client(read_window(reader, add)?)),
        KIND_SINGLE => Ok(Said::Single(read_add(reader, add)?)),
        KIND_TAKEN_BACK => Ok(Said::TakenBack(read_add(reader, add)?)),
        _ => Err(DecodeError::Invalid("a mark's kind is known")),
    }
}

/// An id, after so many bytes of a replica.
fn read_name(reader: &mut Reader<'_>, prefix: usize) -> Result<Arc<[u8]>, DecodeError> {
    let mut name = reader.take(prefix)?.to_vec();
    ids::read(reader, &mut name)?;
    Ok(name.into())
}

fn read_window(reader: &mut Reader<'_>, add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>) -> Result<Window, DecodeError> {
    let (last, head) = (reader.varint()?, reader.byte()?);
    let row = u32::from(head & (FLAG_REST - 1)) + 1;
    let rest = if head & FLAG_REST != 0 { Some(reader.varint()?) } else { None };
    let applied = read_applied(last, row, rest)?;
    let runs = match head & FLAG_RUNS != 0 {
        true => read_runs(reader, add)?,
        false => smallvec![Run { count: applied.count_ones() as u8, add: read_add(reader, add)? }],
    };
    let window = Window { last, applied, runs };
    let count: u32 = window.runs.iter().map(|run| u32::from(run.count)).sum();
    let ends_known = window.runs.last().is_none_or(|run| run.add.amount != 0);
    let is_shortest = head & FLAG_RUNS == 0 || all_alike(&window).is_none();
    match count <= applied.count_ones() && ends_known && is_shortest {
        true => Ok(window),
        false => Err(DecodeError::Invalid(
            "runs of adds name adds that were applied, end with a known one, and are left out where all are alike",
        )),
    }
}

/// Which of the 64 sequence numbers up to `last` were applied: so many in a row, and of those before them what `rest` says.
fn read_applied(last: u64, row: u32, rest: Option<u64>) -> Result<u64, DecodeError> {
    const BITS: DecodeError = DecodeError::Invalid("a window has 64 bits, of sequence numbers from 0");
    let bits = rest.unwrap_or(0);
    if rest == Some(0) || bits & 1 == 1 || bits.leading_zeros() < row {
        return Err(BITS);
    }
    let applied = u64::MAX >> (64 - row) | bits.checked_shl(row).unwrap_or(0);
    match last < ID_WINDOW - 1 && applied >> (last + 1) != 0 {
        true => Err(BITS),
        false => Ok(applied),
    }
}

fn read_runs(
    reader: &mut Reader<'_>,
    add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>,
) -> Result<SmallVec<[Run; 1]>, DecodeError> {
    let mut runs: SmallVec<[Run; 1]> = SmallVec::new();
    loop {
        let word = reader.varint()?;
        let count = if word & RUN_COUNTED != 0 { Some(reader.byte()?) } else { None };
        let run = Run { count: count.unwrap_or(1), add: add(reader, bounded(unzigzag(word >> 2))?)? };
        if word == RUN_LAST && runs.is_empty() {
            return Ok(runs);
        }
        if count.is_some_and(|count| count < 2) || runs.len() == RUNS_MAX || runs.last().is_some_and(|last| last.add == run.add) {
            return Err(DecodeError::Invalid("runs of adds are as few as can be, eight at the most"));
        }
        runs.push(run);
        if word & RUN_LAST != 0 {
            return Ok(runs);
        }
    }
}

fn read_add(reader: &mut Reader<'_>, add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>) -> Result<Add, DecodeError> {
    let amount = bounded(unzigzag(reader.varint()?))?;
    add(reader, amount)
}

fn read_key(reader: &mut Reader<'_>, amount: i64, keys: usize) -> Result<Add, DecodeError> {
    match amount {
        0 => Ok(Add::default()),
        amount => match reader.varint()? {
            key if key < keys as u64 => Ok(Add { key: key as u32, amount }),
            _ => Err(DecodeError::Invalid("an index lies in its dictionary")),
        },
    }
}

fn bounded(amount: i64) -> Result<i64, DecodeError> {
    match amount.unsigned_abs() <= AMOUNT_MAX {
        true => Ok(amount),
        false => Err(DecodeError::Invalid("an add is at most 2^32")),
    }
}
