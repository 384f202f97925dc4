//! The outputs of a replicator: what to do, and what to report.

use std::fmt;

use counter_core::{KeyId, ReplicaId};

use super::input::NodeId;
use super::wait::Waited;

/// A task for the driver, from
/// [`Replicator::poll_output`](crate::protocol::Replicator::poll_output).
#[derive(Clone, Debug)]
pub enum Output {
    /// Publish to every node. It may fail or get lost. Anti-entropy repairs that.
    Publish {
        /// At most `payload_bytes_max` long, and different from every payload before it.
        payload: Vec<u8>,
    },
    /// The gossip message with this token was validated.
    Validated {
        /// The token of the [`Input::Gossip`](crate::protocol::Input::Gossip).
        token: u64,
        /// Whether to pass it on.
        acceptance: Acceptance,
    },
    /// Send a request. Feed a `Response` or a `RequestFailed` with this id afterwards.
    Request {
        /// Whom to ask.
        peer: NodeId,
        /// Unique among all requests of this replicator.
        id: u64,
        /// The request, at most [`MESSAGE_BYTES_MAX`](crate::protocol::MESSAGE_BYTES_MAX).
        payload: Vec<u8>,
    },
    /// Answer the peer's request.
    Respond {
        /// The peer that asked.
        peer: NodeId,
        /// The id of the [`Input::Request`](crate::protocol::Input::Request).
        id: u64,
        /// The answer, at most [`MESSAGE_BYTES_MAX`](crate::protocol::MESSAGE_BYTES_MAX).
        payload: Vec<u8>,
    },
    /// Connect to `node`, however many peers there are.
    /// [`Input::DialFailed`](crate::protocol::Input::DialFailed) follows if that fails, or has not
    /// succeeded within two seconds.
    Dial {
        /// The node to reach.
        node: NodeId,
        /// Where it listens, from its [`Input::Listening`](crate::protocol::Input::Listening). May
        /// be wrong or empty.
        addresses: Vec<Vec<u8>>,
    },
    /// Report an event to the node that hosts the replicator.
    Notify(Notice),
    /// The peer broke a rule that every honest release keeps. Score it down and cut it off.
    Penalise {
        /// The peer.
        peer: NodeId,
        /// The rule that it broke.
        reason: Refusal,
    },
}

/// Whether the mesh passes a gossip message on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Acceptance {
    /// Pass it on.
    Accept,
    /// Do not pass it on. Nobody is to blame.
    Ignore,
    /// Do not pass it on, and blame its sender.
    Reject,
}

/// An event that the hosting node may show or log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Values changed. If no key is named, only the state hash did.
    Changed {
        /// The keys, each once, in ascending order.
        keys: Vec<KeyId>,
    },
    /// A member came, went or changed its viewers, or its presence ended.
    MembersChanged,
    /// The result of `is_synced`, `readiness` or `in_touch` changed.
    StatusChanged,
    /// The wait with this id ended. No further notice names it.
    Waited {
        /// The id of the [`Input`](crate::protocol::Input) that began it.
        id: u64,
        /// How it ended.
        how: Waited,
    },
    /// This node continues as another writer.
    Renewed {
        /// The new writer.
        replica: ReplicaId,
        /// Why it could not continue as the one before.
        cause: RenewalCause,
    },
    /// A peer runs an earlier release and may not read all that this node writes. Sent once for
    /// each connection.
    EarlierRelease {
        /// The peer.
        peer: NodeId,
    },
    /// Another process runs as this node and was there first. This one has to stop.
    SecondProcess,
    /// This incarnation took another number, because peers know a later incarnation of this node.
    /// No other node held any of its cells yet.
    Renumbered {
        /// The id before, which no other node has seen.
        from: ReplicaId,
        /// The new id. Everything written so far, and from now on, counts under it.
        replica: ReplicaId,
    },
    /// A fault was found. It is counted, and repaired if that is possible.
    Alarm(Alarm),
}

/// Why a node cannot continue as its present incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RenewalCause {
    /// Others ended the incarnation: it was retired, or a successor claimed it.
    Ended,
    /// A later incarnation of this node was ended, so a fold of that one would cover this one too.
    LaterOneEnded,
    /// Another process writes under its id.
    TwoWriters,
}

impl fmt::Display for RenewalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "a member retired the one before",
            Self::LaterOneEnded => "a later process of this node was retired",
            Self::TwoWriters => "another process writes as the one before",
        })
    }
}

/// The faults that are reported.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Alarm {
    /// A member holds a cell of this replica that is newer than any that this replica wrote, so two
    /// processes write as one. This node needs a new incarnation.
    OwnAhead {
        /// The version that was seen.
        version: u64,
    },
    /// A later incarnation of this node is announced, so two processes run under one identity.
    AnotherSelf {
        /// The other incarnation.
        replica: ReplicaId,
    },
    /// Equal version vectors with unequal state hashes. A full pull repairs it.
    Diverged {
        /// The peer that differs.
        peer: NodeId,
    },
    /// Cells of the same version had different contents. The greater bytes won.
    Conflict {
        /// How many.
        cells: usize,
    },
    /// A delta broke a bound of the state, such as twice `counters_max`. It was refused whole, and
    /// this node is not ready until a later pull fits.
    JoinRefused {
        /// The bound, in words.
        cause: String,
    },
    /// Many tombstones of removed counters wait for an enrolled replica that has not confirmed
    /// them. They take memory, but all totals are right.
    TombstonesKept {
        /// How many are this node's own.
        count: usize,
        /// One of the replicas that they wait for.
        waits_for: Option<ReplicaId>,
    },
}

/// Why a message of a peer was refused. Counted by reason.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The bytes are not a message.
    Malformed,
    /// Longer than the bound.
    TooLarge,
    /// A version of the protocol that this release does not speak.
    UnknownVersion,
    /// Cells or an announcement that their writer did not send itself.
    ForgedWriter,
    /// A message's digest names more replicas than the bound.
    DigestTooLong,
    /// The parts of a digest name more replicas than this node puts together. Nobody is to blame.
    DigestOverBound,
    /// The requester's replica is not recorded here, and the request did not bring its record.
    NotRecorded,
    /// A delta broke a bound of the state.
    JoinRefused,
    /// The sender's incarnation has ended, by this node's records. The sender continues as a new
    /// one.
    Ended,
    /// Two processes run under one identity, and the sender started later. It stops.
    SecondProcess,
    /// The table of members is full.
    MembersFull,
    /// A peer refused a request of ours.
    RefusedByPeer,
    /// Pages of a pull were out of order or too many.
    BadPage,
    /// An answer of the wrong kind, or to no request of ours.
    Unasked,
}

impl Refusal {
    /// Every reason, for metrics that list them all.
    pub const ALL: [Refusal; 14] = [
        Refusal::Malformed,
        Refusal::TooLarge,
        Refusal::UnknownVersion,
        Refusal::ForgedWriter,
        Refusal::DigestTooLong,
        Refusal::DigestOverBound,
        Refusal::NotRecorded,
        Refusal::JoinRefused,
        Refusal::Ended,
        Refusal::SecondProcess,
        Refusal::MembersFull,
        Refusal::RefusedByPeer,
        Refusal::BadPage,
        Refusal::Unasked,
    ];

    /// The reason as a metric's label: lower case, underscores.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::TooLarge => "too_large",
            Refusal::UnknownVersion => "unknown_version",
            Refusal::ForgedWriter => "forged_writer",
            Refusal::DigestTooLong => "digest_too_long",
            Refusal::DigestOverBound => "digest_over_bound",
            Refusal::NotRecorded => "not_recorded",
            Refusal::JoinRefused => "join_refused",
            Refusal::Ended => "ended",
            Refusal::SecondProcess => "second_process",
            Refusal::MembersFull => "members_full",
            Refusal::RefusedByPeer => "refused_by_peer",
            Refusal::BadPage => "bad_page",
            Refusal::Unasked => "unasked",
        }
    }
}

/// Why an incarnation cannot be retired. Nothing changed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum RetireError {
    /// This node knows nothing of it, so there is nothing to take over. Another node may know it.
    Unknown,
    /// It is this node's own incarnation.
    Own,
    /// A replica claims it already, or took it over.
    Ended,
    /// It is live. It would continue as a new incarnation, and the adds that it has not handed over
    /// would be lost.
    Live,
    /// It was heard from less than ten minutes ago, so it may still run or come back.
    Recent {
        /// How long ago.
        ago: std::time::Duration,
    },
}

impl std::fmt::Display for RetireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Recent { ago } => {
                return write!(
                    f,
                    "this replica was heard of {} s ago, and may still run or come back: nothing \
                     changed. If it is lost for good, force it; what it counted and no other node \
                     holds is lost then",
                    ago.as_secs()
                );
            }
            Self::Unknown => {
                "this node knows no such replica: nothing changed; see `members` for those it \
                 knows, or ask another node"
            }
            Self::Own => "this is the node's own replica: nothing changed; `leave` hands it over",
            Self::Ended => {
                "this replica was retired before: nothing changed, and nothing is left to do"
            }
            Self::Live => {
                "this replica is live: nothing changed; stop its node first, or let it `leave`"
            }
        })
    }
}

impl std::error::Error for RetireError {}
