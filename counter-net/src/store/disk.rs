//! Every change to a data directory, told before it is made, so that a test can record it or refuse
//! it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// One change. Files go by their names in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// Makes an empty file.
    Create(&'a str),
    Write(&'a str, u64, &'a [u8]),
    Resize(&'a str, u64),
    /// What was written to the file is on the disk from now on.
    Sync(&'a str),
    Rename(&'a str, &'a str),
    Remove(&'a str),
    /// The names in the directory are on the disk from now on.
    SyncNames,
}

/// To be called before a change is made.
///
/// # Errors
/// A test refuses the change.
#[cfg(not(test))]
#[inline]
pub(super) fn about_to(_: &Change<'_>) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use recorder::about_to;

/// Makes the names in a directory durable. A file system that cannot sync a directory keeps them
/// without that.
pub(super) fn sync_names(directory: &Path) -> io::Result<()> {
    about_to(&Change::SyncNames)?;
    match File::open(directory)?.sync_all() {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Removes a file, which need not be there.
pub(super) fn remove(directory: &Path, name: &str) -> io::Result<()> {
    about_to(&Change::Remove(name))?;
    match fs::remove_file(directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Gives a file its final name, which is durable when this returns.
pub(super) fn rename(directory: &Path, from: &str, to: &str) -> io::Result<()> {
    about_to(&Change::Rename(from, to))?;
    fs::rename(directory.join(from), directory.join(to))?;
    sync_names(directory)
}

#[cfg(test)]
pub(crate) mod recorder;
