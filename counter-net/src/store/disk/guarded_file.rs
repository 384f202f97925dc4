//! A file whose changes can be undone until its contents are approved. Opening a store may repair
//! it, and a refused store must stay as it was.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::{DiskChange, about_to};

/// The bytes overwritten since the file was opened.
#[derive(Debug)]
struct Undo {
    len: u64,
    /// In the order of writing.
    overwritten: Vec<(u64, Vec<u8>)>,
}

/// redb's file, watched until [`approve`](Guard::approve).
#[derive(Debug)]
pub(in crate::store) struct GuardedFile {
    name: &'static str,
    file: FileBackend,
    guard: Guard,
}

/// Approves or undoes the changes of a [`GuardedFile`].
#[derive(Clone, Debug)]
pub(in crate::store) struct Guard(Arc<Mutex<Option<Undo>>>);

impl GuardedFile {
    pub(in crate::store) fn new(name: &'static str, file: File) -> io::Result<(Self, Guard)> {
        let undo = Undo { len: file.metadata()?.len(), overwritten: Vec::new() };
        let guard = Guard(Arc::new(Mutex::new(Some(undo))));
        let file = FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        Ok((Self { name, file, guard: guard.clone() }, guard))
    }

    /// Remembers the original bytes of `offset..end`.
    fn remember(&self, offset: u64, end: u64) -> io::Result<()> {
        let mut undo = self.guard.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(undo) = undo.as_mut() else { return Ok(()) };
        let end = end.min(undo.len);
        if offset < end {
            let mut bytes = vec![0; (end - offset) as usize];
            // If the file was shortened in between, the rest is remembered already.
            let held = self.file.len()?.min(end);
            if offset < held {
                self.file.read(offset, &mut bytes[..(held - offset) as usize])?;
            }
            undo.overwritten.push((offset, bytes));
        }
        Ok(())
    }
}

impl Guard {
    /// Approves the contents. From now on writes are final.
    pub(in crate::store) fn approve(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Restores `file` to its contents when it was opened.
    pub(in crate::store) fn restore(&self, file: &File) -> io::Result<()> {
        let undo = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(undo) = undo else { return Ok(()) };
        file.set_len(undo.len)?;
        for (offset, bytes) in undo.overwritten.iter().rev() {
            file.write_all_at(bytes, *offset)?;
        }
        file.sync_all()
    }
}

impl StorageBackend for GuardedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.remember(len, u64::MAX)?;
        about_to(&DiskChange::Resize(self.name, len))?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        about_to(&DiskChange::Sync(self.name))?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.remember(offset, offset + data.len() as u64)?;
        about_to(&DiskChange::Write(self.name, offset, data))?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
