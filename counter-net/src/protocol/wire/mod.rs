//! The messages between nodes, and their bytes.
//!
//! A message is a CBOR map with one-letter keys. Unknown keys are ignored, so a later release may
//! add some. Hashes, ids and version vectors are packed byte strings inside it. A gossiped delta is
//! the one exception: it travels as its own bytes, without an envelope.
//!
//! The golden tests pin every message byte by byte, together with the same messages as a later
//! release may write them.

mod announcement;
mod answer;
mod buckets;
mod digest;
mod encoding;
#[cfg(test)]
mod golden;
mod gossip;
mod request;

pub(super) use announcement::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, Announcement, MemberState, RELEASE_BYTES_MAX, Suspicion,
};
#[cfg(feature = "node")]
pub(crate) use answer::refusal;
pub(super) use answer::{Noted, Numbered, PageMessage, Refused, Response, StateMessage};
pub(super) use buckets::{BucketHashes, BucketMask, in_buckets, whole_of};
pub(super) use digest::{
    DigestAssembly, DigestPiece, NONE_FOLLOW, PartNumber, PeerStatus, WholeDigest, cut,
};
pub(super) use encoding::{
    Hash, Id, check_length, decode, decode_delta, encode, pack_ids, push_varint, take_varint,
};
pub(crate) use encoding::{pack_vector, unpack_vector};
pub(super) use gossip::{GossipMessage, Sequence, is_delta};
pub(super) use request::{
    AckRequest, Ask, Compare, ConfirmMessage, DigestPart, NumberAsk, PullPage, Request,
    TargetMessage, Tell,
};
