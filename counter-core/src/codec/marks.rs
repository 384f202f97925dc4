//! Bytes of marks, in a part of a table and beside one click.

use smallvec::{SmallVec, smallvec};

use crate::amounts::AMOUNT_MAX;
use crate::codec::ids;
use crate::codec::varint::{Reader, unzigzag, varint_bytes, write_varint, zigzag};
use crate::delta::Span;
use crate::error::DecodeError;
use crate::mark::{Add, Chunk, ID_CHUNK, Mark, Run, Said, chunk_name, client_of};
use crate::marks::MARKS_MAX;
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;

const KIND_CLIENT: u8 = 0;
const KIND_SINGLE: u8 = 1;
const KIND_TAKEN_BACK: u8 = 2;

/// In the head of a chunk: runs follow, not one add that stands for all.
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

/// What was taken back begins with the 16 bytes of a replica; the number of a client's chunk is told by its last sequence number.
fn write_name(out: &mut Vec<u8>, mark: &Mark) {
    let id = match mark.said {
        Said::Client(_) => client_of(&mark.name),
        Said::Single(_) => &mark.name,
        Said::TakenBack(_) => {
            let (replica, id) = mark.name.split_at(ReplicaId::BYTES);
            out.extend_from_slice(replica);
            id
        }
    };
    ids::write(out, id);
}

fn write_said(out: &mut Vec<u8>, mark: &Mark, with_keys: bool) {
    match &mark.said {
        Said::Client(chunk) => write_chunk(out, chunk, with_keys),
        Said::Single(add) | Said::TakenBack(add) => write_add(out, *add, with_keys),
    }
}

/// `name said` of a client's or a single id's mark, whose adds are all of the one key that there is.
pub(super) fn write_of_one_key(out: &mut Vec<u8>, mark: &Mark) {
    write_name(out, mark);
    write_said(out, mark, false);
}

/// `last head (add | run*)`, the head being the bits of those applied before the last one, the nearest lowest, and a flag.
fn write_chunk(out: &mut Vec<u8>, chunk: &Chunk, with_keys: bool) {
    write_varint(out, chunk.last);
    let before = chunk.applied >> 1;
    match all_alike(chunk) {
        Some(add) => {
            out.push(before);
            write_add(out, add, with_keys);
        }
        None => {
            out.push(before | FLAG_RUNS);
            write_runs(out, &chunk.runs, with_keys);
        }
    }
}

/// What every add in the chunk added, where it is the same for all.
fn all_alike(chunk: &Chunk) -> Option<Add> {
    match chunk.runs.as_slice() {
        [run] if u32::from(run.count) == chunk.applied.count_ones() => Some(run.add),
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
        Said::Client(chunk) => 11 + chunk.runs.iter().map(|run| 1 + add(run.add)).sum::<usize>(),
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
    Ok(mark(version, name, said))
}

/// What [`write_of_one_key`] wrote.
pub(super) fn read_of_one_key(reader: &mut Reader<'_>, version: Version, is_client: bool) -> Result<Mark, DecodeError> {
    let name = read_name(reader, 0)?;
    let said = read_said(reader, if is_client { KIND_CLIENT } else { KIND_SINGLE }, |_, amount| Ok(Add { key: 0, amount }))?;
    Ok(mark(version, name, said))
}

fn mark(version: Version, name: Vec<u8>, said: Said) -> Mark {
    let name = match &said {
        Said::Client(chunk) => chunk_name(&name, chunk.last).as_slice().into(),
        _ => name.into(),
    };
    Mark { version, name, said }
}

fn read_said(
    reader: &mut Reader<'_>,
    kind: u8,
    add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>,
) -> Result<Said, DecodeError> {
    match kind {
        KIND_CLIENT => Ok(Said::Client(read_chunk(reader, add)?)),
        KIND_SINGLE => Ok(Said::Single(read_add(reader, add)?)),
        KIND_TAKEN_BACK => Ok(Said::TakenBack(read_add(reader, add)?)),
        _ => Err(DecodeError::Invalid("a mark's kind is known")),
    }
}

/// An id, after so many bytes of a replica.
fn read_name(reader: &mut Reader<'_>, prefix: usize) -> Result<Vec<u8>, DecodeError> {
    let mut name = reader.take(prefix)?.to_vec();
    ids::read(reader, &mut name)?;
    Ok(name)
}

fn read_chunk(reader: &mut Reader<'_>, add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>) -> Result<Chunk, DecodeError> {
    let (last, head) = (reader.varint()?, reader.byte()?);
    let applied = head << 1 | 1;
    if u64::from(applied.ilog2()) > last % ID_CHUNK {
        return Err(DecodeError::Invalid("a chunk has eight sequence numbers, the first a multiple of eight"));
    }
    let runs = match head & FLAG_RUNS != 0 {
        true => read_runs(reader, add)?,
        false => smallvec![Run { count: applied.count_ones() as u8, add: read_add(reader, add)? }],
    };
    let chunk = Chunk { last, applied, runs };
    let count: u32 = chunk.runs.iter().map(|run| u32::from(run.count)).sum();
    let ends_known = chunk.runs.last().is_none_or(|run| run.add.amount != 0);
    let is_shortest = head & FLAG_RUNS == 0 || all_alike(&chunk).is_none();
    match count <= applied.count_ones() && ends_known && is_shortest {
        true => Ok(chunk),
        false => Err(DecodeError::Invalid(
            "runs of adds name adds that were applied, end with a known one, and are left out where all are alike",
        )),
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
        if count.is_some_and(|count| count < 2) || runs.len() as u64 == ID_CHUNK || runs.last().is_some_and(|last| last.add == run.add) {
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
