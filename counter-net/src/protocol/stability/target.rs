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
    /// The replicas of the target's vector, ascending. The index is the bit's position. Targets
    /// that name the same replicas share them.
    replicas: Arc<[ReplicaId]>,
    bits: Vec<u8>,
    /// The bits of the other live members.
    live: Vec<u8>,
    /// True if the target names all of them.
    names_all_live: bool,
}

impl Confirmers {
    /// Nobody has confirmed `digest` yet. `live` are the other live members, ascending. The list of
    /// replicas is shared with `like` if it is the same. O(writers + members).
    pub(super) fn new(digest: &VersionVector, live: &[ReplicaId], like: Option<&Self>) -> Self {
        let named = || digest.iter().map(|(replica, _)| replica);
        let shared = like.map(|like| &like.replicas).filter(|of| of.iter().copied().eq(named()));
        let replicas = shared.map_or_else(|| named().collect(), Arc::clone);
        let (bits, names_all_live) = (vec![0; replicas.len().div_ceil(8)], true);
        let mut new = Self { replicas, live: bits.clone(), bits, names_all_live };
        new.set_live(live);
        new
    }

    /// These are the other live members from now on, ascending. O(writers + members).
    pub(super) fn set_live(&mut self, live: &[ReplicaId]) {
        self.live.fill(0);
        self.names_all_live = true;
        let mut at = 0;
        for member in live {
            while self.replicas.get(at).is_some_and(|replica| replica < member) {
                at += 1;
            }
            if self.replicas.get(at) == Some(member) {
                self.live[at / 8] |= 1 << (at % 8);
            } else {
                self.names_all_live = false;
            }
        }
    }

    /// True if the target names the replica, and the replica has not confirmed it.
    pub(super) fn lacks(&self, replica: ReplicaId) -> bool {
        self.position(replica).is_some_and(|at| !self.is_set(at))
    }

    /// True if every live member has confirmed the target.
    pub(super) fn contains_all_live(&self) -> bool {
        self.names_all_live && !self.lacks_any_live()
    }

    /// True if some live members may still confirm the target.
    pub(super) fn lacks_any_live(&self) -> bool {
        has_more(&self.live, &self.bits)
    }

    /// The number of live members that have confirmed the target.
    pub(super) fn confirmed_live(&self) -> usize {
        let both = self.live.iter().zip(&self.bits).map(|(live, set)| live & set);
        both.map(|byte| byte.count_ones() as usize).sum()
    }

    /// Adds the replicas of `other` that this target names. O(writers of both).
    pub(super) fn insert_all(&mut self, other: &Self) {
        if Arc::ptr_eq(&self.replicas, &other.replicas) {
            let pairs = self.bits.iter_mut().zip(&other.bits);
            return pairs.for_each(|(here, there)| *here |= there);
        }
        let mut at = 0;
        for (place, replica) in other.replicas.iter().enumerate() {
            while self.replicas.get(at).is_some_and(|here| here < replica) {
                at += 1;
            }
            if other.is_set(place) && self.replicas.get(at) == Some(replica) {
                self.bits[at / 8] |= 1 << (at % 8);
            }
        }
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
    /// ascending. O(bytes + news).
    pub(super) fn merge(&mut self, bytes: &[u8], own: ReplicaId) -> Vec<ReplicaId> {
        let (own, mut news) = (self.position(own), Vec::new());
        for (place, (held, told)) in self.bits.iter_mut().zip(bytes).enumerate() {
            let mut new = told & !*held;
            while new != 0 {
                let at = 8 * place + new.trailing_zeros() as usize;
                if Some(at) != own
                    && let Some(replica) = self.replicas.get(at)
                {
                    *held |= 1 << (at % 8);
                    news.push(*replica);
                }
                // Without its lowest bit.
                new &= new - 1;
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

/// True if some bit of `bits` is not set in `others`. Bytes that `others` lacks are zero.
fn has_more(bits: &[u8], others: &[u8]) -> bool {
    let (both, rest) = bits.split_at(bits.len().min(others.len()));
    // Without an early end the compiler compares many bytes at a time.
    let more = both.iter().zip(others).fold(0, |more, (bit, other)| more | (bit & !other));
    more != 0 || rest.iter().any(|byte| *byte != 0)
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
    /// A target that was heard of now. `confirmers` are those of `digest`.
    pub(super) fn new(
        id: TargetId,
        digest: Arc<VersionVector>,
        confirmers: Confirmers,
        now: Duration,
    ) -> Self {
        Self {
            id,
            tag: id.tag(),
            confirmers,
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

    /// These are the other live members from now on, ascending.
    pub(super) fn set_live(&mut self, live: &[ReplicaId]) {
        self.confirmers.set_live(live);
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
    pub(super) fn is_due(&self, peer: NodeId, now: Duration) -> bool {
        let known = || self.known.get(&peer).map_or(&[][..], Vec::as_slice);
        (self.has_news && has_more(self.confirmers.bytes(), known()))
            || (self.retry_at <= now && self.confirmers.lacks_any_live())
    }

    /// The bits went out. Returns when to ask again, if some live members may still confirm.
    pub(super) fn spread(&mut self, now: Duration) -> Option<Duration> {
        let is_open = self.confirmers.lacks_any_live();
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

    /// Those of a target that names the nodes from 1 on.
    fn confirmers(replicas: u64, live: &[ReplicaId]) -> Confirmers {
        Confirmers::new(&(1..=replicas).map(|node| (id(node), 7)).collect(), live, None)
    }

    #[test]
    fn merged_bits_are_news_once_and_spare_the_own() {
        let mut confirmers = confirmers(9, &[id(1), id(3), id(9)]);
        assert!(confirmers.insert(id(9)) && !confirmers.insert(id(9)));
        assert_eq!(confirmers.merge(&[0b111, 1], id(2)), [id(1), id(3)]);
        assert_eq!(confirmers.merge(&[0b111, 1], id(2)), []);
        assert!(confirmers.contains_all_live() && confirmers.lacks(id(2)));
    }

    #[test]
    fn bits_of_nobody_are_ignored() {
        let mut confirmers = confirmers(9, &[]);
        assert_eq!(confirmers.merge(&[0, 0b1111_1110, 1], id(2)), []);
        assert_eq!(confirmers.bytes(), [0, 0]);
    }

    #[test]
    fn late_replica_cannot_confirm() {
        let mut confirmers = confirmers(2, &[id(3)]);
        assert!(!confirmers.insert(id(3)));
        assert!(!confirmers.lacks(id(3)));
        assert!(!confirmers.contains_all_live() && !confirmers.lacks_any_live());
    }

    #[test]
    fn live_members_are_counted() {
        let mut confirmers = confirmers(20, &[id(2), id(9), id(20)]);
        confirmers.insert(id(9));
        confirmers.insert(id(10));
        assert_eq!(confirmers.confirmed_live(), 1);
        assert!(confirmers.lacks_any_live());
        confirmers.set_live(&[id(9), id(10)]);
        assert_eq!(confirmers.confirmed_live(), 2);
        assert!(confirmers.contains_all_live());
    }

    #[test]
    fn confirmers_of_other_lists_are_taken_by_id() {
        let (mut few, mut many) = (confirmers(3, &[]), confirmers(9, &[]));
        for node in [2, 3, 9] {
            many.insert(id(node));
        }
        few.insert_all(&many);
        assert_eq!(few.bytes(), [0b110]);
        let mut same = Confirmers::new(&(1..=9).map(|at| (id(at), 1)).collect(), &[], Some(&many));
        assert!(Arc::ptr_eq(&same.replicas, &many.replicas));
        same.insert_all(&many);
        assert_eq!(same.bytes(), many.bytes());
    }

    #[test]
    fn peer_lacks_bits_beyond_its_bytes() {
        assert!(has_more(&[1, 0, 2], &[3]) && !has_more(&[1, 0, 0], &[3]));
        assert!(has_more(&[4], &[3, 1]) && !has_more(&[2], &[3, 1]) && !has_more(&[], &[]));
    }

    #[test]
    fn bits_travel_without_trailing_zeros() {
        let mut confirmers = confirmers(20, &[]);
        confirmers.insert(id(2));
        assert_eq!((confirmers.short_bytes(), confirmers.bytes().len()), (vec![2], 3));
    }
}
