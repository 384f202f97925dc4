//! One target, and who confirmed it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use counter_core::{ReplicaId, VersionVector};

use crate::protocol::interface::NodeId;

/// The first pause before an incomplete target is asked about again. It doubles each time.
const RETRY_MIN: Duration = Duration::from_millis(300);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// The name of a target: who proposed it, and the number of the proposal.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TargetId {
    pub proposer: ReplicaId,
    pub number: u64,
}

impl TargetId {
    /// A hash of the name. Confirmations travel under it.
    pub(super) fn tag(self) -> u64 {
        let mut bytes = self.proposer.to_bytes().to_vec();
        bytes.extend_from_slice(&self.number.to_be_bytes());
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }
}

/// The replicas that confirmed a target, as one bit for each replica that the target names.
///
/// A replica that the target does not name came later and cannot confirm it.
#[derive(Clone, Debug)]
pub(super) struct Confirmers {
    /// The replicas of the target's vector, ascending. The index is the bit's position.
    replicas: Arc<[ReplicaId]>,
    bits: Vec<u8>,
}

impl Confirmers {
    /// Nobody has confirmed `digest` yet.
    pub(super) fn new(digest: &VersionVector) -> Self {
        let replicas: Arc<[ReplicaId]> = digest.iter().map(|(replica, _)| replica).collect();
        Self { bits: vec![0; replicas.len().div_ceil(8)], replicas }
    }

    pub(super) fn contains(&self, replica: ReplicaId) -> bool {
        self.position(replica).is_some_and(|at| self.is_set(at))
    }

    /// True if the target names the replica, and the replica has not confirmed it.
    pub(super) fn lacks(&self, replica: ReplicaId) -> bool {
        self.position(replica).is_some_and(|at| !self.is_set(at))
    }

    pub(super) fn contains_all(&self, replicas: &[ReplicaId]) -> bool {
        replicas.iter().all(|replica| self.contains(*replica))
    }

    /// True if some of `replicas` may still confirm the target.
    pub(super) fn lacks_any(&self, replicas: &[ReplicaId]) -> bool {
        replicas.iter().any(|replica| self.lacks(*replica))
    }

    /// Returns true if the replica had not confirmed before. A replica that the target does not
    /// name is ignored.
    pub(super) fn insert(&mut self, replica: ReplicaId) -> bool {
        let at = self.position(replica).filter(|at| !self.is_set(*at));
        if let Some(at) = at {
            self.bits[at / 8] |= 1 << (at % 8);
        }
        at.is_some()
    }

    /// Sets the bits of `bytes`, except that of `own`. Returns the replicas that are news,
    /// ascending.
    pub(super) fn merge(&mut self, bytes: &[u8], own: ReplicaId) -> Vec<ReplicaId> {
        let is_set = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        let mut news = Vec::new();
        for at in (0..self.replicas.len()).filter(|at| is_set(*at)) {
            let replica = self.replicas[at];
            if replica != own && self.insert(replica) {
                news.push(replica);
            }
        }
        news
    }

    /// The bits, with all their bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bits
    }

    /// The bits without the zero bytes at the end.
    fn short_bytes(&self) -> Vec<u8> {
        let used = self.bits.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.bits[..used].to_vec()
    }

    fn position(&self, replica: ReplicaId) -> Option<usize> {
        self.replicas.binary_search(&replica).ok()
    }

    fn is_set(&self, at: usize) -> bool {
        self.bits[at / 8] >> (at % 8) & 1 == 1
    }
}

/// The confirmations of one target as they travel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bits {
    pub tag: u64,
    /// One bit for each replica of the target, in its order. Zero bytes at the end are left out.
    pub bits: Vec<u8>,
}

/// A version vector that every live member is asked to confirm.
#[derive(Debug)]
pub(super) struct Target {
    id: TargetId,
    tag: u64,
    digest: Arc<VersionVector>,
    confirmers: Confirmers,
    /// The bits that each peer has too, as of its last message.
    known: BTreeMap<NodeId, Vec<u8>>,
    heard: Duration,
    is_covered: bool,
    /// Bits came in that were not passed on yet.
    has_news: bool,
    retry_at: Duration,
    retry: Duration,
}

impl Target {
    pub(super) fn new(id: TargetId, digest: Arc<VersionVector>, now: Duration) -> Self {
        Self {
            id,
            tag: id.tag(),
            confirmers: Confirmers::new(&digest),
            digest,
            known: BTreeMap::new(),
            heard: now,
            is_covered: false,
            has_news: false,
            retry_at: now + RETRY_MIN,
            retry: RETRY_MIN,
        }
    }

    pub(super) fn id(&self) -> TargetId {
        self.id
    }

    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    pub(super) fn digest(&self) -> &Arc<VersionVector> {
        &self.digest
    }

    pub(super) fn confirmers(&self) -> &Confirmers {
        &self.confirmers
    }

    /// When it was heard of.
    pub(super) fn heard(&self) -> Duration {
        self.heard
    }

    /// True if this node holds all of it.
    pub(super) fn is_covered(&self) -> bool {
        self.is_covered
    }

    /// This node holds all of it now, and confirms it.
    pub(super) fn cover(&mut self, own: ReplicaId) {
        self.is_covered = true;
        self.confirmers.insert(own);
        self.has_news = true;
    }

    /// A member said that it holds all of it. True if that is news.
    pub(super) fn confirm(&mut self, replica: ReplicaId) -> bool {
        let is_news = self.confirmers.insert(replica);
        self.has_news |= is_news;
        is_news
    }

    /// Takes a peer's bits. Returns the replicas that are news, ascending.
    pub(super) fn merge(&mut self, peer: NodeId, bits: &[u8], own: ReplicaId) -> Vec<ReplicaId> {
        self.known.insert(peer, bits.iter().copied().take(self.confirmers.bytes().len()).collect());
        let news = self.confirmers.merge(bits, own);
        self.has_news |= !news.is_empty();
        news
    }

    /// The bits for a peer that asked. It counts as knowing them from now on.
    pub(super) fn answer(&mut self, peer: NodeId) -> Bits {
        self.known.insert(peer, self.confirmers.bytes().to_vec());
        self.bits()
    }

    pub(super) fn bits(&self) -> Bits {
        Bits { tag: self.tag, bits: self.confirmers.short_bytes() }
    }

    /// True if a peer is to be sent the bits: it may lack some, or this node lacks some and asks
    /// again.
    pub(super) fn is_due(&self, peer: NodeId, live: &[ReplicaId], now: Duration) -> bool {
        let known = self.known.get(&peer).map_or(&[][..], Vec::as_slice);
        let has = |at: usize| known.get(at).copied().unwrap_or(0);
        let bits = self.confirmers.bytes();
        let lacks = bits.iter().enumerate().any(|(at, byte)| byte & !has(at) != 0);
        (self.has_news && lacks) || (self.retry_at <= now && self.confirmers.lacks_any(live))
    }

    /// The bits went out. Returns when to ask again, if some of `live` may still confirm.
    pub(super) fn spread(&mut self, live: &[ReplicaId], now: Duration) -> Option<Duration> {
        let is_open = self.confirmers.lacks_any(live);
        if self.has_news || (is_open && self.retry_at <= now) {
            self.retry = if self.has_news { RETRY_MIN } else { (self.retry * 2).min(RETRY_MAX) };
            self.retry_at = now + self.retry;
            self.has_news = false;
        }
        is_open.then_some(self.retry_at)
    }

    /// True if it is `age` old and was asked about again without an answer. A machine that slept
    /// has not asked again, so it accuses nobody when it wakes.
    pub(super) fn is_overdue(&self, age: Duration, now: Duration) -> bool {
        now.saturating_sub(self.heard) >= age && self.retry > 2 * RETRY_MIN
    }
}

/// The best target confirmed by every member live at the time.
#[derive(Debug)]
pub(super) struct Complete {
    pub id: TargetId,
    pub digest: Arc<VersionVector>,
    /// A replica that the target names may become live later. Being named is not a confirmation.
    pub confirmers: Confirmers,
    /// When this node's state moved on from it, if it has.
    pub left_at: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node: u64) -> ReplicaId {
        ReplicaId::new(node, 1)
    }

    fn confirmers(replicas: u64) -> Confirmers {
        Confirmers::new(&(1..=replicas).map(|node| (id(node), 7)).collect())
    }

    #[test]
    fn merged_bits_are_news_once_and_spare_the_own() {
        let mut confirmers = confirmers(9);
        assert!(confirmers.insert(id(9)) && !confirmers.insert(id(9)));
        assert_eq!(confirmers.merge(&[0b111, 1], id(2)), [id(1), id(3)]);
        assert_eq!(confirmers.merge(&[0b111, 1], id(2)), []);
        assert!(confirmers.contains_all(&[id(1), id(3), id(9)]) && confirmers.lacks(id(2)));
    }

    #[test]
    fn late_replica_cannot_confirm() {
        let mut confirmers = confirmers(2);
        assert!(!confirmers.insert(id(3)));
        assert!(!confirmers.contains(id(3)) && !confirmers.lacks(id(3)));
        assert!(!confirmers.contains_all(&[id(3)]) && !confirmers.lacks_any(&[id(3)]));
    }

    #[test]
    fn bits_travel_without_trailing_zeros() {
        let mut confirmers = confirmers(20);
        confirmers.insert(id(2));
        assert_eq!((confirmers.short_bytes(), confirmers.bytes().len()), (vec![2], 3));
    }
}
