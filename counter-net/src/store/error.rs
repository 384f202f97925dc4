//! What can go wrong with a data directory, and what to do about it.

use std::fmt;
use std::io;

/// Why a data directory could not be opened, or not be written to. A file that was refused is left
/// as it was, byte for byte.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory cannot be made, read or locked.
    Directory {
        /// The directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the directory open.
    InUse {
        /// The directory.
        path: String,
    },
    /// The file is there and is not a store of this program.
    Foreign {
        /// The file.
        path: String,
    },
    /// The file is a store, and its contents do not check out.
    Damaged {
        /// The file.
        path: String,
        /// What does not check out.
        reason: String,
    },
    /// The directory holds what another cluster counted: two names never mix.
    OtherCluster {
        /// The directory.
        path: String,
        /// The cluster that it belongs to.
        cluster: String,
    },
    /// A later release wrote the file in a format that this one does not know.
    Newer {
        /// The file.
        path: String,
        /// The format's number.
        format: u64,
    },
    /// Writing failed: mostly a full disk.
    Write {
        /// What the store said.
        reason: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, source } => write!(
                f,
                "the data directory {path} cannot be used: {source}; what it holds is as it was: see to its space and its permissions, and start \
                 again"
            ),
            Self::InUse { path } => {
                write!(
                    f,
                    "the data directory {path} is open in another process: stop that one, or give each node a directory of its own"
                )
            }
            Self::Foreign { path } => {
                write!(
                    f,
                    "{path} is not a store of this program; it was left as it is: name another data directory, or move the file away"
                )
            }
            Self::Damaged { path, reason } => write!(
                f,
                "{path} is damaged ({reason}); it was left as it is: restore the directory from a backup, or move it away and start without, \
                 then the node takes from its peers what they have"
            ),
            Self::OtherCluster { path, cluster } => write!(
                f,
                "the data directory {path} belongs to the cluster {cluster:?}; it was left as it is: start with --cluster {cluster}, or name another \
                 data directory"
            ),
            Self::Newer { path, format } => {
                write!(
                    f,
                    "{path} was written by a later release (format {format}); it was left as it is: start that release, or a later one"
                )
            }
            Self::Write { reason } => write!(
                f,
                "the store cannot be written: {reason}; what was committed before is as it was"
            ),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Directory { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// An add was applied and could not be made durable: the disk did not take it, or the node stopped
/// first.
///
/// It is in this node's memory and on its way to the others, so it may count all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotDurable {
    /// The store could not be written; the sentence says why. Writing is tried again until it
    /// succeeds.
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
