//! The bytes of dedup entries, in a part of a table or beside a single add.

use smallvec::{SmallVec, smallvec};

use crate::codec::ids;
use crate::codec::varint::{Reader, unzigzag, varint_bytes, write_varint, zigzag};
use crate::dedup::chunk::{Add, AddRun, ClientChunk, Forgotten, ID_CHUNK};
use crate::dedup::entry::{DedupEntry, EntryBody, EntryKind, EntrySource, Single};
use crate::dedup::id::{chunk_name, client_of};
use crate::dedup::table::ENTRIES_MAX;
use crate::error::DecodeError;
use crate::lattice::cell::amounts::AMOUNT_MAX;
use crate::lattice::delta::Span;
use crate::lattice::versions::Version;
use crate::lattice::writer::tombstones::names_of;
use crate::replica_id::ReplicaId;

const KIND_CLIENT: u8 = 0;
const KIND_SINGLE: u8 = 1;
const KIND_TAKEN_BACK: u8 = 2;
/// A chunk with numbers that its writer took back. This kind and all below need format 2.
const KIND_CLIENT_TAKEN: u8 = 3;
/// A single id that was taken back.
const KIND_SINGLE_TAKEN: u8 = 4;
/// Entries that a successor absorbed, with bits for what was taken back.
const KIND_ABSORBED_CLIENT: u8 = 5;
const KIND_ABSORBED_SINGLE: u8 = 6;
const KIND_FORGOTTEN: u8 = 7;
/// Adds at a key that are settled. This kind needs format 3.
const KIND_SETTLED: u8 = 8;

/// Bit in the head of a chunk: runs follow. Without it, one add stands for all.
const FLAG_RUNS: u8 = 0x80;

/// Bit: the count of the run follows. Without it, the run is one add.
const RUN_COUNTED: u64 = 1;
/// Bit: this is the last run.
const RUN_LAST: u64 = 2;

/// The fewest bytes of an entry: version, kind, an empty name, an amount.
const ENTRY_BYTES_MIN: usize = 4;

/// `count (version-step kind name body)*`, versions ascending: the first from the span's `after`.
pub(super) fn write(out: &mut Vec<u8>, after: Version, entries: &[DedupEntry]) {
    write_varint(out, entries.len() as u64);
    let mut before = after;
    for entry in entries {
        write_varint(out, entry.version - before - 1);
        before = entry.version;
        write_entry(out, entry);
    }
}

/// `kind name body`.
pub(crate) fn write_entry(out: &mut Vec<u8>, entry: &DedupEntry) {
    out.push(kind(entry));
    write_name(out, entry);
    write_entry_body(out, entry, true);
}

fn kind(entry: &DedupEntry) -> u8 {
    match (&entry.body, entry.source) {
        (EntryBody::Client(_), Some(_)) => KIND_ABSORBED_CLIENT,
        (EntryBody::Single(_), Some(_)) => KIND_ABSORBED_SINGLE,
        (EntryBody::Client(chunk), None) => {
            if !chunk.has_taken_back() {
                KIND_CLIENT
            } else {
                KIND_CLIENT_TAKEN
            }
        }
        (EntryBody::Single(single), None) => {
            if single.taken_back {
                KIND_SINGLE_TAKEN
            } else {
                KIND_SINGLE
            }
        }
        (EntryBody::TakenBack(_), _) => KIND_TAKEN_BACK,
        (EntryBody::Forgotten(_), _) => KIND_FORGOTTEN,
        (EntryBody::Settled(_), _) => KIND_SETTLED,
    }
}

/// An absorbed entry begins with its replica and its age. The name of a taken-back entry begins
/// with the 16 bytes of a replica. A chunk's number is not written, because its last sequence
/// number gives it.
fn write_name(out: &mut Vec<u8>, entry: &DedupEntry) {
    if let Some(EntrySource { replica, age }) = entry.source {
        out.extend_from_slice(&replica.to_bytes());
        write_varint(out, age);
    }
    let id = match entry.body {
        EntryBody::Settled(_) => {
            write_varint(out, entry.name.len() as u64);
            return out.extend_from_slice(&entry.name);
        }
        EntryBody::Client(_) => client_of(&entry.name),
        EntryBody::Single(_) | EntryBody::Forgotten(_) => &entry.name,
        EntryBody::TakenBack(_) => {
            let (replica, id) = entry.name.split_at(ReplicaId::BYTES);
            out.extend_from_slice(replica);
            id
        }
    };
    ids::write(out, id);
}

/// In absorbed entries and in chunks, the bits of taken-back adds come last. In the holder's own
/// entries with such adds, the number of versions since the latest add follows.
fn write_entry_body(out: &mut Vec<u8>, entry: &DedupEntry, with_keys: bool) {
    match (&entry.body, entry.source) {
        (EntryBody::Client(chunk), Some(_)) => {
            write_chunk(out, chunk, with_keys);
            out.push(chunk.taken_back_bits());
        }
        (EntryBody::Single(Single { add, taken_back }), Some(_)) => {
            write_add(out, *add, with_keys);
            out.push((*taken_back).into());
        }
        (EntryBody::Client(chunk), None) => {
            write_chunk(out, chunk, with_keys);
            if chunk.has_taken_back() {
                out.push(chunk.taken_back_bits());
                write_varint(out, entry.version - entry.fresh);
            }
        }
        (EntryBody::Single(Single { add, taken_back }), None) => {
            write_add(out, *add, with_keys);
            if *taken_back {
                write_varint(out, entry.version - entry.fresh);
            }
        }
        (EntryBody::TakenBack(add), _) => write_add(out, *add, with_keys),
        (EntryBody::Forgotten(forgotten), _) => {
            write_varint(out, forgotten.upto());
            write_varint(out, forgotten.upto() - forgotten.sure());
        }
        (EntryBody::Settled(upto), _) => write_varint(out, *upto),
    }
}

/// `name body` of the entry beside a single add. All adds in the entry have the key of that add.
pub(super) fn write_of_one_key(out: &mut Vec<u8>, entry: &DedupEntry) {
    write_name(out, entry);
    write_entry_body(out, entry, false);
}

/// `last head (add | run*)`. The head has a flag, and a bit for each of the seven numbers before
/// the last one: set if it was applied, with the nearest number in the lowest bit.
fn write_chunk(out: &mut Vec<u8>, chunk: &ClientChunk, with_keys: bool) {
    write_varint(out, chunk.last());
    let before = chunk.applied_bits() >> 1;
    match chunk.one_add() {
        Some(add) => {
            out.push(before);
            write_add(out, add, with_keys);
        }
        None => {
            out.push(before | FLAG_RUNS);
            write_runs(out, chunk.runs(), with_keys);
        }
    }
}

/// `(amount-and-flags [count] [key])*`, with the flags in the lowest bits. If there are no runs,
/// one unknown add is written.
fn write_runs(out: &mut Vec<u8>, runs: &[AddRun], with_keys: bool) {
    const ONE_UNKNOWN: &[AddRun] = &[AddRun { count: 1, add: Add { key: 0, amount: 0 } }];
    let runs = if runs.is_empty() { ONE_UNKNOWN } else { runs };
    for (at, run) in runs.iter().enumerate() {
        let last = if at + 1 == runs.len() { RUN_LAST } else { 0 };
        write_varint(
            out,
            zigzag(run.add.amount) << 2 | last | if run.count > 1 { RUN_COUNTED } else { 0 },
        );
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

/// Writes nothing if the amount is unknown, or the key is given elsewhere.
fn write_key(out: &mut Vec<u8>, add: Add, with_key: bool) {
    if with_key && add.amount != 0 {
        write_varint(out, u64::from(add.key));
    }
}

/// An upper bound on the bytes of this entry.
pub(crate) fn bytes_max(entry: &DedupEntry) -> usize {
    let add = |add: Add| varint_bytes(zigzag(add.amount) << 2) + 5;
    let body = match &entry.body {
        EntryBody::Client(chunk) => {
            let versions = 1 + 10 * chunk.versions().len();
            12 + versions + chunk.runs().iter().map(|run| 1 + add(run.add)).sum::<usize>()
        }
        EntryBody::Single(Single { add: one, .. }) | EntryBody::TakenBack(one) => add(*one),
        EntryBody::Forgotten(_) => 20,
        EntryBody::Settled(_) => 12,
    };
    let source = entry.source.map_or(0, |source| ReplicaId::BYTES + varint_bytes(source.age));
    23 + source + entry.name.len() + body
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    span: Span,
    keys: usize,
) -> Result<Vec<DedupEntry>, DecodeError> {
    let count = reader.count(ENTRY_BYTES_MIN)?;
    if count == 0 || count > ENTRIES_MAX {
        return Err(DecodeError::Invalid(
            "a part with the flag for dedup entries must have some, and at most a writer's maximum",
        ));
    }
    let mut entries: Vec<DedupEntry> = Vec::new();
    let mut before = span.after;
    for _ in 0..count {
        let step = reader.varint()?;
        let version = before
            .checked_add(step)
            .filter(|&version| version < span.upto)
            .map(|version| version + 1);
        let version = version.ok_or(DecodeError::Invalid("versions must lie in their span"))?;
        entries.push(read_entry(reader, version, keys)?);
        before = version;
    }
    check_distinct(&entries)?;
    Ok(entries)
}

fn check_distinct(entries: &[DedupEntry]) -> Result<(), DecodeError> {
    type EntryIdentity<'a> = (EntryKind, Option<ReplicaId>, &'a [u8]);
    let name = |entry| -> EntryIdentity<'_> {
        let DedupEntry { body, source, name, .. }: &DedupEntry = entry;
        (body.kind(), source.map(|source| source.replica), name)
    };
    let mut names: Vec<EntryIdentity<'_>> = entries.iter().map(name).collect();
    names.sort_unstable();
    match names.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(DecodeError::Invalid("dedup entries must be distinct")),
        false => Ok(()),
    }
}

fn read_entry(
    reader: &mut Reader<'_>,
    version: Version,
    keys: usize,
) -> Result<DedupEntry, DecodeError> {
    let kind = reader.byte()?;
    let source = match kind {
        KIND_ABSORBED_CLIENT | KIND_ABSORBED_SINGLE => {
            Some(EntrySource { replica: reader.replica()?, age: reader.varint()? })
        }
        _ => None,
    };
    let name = match kind {
        KIND_SETTLED => read_key_name(reader)?,
        KIND_TAKEN_BACK => read_name(reader, ReplicaId::BYTES)?,
        _ => read_name(reader, 0)?,
    };
    let body = read_entry_body(reader, kind, |reader, amount| read_key(reader, amount, keys))?;
    let older =
        if matches!(kind, KIND_CLIENT_TAKEN | KIND_SINGLE_TAKEN) { reader.varint()? } else { 0 };
    let fresh = version.checked_sub(older).filter(|fresh| *fresh > 0);
    let fresh = fresh
        .ok_or(DecodeError::Invalid("a dedup entry's latest add must have a version above 0"))?;
    Ok(entry((version, fresh), name, source, body))
}

/// Reads the bytes of [`write_of_one_key`].
pub(super) fn read_of_one_key(
    reader: &mut Reader<'_>,
    version: Version,
    is_client: bool,
) -> Result<DedupEntry, DecodeError> {
    let name = read_name(reader, 0)?;
    let body =
        read_entry_body(reader, if is_client { KIND_CLIENT } else { KIND_SINGLE }, |_, amount| {
            Ok(Add { key: 0, amount })
        })?;
    Ok(entry((version, version), name, None, body))
}

fn entry(
    (version, fresh): (Version, Version),
    name: Vec<u8>,
    source: Option<EntrySource>,
    body: EntryBody,
) -> DedupEntry {
    let name = match &body {
        EntryBody::Client(chunk) => chunk_name(&name, chunk.last()).as_slice().into(),
        _ => name.into(),
    };
    DedupEntry { version, fresh, name, source, body }
}

fn read_entry_body(
    reader: &mut Reader<'_>,
    kind: u8,
    add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>,
) -> Result<EntryBody, DecodeError> {
    match kind {
        KIND_CLIENT => Ok(EntryBody::Client(read_chunk(reader, add)?)),
        KIND_SINGLE => {
            Ok(EntryBody::Single(Single { add: read_add(reader, add)?, taken_back: false }))
        }
        KIND_TAKEN_BACK => Ok(EntryBody::TakenBack(read_add(reader, add)?)),
        KIND_CLIENT_TAKEN => {
            let chunk = read_chunk(reader, add)?;
            match reader.byte()? {
                0 => Err(DecodeError::Invalid(
                    "a chunk with nothing taken back must have the plain kind",
                )),
                taken_back => with_taken_back(chunk, taken_back),
            }
        }
        KIND_SINGLE_TAKEN => {
            Ok(EntryBody::Single(Single { add: read_add(reader, add)?, taken_back: true }))
        }
        KIND_ABSORBED_CLIENT => {
            let chunk = read_chunk(reader, add)?;
            with_taken_back(chunk, reader.byte()?)
        }
        KIND_ABSORBED_SINGLE => {
            let add = read_add(reader, add)?;
            match reader.byte()? {
                bit @ 0..=1 => Ok(EntryBody::Single(Single { add, taken_back: bit == 1 })),
                _ => Err(DecodeError::Invalid("the bit of an absorbed id must be 0 or 1")),
            }
        }
        KIND_FORGOTTEN => {
            let (upto, unsure) = (reader.varint()?, reader.varint()?);
            upto.checked_sub(unsure)
                .and_then(|sure| Forgotten::new(upto, sure))
                .map(EntryBody::Forgotten)
                .ok_or(DecodeError::Invalid(
                    "the sure numbers of a client must be among the forgotten ones",
                ))
        }
        KIND_SETTLED => match reader.varint()? {
            0 => Err(DecodeError::Invalid("the version of settled adds must be above 0")),
            upto => Ok(EntryBody::Settled(upto)),
        },
        _ => Err(DecodeError::Invalid("a dedup entry's kind must be 0 to 8")),
    }
}

fn with_taken_back(chunk: ClientChunk, taken_back: u8) -> Result<EntryBody, DecodeError> {
    chunk
        .with_taken_back(taken_back)
        .map(EntryBody::Client)
        .ok_or(DecodeError::Invalid("only applied numbers may be taken back"))
}

/// The numbers of a chunk that were applied, from its head.
fn read_applied(last: u64, head: u8) -> Result<u8, DecodeError> {
    let applied = head << 1 | 1;
    match u64::from(applied.ilog2()) > last % ID_CHUNK {
        true => Err(DecodeError::Invalid(
            "a chunk must have eight sequence numbers, the first a multiple of eight",
        )),
        false => Ok(applied),
    }
}

/// The names of a key.
fn read_key_name(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let length = reader.count(1)?;
    let name = reader.take(length)?;
    match names_of(name) {
        Some(_) => Ok(name.to_vec()),
        None => Err(DecodeError::Invalid("settled adds must name a counter and a region")),
    }
}

/// An id, after `prefix` bytes of a replica.
fn read_name(reader: &mut Reader<'_>, prefix: usize) -> Result<Vec<u8>, DecodeError> {
    let mut name = reader.take(prefix)?.to_vec();
    ids::read(reader, &mut name)?;
    Ok(name)
}

fn read_chunk(
    reader: &mut Reader<'_>,
    add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>,
) -> Result<ClientChunk, DecodeError> {
    let (last, head) = (reader.varint()?, reader.byte()?);
    let applied = read_applied(last, head)?;
    let runs = match head & FLAG_RUNS != 0 {
        true => read_runs(reader, add)?,
        false => {
            smallvec![AddRun { count: applied.count_ones() as u8, add: read_add(reader, add)? }]
        }
    };
    ClientChunk::from_parts(last, applied, runs)
        .filter(|chunk| head & FLAG_RUNS == 0 || chunk.one_add().is_none())
        .ok_or(DecodeError::Invalid(
            "runs of adds must name applied adds, end with a known one, and differ",
        ))
}

fn read_runs(
    reader: &mut Reader<'_>,
    add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>,
) -> Result<SmallVec<[AddRun; 1]>, DecodeError> {
    let mut runs: SmallVec<[AddRun; 1]> = SmallVec::new();
    loop {
        let word = reader.varint()?;
        let count = if word & RUN_COUNTED != 0 { Some(reader.byte()?) } else { None };
        let run =
            AddRun { count: count.unwrap_or(1), add: add(reader, bounded(unzigzag(word >> 2))?)? };
        if word == RUN_LAST && runs.is_empty() {
            return Ok(runs);
        }
        if count.is_some_and(|count| count < 2)
            || runs.len() as u64 == ID_CHUNK
            || runs.last().is_some_and(|last| last.add == run.add)
        {
            return Err(DecodeError::Invalid(
                "runs of adds must be as few as possible, and at most eight",
            ));
        }
        runs.push(run);
        if word & RUN_LAST != 0 {
            return Ok(runs);
        }
    }
}

fn read_add(
    reader: &mut Reader<'_>,
    add: impl Fn(&mut Reader<'_>, i64) -> Result<Add, DecodeError>,
) -> Result<Add, DecodeError> {
    let amount = bounded(unzigzag(reader.varint()?))?;
    add(reader, amount)
}

fn read_key(reader: &mut Reader<'_>, amount: i64, keys: usize) -> Result<Add, DecodeError> {
    match amount {
        0 => Ok(Add::default()),
        amount => match reader.varint()? {
            key if key < keys as u64 => Ok(Add { key: key as u32, amount }),
            _ => Err(DecodeError::Invalid("an index must lie in its dictionary")),
        },
    }
}

fn bounded(amount: i64) -> Result<i64, DecodeError> {
    match amount.unsigned_abs() <= AMOUNT_MAX {
        true => Ok(amount),
        false => Err(DecodeError::Invalid("an add must be at most 2^32 either way")),
    }
}
