//! The bytes of deltas: a versioned CBOR envelope around columns. `docs/protocol.md` draws them
//! byte by byte.
//!
//! The bytes are canonical: equal deltas give equal bytes. Hostile input is bounded before anything
//! is allocated for it, so decoding takes at most [`DECODE_FACTOR`] bytes of memory for a byte of
//! input.

mod add_versions;
pub(crate) mod body;
mod columns;
pub(crate) mod dedup;
pub(crate) mod dictionary;
pub(crate) mod fields;
mod ids;
mod names;
pub(crate) mod tombstones;
pub(crate) mod varint;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::codec::varint::{Reader, varint_bytes};
use crate::dedup::entry::DedupEntry;
use crate::error::DecodeError;
use crate::lattice::cell::CellExtra;
use crate::lattice::delta::{Delta, DeltaCell, DeltaPart};

/// The newest version of the format that this release reads and writes.
///
/// It reads every older version too, and writes the oldest one that can express the delta. Version
/// 2 adds dedup entries with a bit for adds that were taken back, entries that a successor
/// absorbed, and the forgotten numbers of clients. Version 3 adds removals: tombstones, the version
/// up to which a writer has forgotten them, cells that began anew, and entries for settled adds.
pub const FORMAT: u64 = 3;

/// The format of deltas that have the dedup entries of version 2, but no removals.
const FORMAT_ENTRIES: u64 = 2;

/// The format of all other deltas.
const FORMAT_PLAIN: u64 = 1;

/// The most bytes of memory that decoding takes for each byte of input. A cell takes at least 1/16
/// byte on the wire: 128 cells share four column blocks of at least two bytes each. It takes 32
/// bytes in memory. The factors of names and keys are smaller.
pub const DECODE_FACTOR: usize = 1024;

impl Delta {
    /// The most bytes of the envelope and a part without cells and record.
    pub(crate) const PART_BYTES_MAX: usize = 96;

    /// Writes the canonical bytes. O(cells).
    ///
    /// ```
    /// use counter_core::{CounterMap, Delta, ReplicaId, VersionVector};
    /// let mut map = CounterMap::new();
    /// map.add(ReplicaId::new(1, 1), "clicks", "ord", 5)?;
    /// let bytes = map.delta_since(&VersionVector::new()).encode();
    /// assert_eq!(Delta::decode(&bytes)?, map.delta_since(&VersionVector::new()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.cell_count() * 6);
        out.extend_from_slice(&SHORT_HEAD);
        body::write(&mut out, self);
        out[1] = self.format() as u8;
        let out = envelope(out);
        match self.parts.iter().all(|part| part.dedup.is_empty()) {
            true => out,
            false => with_versions(out, &add_versions::write(&self.parts)),
        }
    }

    /// Reads the bytes of [`encode`](Self::encode), from this or any release that keeps the format.
    ///
    /// # Errors
    /// [`DecodeError`] for any other bytes. Nothing is built from them, and at most
    /// [`DECODE_FACTOR`] times their length is allocated.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Envelope { format, body, versions } =
            own_envelope(bytes).map_or_else(|| other_envelope(bytes), Ok)?;
        if !is_known(format) {
            return Err(DecodeError::UnknownFormat(format));
        }
        let mut reader = Reader::new(body);
        let mut delta = body::read(&mut reader)?;
        reader.finish()?;
        if delta.parts.iter().any(|part| !part.dedup.is_empty()) || versions.is_some() {
            add_versions::read(versions, &mut delta.parts)?;
        }
        match delta.format() == format {
            true => Ok(delta),
            false => {
                Err(DecodeError::Invalid("a delta must use the oldest format that can express it"))
            }
        }
    }

    /// The oldest format that can express this delta.
    #[inline]
    fn format(&self) -> u64 {
        let is_bare = |part: &DeltaPart| {
            part.record.is_none()
                && part.extras.is_empty()
                && part.dedup.is_empty()
                && part.tombstones.is_empty()
        };
        match self.parts.as_slice() {
            [part] if is_bare(part) => FORMAT_PLAIN,
            _ => self.format_of_parts(),
        }
    }

    fn format_of_parts(&self) -> u64 {
        let has_removals = |part: &DeltaPart| {
            !part.tombstones.is_empty()
                || part.record.as_ref().is_some_and(|record| record.forgot() > 0)
                || part.extras.iter().any(|(_, extra)| extra.has_removal_traces())
                || part.dedup.iter().any(DedupEntry::is_of_format_3)
        };
        if self.parts.iter().any(has_removals) {
            return FORMAT;
        }
        let is_plain =
            self.parts.iter().all(|part| part.dedup.iter().all(DedupEntry::is_of_format_1));
        if is_plain { FORMAT_PLAIN } else { FORMAT_ENTRIES }
    }

    /// An upper bound on the encoded bytes. O(cells).
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        let part_bytes = |part: &DeltaPart| {
            let cells = part.cells.iter().map(|&cell| {
                Self::cell_bytes_max(self.keys.names(cell.key), cell, part.extra(cell.key))
            });
            let mut record = Vec::new();
            part.record.iter().for_each(|kept| kept.write(&mut record));
            let names = |key: u32| self.keys.names(key).0.len() + self.keys.names(key).1.len() + 17;
            let dedup: usize = part
                .dedup
                .iter()
                .map(|entry| dedup::bytes_max(entry) + entry.keys().map(names).sum::<usize>())
                .sum();
            let tombstones: usize =
                part.tombstones.iter().map(|tombstone| tombstones::bytes_max(&tombstone.key)).sum();
            Self::PART_BYTES_MAX + record.len() + cells.sum::<usize>() + dedup + tombstones
        };
        self.parts.iter().map(part_bytes).sum()
    }

    /// An upper bound on the bytes of a cell, its share of names and columns included.
    pub(crate) fn cell_bytes_max(
        names: (&str, &str),
        cell: DeltaCell,
        extra: Option<&CellExtra>,
    ) -> usize {
        let amounts = cell.amounts;
        let plain = varint_bytes(cell.version)
            + varint_bytes(amounts.increments)
            + varint_bytes(amounts.decrements)
            + 5;
        let extra = extra.map_or(0, |extra| {
            let mut bytes = Vec::new();
            extra.write(&mut bytes);
            bytes.len() + 5
        });
        // Room for two lengths and two prefixes of names, two columns of pairs, and a form byte for
        // each of eight columns, which up to 128 cells share.
        plain + extra + names.0.len() + names.1.len() + 22
    }
}

/// The head before a body of 24 to 255 bytes, with a 0 for the length. [`envelope`] begins with it.
pub(crate) const SHORT_HEAD: [u8; 4] = [0x82, FORMAT_PLAIN as u8, 0x58, 0];

/// Makes `[format, body]` in CBOR, with the shortest heads, of a body that follows a
/// [`SHORT_HEAD`]. The body stays in place, or moves a few bytes.
pub(crate) fn envelope(mut out: Vec<u8>) -> Vec<u8> {
    let bytes = out.len() - SHORT_HEAD.len();
    let length = (bytes as u64).to_be_bytes();
    let (kind, length) = match bytes as u64 {
        len @ 0..24 => (0x40 | len as u8, &[][..]),
        24..0x100 => {
            out[3] = bytes as u8;
            return out;
        }
        0x100..0x1_0000 => (0x59, &length[6..]),
        0x1_0000..0x1_0000_0000 => (0x5a, &length[4..]),
        _ => (0x5b, &length[..]),
    };
    out.splice(2..SHORT_HEAD.len(), std::iter::once(kind).chain(length.iter().copied()));
    out
}

/// The first byte of an envelope with an item for the versions of adds.
const HEAD_WITH_VERSIONS: u8 = 0x83;

/// An envelope with the versions of adds, if there are any.
fn with_versions(mut out: Vec<u8>, versions: &[u8]) -> Vec<u8> {
    if !versions.is_empty() {
        out[0] = HEAD_WITH_VERSIONS;
        write_bytes_head(&mut out, versions.len());
        out.extend_from_slice(versions);
    }
    out
}

/// Writes the shortest head of a CBOR byte string.
fn write_bytes_head(out: &mut Vec<u8>, length: usize) {
    let bytes = (length as u64).to_be_bytes();
    let (kind, length) = match length as u64 {
        length @ 0..24 => (0x40 | length as u8, &[][..]),
        24..0x100 => (0x58, &bytes[7..]),
        0x100..0x1_0000 => (0x59, &bytes[6..]),
        0x1_0000..0x1_0000_0000 => (0x5a, &bytes[4..]),
        _ => (0x5b, &bytes[..]),
    };
    out.push(kind);
    out.extend_from_slice(length);
}

/// Splits a CBOR byte string off. None if its length takes more than four bytes, or its head is not
/// of a byte string.
fn split_bytes(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    let digits = match head {
        0x40..0x58 => return rest.split_at_checked(usize::from(head & 0x1f)),
        0x58 => 1,
        0x59 => 2,
        0x5a => 4,
        _ => return None,
    };
    let (length, rest) = rest.split_at_checked(digits)?;
    let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    rest.split_at_checked(length)
}

/// Reads the bytes that [`Delta::encode`] writes. A general CBOR reader takes longer than applying
/// one change.
#[inline]
fn own_envelope(bytes: &[u8]) -> Option<Envelope<'_>> {
    match bytes {
        [0x82, format, 0x58, length, body @ ..]
            if is_known((*format).into()) && usize::from(*length) == body.len() =>
        {
            Some(Envelope { format: (*format).into(), body, versions: None })
        }
        _ => any_own_envelope(bytes),
    }
}

fn any_own_envelope(bytes: &[u8]) -> Option<Envelope<'_>> {
    let &[items @ (0x82 | HEAD_WITH_VERSIONS), format, ref rest @ ..] = bytes else { return None };
    let (body, rest) = split_bytes(rest).filter(|_| is_known(format.into()))?;
    let (versions, rest) = match items {
        HEAD_WITH_VERSIONS => split_bytes(rest).map(|(versions, rest)| (Some(versions), rest))?,
        _ => (None, rest),
    };
    rest.is_empty().then_some(Envelope { format: format.into(), body, versions })
}

fn is_known(format: u64) -> bool {
    (FORMAT_PLAIN..=FORMAT).contains(&format)
}

fn other_envelope(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    serde_cbor::from_slice(bytes).map_err(|error| DecodeError::Envelope(error.to_string()))
}

/// An envelope. Items that a later release adds are skipped.
struct Envelope<'a> {
    format: u64,
    body: &'a [u8],
    /// The versions of adds, if they are known.
    versions: Option<&'a [u8]>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EnvelopeVisitor).map(|(format, body)| Envelope {
            format,
            body,
            versions: None,
        })
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = (u64, &'de [u8]);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of a format number and a byte string")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let format = items.next_element()?.ok_or_else(|| A::Error::custom("no format number"))?;
        if !is_known(format) {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok((format, &[]));
        }
        let body: &serde_bytes::Bytes =
            items.next_element()?.ok_or_else(|| A::Error::custom("no body"))?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok((format, &**body))
    }
}
