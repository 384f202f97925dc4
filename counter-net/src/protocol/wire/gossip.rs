//! What goes to every node: cells as they are, or an envelope with an announcement or a suspicion.
//!
//! After a flush the sender's own cells since the last one go out as the bytes of their delta and
//! nothing around them, since a click is shorter than most envelopes: a CBOR array, while every
//! other message is a map. The delta has a format number of its own, and no two are alike, because
//! a writer never publishes a span twice.

use serde::{Deserialize, Serialize};

use super::announcement::{Announcement, Suspicion};
use super::encoding::{self, VERSION};
use super::request::TargetMessage;

/// Whether a payload is a delta, or of a later format of deltas: a CBOR array.
pub(crate) fn is_delta(payload: &[u8]) -> bool {
    payload.first().is_some_and(|byte| byte >> 5 == 4)
}

/// One gossip message besides cells. Any of the parts may be there; what a later release adds is
/// ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Gossip {
    #[serde(rename = "v")]
    pub version: u64,
    /// Raised with each message of this sender: gossip layers drop what has the same bytes as an
    /// earlier message.
    #[serde(rename = "n")]
    pub sequence: u64,
    /// Sent on change and as a heartbeat: the sender's own announcement; standing `Left` when it
    /// leaves.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub announcement: Option<Announcement>,
    /// Sent when a connection is lost and nobody else has said so.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Suspicion>,
    /// Sent while the state moves: a version vector that every live member is asked to confirm.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetMessage>,
}

/// Gives every envelope of this sender its own bytes.
#[derive(Debug, Default)]
pub(crate) struct Sequence(u64);

impl Sequence {
    pub(crate) fn seal(&mut self, mut gossip: Gossip) -> Vec<u8> {
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
        let gossip = Gossip::default();
        assert_ne!(sequence.seal(gossip.clone()), sequence.seal(gossip));
    }

    #[test]
    fn a_delta_is_told_apart_by_its_first_byte() {
        assert!(is_delta(&counter_core::Delta::default().encode()));
        assert!(!is_delta(&Sequence::default().seal(Gossip::default())) && !is_delta(&[]));
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
        let gossip: Gossip = encoding::decode(&bytes, 1000).unwrap();
        assert_eq!(gossip.sequence, 4);
        assert!(gossip.announcement.is_none());
    }
}
