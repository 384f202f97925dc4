//! Why a store's file is refused when it is opened.

use std::io;
use std::path::Path;

use redb::{DatabaseError, StorageError, TableError, TransactionError};

use crate::store::error::StoreError;

/// Why a file is refused when it is opened.
#[derive(Debug)]
pub(super) enum OpenFailure {
    InUse,
    Foreign,
    Newer(u64),
    Damaged(String),
    /// The system refused, which says nothing about the contents.
    System(io::Error),
}

impl OpenFailure {
    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.display().to_string();
        match self {
            Self::InUse => StoreError::InUse { path },
            Self::Foreign => StoreError::Foreign { path },
            Self::Newer(format) => StoreError::Newer { path, format },
            Self::Damaged(reason) => StoreError::Damaged { path, reason },
            Self::System(source) => StoreError::Directory { path, source },
        }
    }
}

impl From<DatabaseError> for OpenFailure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            DatabaseError::Storage(error) => error.into(),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<TransactionError> for OpenFailure {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<StorageError> for OpenFailure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(source) if source.raw_os_error().is_some() => Self::System(source),
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// A sound redb file without these tables belongs to another program.
impl From<TableError> for OpenFailure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EIO.
    const INPUT_OUTPUT: i32 = 5;

    fn failed_read() -> StorageError {
        StorageError::Io(io::Error::from_raw_os_error(INPUT_OUTPUT))
    }

    #[test]
    fn failed_read_is_not_taken_for_a_foreign_or_damaged_file() {
        let path = Path::new("/data/counter.redb");
        for refusal in [OpenFailure::from(failed_read()), TableError::Storage(failed_read()).into()]
        {
            let error = refusal.at(path);
            assert_eq!(error.os_error(), Some(INPUT_OUTPUT), "{error}");
            assert!(matches!(error, StoreError::Directory { .. }), "{error}");
        }
        let missing = TableError::TableDoesNotExist("meta".into());
        assert!(matches!(OpenFailure::from(missing), OpenFailure::Foreign));
        assert!(matches!(
            OpenFailure::from(StorageError::Corrupted("a page".into())),
            OpenFailure::Damaged(_)
        ));
    }
}
