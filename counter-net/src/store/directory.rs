//! A data directory: its lock, and how the directory that this node wrote is told from a copy of
//! it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::disk::{self, Change};
use super::error::StoreError;

const LOCK: &str = "lock";
pub(super) const STORE: &str = "counter.redb";
/// A store in the making.
pub(super) const NEXT_STORE: &str = "counter.redb.next";
const MARK: &str = "mark";
const NEXT_MARK: &str = "mark.next";

/// An open data directory, 0700 where it was made here; nobody else can open it while this
/// incarnations.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// Which file a store is, and the mark beside it. The store keeps this of its latest start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Written for earlier releases, and not compared: a volume gets another number where it is
    /// attached anew.
    device: u64,
    inode: u64,
    /// When the file was made, in nanoseconds since 1970. 0 where the file system does not say.
    born: u64,
    /// Drawn anew at each start: written into the store, then beside it. 0 for none.
    mark: u64,
    /// The mark that lay beside the store before that start, which may have been cut short between
    /// the two.
    mark_before: u64,
}

impl Place {
    /// Whether a store that says this of itself was found where it was written, and nothing was put
    /// back since.
    pub(crate) fn is_at(&self, found: &Place) -> bool {
        let is_born_then = self.born == found.born || self.born == 0 || found.born == 0;
        self.inode == found.inode
            && is_born_then
            && (found.mark == self.mark || found.mark == self.mark_before)
    }

    /// The next start's, at the place that was found.
    pub(crate) fn renewed(self) -> Self {
        Self { mark: fastrand::u64(1..), mark_before: self.mark, ..self }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        // The first three are what earlier releases read.
        [self.device, self.inode, self.mark, self.mark_before, self.born]
            .iter()
            .flat_map(|part| part.to_le_bytes())
            .collect()
    }

    /// What is missing, such as in a store of an earlier release, is 0.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let part = |at: usize| {
            bytes
                .get(at * 8..at * 8 + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        let mark_before = if bytes.len() < 40 { part(2) } else { part(3) };
        Self { device: part(0), inode: part(1), mark: part(2), mark_before, born: part(4) }
    }
}

impl Directory {
    /// Makes the directory where it is not there, and locks it. Its names are on the disk when this
    /// returns.
    ///
    /// # Errors
    /// The directory cannot be made, written or locked, or is open already; it is as it was, or
    /// empty.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Directory { path: path.display().to_string(), source };
        make(path).map_err(failed)?;
        disk::about_to(&Change::Create(LOCK)).map_err(failed)?;
        let lock = private().create(true).truncate(false).open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: path.display().to_string() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // What an earlier start renamed may be in memory alone. What is read now must not be undone
        // by the next crash.
        disk::sync_names(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Which file the store is now, with the mark that lies beside it.
    ///
    /// # Errors
    /// The store, or a mark that is there, cannot be read.
    pub(crate) fn place(&self) -> io::Result<Place> {
        let file = fs::metadata(self.store_path())?;
        let made = file.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mark = match fs::read(self.path.join(MARK)) {
            Ok(bytes) => bytes.try_into().map_or(0, u64::from_le_bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let born = made.map_or(0, |time| time.as_nanos() as u64);
        Ok(Place { device: file.dev(), inode: file.ino(), born, mark, mark_before: 0 })
    }

    /// Lays the mark of `place` beside the store, which has it already; it is on the disk when this
    /// returns.
    ///
    /// # Errors
    /// The mark before still lies there, or this one: the store answers to both.
    pub(crate) fn set_mark(&self, place: &Place) -> io::Result<()> {
        disk::remove(&self.path, NEXT_MARK)?;
        disk::about_to(&Change::Create(NEXT_MARK))?;
        let mut file = private().create_new(true).open(self.path.join(NEXT_MARK))?;
        let bytes = place.mark.to_le_bytes();
        disk::about_to(&Change::Write(NEXT_MARK, 0, &bytes))?;
        file.write_all(&bytes)?;
        disk::about_to(&Change::Sync(NEXT_MARK))?;
        file.sync_all()?;
        disk::rename(&self.path, NEXT_MARK, MARK)
    }
}

/// Makes a directory and those above it, each of them durable.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for parent in missing.iter().filter_map(|path| path.parent()) {
        disk::sync_names(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    Ok(())
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
    fn directories_above_are_made_too() {
        let scratch = Scratch::new();
        Directory::open(&scratch.path().join("above/it")).unwrap();
        assert_eq!(fs::metadata(scratch.path().join("above")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_copied_store_is_another_file() {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let (here, there) =
            (Directory::open(scratch.path()).unwrap(), Directory::open(other.path()).unwrap());
        fs::write(here.store_path(), "x").unwrap();
        let place = here.place().unwrap().renewed();
        here.set_mark(&place).unwrap();
        assert!(place.is_at(&here.place().unwrap()));
        fs::copy(here.store_path(), there.store_path()).unwrap();
        there.set_mark(&place).unwrap();
        assert!(!place.is_at(&there.place().unwrap()));
    }

    #[test]
    fn either_mark_of_a_step_cut_short_is_accepted_and_no_other() {
        let scratch = Scratch::new();
        let directory = Directory::open(scratch.path()).unwrap();
        fs::write(directory.store_path(), "x").unwrap();
        let first = directory.place().unwrap().renewed();
        assert!(first.is_at(&directory.place().unwrap()), "before the first mark lies there");
        directory.set_mark(&first).unwrap();
        let second = directory.place().unwrap().renewed();
        assert!(second.is_at(&directory.place().unwrap()), "cut short before its mark lay there");
        directory.set_mark(&second).unwrap();
        assert!(second.is_at(&directory.place().unwrap()));
        let third = directory.place().unwrap().renewed();
        directory.set_mark(&third).unwrap();
        assert!(!first.is_at(&directory.place().unwrap()), "the first start's store was put back");
        fs::remove_file(scratch.path().join(MARK)).unwrap();
        assert!(!third.is_at(&directory.place().unwrap()));
    }

    #[test]
    fn another_device_number_changes_nothing() {
        let place = Place { device: 1, inode: 2, born: 3, mark: 4, mark_before: 5 };
        assert!(place.is_at(&Place { device: 9, ..place }));
        assert!(
            !place.is_at(&Place { born: 9, ..place }),
            "a copy, though it has the same number on another file system"
        );
        assert!(
            place.is_at(&Place { born: 0, ..place })
                && !place.is_at(&Place { born: 0, inode: 9, ..place })
        );
    }

    #[test]
    fn what_an_earlier_release_wrote_is_read() {
        let place = Place { device: 1, inode: 2, born: 3, mark: 4, mark_before: 5 };
        assert_eq!(Place::from_bytes(&place.to_bytes()), place);
        let earlier = Place::from_bytes(&place.to_bytes()[..24]);
        assert_eq!(earlier, Place { born: 0, mark_before: 4, ..place });
        assert_eq!(Place::from_bytes(&[]), Place::default());
    }

    #[test]
    fn a_mark_that_cannot_be_read_is_an_error_and_no_copy() {
        let scratch = Scratch::new();
        let directory = Directory::open(scratch.path()).unwrap();
        fs::write(directory.store_path(), "x").unwrap();
        fs::create_dir(scratch.path().join(MARK)).unwrap();
        assert!(directory.place().is_err());
    }
}
