//! Errors of a data directory. Each message says what to do.

use std::fmt;
use std::io;

/// Why a data directory could not be opened or written.
///
/// A refused file is left as it was, byte for byte, unless [`StoreError::NotRestored`] says
/// otherwise.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory cannot be created, read or locked.
    Directory {
        /// The directory.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another process has the directory open.
    InUse {
        /// The directory.
        path: String,
    },
    /// The file exists and is not a store of this program.
    Foreign {
        /// The file.
        path: String,
    },
    /// The file is a store, and its contents are damaged.
    Damaged {
        /// The file.
        path: String,
        /// The damage that was found.
        reason: String,
    },
    /// The directory belongs to another cluster.
    OtherCluster {
        /// The directory.
        path: String,
        /// The other cluster's name.
        cluster: String,
    },
    /// A later release wrote the file, in a format that this one does not know.
    Newer {
        /// The file.
        path: String,
        /// The format's number.
        format: u64,
    },
    /// Writing failed. Earlier commits are unchanged.
    Write {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file was refused, and the changes that opening it had made could not be undone.
    NotRestored {
        /// The file.
        path: String,
        /// Why it was refused.
        refusal: String,
        /// The system's error.
        source: io::Error,
    },
}

impl StoreError {
    /// The system's error number, if the system refused.
    pub(crate) fn os_error(&self) -> Option<i32> {
        match self {
            Self::Directory { source, .. }
            | Self::Write { source, .. }
            | Self::NotRestored { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    pub(super) fn into_path(self) -> String {
        match self {
            Self::Directory { path, .. }
            | Self::InUse { path }
            | Self::Foreign { path }
            | Self::Damaged { path, .. }
            | Self::OtherCluster { path, .. }
            | Self::Newer { path, .. }
            | Self::Write { path, .. }
            | Self::NotRestored { path, .. } => path,
        }
    }

    /// The cause alone, without a path, for callers who may not see one.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Directory { source, .. } | Self::Write { source, .. } => source.to_string(),
            Self::InUse { .. } => "another process has the data directory open".to_owned(),
            Self::Foreign { .. } => "the file is not a store of this program".to_owned(),
            Self::Damaged { reason, .. } => format!("the file is damaged: {reason}"),
            Self::OtherCluster { .. } => "the data belongs to another cluster".to_owned(),
            Self::Newer { format, .. } => format!("a later release wrote it (format {format})"),
            Self::NotRestored { refusal, .. } => refusal.clone(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, source } => write!(
                f,
                "the data directory {path} cannot be used: {source}; its contents are unchanged. \
                 Check its space and permissions, and start again"
            ),
            Self::InUse { path } => write!(
                f,
                "the data directory {path} is open in another process: stop that one, or give \
                 each node its own directory"
            ),
            Self::Foreign { path } => write!(
                f,
                "{path} is not a store of this program; it was not changed: name another data \
                 directory, or move the file away"
            ),
            Self::Damaged { path, reason } => write!(
                f,
                "{path} is damaged ({reason}); it was not changed: restore the directory from a \
                 backup, or move it away and start without it; the node then gets from its peers \
                 what they have"
            ),
            Self::OtherCluster { path, cluster } => write!(
                f,
                "the data directory {path} belongs to the cluster {cluster:?}; it was left as it \
                 is: start with --cluster {cluster}, or name another data directory"
            ),
            Self::Newer { path, format } => write!(
                f,
                "{path} was written by a later release (format {format}); it was not changed: \
                 start that release, or a later one"
            ),
            Self::Write { path, source } => write!(
                f,
                "cannot write {path}: {source}; committed data is intact. Free space or fix \
                 permissions"
            ),
            Self::NotRestored { path, refusal, source } => write!(
                f,
                "{path} was refused ({refusal}), and the changes of opening it could not be \
                 undone: {source}. Restore a backup before the next start"
            ),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Directory { source, .. }
            | Self::Write { source, .. }
            | Self::NotRestored { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// An add was applied but may not be durable.
///
/// It is in this node's memory and is being sent to the others, so it may still count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotDurable {
    /// The store could not be written, for this reason. The node retries until it succeeds.
    Store(String),
    /// The node stopped before the commit.
    Stopped,
}

impl fmt::Display for NotDurable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(reason) => write!(f, "the add is not durable yet: {reason}"),
            Self::Stopped => {
                f.write_str("the add is not known to be durable: the node stopped first")
            }
        }
    }
}

impl std::error::Error for NotDurable {}
