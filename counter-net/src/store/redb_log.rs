//! The store's file: a redb database with three tables. It is checked as a whole when it is opened,
//! and reopened after a failed write.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use counter_core::{CounterMap, ReplicaId};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::checkpoint::Weight;
use super::directory::{DataDirectory, DirectoryPlace, NEXT_STORE, STORE, private};
use super::disk::{self, DiskChange};
use super::disk::{Guard, GuardedFile};
use super::error::StoreError;
use super::load::Loader;
use super::log::{Batch, Log, MetaChange};
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
    /// If the file is foreign, damaged or of a later release, or cannot be created or read. It is
    /// left byte for byte as it is, unless the error says otherwise.
    pub(crate) fn open(directory: &DataDirectory) -> Result<Opened, StoreError> {
        let path = directory.store_path();
        let failed = |source| StoreError::Directory { path: path.display().to_string(), source };
        if !is_there(&path).map_err(failed)? {
            make(directory).map_err(|error| failed(system_error(error)))?;
        }
        let mut file = private().open(&path).map_err(failed)?;
        if !has_magic(&mut file).map_err(failed)? {
            return Err(StoreError::Foreign { path: path.display().to_string() });
        }
        let (guarded, guard) =
            GuardedFile::new(STORE, file.try_clone().map_err(failed)?).map_err(failed)?;
        let opened = open_checked(guarded)
            .map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => OpenFailure::InUse,
                DatabaseError::Storage(error) => error.into(),
                error => OpenFailure::Damaged(error.to_string()),
            })
            .and_then(|database| Self::load(database, &path));
        match opened {
            Ok(opened) => {
                guard.approve();
                Ok(opened)
            }
            Err(refusal) => Err(undo_changes(&guard, &file, refusal.at(&path))),
        }
    }

    fn load(database: Database, path: &Path) -> Result<Opened, OpenFailure> {
        let read = database.begin_read().map_err(|error| match error {
            TransactionError::Storage(error) => error.into(),
            error => OpenFailure::Damaged(error.to_string()),
        })?;
        let (meta, pages, log) =
            (read.open_table(META)?, read.open_table(PAGES)?, read.open_table(LOG)?);
        match read_number(&meta, FORMAT_KEY)? {
            Some(format) if format > FORMAT => return Err(OpenFailure::Newer(format)),
            Some(_) => {}
            None => return Err(OpenFailure::Foreign),
        }
        let checkpoint = read_number(&meta, CHECKPOINT_KEY)?.unwrap_or(0);
        let (map, weight) = load_map(checkpoint, &pages, &log)?;
        let (writing, next_row) = log
            .last()?
            .map_or((checkpoint, 0), |(key, _)| (key.value().0.max(checkpoint), key.value().1 + 1));
        let meta = read_meta(&meta)?;
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
        self.try_set_meta(meta).map_err(|error| self.write_error(error))
    }

    fn try_set_meta(&mut self, meta: &Meta) -> Result<(), redb::Error> {
        let write = self.database()?.begin_write()?;
        write_meta(&write, meta)?;
        Ok(write.commit()?)
    }

    fn write_error(&self, error: redb::Error) -> StoreError {
        StoreError::Write { path: self.path.display().to_string(), source: system_error(error) }
    }

    fn database(&mut self) -> Result<&Database, redb::Error> {
        if self.database.is_none() {
            let mut file = private().open(&self.path)?;
            if !has_magic(&mut file)? {
                return Err(io::Error::other("another file has taken its place").into());
            }
            self.database = Some(unguarded(STORE, file)?);
        }
        self.database.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    fn try_commit(&mut self, batch: &Batch) -> Result<bool, redb::Error> {
        let writing = self.writing + u64::from(batch.begin_checkpoint);
        let (checkpoint, row, page) = (
            self.checkpoint,
            self.next_row,
            if batch.begin_checkpoint { 0 } else { self.next_page },
        );
        let (in_force, leftovers) =
            (if batch.end_checkpoint { writing } else { checkpoint }, self.has_leftovers);
        let write = self.database()?.begin_write()?;
        write_batch(&write, batch, (writing, row, page), in_force)?;
        let leftovers = batch.end_checkpoint || leftovers && remove_leftovers(&write, in_force)?;
        write.commit()?;
        Ok(leftovers)
    }
}

impl Log for RedbLog {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let leftovers = self.try_commit(batch).map_err(|error| {
            // redb refuses everything after a failed write. Reopened, the file is as of the last
            // commit.
            self.database = None;
            self.write_error(error)
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

/// Why a file is refused when it is opened.
#[derive(Debug)]
enum OpenFailure {
    InUse,
    Foreign,
    Newer(u64),
    Damaged(String),
    /// The system refused, which says nothing about the contents.
    System(io::Error),
}

impl OpenFailure {
    fn at(self, path: &Path) -> StoreError {
        let path = path.display().to_string();
        match self {
            Self::InUse => StoreError::InUse { path },
            Self::Foreign => StoreError::Foreign { path },
            Self::Newer(format) => StoreError::Newer { path, format },
            Self::Damaged(reason) => StoreError::Damaged { path, reason },
            Self::System(source) => StoreError::Directory { path, source },
        }
    }
}

impl From<StorageError> for OpenFailure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(source) if source.raw_os_error().is_some() => Self::System(source),
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// A sound redb file without these tables belongs to another program.
impl From<TableError> for OpenFailure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            _ => Self::Foreign,
        }
    }
}

/// Opens an existing file, after checking it page by page.
fn open_checked(file: GuardedFile) -> Result<Database, DatabaseError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder.create_with_backend(file)
}

/// Opens a file whose changes cannot be undone.
fn unguarded(name: &'static str, file: File) -> Result<Database, redb::Error> {
    let (file, guard) = GuardedFile::new(name, file)?;
    guard.approve();
    Ok(Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(file)?)
}

/// Returns true if there is a store. An empty file is not one: an interrupted start left it.
fn is_there(path: &Path) -> std::io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(file.len() > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates an empty store under a temporary name and renames it once it is complete. So an
/// interrupted start leaves no partial store.
fn make(directory: &DataDirectory) -> Result<(), redb::Error> {
    let path = directory.path();
    let made = make_next(path);
    if made.is_err() {
        // Frees the space. The next start removes any rest.
        let _left = disk::remove(path, NEXT_STORE);
    }
    made
}

fn make_next(path: &Path) -> Result<(), redb::Error> {
    disk::remove(path, NEXT_STORE)?;
    disk::about_to(&DiskChange::Create(NEXT_STORE))?;
    let file = private().create_new(true).open(path.join(NEXT_STORE))?;
    let again = file.try_clone()?;
    make_tables(&unguarded(NEXT_STORE, file)?)?;
    disk::about_to(&DiskChange::Sync(NEXT_STORE))?;
    again.sync_all()?;
    Ok(disk::rename(path, NEXT_STORE, STORE)?)
}

/// Returns true if the file begins as every redb file does.
fn has_magic(file: &mut File) -> io::Result<bool> {
    let mut head = [0; MAGIC.len()];
    match file.read_exact(&mut head) {
        Ok(()) => Ok(head == MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Undoes the changes that opening a refused file has made.
fn undo_changes(guard: &Guard, file: &File, error: StoreError) -> StoreError {
    match (guard.restore(file), error) {
        (Ok(()), error) => error,
        // Another process writes to the file, and nothing was changed here.
        (Err(_), error @ StoreError::InUse { .. }) => error,
        (Err(source), error) => {
            let refusal = error.cause();
            StoreError::NotRestored { path: error.into_path(), refusal, source }
        }
    }
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
    if batch.meta_change != MetaChange::default() {
        write_meta_change(write, batch.meta_change)?;
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
) -> Result<(CounterMap, Weight), OpenFailure> {
    let mut loader = Loader::new();
    for row in pages.range((checkpoint, 0)..(checkpoint + 1, 0))? {
        loader.page(row?.1.value()).map_err(OpenFailure::Damaged)?;
    }
    for row in log.range((checkpoint, 0)..)? {
        loader.delta(row?.1.value()).map_err(OpenFailure::Damaged)?;
    }
    loader.finish().map_err(OpenFailure::Damaged)
}

fn read_number(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<u64>, StorageError> {
    let value = meta.get(key)?;
    Ok(value.and_then(|value| value.value().try_into().ok()).map(u64::from_le_bytes))
}

fn read_meta(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Meta, StorageError> {
    let bytes = |key: &str| {
        meta.get(key).map(|value| value.map(|value| value.value().to_vec()).unwrap_or_default())
    };
    let place = DirectoryPlace::from_bytes(&bytes(PLACE_KEY)?);
    let incarnations = bytes(COPIED_KEY)?;
    let copied = incarnations
        .chunks_exact(ReplicaId::BYTES)
        .filter_map(|incarnation| incarnation.try_into().ok())
        .map(ReplicaId::from_bytes)
        .collect();
    let cluster = String::from_utf8(bytes(CLUSTER_KEY)?).ok().filter(|name| !name.is_empty());
    let gave_way = meta.get(GAVE_WAY_KEY)?.is_some();
    Ok(Meta {
        key_pair: bytes(KEY_PAIR_KEY)?,
        incarnation: read_number(meta, INCARNATION_KEY)?.unwrap_or(0),
        place,
        cluster,
        copied,
        gave_way,
    })
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

fn write_meta_change(write: &WriteTransaction, change: MetaChange) -> Result<(), redb::Error> {
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

/// The system's error behind one of redb's, or the text of redb's.
fn system_error(error: redb::Error) -> io::Error {
    match error {
        redb::Error::Io(source) => source,
        error => io::Error::other(error.to_string()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    /// EIO.
    const INPUT_OUTPUT: i32 = 5;

    fn failed_read() -> StorageError {
        StorageError::Io(io::Error::from_raw_os_error(INPUT_OUTPUT))
    }

    #[test]
    fn failed_read_is_not_taken_for_a_foreign_or_damaged_file() {
        let path = Path::new("/data/counter.redb");
        for refusal in [OpenFailure::from(failed_read()), TableError::Storage(failed_read()).into()]
        {
            let error = refusal.at(path);
            assert_eq!(error.os_error(), Some(INPUT_OUTPUT), "{error}");
            assert!(matches!(error, StoreError::Directory { .. }), "{error}");
        }
        let missing = TableError::TableDoesNotExist("meta".into());
        assert!(matches!(OpenFailure::from(missing), OpenFailure::Foreign));
        assert!(matches!(
            OpenFailure::from(StorageError::Corrupted("a page".into())),
            OpenFailure::Damaged(_)
        ));
    }

    #[test]
    fn only_the_first_bytes_tell_a_foreign_file() {
        let scratch = Scratch::new();
        let path = scratch.path().join("file");
        for (contents, is_ours) in [(&b"redb"[..], false), (b"dear diary", false), (MAGIC, true)] {
            std::fs::write(&path, contents).unwrap();
            assert_eq!(has_magic(&mut File::open(&path).unwrap()).unwrap(), is_ours);
        }
        let mut unreadable = File::options().write(true).open(&path).unwrap();
        assert!(has_magic(&mut unreadable).unwrap_err().raw_os_error().is_some());
    }

    #[test]
    fn changes_that_stay_are_reported() {
        let scratch = Scratch::new();
        let path = scratch.path().join("file");
        std::fs::write(&path, b"as it was").unwrap();
        let (_guarded, guard) = GuardedFile::new(STORE, private().open(&path).unwrap()).unwrap();
        let read_only = File::open(&path).unwrap();
        let error =
            undo_changes(&guard, &read_only, OpenFailure::Damaged("a page".into()).at(&path));
        let said = error.to_string();
        assert!(matches!(error, StoreError::NotRestored { .. }), "{said}");
        assert!(said.contains("a page") && said.contains("Restore a backup"), "{said}");
    }
}
