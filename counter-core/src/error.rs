//! The errors of this crate: adding, joining a delta, staging its pages, decoding bytes. Each
//! states its cause and its effect on the state.

use std::fmt;

use crate::replica_id::ReplicaId;

/// Why a replica or a map refused to add, subtract, reset or remove. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// The amount was 0, or its size above [`AMOUNT_MAX`](crate::AMOUNT_MAX).
    AmountOutOfRange,
    /// This writer's own cell has no room left: a cell counts up to [`CELL_MAX`](crate::CELL_MAX).
    CellFull,
    /// Too much is pending, because the replica is not being flushed.
    NotFlushed,
    /// The name of a new counter or region must have 1 to
    /// [`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX) bytes and no control character.
    NameOutOfRange,
    /// `counters_max` is reached: no new counter can be created. Existing ones still accept adds.
    TooManyCounters,
    /// An add's id must have 1 to [`ID_BYTES_MAX`](crate::ID_BYTES_MAX) bytes.
    IdOutOfRange,
    /// A batch has at most [`BATCH_ADDS_MAX`](crate::BATCH_ADDS_MAX) adds.
    TooManyAdds,
    /// The counter has expired and is still being removed. Once its last cell is gone, an add
    /// creates it again.
    Expired,
    /// This replica has left: its record lists everything that it held at its end. It writes
    /// nothing more.
    Left,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AmountOutOfRange => {
                "the amount must be nonzero, at most 2^32 either way; nothing changed"
            }
            Self::CellFull => "this replica's share of the counter is full (2^62); nothing changed",
            Self::NotFlushed => {
                "too much is pending since the last flush; nothing changed, try again after a flush"
            }
            Self::NameOutOfRange => {
                "the name of a counter or region must have 1 to 128 bytes and no control \
                 characters; nothing changed"
            }
            Self::TooManyCounters => {
                "counters_max is reached; nothing changed: add to an existing counter, or raise \
                 counters_max on every node"
            }
            Self::IdOutOfRange => "an add's id must have 1 to 64 bytes; nothing changed",
            Self::TooManyAdds => "a batch must have at most 10000 adds; nothing changed",
            Self::Expired => {
                "the counter has expired and is being removed; nothing changed: add to another \
                 counter, or to this one once nothing is left of it"
            }
            Self::Left => "this replica has left and writes no more; nothing changed",
        })
    }
}

impl std::error::Error for WriteError {}

/// Why a whole delta was refused. The state is unchanged and no span took effect.
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
                write!(
                    f,
                    "incomplete page of replica {replica}; stage pages first. The delta was \
                     refused, the state is unchanged"
                )
            }
            Self::TooManyCounters => f.write_str(
                "there would be more than twice counters_max counters, or too many regions of \
                 them; the delta was refused, the state is unchanged: raise counters_max on every \
                 node",
            ),
            Self::TooManyReplicas => f.write_str(
                "there would be more than replicas_max replicas; the delta was refused, the state \
                 is unchanged",
            ),
        }
    }
}

impl std::error::Error for JoinError {}

/// Why a page could not be staged. All staged pages were dropped, and no map changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StagingError {
    /// More cells were staged than `cells_max`.
    TooManyCells,
}

impl fmt::Display for StagingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the pages hold more cells than may be staged; they were dropped, the state is \
             unchanged",
        )
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
    /// The bytes break a rule of the format. The text states the rule.
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
                    "this release cannot read format {format}; upgrade. Nothing was taken from it"
                )
            }
            Self::Truncated => f.write_str("the bytes end too early; nothing was taken from them"),
            Self::TrailingBytes => f.write_str("bytes follow the end; nothing was taken from them"),
            Self::Invalid(rule) => {
                write!(f, "these bytes break the format: {rule}; nothing was taken from them")
            }
        }
    }
}

impl std::error::Error for DecodeError {}
