//! Gossip messages: bare cells, or an envelope with an announcement, a suspicion or a target.
//!
//! After a flush the sender's new cells go out as the bytes of their delta with nothing around
//! them, because a click is shorter than most envelopes. A delta is a CBOR array, and every other
//! message is a map. The delta has its own format number. No two deltas are alike, because a writer
//! never publishes a span twice.

use serde::{Deserialize, Serialize};

use super::announcement::{Announcement, Suspicion};
use super::encoding::{self, VERSION};
use super::request::TargetMessage;

/// True if a payload is a delta of this or a later format, which is a CBOR array.
pub(crate) fn is_delta(payload: &[u8]) -> bool {
    payload.first().is_some_and(|byte| byte >> 5 == 4)
}

/// A gossip message without cells. Each part is optional, and parts that a later release adds are
/// ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GossipMessage {
    #[serde(rename = "v")]
    pub version: u64,
    /// Raised with each message of this sender, because gossip layers drop messages with the same
    /// bytes.
    #[serde(rename = "n")]
    pub sequence: u64,
    /// The sender's own announcement, sent on change and as a heartbeat. Its state is `Left`
    /// when the sender leaves.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub announcement: Option<Announcement>,
    /// Sent when a connection is lost and no other node has said so.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Suspicion>,
    /// A version vector that every live member is asked to confirm. Sent while the state moves.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetMessage>,
}

/// The counter that makes every envelope of this sender unlike the others.
#[derive(Debug, Default)]
pub(crate) struct Sequence(u64);

impl Sequence {
    pub(crate) fn seal(&mut self, mut gossip: GossipMessage) -> Vec<u8> {
        self.0 += 1;
        gossip.version = VERSION;
        gossip.sequence = self.0;
        encoding::encode(&gossip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contents_have_unequal_bytes() {
        let mut sequence = Sequence::default();
        let gossip = GossipMessage::default();
        assert_ne!(sequence.seal(gossip.clone()), sequence.seal(gossip));
    }

    #[test]
    fn first_byte_tells_a_delta() {
        assert!(is_delta(&counter_core::Delta::default().encode()));
        assert!(!is_delta(&Sequence::default().seal(GossipMessage::default())) && !is_delta(&[]));
    }

    #[test]
    fn fields_of_a_later_release_are_ignored() {
        #[derive(Serialize)]
        struct Later {
            v: u64,
            n: u64,
            zz: Vec<u8>,
        }
        let bytes = encoding::encode(&Later { v: VERSION, n: 4, zz: vec![1; 9] });
        let gossip: GossipMessage = encoding::decode(&bytes, 1000).unwrap();
        assert_eq!(gossip.sequence, 4);
        assert!(gossip.announcement.is_none());
    }
}
