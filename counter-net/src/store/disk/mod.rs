//! Changes to a data directory. Each is announced before it is made, so that a test can record or
//! refuse it.

mod guarded_file;

pub(super) use guarded_file::{Guard, GuardedFile};

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// One change. Files go by their names in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DiskChange<'a> {
    /// Creates an empty file.
    Create(&'a str),
    Write(&'a str, u64, &'a [u8]),
    Resize(&'a str, u64),
    /// The file's contents are on the disk from now on.
    Sync(&'a str),
    Rename(&'a str, &'a str),
    Remove(&'a str),
    /// The names in the directory are on the disk from now on.
    SyncNames,
}

/// Announces a change. Must be called before the change is made.
///
/// # Errors
///
/// If a test refuses the change.
#[cfg(not(test))]
#[inline]
pub(super) fn about_to(_: &DiskChange<'_>) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use recorder::about_to;

/// Makes the names in a directory durable. A file system that cannot sync a directory keeps them
/// durable anyway.
pub(super) fn sync_names(directory: &Path) -> io::Result<()> {
    about_to(&DiskChange::SyncNames)?;
    match File::open(directory)?.sync_all() {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Removes a file if it exists.
pub(super) fn remove(directory: &Path, name: &str) -> io::Result<()> {
    about_to(&DiskChange::Remove(name))?;
    match fs::remove_file(directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Renames a file. The new name is durable when this returns.
pub(super) fn rename(directory: &Path, from: &str, to: &str) -> io::Result<()> {
    about_to(&DiskChange::Rename(from, to))?;
    fs::rename(directory.join(from), directory.join(to))?;
    sync_names(directory)
}

#[cfg(test)]
pub(crate) mod recorder;
