//! A data directory: its lock, and where on which file system it lies.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::StoreError;

const LOCK: &str = "lock";
const STORE: &str = "counter.redb";
const MARK: &str = "mark";

/// An open data directory, 0700 where it was made here; nobody else can open it while this lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// Where a store lies. A copy lies elsewhere, or lacks the mark of the latest start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Drawn anew at each start; written beside the store and into it.
    pub(crate) mark: u64,
}

impl Directory {
    /// Makes the directory where it is not there, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Directory { path: path.display().to_string(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = private().create(true).truncate(false).open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.display().to_string() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Where the store lies now, with the mark that lies beside it (0 where there is none).
    pub(crate) fn place(&self) -> io::Result<Place> {
        let file = fs::metadata(self.store_path())?;
        let mark = fs::read(self.path.join(MARK)).ok().and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        Ok(Place { device: file.dev(), inode: file.ino(), mark })
    }

    /// Renews the mark beside the store.
    pub(crate) fn set_mark(&self, mark: u64) -> io::Result<()> {
        let path = self.path.join(MARK);
        let next = path.with_extension("next");
        let mut file = private().create(true).truncate(true).open(&next)?;
        io::Write::write_all(&mut file, &mark.to_le_bytes())?;
        file.sync_all()?;
        fs::rename(next, path)
    }
}

/// How files with secrets are opened.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    #[test]
    fn a_directory_opens_once() {
        let scratch = Scratch::new();
        let first = Directory::open(scratch.path()).unwrap();
        assert!(matches!(Directory::open(scratch.path()), Err(StoreError::InUse { .. })));
        drop(first);
        Directory::open(scratch.path()).unwrap();
    }

    #[test]
    fn a_copied_store_lies_elsewhere() {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let (here, there) = (Directory::open(scratch.path()).unwrap(), Directory::open(other.path()).unwrap());
        fs::write(here.store_path(), "x").unwrap();
        here.set_mark(7).unwrap();
        fs::copy(here.store_path(), there.store_path()).unwrap();
        there.set_mark(7).unwrap();
        assert_eq!(here.place().unwrap(), here.place().unwrap());
        assert_ne!(here.place().unwrap(), there.place().unwrap());
    }
}
