//! An open store: loads a directory's file, and commits batches to it.

use std::path::{Path, PathBuf};

use counter_core::CounterMap;
use redb::{Database, ReadableDatabase};

use super::file;
use super::open_failure::OpenFailure;
use super::record::{self, StoredRecord};
use super::rows::{self, RowPlaces};
use crate::store::checkpoint::Weight;
use crate::store::directory::DataDirectory;
use crate::store::error::StoreError;
use crate::store::log::{Batch, Log};
use crate::store::meta::Meta;

/// A store that was opened and loaded.
pub(crate) struct Opened {
    pub(crate) log: RedbLog,
    pub(crate) meta: Meta,
    /// The stored state.
    pub(crate) map: CounterMap,
    /// The sizes of checkpoint and log.
    pub(crate) weight: Weight,
}

/// An open store.
pub(crate) struct RedbLog {
    path: PathBuf,
    /// `None` after a failed write, until the file is open again.
    database: Option<Database>,
    places: RowPlaces,
}

impl RedbLog {
    /// Opens or creates the store of a directory and loads it.
    ///
    /// # Errors
    ///
    /// If the file is foreign, damaged or of a later release, or cannot be created or read. It is
    /// left byte for byte as it is, unless the error says otherwise.
    pub(crate) fn open(directory: &DataDirectory) -> Result<Opened, StoreError> {
        let path = directory.store_path();
        let failed = |source| OpenFailure::System(source).at(&path);
        if !file::is_there(&path).map_err(failed)? {
            file::make(directory, make_tables)
                .map_err(|error| failed(file::system_error(error)))?;
        }
        file::open(&path, |database| Self::load(database, &path))
    }

    fn load(database: Database, path: &Path) -> Result<Opened, OpenFailure> {
        let read = database.begin_read()?;
        let (record, rows) = (StoredRecord::open(&read)?, rows::open(&read)?);
        record.check_format()?;
        let (places, map, weight) = RowPlaces::load(record.checkpoint()?, &rows)?;
        let meta = record.meta()?;
        drop((record, rows, read));
        let log = Self { path: path.to_owned(), database: Some(database), places };
        Ok(Opened { log, meta, map, weight })
    }

    /// Writes the node's record, which is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Write`]. Nothing was written.
    pub(crate) fn set_meta(&mut self, meta: &Meta) -> Result<(), StoreError> {
        self.try_set_meta(meta).map_err(|error| self.write_error(error))
    }

    fn try_set_meta(&mut self, meta: &Meta) -> Result<(), redb::Error> {
        let write = self.database()?.begin_write()?;
        record::set_meta(&write, meta)?;
        Ok(write.commit()?)
    }

    fn try_commit(&mut self, batch: &Batch) -> Result<(), redb::Error> {
        let places = self.places;
        let write = self.database()?.begin_write()?;
        record::change_meta(&write, batch.meta_change)?;
        let after = places.write(&write, batch)?;
        write.commit()?;
        self.places = after;
        Ok(())
    }

    fn database(&mut self) -> Result<&Database, redb::Error> {
        if self.database.is_none() {
            self.database = Some(file::reopen(&self.path)?);
        }
        self.database.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    fn write_error(&self, error: redb::Error) -> StoreError {
        let source = file::system_error(error);
        StoreError::Write { path: self.path.display().to_string(), source }
    }

    /// Rows of checkpoints before the one in force, and the others.
    #[cfg(test)]
    pub(in crate::store) fn rows(&mut self) -> (usize, usize) {
        let places = self.places;
        places.count(&self.database().unwrap().begin_read().unwrap())
    }
}

impl Log for RedbLog {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.try_commit(batch).map_err(|error| {
            // redb refuses everything after a failed write. Reopened, the file is as of the last
            // commit.
            self.database = None;
            self.write_error(error)
        })
    }

    fn has_leftovers(&self) -> bool {
        self.places.has_leftovers()
    }
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    record::make(&write)?;
    rows::make(&write)?;
    Ok(write.commit()?)
}
