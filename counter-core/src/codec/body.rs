//! The body inside the envelope: a single add in a short form, everything else as dictionaries and
//! columns.

use smallvec::smallvec;

use crate::codec::columns::{BLOCK, BLOCK_BYTES_MIN, read_block, write_block};
use crate::codec::dictionary::{Dictionary, NameList};
use crate::codec::varint::{Reader, write_varint};
use crate::codec::{dedup, names, tombstones};
use crate::dedup::entry::{DedupEntry, EntryBody};
use crate::error::DecodeError;
use crate::incarnation::record::Record;
use crate::lattice::cell::CellExtra;
use crate::lattice::cell::amounts::{Amounts, CELL_MAX};
use crate::lattice::delta::{Delta, DeltaCell, DeltaPart, Span};
use crate::lattice::keys::names::NameSlice;
use crate::lattice::versions::Version;

const KIND_TABLE: u8 = 0;
/// Kind of a body: one plain cell of one writer that alone completes its span.
const KIND_ONE: u8 = 1;
/// Kind of a body: one plain cell at the span's first version, and the dedup entry of its client at
/// the second.
const KIND_CLIENT: u8 = 2;
/// Kind of a body: the same with the entry of a single id.
const KIND_SINGLE: u8 = 3;

const FLAG_CLOSED: u8 = 1;
const FLAG_RECORD: u8 = 2;
const FLAG_EXTRAS: u8 = 4;
const FLAG_ENTRIES: u8 = 8;
const FLAG_TOMBSTONES: u8 = 16;

/// The largest version that is accepted. A writer that continues from here has 2^63 changes left,
/// so no peer can exhaust its sequence.
const VERSION_MAX: u64 = 1 << 63;

pub(crate) fn write(out: &mut Vec<u8>, delta: &Delta) {
    if let Some((span, cell)) = one_cell(delta) {
        out.push(KIND_ONE);
        return write_one(out, delta.keys.names(cell.key), span, cell, true);
    }
    if let Some((span, cell, entry)) = cell_with_entry(delta) {
        return write_with_entry(out, delta.keys.names(cell.key), span, cell, entry);
    }
    let Dictionary { counters, regions, pairs } = &delta.keys;
    write_head(
        out,
        counters.as_slice(),
        regions.as_slice(),
        pairs.len(),
        |key| pairs[key],
        delta.parts.len(),
    );
    delta
        .parts
        .iter()
        .for_each(|part| write_part(out, part, part.cells.len(), |at| part.cells[at]));
}

/// The head of a table: `kind counters regions keys count`.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    counters: NameSlice<'_>,
    regions: NameSlice<'_>,
    keys: usize,
    pair: impl Fn(usize) -> (u32, u32),
    parts: usize,
) {
    out.push(KIND_TABLE);
    names::write(out, counters);
    names::write(out, regions);
    write_pairs(out, keys, pair);
    write_varint(out, parts as u64);
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Delta, DecodeError> {
    match reader.byte()? {
        KIND_ONE => read_one(reader),
        KIND_CLIENT => read_with_entry(reader, true),
        KIND_SINGLE => read_with_entry(reader, false),
        KIND_TABLE => read_table(reader),
        _ => {
            Err(DecodeError::Invalid("a body must be a table, one cell, or one cell and an entry"))
        }
    }
}

/// The cell of a delta that fits the short form.
fn one_cell(delta: &Delta) -> Option<(Span, DeltaCell)> {
    let [part] = delta.parts.as_slice() else { return None };
    let [cell] = part.cells.as_slice() else { return None };
    let plain =
        part.closed && part.record.is_none() && part.extras.is_empty() && part.dedup.is_empty();
    let plain = plain && part.tombstones.is_empty();
    (plain && cell.version == part.span.upto).then_some((part.span, *cell))
}

/// `replica counter region after [upto-after-1] increments decrements`.
fn write_one(
    out: &mut Vec<u8>,
    (counter, region): (&str, &str),
    span: Span,
    cell: DeltaCell,
    with_upto: bool,
) {
    out.extend_from_slice(&span.replica.to_bytes());
    for name in [counter, region] {
        write_varint(out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
    }
    write_varint(out, span.after);
    if with_upto {
        write_varint(out, span.upto - span.after - 1);
    }
    write_varint(out, cell.amounts.increments);
    write_varint(out, cell.amounts.decrements);
}

/// The cell and the entry of a delta that fits the short form.
fn cell_with_entry(delta: &Delta) -> Option<(Span, DeltaCell, &DedupEntry)> {
    let [part] = delta.parts.as_slice() else { return None };
    let ([cell], [entry]) = (part.cells.as_slice(), part.dedup.as_slice()) else { return None };
    let Span { after, upto, .. } = part.span;
    let plain = part.closed
        && part.record.is_none()
        && part.extras.is_empty()
        && part.tombstones.is_empty()
        && entry.keys().all(|key| key == cell.key);
    let follow = (cell.version, entry.version, upto) == (after + 1, after + 2, after + 2);
    (plain && follow && entry.is_of_format_1() && !matches!(entry.body, EntryBody::TakenBack(_)))
        .then_some((part.span, *cell, entry))
}

/// `kind replica counter region after increments decrements name body`.
fn write_with_entry(
    out: &mut Vec<u8>,
    names: (&str, &str),
    span: Span,
    cell: DeltaCell,
    entry: &DedupEntry,
) {
    out.push(if matches!(entry.body, EntryBody::Client(_)) { KIND_CLIENT } else { KIND_SINGLE });
    write_one(out, names, span, cell, false);
    dedup::write_of_one_key(out, entry);
}

fn read_with_entry(reader: &mut Reader<'_>, is_client: bool) -> Result<Delta, DecodeError> {
    let mut delta = read_cell(reader, |reader| read_upto(reader.varint()?, 0))?;
    if let Some(part) = delta.parts.first_mut() {
        part.span = read_upto(part.span.after, 1)
            .map(|span| Span { replica: part.span.replica, ..span })?;
        part.dedup.push(dedup::read_of_one_key(reader, part.span.upto, is_client)?);
    }
    Ok(delta)
}

fn read_one(reader: &mut Reader<'_>) -> Result<Delta, DecodeError> {
    read_cell(reader, read_span)
}

fn read_cell<'a>(
    reader: &mut Reader<'a>,
    span: impl FnOnce(&mut Reader<'a>) -> Result<Span, DecodeError>,
) -> Result<Delta, DecodeError> {
    let replica = reader.replica()?;
    let counters = NameList::from_one(reader.counted_bytes()?)?;
    let regions = NameList::from_one(reader.counted_bytes()?)?;
    let span = Span { replica, ..span(reader)? };
    let amounts = Amounts { increments: reader.amount()?, decrements: reader.amount()? };
    let cells = smallvec![DeltaCell { key: 0, version: span.upto, amounts }];
    let keys = Dictionary { counters, regions, pairs: smallvec![(0, 0)] };
    keys.check_counters()?;
    Ok(Delta { keys, parts: smallvec![DeltaPart { cells, ..DeltaPart::new(span, true) }] })
}

/// `after upto-after-1`. The caller sets the replica.
fn read_span(reader: &mut Reader<'_>) -> Result<Span, DecodeError> {
    let after = reader.varint()?;
    read_upto(after, reader.varint()?)
}

fn read_upto(after: Version, width: u64) -> Result<Span, DecodeError> {
    let upto =
        after.checked_add(width).filter(|&before| before < VERSION_MAX).map(|before| before + 1);
    let upto = upto.ok_or(DecodeError::Invalid("a version must be at most 2^63"))?;
    Ok(Span { replica: Default::default(), after, upto })
}

fn read_table(reader: &mut Reader<'_>) -> Result<Delta, DecodeError> {
    let counters = names::read(reader)?;
    let regions = names::read(reader)?;
    let pairs = read_pairs(reader, counters.len(), regions.len())?;
    let keys = Dictionary { counters, regions, pairs: pairs.into() };
    keys.check_counters()?;
    let count = reader.count(20)?;
    let mut parts: Vec<DeltaPart> = Vec::with_capacity(count);
    for _ in 0..count {
        let part = read_part(reader, keys.pairs.len())?;
        if parts.last().is_some_and(|last| last.span.replica >= part.span.replica) {
            return Err(DecodeError::Invalid("replicas must ascend"));
        }
        parts.push(part);
    }
    Ok(Delta { keys, parts: parts.into() })
}

/// The number of rows of `columns` columns that follow. Each block of a column takes at least two
/// bytes.
fn read_rows(reader: &mut Reader<'_>, columns: usize) -> Result<usize, DecodeError> {
    let rows = reader.varint()?;
    match rows.div_ceil(BLOCK as u64) <= (reader.left() / (columns * BLOCK_BYTES_MIN)) as u64 {
        true => Ok(rows as usize),
        false => Err(DecodeError::Truncated),
    }
}

/// `count (counter-step-block region-block)*`.
fn write_pairs(out: &mut Vec<u8>, count: usize, pair: impl Fn(usize) -> (u32, u32)) {
    write_varint(out, count as u64);
    let (mut before, mut steps, mut regions) = (0, [0; BLOCK], [0; BLOCK]);
    for start in (0..count).step_by(BLOCK) {
        let in_block = BLOCK.min(count - start);
        for at in 0..in_block {
            let (counter, region) = pair(start + at);
            steps[at] = u64::from(counter - before);
            regions[at] = u64::from(region);
            before = counter;
        }
        write_block(out, &steps[..in_block]);
        write_block(out, &regions[..in_block]);
    }
}

fn read_pairs(
    reader: &mut Reader<'_>,
    counters: usize,
    regions: usize,
) -> Result<Vec<(u32, u32)>, DecodeError> {
    let rows = read_rows(reader, 2)?;
    let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(rows);
    let mut counter = 0u64;
    for start in (0..rows).step_by(BLOCK) {
        let in_block = BLOCK.min(rows - start);
        let (mut steps, mut indices) = ([0; BLOCK], [0; BLOCK]);
        read_block(reader, &mut steps[..in_block])?;
        read_block(reader, &mut indices[..in_block])?;
        for (&step, &region) in steps.iter().zip(&indices).take(in_block) {
            counter = counter
                .checked_add(step)
                .filter(|&counter| counter < counters as u64)
                .ok_or(RANGE)?;
            if region >= regions as u64 {
                return Err(RANGE);
            }
            let pair = (counter as u32, region as u32);
            if pairs.last().is_some_and(|&last| last >= pair) {
                return Err(DecodeError::Invalid("keys must ascend"));
            }
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

const RANGE: DecodeError = DecodeError::Invalid("an index must lie in its dictionary");

/// `flags replica after upto-after-1 [record] count (key-gap-block version-block increments-block
/// decrements-block)* [extras] [entries] [tombstones]`.
///
/// The function `cell` returns each of the `count` cells, with ascending keys. So a whole state is
/// written without a copy of it.
pub(crate) fn write_part(
    out: &mut Vec<u8>,
    part: &DeltaPart,
    count: usize,
    cell: impl Fn(usize) -> DeltaCell,
) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(
        flag(part.closed, FLAG_CLOSED)
            | flag(part.record.is_some(), FLAG_RECORD)
            | flag(!part.extras.is_empty(), FLAG_EXTRAS)
            | flag(!part.dedup.is_empty(), FLAG_ENTRIES)
            | flag(!part.tombstones.is_empty(), FLAG_TOMBSTONES),
    );
    out.extend_from_slice(&part.span.replica.to_bytes());
    write_varint(out, part.span.after);
    write_varint(out, part.span.upto - part.span.after - 1);
    if let Some(record) = &part.record {
        write_varint(out, record.version - part.span.after - 1);
        record.write(out);
    }
    write_cells(out, part.span.after, count, cell);
    if !part.extras.is_empty() {
        write_varint(out, part.extras.len() as u64);
        for (key, extra) in &part.extras {
            write_varint(out, u64::from(*key));
            extra.write(out);
        }
    }
    if !part.dedup.is_empty() {
        dedup::write(out, part.span.after, &part.dedup);
    }
    if !part.tombstones.is_empty() {
        tombstones::write(out, part.span.after, &part.tombstones);
    }
}

fn write_cells(out: &mut Vec<u8>, after: Version, count: usize, cell: impl Fn(usize) -> DeltaCell) {
    write_varint(out, count as u64);
    let mut key_next = 0;
    let mut columns = [[0u64; BLOCK]; 4];
    for start in (0..count).step_by(BLOCK) {
        let in_block = BLOCK.min(count - start);
        let [gaps, distances, increments, decrements] = &mut columns;
        for at in 0..in_block {
            let DeltaCell { key, version, amounts } = cell(start + at);
            gaps[at] = u64::from(key - key_next);
            distances[at] = version - after - 1;
            increments[at] = amounts.increments;
            decrements[at] = amounts.decrements;
            key_next = key + 1;
        }
        columns.iter().for_each(|column| write_block(out, &column[..in_block]));
    }
}

fn read_part(reader: &mut Reader<'_>, keys: usize) -> Result<DeltaPart, DecodeError> {
    let flags = reader.byte()?;
    if flags > (FLAG_CLOSED | FLAG_RECORD | FLAG_EXTRAS | FLAG_ENTRIES | FLAG_TOMBSTONES) {
        return Err(DecodeError::Invalid("a part must have no unknown flags"));
    }
    let replica = reader.replica()?;
    let span = Span { replica, ..read_span(reader)? };
    let mut part = DeltaPart::new(span, flags & FLAG_CLOSED != 0);
    if flags & FLAG_RECORD != 0 {
        let version = read_version(span, reader.varint()?)?;
        part.record = Some(Box::new(Record::read(version, reader)?));
    }
    part.cells = read_cells(reader, span, keys)?.into();
    if flags & FLAG_EXTRAS != 0 {
        part.extras = read_extras(reader, &part.cells)?;
    }
    if flags & FLAG_ENTRIES != 0 {
        part.dedup = dedup::read(reader, span, keys)?;
    }
    if flags & FLAG_TOMBSTONES != 0 {
        part.tombstones = tombstones::read(reader, span)?;
    }
    Ok(part)
}

/// The version at a distance from the first version of the span.
fn read_version(span: Span, distance: u64) -> Result<u64, DecodeError> {
    match distance < span.upto - span.after {
        true => Ok(span.after + 1 + distance),
        false => Err(DecodeError::Invalid("versions must lie in their span")),
    }
}

fn read_cells(
    reader: &mut Reader<'_>,
    span: Span,
    keys: usize,
) -> Result<Vec<DeltaCell>, DecodeError> {
    let rows = read_rows(reader, 4)?;
    let mut cells = Vec::with_capacity(rows);
    let mut key_next = 0u64;
    let mut columns = [[0u64; BLOCK]; 4];
    for start in (0..rows).step_by(BLOCK) {
        let in_block = BLOCK.min(rows - start);
        for column in &mut columns {
            read_block(reader, &mut column[..in_block])?;
        }
        let [gaps, distances, increments, decrements] = &columns;
        check_block(span, increments, decrements, distances, in_block)?;
        // Gaps below 2^32 do not wrap; the last key of the block is its greatest.
        if gaps[..in_block].iter().any(|&gap| gap >= keys as u64) {
            return Err(RANGE);
        }
        let rows = gaps.iter().zip(distances).zip(increments.iter().zip(decrements)).take(in_block);
        cells.extend(rows.map(|((&gap, &distance), (&increments, &decrements))| {
            let key = key_next + gap;
            key_next = key + 1;
            DeltaCell {
                key: key as u32,
                version: span.after + 1 + distance,
                amounts: Amounts { increments, decrements },
            }
        }));
        if key_next > keys as u64 {
            return Err(RANGE);
        }
    }
    Ok(cells)
}

/// Checks that versions lie in their span and amounts within their bound.
fn check_block(
    span: Span,
    increments: &[u64],
    decrements: &[u64],
    distances: &[u64],
    count: usize,
) -> Result<(), DecodeError> {
    let greatest =
        |column: &[u64]| column[..count].iter().fold(0, |greatest, &value| greatest.max(value));
    if greatest(distances) >= span.upto - span.after {
        return Err(DecodeError::Invalid("versions must lie in their span"));
    }
    match greatest(increments).max(greatest(decrements)) <= CELL_MAX {
        true => Ok(()),
        false => Err(DecodeError::Invalid("a cell's amounts must be at most 2^62")),
    }
}

fn read_extras(
    reader: &mut Reader<'_>,
    cells: &[DeltaCell],
) -> Result<Vec<(u32, CellExtra)>, DecodeError> {
    let count = reader.count(4)?;
    let mut extras: Vec<(u32, CellExtra)> = Vec::with_capacity(count);
    for _ in 0..count {
        let key = u32::try_from(reader.varint()?).map_err(|_| RANGE)?;
        if extras.last().is_some_and(|last| last.0 >= key)
            || cells.binary_search_by_key(&key, |cell| cell.key).is_err()
        {
            return Err(DecodeError::Invalid("extras must ascend and belong to cells"));
        }
        extras.push((key, CellExtra::read(reader)?));
    }
    match extras.is_empty() {
        true => Err(DecodeError::Invalid("a part with the flag for extras must have some")),
        false => Ok(extras),
    }
}
