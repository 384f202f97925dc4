//! Makes, opens and reopens a store's file. A file that is refused is left as it was.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use redb::{Builder, Database, DatabaseError};

use super::open_failure::OpenFailure;
use crate::store::directory::{DataDirectory, NEXT_STORE, STORE, private};
use crate::store::disk::{self, DiskChange, Guard, GuardedFile};
use crate::store::error::StoreError;

/// The first bytes of every redb file.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// The cache of redb. It needs little more than the pages of one commit, because the map is in
/// memory.
const CACHE_BYTES: usize = 16 << 20;

/// Opens an existing file after checking it page by page, and loads it. Undoes what opening has
/// changed if the file or `load` refuses.
pub(super) fn open<T>(
    path: &Path,
    load: impl FnOnce(Database) -> Result<T, OpenFailure>,
) -> Result<T, StoreError> {
    let failed = |source| OpenFailure::System(source).at(path);
    let mut file = private().open(path).map_err(failed)?;
    if !has_magic(&mut file).map_err(failed)? {
        return Err(OpenFailure::Foreign.at(path));
    }
    let (guarded, guard) =
        GuardedFile::new(STORE, file.try_clone().map_err(failed)?).map_err(failed)?;
    match open_checked(guarded).map_err(OpenFailure::from).and_then(load) {
        Ok(loaded) => {
            guard.approve();
            Ok(loaded)
        }
        Err(refusal) => Err(undo_changes(&guard, &file, refusal.at(path))),
    }
}

/// Opens the file again after a failed write.
pub(super) fn reopen(path: &Path) -> Result<Database, redb::Error> {
    let mut file = private().open(path)?;
    if !has_magic(&mut file)? {
        return Err(io::Error::other("another file has taken its place").into());
    }
    unguarded(STORE, file)
}

/// Returns true if there is a store. An empty file is not one: an interrupted start left it.
pub(super) fn is_there(path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(file.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates a store under a temporary name and renames it once `fill` has completed it. So an
/// interrupted start leaves no partial store.
pub(super) fn make(
    directory: &DataDirectory,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let path = directory.path();
    let made = make_next(path, fill);
    if made.is_err() {
        // Frees the space. The next start removes any rest.
        let _left = disk::remove(path, NEXT_STORE);
    }
    made
}

fn make_next(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    disk::remove(path, NEXT_STORE)?;
    disk::about_to(&DiskChange::Create(NEXT_STORE))?;
    let file = private().create_new(true).open(path.join(NEXT_STORE))?;
    let again = file.try_clone()?;
    fill(&unguarded(NEXT_STORE, file)?)?;
    disk::about_to(&DiskChange::Sync(NEXT_STORE))?;
    again.sync_all()?;
    Ok(disk::rename(path, NEXT_STORE, STORE)?)
}

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

/// The system's error behind one of redb's, or the text of redb's.
pub(super) fn system_error(error: redb::Error) -> io::Error {
    match error {
        redb::Error::Io(source) => source,
        error => io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

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
