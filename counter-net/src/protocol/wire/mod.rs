//! The messages between nodes, and their bytes.
//!
//! A message is a CBOR map with one-letter keys. Unknown keys are ignored, so a later release may
//! add some. Hashes, ids and version vectors are packed byte strings inside it. A gossiped delta is
//! the one exception: it travels as its own bytes, without an envelope.
//!
//! The golden tests pin every message byte by byte, together with the same messages as a later
//! release may write them.

mod announcement;
mod digest;
mod encoding;
#[cfg(test)]
mod golden;
mod gossip;
mod message;

pub(super) use announcement::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, Announcement, RELEASE_BYTES_MAX, Standing, Suspicion,
};
pub(super) use digest::{Answer, Incoming, NONE_FOLLOW, Part, Piece, Whole, cut};
pub(super) use encoding::{
    Hash, Id, check_length, decode, decode_delta, encode, pack_ids, push_varint, take_varint,
};
pub(crate) use encoding::{pack_vector, unpack_vector};
pub(super) use gossip::{Gossip, Sequence, is_delta};
#[cfg(feature = "node")]
pub(crate) use message::refusal;
pub(super) use message::{
    Ask, Compare, ConfirmMessage, DigestPart, Hold, Noted, NumberAsk, Numbered, Page, PullPage,
    Request, Response, State, TargetMessage, Tell,
};
