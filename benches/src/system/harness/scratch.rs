//! A directory for a workload that needs the disk, removed with its handle. It lies beside the
//! report, because the system's temporary directory may be in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::system::Measured;

/// A directory that is removed when dropped.
#[derive(Debug)]
pub(crate) struct ScratchDirectory(PathBuf);

impl ScratchDirectory {
    pub(crate) fn new() -> Measured<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("scratch-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::path::absolute("target/report")?.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        // If it cannot be removed, it stays below target, which holds nothing of value.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}
