//! The errors of this crate: adding, joining a delta, staging its pages, decoding bytes. Each says
//! what became of the state.

use std::fmt;

use crate::replica_id::ReplicaId;

/// Why a replica or a map refused to add, subtract or reset. The counter is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// The amount was 0 or above [`AMOUNT_MAX`](crate::AMOUNT_MAX).
    AmountOutOfRange,
    /// This writer's own cell has no room left: a cell counts up to [`CELL_MAX`](crate::CELL_MAX).
    CellFull,
    /// Too much is pending, because the replica is not being flushed.
    NotFlushed,
    /// The name of a new counter or region must have 1 to
    /// [`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX) bytes and no control character.
    NameOutOfRange,
    /// The map holds as many counters as it may make (`counters_max`). Those that exist can be
    /// added to.
    TooManyCounters,
    /// An add's id must have 1 to [`ID_BYTES_MAX`](crate::ID_BYTES_MAX) bytes.
    IdOutOfRange,
    /// A batch has at most [`BATCH_ADDS_MAX`](crate::BATCH_ADDS_MAX) adds.
    TooManyAdds,
    /// The counter has expired, and not all of its cells are gone. Once they are, an add makes it
    /// anew.
    Expired,
    /// This replica has left: its record says what it held at its end, and it writes nothing after
    /// that.
    Left,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AmountOutOfRange => "the amount must be between 1 and 2^32; nothing was added",
            Self::CellFull => "this replica's share of the counter is full (2^62); nothing was added",
            Self::NotFlushed => "too much is pending since the last flush; nothing was added, try again after a flush",
            Self::NameOutOfRange => "the name of a counter or region has 1 to 128 bytes and no control characters; nothing was added",
            Self::TooManyCounters => {
                "there are as many counters as may be made here (counters_max); nothing was added and no counter was made: add to one that \
                 exists, or raise counters_max on every node"
            }
            Self::IdOutOfRange => "an add's id has 1 to 64 bytes; nothing was added",
            Self::TooManyAdds => "a batch has at most 10000 adds; nothing was added",
            Self::Expired => {
                "the counter has expired and is being removed; nothing was added: add to another counter, or to this one once nothing is left of it"
            }
            Self::Left => "this replica has left and writes nothing more; nothing was added",
        })
    }
}

impl std::error::Error for WriteError {}

/// Why a whole delta was refused. The state is unchanged and no span was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The delta holds a page that is not its writer's last. Gather pages with
    /// [`Staging`](crate::Staging) first.
    OpenPart(ReplicaId),
    /// Joining it would pass twice `counters_max`, or the bound on keys.
    TooManyCounters,
    /// Joining it would pass `replicas_max`.
    TooManyReplicas,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenPart(replica) => {
                write!(f, "the page of replica {replica} is not its last one; the delta was refused, the state is unchanged")
            }
            Self::TooManyCounters => f.write_str(
                "there would be more than twice counters_max counters, or too many regions of them; the delta was refused, the state is \
                 unchanged: raise counters_max on every node",
            ),
            Self::TooManyReplicas => {
                f.write_str("the delta would bring more replicas than replicas_max allows; it was refused, the state is unchanged")
            }
        }
    }
}

impl std::error::Error for JoinError {}

/// Why a page could not be staged. The staged pages were dropped, and the map was not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StagingError {
    /// More cells were staged than `cells_max`.
    TooManyCells,
}

impl fmt::Display for StagingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pages hold more cells than may be staged; they were dropped, the state is unchanged")
    }
}

impl std::error::Error for StagingError {}

/// Why bytes are not a delta (or a cursor). Nothing was built from them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The envelope is not the CBOR of this format. The text says where.
    Envelope(String),
    /// A later release wrote this, in a version of the format that this release does not read.
    UnknownFormat(u64),
    /// The bytes end too early.
    Truncated,
    /// Bytes follow the end.
    TrailingBytes,
    /// A rule of the format is broken. The text names it.
    Invalid(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Envelope(why) => {
                write!(f, "not a delta's envelope ({why}); nothing was taken from it")
            }
            Self::UnknownFormat(format) => {
                write!(
                    f,
                    "format {format} is not known to this release; nothing was taken from it, upgrade this node"
                )
            }
            Self::Truncated => f.write_str("the bytes end too early; nothing was taken from them"),
            Self::TrailingBytes => f.write_str("bytes follow the end; nothing was taken from them"),
            Self::Invalid(rule) => {
                write!(f, "a rule of the format is broken: {rule}; nothing was taken from it")
            }
        }
    }
}

impl std::error::Error for DecodeError {}
