//! Answers to requests between two peers.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::announcement::Announcement;
use super::buckets::BucketMask;
use super::digest::{DigestPiece, PartNumber};
use super::encoding::{Hash, VERSION};
use super::request::{ConfirmMessage, is_false, is_none};
use crate::protocol::interface::Refusal;

/// An answer. Exactly one kind is present.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Response {
    #[serde(rename = "v")]
    pub version: u64,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub same: Option<Same>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateMessage>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub page: Option<PageMessage>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub noted: Option<Noted>,
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<ConfirmMessage>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub numbered: Option<Numbered>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// The incarnation of the answering node. The versions in the answer count as held by this
    /// incarnation.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// As in [`Ask`](super::request::Ask), for the digest or the part of it that this answer
    /// carries or agrees to.
    #[serde(rename = "u", default, skip_serializing_if = "is_none")]
    pub uncommitted: ByteBuf,
}

/// Answers a compare that found no difference.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Same {
    #[serde(rename = "y")]
    pub synced: bool,
}

/// Answers an ask, or a compare that found a difference, with what the answering node holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StateMessage {
    /// The answering node's version vector, packed. Absent if it equals the one compared.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub have: Option<ByteBuf>,
    #[serde(rename = "h")]
    pub state: Hash,
    #[serde(rename = "y")]
    pub synced: bool,
    /// The answering node is not synced and waits for others, so it may lack what they hold.
    #[serde(rename = "w", default, skip_serializing_if = "is_false")]
    pub waits: bool,
    /// Every member that the answering node knows, with the time that each announcement has left.
    /// Absent if the hashes agreed.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub announcements: Vec<Announcement>,
    /// All that the requester lacks, if it fits one small page.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<ByteBuf>,
    /// `have` is this part of the digest. The others follow.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartNumber>,
    /// Something differs, and there is no more in this answer: the requester may send the hashes of
    /// its buckets.
    #[serde(rename = "b", default, skip_serializing_if = "is_false")]
    pub differs: bool,
    /// `have` names the writers of these buckets only. The others agree with the hashes compared.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<BucketMask>,
}

/// Answers a pull with a page of cells and the cursor of the next one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PageMessage {
    #[serde(rename = "x")]
    pub delta: ByteBuf,
    /// Absent at the last page.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ByteBuf>,
}

/// Answers a tell with what the answering node holds now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Noted {
    #[serde(rename = "d")]
    pub have: ByteBuf,
    /// `have` is this part of the digest. The others follow.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartNumber>,
}

/// Answers a [`NumberAsk`](super::request::NumberAsk).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Numbered {
    /// The latest incarnation of the requester's node that the answering node knows, whether it
    /// holds it, a replica claims it, or it was folded. 0 if it knows none.
    #[serde(rename = "n")]
    pub latest: u64,
    #[serde(rename = "y")]
    pub synced: bool,
}

/// Acknowledges a part of a digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Taken {}

/// Answers an [`AckRequest`](super::request::AckRequest): the answering node holds everything of
/// that writer up to this version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ack {
    #[serde(rename = "n")]
    pub version: u64,
}

/// Refuses a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// The reason's label.
    #[serde(rename = "r")]
    pub reason: String,
    /// The lowest version of the protocol that the answering node speaks.
    #[serde(rename = "l")]
    pub lowest: u64,
    /// The highest.
    #[serde(rename = "h")]
    pub highest: u64,
}

impl Response {
    pub(crate) fn numbered(numbered: Numbered) -> Self {
        Self { version: VERSION, numbered: Some(numbered), ..Self::default() }
    }

    pub(crate) fn taken() -> Self {
        Self { version: VERSION, taken: Some(Taken {}), ..Self::default() }
    }

    pub(crate) fn ack(version: u64) -> Self {
        Self { version: VERSION, ack: Some(Ack { version }), ..Self::default() }
    }

    pub(crate) fn confirm(confirm: ConfirmMessage) -> Self {
        Self { version: VERSION, confirm: Some(confirm), ..Self::default() }
    }

    pub(crate) fn same(synced: bool) -> Self {
        Self { version: VERSION, same: Some(Same { synced }), ..Self::default() }
    }

    /// The same state message, with `have` limited to these buckets.
    pub(crate) fn in_buckets(mut self, mask: BucketMask) -> Self {
        self.state.iter_mut().for_each(|state| state.buckets = Some(mask));
        self
    }

    /// The same state message, which now only reports that something differs.
    pub(crate) fn differing(mut self) -> Self {
        self.state.iter_mut().for_each(|state| state.differs = true);
        self
    }

    pub(crate) fn state(state: StateMessage) -> Self {
        Self { version: VERSION, state: Some(state), ..Self::default() }
    }

    pub(crate) fn page(page: PageMessage) -> Self {
        Self { version: VERSION, page: Some(page), ..Self::default() }
    }

    pub(crate) fn noted(DigestPiece { have, uncommitted, part }: DigestPiece) -> Self {
        Self { version: VERSION, noted: Some(Noted { have, part }), uncommitted, ..Self::default() }
    }

    pub(crate) fn refused(reason: Refusal) -> Self {
        let refused =
            Refused { reason: reason.label().to_owned(), lowest: VERSION, highest: VERSION };
        Self { version: VERSION, refused: Some(refused), ..Self::default() }
    }
}

/// The bytes of the answer that refuses any request.
#[cfg(feature = "node")]
pub(crate) fn refusal(reason: Refusal) -> Vec<u8> {
    super::encoding::encode(&Response::refused(reason))
}
