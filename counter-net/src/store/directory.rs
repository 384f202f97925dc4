//! A data directory: its lock, and the marks that distinguish the directory that this node wrote
//! from a copy of it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::disk::{self, DiskChange};
use super::error::StoreError;

const LOCK: &str = "lock";

/// How long a locked directory is asked for again. The lock of a node that has ended may still be
/// held by a child of its process that has not reached its `exec`.
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// The pause between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
pub(super) const STORE: &str = "counter.redb";
/// A store that is being created.
pub(super) const NEXT_STORE: &str = "counter.redb.next";
const MARK: &str = "mark";
const NEXT_MARK: &str = "mark.next";

/// An open data directory, created with mode 0700. No other process can open it while this exists.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

/// The identity of a store's file, and the mark beside it. The store records both at each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DirectoryPlace {
    /// Written for earlier releases and not compared. A volume gets a new number whenever it is
    /// attached.
    device: u64,
    inode: u64,
    /// Creation time of the file, in nanoseconds since 1970. 0 if the file system does not tell.
    born: u64,
    /// A new random number at each start, written into the store and then beside it. 0 for none.
    mark: u64,
    /// The mark of the start before. That start may have been interrupted between the two writes.
    mark_before: u64,
}

impl DirectoryPlace {
    /// Returns true if a store with this record is in its original place and was not restored
    /// since.
    pub(crate) fn is_at(&self, found: &DirectoryPlace) -> bool {
        let is_born_then = self.born == found.born || self.born == 0 || found.born == 0;
        self.inode == found.inode
            && is_born_then
            && (found.mark == self.mark || found.mark == self.mark_before)
    }

    /// The record of the next start, at the place that was found.
    pub(crate) fn renewed(self) -> Self {
        Self { mark: fastrand::u64(1..), mark_before: self.mark, ..self }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        // Earlier releases read the first three fields.
        [self.device, self.inode, self.mark, self.mark_before, self.born]
            .iter()
            .flat_map(|part| part.to_le_bytes())
            .collect()
    }

    /// Missing fields, such as in a store of an earlier release, are 0.
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

impl DataDirectory {
    /// Creates the directory if it does not exist, and locks it. Its names are on the disk when
    /// this returns.
    ///
    /// # Errors
    /// The directory cannot be made, written or locked, or is open already; it is as it was, or
    /// empty.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Directory { path: path.display().to_string(), source };
        make(path).map_err(failed)?;
        disk::about_to(&DiskChange::Create(LOCK)).map_err(failed)?;
        let lock = private().create(true).truncate(false).open(path.join(LOCK)).map_err(failed)?;
        let asked = Instant::now();
        while let Err(refused) = lock.try_lock() {
            match refused {
                TryLockError::WouldBlock if asked.elapsed() < LOCK_WAIT => {
                    thread::sleep(LOCK_PAUSE)
                }
                TryLockError::WouldBlock => {
                    return Err(StoreError::InUse { path: path.display().to_string() });
                }
                TryLockError::Error(source) => return Err(failed(source)),
            }
        }
        // The names that an earlier start changed may be in memory only. Sync them, so that the
        // next crash does not undo what is read now.
        disk::sync_names(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// The present identity of the store's file, with the mark beside it.
    ///
    /// # Errors
    ///
    /// If the store or an existing mark cannot be read.
    pub(crate) fn place(&self) -> io::Result<DirectoryPlace> {
        let file = fs::metadata(self.store_path())?;
        let made = file.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mark = match fs::read(self.path.join(MARK)) {
            Ok(bytes) => bytes.try_into().map_or(0, u64::from_le_bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let born = made.map_or(0, |time| time.as_nanos() as u64);
        Ok(DirectoryPlace { device: file.dev(), inode: file.ino(), born, mark, mark_before: 0 })
    }

    /// Writes the mark of `place` beside the store, which holds it already. It is on the disk when
    /// this returns.
    ///
    /// # Errors
    ///
    /// If writing failed. The old mark or the new one is there, and the store accepts both.
    pub(crate) fn set_mark(&self, place: &DirectoryPlace) -> io::Result<()> {
        disk::remove(&self.path, NEXT_MARK)?;
        disk::about_to(&DiskChange::Create(NEXT_MARK))?;
        let mut file = private().create_new(true).open(self.path.join(NEXT_MARK))?;
        let bytes = place.mark.to_le_bytes();
        disk::about_to(&DiskChange::Write(NEXT_MARK, 0, &bytes))?;
        file.write_all(&bytes)?;
        disk::about_to(&DiskChange::Sync(NEXT_MARK))?;
        file.sync_all()?;
        disk::rename(&self.path, NEXT_MARK, MARK)
    }
}

/// Creates a directory and those above it durably.
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

/// Options for files only the owner may read.
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
        let first = DataDirectory::open(scratch.path()).unwrap();
        assert!(matches!(DataDirectory::open(scratch.path()), Err(StoreError::InUse { .. })));
        drop(first);
        DataDirectory::open(scratch.path()).unwrap();
    }

    #[test]
    fn a_lock_that_a_child_still_holds_is_waited_for() {
        let scratch = Scratch::new();
        let first = DataDirectory::open(scratch.path()).unwrap();
        // A child between its `fork` and its `exec` has the same open file.
        let of_child = first._lock.try_clone().unwrap();
        drop(first);
        let child = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(of_child);
        });
        DataDirectory::open(scratch.path()).unwrap();
        child.join().unwrap();
    }

    #[test]
    fn directories_above_are_made_too() {
        let scratch = Scratch::new();
        DataDirectory::open(&scratch.path().join("above/it")).unwrap();
        assert_eq!(fs::metadata(scratch.path().join("above")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_copied_store_is_another_file() {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let (here, there) = (
            DataDirectory::open(scratch.path()).unwrap(),
            DataDirectory::open(other.path()).unwrap(),
        );
        fs::write(here.store_path(), "x").unwrap();
        let place = here.place().unwrap().renewed();
        here.set_mark(&place).unwrap();
        assert!(place.is_at(&here.place().unwrap()));
        fs::copy(here.store_path(), there.store_path()).unwrap();
        there.set_mark(&place).unwrap();
        assert!(!place.is_at(&there.place().unwrap()));
    }

    #[test]
    fn both_marks_of_an_interrupted_start_are_accepted() {
        let scratch = Scratch::new();
        let directory = DataDirectory::open(scratch.path()).unwrap();
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
        let place = DirectoryPlace { device: 1, inode: 2, born: 3, mark: 4, mark_before: 5 };
        assert!(place.is_at(&DirectoryPlace { device: 9, ..place }));
        assert!(
            !place.is_at(&DirectoryPlace { born: 9, ..place }),
            "a copy, though it has the same number on another file system"
        );
        assert!(
            place.is_at(&DirectoryPlace { born: 0, ..place })
                && !place.is_at(&DirectoryPlace { born: 0, inode: 9, ..place })
        );
    }

    #[test]
    fn earlier_format_is_read() {
        let place = DirectoryPlace { device: 1, inode: 2, born: 3, mark: 4, mark_before: 5 };
        assert_eq!(DirectoryPlace::from_bytes(&place.to_bytes()), place);
        let earlier = DirectoryPlace::from_bytes(&place.to_bytes()[..24]);
        assert_eq!(earlier, DirectoryPlace { born: 0, mark_before: 4, ..place });
        assert_eq!(DirectoryPlace::from_bytes(&[]), DirectoryPlace::default());
    }

    #[test]
    fn unreadable_mark_is_an_error() {
        let scratch = Scratch::new();
        let directory = DataDirectory::open(scratch.path()).unwrap();
        fs::write(directory.store_path(), "x").unwrap();
        fs::create_dir(scratch.path().join(MARK)).unwrap();
        assert!(directory.place().is_err());
    }
}
