//! The directory of the operators' sockets, and the timeout of both sides.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

/// How long each side of a command waits for the other.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// The sockets' directory, which only this user can open. Created if it does not exist.
pub(super) fn directory() -> io::Result<PathBuf> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|base| base.is_dir());
    let owner = rustix::process::geteuid().as_raw();
    let directory = base.map_or_else(
        || std::env::temp_dir().join(format!("counter-admin-{owner}")),
        |base| base.join("counter-admin"),
    );
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&directory)?;
    if !found.is_dir() || found.uid() != owner || found.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is not a directory of this user alone", directory.display()),
        ));
    }
    Ok(directory)
}
