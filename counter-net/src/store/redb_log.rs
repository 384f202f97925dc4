//! The store's file: a redb database with three tables. It is checked as a whole when it is opened,
//! and reopened after a failed write.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use counter_core::{CounterMap, ReplicaId};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, WriteTransaction,
};

use super::checkpoint::Weight;
use super::directory::{DataDirectory, DirectoryPlace, NEXT_STORE, STORE, private};
use super::disk::{self, DiskChange};
use super::disk::{Guard, GuardedFile};
use super::error::StoreError;
use super::load::Loader;
use super::log::{About, Batch, Log};
use super::meta::{FORMAT, Meta};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const PAGES: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("pages");
const LOG: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("log");

const FORMAT_KEY: &str = "format";
const KEY_PAIR_KEY: &str = "key_pair";
const INCARNATION_KEY: &str = "generation";
const PLACE_KEY: &str = "place";
const CLUSTER_KEY: &str = "cluster";
const COPIED_KEY: &str = "copied";
const GAVE_WAY_KEY: &str = "gave_way";
const CHECKPOINT_KEY: &str = "checkpoint";

/// The first bytes of every redb file.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// The cache of redb. It needs little more than the pages of one commit, because the map is in
/// memory.
const CACHE_BYTES: usize = 16 << 20;
/// The most replaced rows that one commit removes.
const LEFTOVERS_A_COMMIT: usize = 256;

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
    /// The checkpoint in force.
    checkpoint: u64,
    /// The checkpoint that new deltas belong to: the one in force, or the next one in progress.
    writing: u64,
    next_row: u64,
    next_page: u64,
    has_leftovers: bool,
}

impl RedbLog {
    /// Opens or creates the store of a directory and loads it.
    ///
    /// # Errors
    ///
    /// If the file is foreign, damaged or of a later release. It is left byte for byte as it is.
    pub(crate) fn open(directory: &DataDirectory) -> Result<Opened, StoreError> {
        let path = directory.store_path();
        let failed = |source| StoreError::Directory { path: path.display().to_string(), source };
        if !is_there(&path).map_err(failed)? {
            make(directory)?;
        }
        let mut file = private().open(&path).map_err(failed)?;
        check_magic(&mut file, &path)?;
        let (guarded, guard) =
            GuardedFile::new(STORE, file.try_clone().map_err(failed)?).map_err(failed)?;
        let opened = open_checked(guarded)
            .map_err(|error| refused(&path, &error))
            .and_then(|database| Self::load(database, &path));
        match opened {
            Ok(opened) => {
                guard.approve();
                Ok(opened)
            }
            Err(error) => Err(take_back(&guard, &file, error)),
        }
    }

    fn load(database: Database, path: &Path) -> Result<Opened, StoreError> {
        let damaged =
            |reason: String| StoreError::Damaged { path: path.display().to_string(), reason };
        let read = database.begin_read().map_err(|error| damaged(error.to_string()))?;
        let foreign = |_| StoreError::Foreign { path: path.display().to_string() };
        let (meta, pages, log) = (
            read.open_table(META).map_err(foreign)?,
            read.open_table(PAGES).map_err(foreign)?,
            read.open_table(LOG).map_err(foreign)?,
        );
        let number = |key| read_number(&meta, key);
        match number(FORMAT_KEY) {
            Some(format) if format > FORMAT => {
                return Err(StoreError::Newer { path: path.display().to_string(), format });
            }
            Some(_) => {}
            None => return Err(StoreError::Foreign { path: path.display().to_string() }),
        }
        let checkpoint = number(CHECKPOINT_KEY).unwrap_or(0);
        let (map, weight) = load_map(checkpoint, &pages, &log).map_err(damaged)?;
        let (writing, next_row) =
            log.last().ok().flatten().map_or((checkpoint, 0), |(key, _)| {
                (key.value().0.max(checkpoint), key.value().1 + 1)
            });
        let meta = read_meta(&meta);
        let (path, next_page, has_leftovers) = (path.to_owned(), 0, true);
        drop((pages, log, read));
        let log = Self {
            path,
            database: Some(database),
            checkpoint,
            writing,
            next_row,
            next_page,
            has_leftovers,
        };
        Ok(Opened { log, meta, map, weight })
    }

    /// Writes the node's record, which is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Write`]. Nothing was written.
    pub(crate) fn set_meta(&mut self, meta: &Meta) -> Result<(), StoreError> {
        let write = self.database()?.begin_write().map_err(write_error)?;
        write_meta(&write, meta).map_err(write_error)?;
        write.commit().map_err(write_error)
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            let mut file = private().open(&self.path).map_err(write_error)?;
            check_magic(&mut file, &self.path)?;
            self.database = Some(unguarded(STORE, file).map_err(write_error)?);
        }
        self.database
            .as_ref()
            .ok_or_else(|| StoreError::Write { reason: "the file is closed".to_owned() })
    }

    fn try_commit(&mut self, batch: &Batch) -> Result<bool, StoreError> {
        let writing = self.writing + u64::from(batch.begin_checkpoint);
        let (checkpoint, row, page) = (
            self.checkpoint,
            self.next_row,
            if batch.begin_checkpoint { 0 } else { self.next_page },
        );
        let (in_force, leftovers) =
            (if batch.end_checkpoint { writing } else { checkpoint }, self.has_leftovers);
        let write = self.database()?.begin_write().map_err(write_error)?;
        write_batch(&write, batch, (writing, row, page), in_force).map_err(write_error)?;
        let leftovers = batch.end_checkpoint
            || leftovers && remove_leftovers(&write, in_force).map_err(write_error)?;
        write.commit().map_err(write_error)?;
        Ok(leftovers)
    }
}

impl Log for RedbLog {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let leftovers = self.try_commit(batch).inspect_err(|_| {
            // redb refuses everything after a failed write. Reopened, the file is as of the last
            // commit.
            self.database = None;
        })?;
        if batch.begin_checkpoint {
            self.writing += 1;
            self.next_page = 0;
        }
        self.next_page += u64::from(batch.page.is_some());
        self.next_row += u64::from(batch.delta.is_some());
        if batch.end_checkpoint {
            self.checkpoint = self.writing;
        }
        self.has_leftovers = leftovers;
        Ok(())
    }

    fn has_leftovers(&self) -> bool {
        self.has_leftovers
    }
}

/// Opens an existing file, after checking it page by page.
fn open_checked(file: GuardedFile) -> Result<Database, DatabaseError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder.create_with_backend(file)
}

/// Opens a file with final changes.
fn unguarded(name: &'static str, file: File) -> Result<Database, redb::Error> {
    let (file, guard) = GuardedFile::new(name, file)?;
    guard.approve();
    Ok(Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(file)?)
}

/// Returns true if there is a store. An empty file is left by an interrupted start and is none.
fn is_there(path: &Path) -> std::io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(file.len() > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates an empty store under a temporary name and renames it once it is complete. So an
/// interrupted start leaves no partial store.
fn make(directory: &DataDirectory) -> Result<(), StoreError> {
    let path = directory.path();
    let made = disk::remove(path, NEXT_STORE).map_err(write_error).and_then(|()| {
        disk::about_to(&DiskChange::Create(NEXT_STORE)).map_err(write_error)?;
        let file = private().create_new(true).open(path.join(NEXT_STORE)).map_err(write_error)?;
        let again = file.try_clone().map_err(write_error)?;
        make_tables(&unguarded(NEXT_STORE, file).map_err(write_error)?).map_err(write_error)?;
        disk::about_to(&DiskChange::Sync(NEXT_STORE)).map_err(write_error)?;
        again.sync_all().map_err(write_error)?;
        disk::rename(path, NEXT_STORE, STORE).map_err(write_error)
    });
    if made.is_err() {
        // Frees the space. The next start removes any rest.
        let _left = disk::remove(path, NEXT_STORE);
    }
    made
}

fn check_magic(file: &mut File, path: &Path) -> Result<(), StoreError> {
    let mut head = [0; MAGIC.len()];
    match file.read_exact(&mut head) {
        Ok(()) if head == MAGIC => Ok(()),
        _ => Err(StoreError::Foreign { path: path.display().to_string() }),
    }
}

fn refused(path: &Path, error: &DatabaseError) -> StoreError {
    let path = path.display().to_string();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        // The system refused, for lack of space or permission. That says nothing about the
        // contents.
        DatabaseError::Storage(StorageError::Io(source)) if source.raw_os_error().is_some() => {
            StoreError::Write { reason: source.to_string() }
        }
        error => StoreError::Damaged { path, reason: error.to_string() },
    }
}

/// Undoes the changes of opening. Returns the first error.
fn take_back(guard: &Guard, file: &File, error: StoreError) -> StoreError {
    if let Err(failed) = guard.restore(file) {
        tracing::error!(%failed, "a refused store could not be left as it was");
    }
    error
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(META)?.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
    write.open_table(PAGES)?;
    write.open_table(LOG)?;
    Ok(write.commit()?)
}

/// Opens only the tables that it writes, because each costs the commit some microseconds.
fn write_batch(
    write: &WriteTransaction,
    batch: &Batch,
    (writing, row, page): (u64, u64, u64),
    in_force: u64,
) -> Result<(), redb::Error> {
    if batch.about != About::default() {
        write_about(write, batch.about)?;
    }
    if batch.begin_checkpoint {
        // Rows that an earlier incarnation left of a checkpoint that never came into force.
        write.open_table(PAGES)?.retain_in((writing, 0).., |_, _| false)?;
    }
    if let Some(delta) = &batch.delta {
        write.open_table(LOG)?.insert((writing, row), delta.as_slice())?;
    }
    if let Some(bytes) = &batch.page {
        write.open_table(PAGES)?.insert((writing, page), bytes.as_slice())?;
    }
    if batch.end_checkpoint {
        write.open_table(META)?.insert(CHECKPOINT_KEY, in_force.to_le_bytes().as_slice())?;
    }
    Ok(())
}

/// Removes some replaced rows. Returns true if more remain.
fn remove_leftovers(write: &WriteTransaction, in_force: u64) -> Result<bool, redb::Error> {
    let (mut pages, mut log) = (write.open_table(PAGES)?, write.open_table(LOG)?);
    for _ in 0..LEFTOVERS_A_COMMIT {
        if !remove_first(&mut log, in_force)? && !remove_first(&mut pages, in_force)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the first row if it belongs to a checkpoint before the one in force.
fn remove_first(
    table: &mut redb::Table<'_, (u64, u64), &'static [u8]>,
    in_force: u64,
) -> Result<bool, redb::Error> {
    let replaced = table.first()?.is_some_and(|(key, _)| key.value().0 < in_force);
    if replaced {
        table.pop_first()?;
    }
    Ok(replaced)
}

fn load_map(
    checkpoint: u64,
    pages: &impl ReadableTable<(u64, u64), &'static [u8]>,
    log: &impl ReadableTable<(u64, u64), &'static [u8]>,
) -> Result<(CounterMap, Weight), String> {
    let text = |error: StorageError| error.to_string();
    let mut loader = Loader::new();
    for row in pages.range((checkpoint, 0)..(checkpoint + 1, 0)).map_err(text)? {
        loader.page(row.map_err(text)?.1.value())?;
    }
    for row in log.range((checkpoint, 0)..).map_err(text)? {
        loader.delta(row.map_err(text)?.1.value())?;
    }
    loader.finish()
}

fn read_number(meta: &impl ReadableTable<&'static str, &'static [u8]>, key: &str) -> Option<u64> {
    meta.get(key)
        .ok()
        .flatten()
        .and_then(|value| value.value().try_into().ok())
        .map(u64::from_le_bytes)
}

fn read_meta(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Meta {
    let bytes = |key: &str| {
        meta.get(key).ok().flatten().map(|value| value.value().to_vec()).unwrap_or_default()
    };
    let place = DirectoryPlace::from_bytes(&bytes(PLACE_KEY));
    let incarnations = bytes(COPIED_KEY);
    let copied = incarnations
        .chunks_exact(ReplicaId::BYTES)
        .filter_map(|incarnation| incarnation.try_into().ok())
        .map(ReplicaId::from_bytes)
        .collect();
    let cluster = String::from_utf8(bytes(CLUSTER_KEY)).ok().filter(|name| !name.is_empty());
    let gave_way = meta.get(GAVE_WAY_KEY).ok().flatten().is_some();
    Meta {
        key_pair: bytes(KEY_PAIR_KEY),
        incarnation: read_number(meta, INCARNATION_KEY).unwrap_or(0),
        place,
        cluster,
        copied,
        gave_way,
    }
}

fn write_meta(write: &WriteTransaction, meta: &Meta) -> Result<(), redb::Error> {
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

fn write_about(write: &WriteTransaction, about: About) -> Result<(), redb::Error> {
    let mut table = write.open_table(META)?;
    if let Some(incarnation) = about.incarnation {
        table.insert(INCARNATION_KEY, incarnation.to_le_bytes().as_slice())?;
    }
    if about.gives_way {
        table.insert(GAVE_WAY_KEY, [].as_slice())?;
    }
    if about.is_settled {
        table.remove(COPIED_KEY)?;
    }
    Ok(())
}

fn write_error(error: impl std::fmt::Display) -> StoreError {
    StoreError::Write { reason: error.to_string() }
}

#[cfg(test)]
impl RedbLog {
    /// Rows of checkpoints before the one in force, and the others.
    pub(super) fn rows(&mut self) -> (usize, usize) {
        let in_force = self.checkpoint;
        let read = self.database().unwrap().begin_read().unwrap();
        let rows = [PAGES, LOG].map(|table| {
            let table = read.open_table(table).unwrap();
            let keys: Vec<(u64, u64)> =
                table.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
            keys
        });
        let (replaced, kept): (Vec<_>, Vec<_>) =
            rows.concat().into_iter().partition(|key| key.0 < in_force);
        (replaced.len(), kept.len())
    }
}
