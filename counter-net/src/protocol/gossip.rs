//! What goes to every node: one envelope with the sender's sequence, and in it cells, an announcement or a suspicion.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::announcement::{Announcement, Suspicion};
use super::stats::Kind;
use super::wire;
use super::wire::VERSION;

/// The most bytes that an envelope adds to the cells in it.
pub(super) const ENVELOPE_BYTES_MAX: usize = 32;

/// One gossip message. Any of the parts may be there; what a later release adds is ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Gossip {
    #[serde(rename = "v")]
    pub version: u64,
    /// Raised with each message of this sender: gossip layers drop what has the same bytes as an earlier message.
    #[serde(rename = "n")]
    pub sequence: u64,
    /// Sent after a flush: the sender's own cells since its last flush, with their span.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<ByteBuf>,
    /// Sent on change and as a heartbeat: the sender's own announcement; standing `Left` when it leaves.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub announcement: Option<Announcement>,
    /// Sent when a connection is lost and nobody else has said so.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Suspicion>,
}

impl Gossip {
    pub(super) fn kind(&self) -> Kind {
        if self.delta.is_some() { Kind::GossipDelta } else { Kind::GossipPresence }
    }
}

/// Gives every payload of this sender its own bytes.
#[derive(Debug, Default)]
pub(super) struct Sequence(u64);

impl Sequence {
    pub(super) fn seal(&mut self, mut gossip: Gossip) -> Vec<u8> {
        self.0 += 1;
        gossip.version = VERSION;
        gossip.sequence = self.0;
        wire::encode(&gossip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contents_have_unequal_bytes() {
        let mut sequence = Sequence::default();
        let gossip = Gossip { delta: Some(ByteBuf::from(vec![1, 2, 3])), ..Gossip::default() };
        assert_ne!(sequence.seal(gossip.clone()), sequence.seal(gossip));
    }

    #[test]
    fn the_envelope_keeps_its_bound() {
        let mut sequence = Sequence(u64::MAX - 1);
        let sealed = sequence.seal(Gossip { delta: Some(ByteBuf::from(vec![0; 70_000])), ..Gossip::default() });
        assert!(sealed.len() - 70_000 <= ENVELOPE_BYTES_MAX);
    }

    #[test]
    fn fields_of_a_later_release_are_ignored() {
        #[derive(Serialize)]
        struct Later {
            v: u64,
            n: u64,
            zz: Vec<u8>,
        }
        let bytes = wire::encode(&Later { v: VERSION, n: 4, zz: vec![1; 9] });
        let gossip: Gossip = wire::decode(&bytes, 1000).unwrap();
        assert_eq!(gossip.sequence, 4);
        assert!(gossip.delta.is_none());
    }
}
