//! Requests between two peers: who sends each, when, and what the receiver does.
//!
//! A release that changes the meaning of a key raises [`VERSION`]. A receiver that does not speak a
//! version refuses it, and names those that it does. Nothing nests deeper than a list of maps.

use counter_core::ReplicaId;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::announcement::Announcement;
use super::digest::PartNumber;
use super::encoding::{Hash, Id, VERSION, unpack_ids};
use crate::protocol::interface::Refusal;

/// A request. Exactly one kind is present.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Request {
    #[serde(rename = "v")]
    pub version: u64,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullPage>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub tell: Option<Tell>,
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<AckRequest>,
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<ConfirmMessage>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestPart>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NumberAsk>,
}

/// Asks for the latest incarnation of the requester's node that the receiver knows. Answered with
/// [`Numbered`](super::answer::Numbered).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NumberAsk {
    /// The requester under its present number, which the receiver may have heard announced.
    #[serde(rename = "i")]
    pub replica: Id,
}

/// Compares hashes, once a round with one random peer. Equal hashes are answered with
/// [`Same`](super::answer::Same), others with [`StateMessage`](super::answer::StateMessage).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Compare {
    /// Hash of the version vector.
    #[serde(rename = "s")]
    pub seen: Hash,
    /// The state hash.
    #[serde(rename = "h")]
    pub state: Hash,
    /// Hash of what the live members announce.
    #[serde(rename = "a")]
    pub announcements: Hash,
    /// The sender wants announcements even if the hashes agree, because a heartbeat was missed.
    #[serde(rename = "w", default, skip_serializing_if = "is_false")]
    pub stale: bool,
    /// A hash of each bucket of the version vector, or nothing if the requester sends them once it
    /// knows that something differs. Absent if its digest is short. An earlier release sends none
    /// and gets whole digests.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<ByteBuf>,
}

/// Asks for the receiver's digest. Sent to each new peer at once, and to any peer when a gap shows.
/// Answered with [`StateMessage`](super::answer::StateMessage), with the cells if they fit one
/// small page. The receiver first records the requester. Afterwards it pulls what it lacks of the
/// requester's digest itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The requester's own announcement.
    #[serde(rename = "a")]
    pub announcement: Announcement,
    /// The requester's version vector, packed.
    #[serde(rename = "d")]
    pub have: ByteBuf,
    /// How many versions of each writer in the digest are not on the requester's disk yet, packed.
    /// Absent if all are, or if it has no disk.
    #[serde(rename = "u", default, skip_serializing_if = "is_none")]
    pub uncommitted: ByteBuf,
    /// The requester's first delta, which holds its replica record. Sent until the receiver is
    /// known to have it.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub birth: Option<ByteBuf>,
    /// Hash of what the live members announce, as far as the requester knows.
    #[serde(rename = "m")]
    pub announcements: Hash,
    /// The sender wants the cells too, if they fit one small page. A node asks one peer at a time
    /// for them.
    #[serde(rename = "w", default, skip_serializing_if = "is_false")]
    pub cells: bool,
    /// `have` is this part of the digest. The others follow.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartNumber>,
}

/// Asks for the next page of some writers' cells, beyond `have`. Answered with
/// [`PageMessage`](super::answer::PageMessage).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PullPage {
    /// The requester, which the receiver must have recorded.
    #[serde(rename = "i")]
    pub replica: Id,
    /// For the wanted writers, what the requester held when the pull began, packed.
    #[serde(rename = "d")]
    pub have: ByteBuf,
    /// The wanted writers, 16 bytes each. Absent means all.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub only: Option<ByteBuf>,
    /// Where the last page ended. Absent at the first.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<ByteBuf>,
}

/// Tells the receiver what the sender holds. Sent if the sender holds more than the receiver, or
/// leaves. The receiver joins the cells that come along and pulls the rest. Answered with
/// [`Noted`](super::answer::Noted).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tell {
    /// The sender's announcement.
    #[serde(rename = "a")]
    pub announcement: Announcement,
    /// The sender's version vector, packed.
    #[serde(rename = "d")]
    pub have: ByteBuf,
    /// As in [`Ask`].
    #[serde(rename = "u", default, skip_serializing_if = "is_none")]
    pub uncommitted: ByteBuf,
    /// The sender's own last cells, if it leaves and they fit.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<ByteBuf>,
    /// The way earlier releases leave for good: this replica is to be the sender's successor.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<Id>,
    /// `have` is this part of the digest. The others follow.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartNumber>,
    /// `have` names only writers that the receiver lacks something of. Answered with
    /// [`Taken`](super::answer::Taken).
    #[serde(rename = "o", default, skip_serializing_if = "is_false")]
    pub is_excerpt: bool,
}

/// A further part of a digest that is too long for its message. Sent right after that message.
/// Answered with [`Taken`](super::answer::Taken).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DigestPart {
    /// The sender's own replica.
    #[serde(rename = "i")]
    pub replica: Id,
    /// Some of the sender's version vector, packed.
    #[serde(rename = "d")]
    pub have: ByteBuf,
    /// As in [`Ask`], for this part.
    #[serde(rename = "u", default, skip_serializing_if = "is_none")]
    pub uncommitted: ByteBuf,
    #[serde(rename = "p")]
    pub part: PartNumber,
}

/// Asks how much of the sender the receiver holds, while callers wait for copies. The receiver
/// joins the cells that come along. Answered with [`Ack`](super::answer::Ack).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AckRequest {
    /// The sender's own replica.
    #[serde(rename = "i")]
    pub replica: Id,
    /// The sender's cells beyond those that the receiver is known to hold, if they are few.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<ByteBuf>,
}

/// A target as it travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TargetMessage {
    #[serde(rename = "i")]
    pub proposer: Id,
    #[serde(rename = "n")]
    pub number: u64,
    /// The target that `digest` is the difference from, by proposer and number. Absent if `digest`
    /// is whole.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub base: Option<(Id, u64)>,
    /// For each entry of the base that grew: the steps from the one before, and by how much, as
    /// LEB128 numbers.
    #[serde(rename = "c", default, skip_serializing_if = "is_none")]
    pub changes: ByteBuf,
    /// The version vector, packed. A difference has only the entries that the base lacks.
    #[serde(rename = "d")]
    pub digest: ByteBuf,
}

/// The confirmations of some targets, as they travel both ways.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConfirmMessage {
    /// For each target its tag of 8 bytes, the length of its bits as a LEB128 number, and a bit for
    /// each entry of the target in its order. Zero bytes at the end are left out.
    #[serde(rename = "b")]
    pub bits: ByteBuf,
    /// A target that the receiver did not know, whole.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<TargetMessage>,
}

impl Request {
    pub(crate) fn number(number: NumberAsk) -> Self {
        Self { version: VERSION, number: Some(number), ..Self::default() }
    }

    pub(crate) fn compare(compare: Compare) -> Self {
        Self { version: VERSION, compare: Some(compare), ..Self::default() }
    }

    pub(crate) fn ask(ask: Ask) -> Self {
        Self { version: VERSION, ask: Some(ask), ..Self::default() }
    }

    pub(crate) fn pull(pull: PullPage) -> Self {
        Self { version: VERSION, pull: Some(pull), ..Self::default() }
    }

    pub(crate) fn tell(tell: Tell) -> Self {
        Self { version: VERSION, tell: Some(tell), ..Self::default() }
    }

    pub(crate) fn ack(ack: AckRequest) -> Self {
        Self { version: VERSION, ack: Some(ack), ..Self::default() }
    }

    pub(crate) fn confirm(confirm: ConfirmMessage) -> Self {
        Self { version: VERSION, confirm: Some(confirm), ..Self::default() }
    }

    pub(crate) fn digest(digest: DigestPart) -> Self {
        Self { version: VERSION, digest: Some(digest), ..Self::default() }
    }
}

impl PullPage {
    /// The writers wanted, read back.
    pub(crate) fn writers(&self) -> Result<Option<Vec<ReplicaId>>, Refusal> {
        self.only.as_ref().map(|bytes| unpack_ids(bytes)).transpose()
    }
}

pub(super) fn is_none(bytes: &ByteBuf) -> bool {
    bytes.is_empty()
}

pub(super) fn is_false(flag: &bool) -> bool {
    !*flag
}
