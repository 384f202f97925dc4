//! The rows about the node: format, key pair, incarnation, place, cluster, checkpoint in force.

use counter_core::ReplicaId;
use redb::{ReadOnlyTable, ReadTransaction, StorageError, TableDefinition, WriteTransaction};

use super::open_failure::OpenFailure;
use crate::store::directory::DirectoryPlace;
use crate::store::log::MetaChange;
use crate::store::meta::{FORMAT, Meta};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

const FORMAT_KEY: &str = "format";
const KEY_PAIR_KEY: &str = "key_pair";
const INCARNATION_KEY: &str = "generation";
const PLACE_KEY: &str = "place";
const CLUSTER_KEY: &str = "cluster";
const COPIED_KEY: &str = "copied";
const GAVE_WAY_KEY: &str = "gave_way";
const CHECKPOINT_KEY: &str = "checkpoint";

/// The record of an opened store.
pub(super) struct StoredRecord(ReadOnlyTable<&'static str, &'static [u8]>);

impl StoredRecord {
    pub(super) fn open(read: &ReadTransaction) -> Result<Self, OpenFailure> {
        Ok(Self(read.open_table(META)?))
    }

    /// Refuses a store that this release cannot read.
    pub(super) fn check_format(&self) -> Result<(), OpenFailure> {
        match self.number(FORMAT_KEY)? {
            Some(format) if format > FORMAT => Err(OpenFailure::Newer(format)),
            Some(_) => Ok(()),
            None => Err(OpenFailure::Foreign),
        }
    }

    /// The checkpoint in force.
    pub(super) fn checkpoint(&self) -> Result<u64, StorageError> {
        Ok(self.number(CHECKPOINT_KEY)?.unwrap_or(0))
    }

    pub(super) fn meta(&self) -> Result<Meta, StorageError> {
        let copied = self
            .bytes(COPIED_KEY)?
            .chunks_exact(ReplicaId::BYTES)
            .filter_map(|incarnation| incarnation.try_into().ok())
            .map(ReplicaId::from_bytes)
            .collect();
        let cluster = String::from_utf8(self.bytes(CLUSTER_KEY)?).ok();
        Ok(Meta {
            key_pair: self.bytes(KEY_PAIR_KEY)?,
            incarnation: self.number(INCARNATION_KEY)?.unwrap_or(0),
            place: DirectoryPlace::from_bytes(&self.bytes(PLACE_KEY)?),
            cluster: cluster.filter(|name| !name.is_empty()),
            copied,
            gave_way: self.0.get(GAVE_WAY_KEY)?.is_some(),
        })
    }

    /// The value of a key; empty if there is none.
    fn bytes(&self, key: &str) -> Result<Vec<u8>, StorageError> {
        Ok(self.0.get(key)?.map(|value| value.value().to_vec()).unwrap_or_default())
    }

    fn number(&self, key: &str) -> Result<Option<u64>, StorageError> {
        let value = self.0.get(key)?;
        Ok(value.and_then(|value| value.value().try_into().ok()).map(u64::from_le_bytes))
    }
}

/// Creates the table of a new store.
pub(super) fn make(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(META)?.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
    Ok(())
}

/// Writes the whole record, in this release's format.
pub(super) fn set_meta(write: &WriteTransaction, meta: &Meta) -> Result<(), redb::Error> {
    let mut table = write.open_table(META)?;
    table.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
    table.insert(KEY_PAIR_KEY, meta.key_pair.as_slice())?;
    table.insert(INCARNATION_KEY, meta.incarnation.to_le_bytes().as_slice())?;
    table.insert(PLACE_KEY, meta.place.to_bytes().as_slice())?;
    if let Some(cluster) = &meta.cluster {
        table.insert(CLUSTER_KEY, cluster.as_bytes())?;
    }
    let copied: Vec<u8> =
        meta.copied.iter().flat_map(|incarnation| incarnation.to_bytes()).collect();
    table.insert(COPIED_KEY, copied.as_slice())?;
    if !meta.gave_way {
        table.remove(GAVE_WAY_KEY)?;
    }
    Ok(())
}

/// Makes a running node's changes, if there are any.
pub(super) fn change_meta(write: &WriteTransaction, change: MetaChange) -> Result<(), redb::Error> {
    if change == MetaChange::default() {
        return Ok(());
    }
    let mut table = write.open_table(META)?;
    if let Some(incarnation) = change.incarnation {
        table.insert(INCARNATION_KEY, incarnation.to_le_bytes().as_slice())?;
    }
    if change.gives_way {
        table.insert(GAVE_WAY_KEY, [].as_slice())?;
    }
    if change.is_settled {
        table.remove(COPIED_KEY)?;
    }
    Ok(())
}

/// Puts a checkpoint into force.
pub(super) fn set_checkpoint(write: &WriteTransaction, checkpoint: u64) -> Result<(), redb::Error> {
    write.open_table(META)?.insert(CHECKPOINT_KEY, checkpoint.to_le_bytes().as_slice())?;
    Ok(())
}
