//! Causes of a failed connection that no system error covers.

use std::fmt;
use std::io;

/// The cause of a failed connection. It is wrapped in an [`io::Error`].
#[derive(Debug)]
pub(crate) enum Fault {
    /// The name has no address, or could not be resolved, with the reason.
    Name(String),
    /// TCP got no answer in time.
    NoAnswer,
    /// The far end accepted the connection and sent nothing in time.
    Silent,
    /// The far end did not finish the handshake in time.
    Unfinished,
    /// The far end's first bytes are no greeting under any key of this node. It has another key, or
    /// only one end has a key.
    WrongKey,
    /// Every address of a name failed, each with its own error.
    Each(Vec<io::Error>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(reason) => write!(f, "the name does not resolve: {reason}"),
            Self::NoAnswer => f.write_str("no answer to the connection request"),
            Self::Silent => f.write_str("the far end sent nothing"),
            Self::Unfinished => f.write_str("the far end did not finish the handshake in time"),
            Self::WrongKey => f.write_str("the far end uses another cluster key, or none"),
            Self::Each(errors) => {
                f.write_str("no address of the name was reached")?;
                errors.iter().try_for_each(|error| write!(f, "; {error}"))
            }
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}
