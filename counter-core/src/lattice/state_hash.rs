//! The hash of a state: canonical bytes of its cells, records, dedup entries and tombstones, and
//! their sum.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::codec::dedup::write_entry;
use crate::dedup::entry::DedupEntry;
use crate::incarnation::record::Record;
use crate::lattice::cell::{CellExtra, PlainCell};
use crate::lattice::keys::Keys;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// The hash of a whole state: XXH3-128 of the canonical bytes of each cell, record, dedup entry and
/// tombstone, summed modulo 2^128. Finds faults, not attackers.
///
/// Two maps with equal version vectors have equal hashes. If not, one of them is damaged, or two
/// processes wrote under one id.
///
/// # Examples
/// ```
/// use counter_core::{CounterMap, ReplicaId};
/// let (mut here, mut there) = (CounterMap::new(), CounterMap::new());
/// here.add(ReplicaId::new(1, 1), "clicks", "ord", 5)?;
/// there.join_delta(&here.delta_since(&there.version_vector()))?;
/// assert_eq!(there.version_vector(), here.version_vector());
/// assert_eq!(there.state_hash(), here.state_hash());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateHash(pub u128);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// XXH3-128 of a cell: replica, version, increments, decrements, the names with their lengths, and
/// its extra fields.
pub(crate) fn cell_hash(
    scratch: &mut Vec<u8>,
    replica: ReplicaId,
    names: (&str, &str),
    plain: PlainCell,
    extra: Option<&CellExtra>,
) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(&replica.to_bytes());
    scratch.extend_from_slice(&plain.version.to_le_bytes());
    scratch.extend_from_slice(&plain.amounts.increments.to_le_bytes());
    scratch.extend_from_slice(&plain.amounts.decrements.to_le_bytes());
    scratch.extend_from_slice(&[names.0.len() as u8, names.1.len() as u8]);
    scratch.extend_from_slice(names.0.as_bytes());
    scratch.extend_from_slice(names.1.as_bytes());
    if let Some(extra) = extra {
        extra.write(scratch);
    }
    xxh3_128(scratch)
}

/// XXH3-128 of a record: replica, version, the fields.
pub(crate) fn record_hash(scratch: &mut Vec<u8>, replica: ReplicaId, record: &Record) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(&replica.to_bytes());
    scratch.extend_from_slice(&record.version.to_le_bytes());
    record.write(scratch);
    xxh3_128(scratch)
}

/// XXH3-128 of a tombstone: replica, version, the bytes of its key.
pub(crate) fn tombstone_hash(
    scratch: &mut Vec<u8>,
    replica: ReplicaId,
    version: Version,
    key: &[u8],
) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(&replica.to_bytes());
    scratch.extend_from_slice(&version.to_le_bytes());
    scratch.extend_from_slice(key);
    xxh3_128(scratch)
}

/// XXH3-128 of a dedup entry: replica, version, the entry's bytes with 0 for every key, then the
/// names of its keys with their lengths.
pub(crate) fn entry_hash(replica: ReplicaId, entry: &DedupEntry, keys: &Keys) -> u128 {
    let mut bytes = Vec::with_capacity(96);
    bytes.extend_from_slice(&replica.to_bytes());
    bytes.extend_from_slice(&entry.version.to_le_bytes());
    let mut nameless = entry.clone();
    nameless.renumber(|_| 0);
    write_entry(&mut bytes, &nameless);
    for (counter, region) in entry.keys().map(|key| keys.names(key)) {
        bytes.extend_from_slice(&[counter.len() as u8, region.len() as u8]);
        bytes.extend_from_slice(counter.as_bytes());
        bytes.extend_from_slice(region.as_bytes());
    }
    xxh3_128(&bytes)
}
