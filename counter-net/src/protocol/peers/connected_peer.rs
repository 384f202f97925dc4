//! One connected peer: what it was last heard to hold, and how far this node has pulled from it.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{ReplicaId, Version, VersionVector};

use crate::protocol::membership::{Lag, Shortfall};
use crate::protocol::wire::{DigestAssembly, PeerStatus};

/// After this many failed requests in a row, this node no longer waits for a peer before it counts
/// as synced.
const FAILURES_MAX: u32 = 3;

/// One connected peer.
///
/// Only its last digest counts, so the memory for it is bounded by one digest.
#[derive(Debug, Default)]
pub(crate) struct ConnectedPeer {
    /// The versions that it was last heard to hold.
    heard: VersionVector,
    /// How far it was behind this node then.
    lacks: Shortfall,
    /// When that was, or `None` before its first digest.
    heard_at: Option<Duration>,
    /// It has said nothing for so long that it may be gone.
    is_silent: bool,
    /// This node has held, at some time, all that the peer was heard to hold then.
    is_pulled: bool,
    /// A writer that this node lacked something of when it last looked whether it has pulled all.
    missing: Option<ReplicaId>,
    /// It answered an ask, so `is_synced` and `waits` are what it said of itself. A digest that
    /// comes with a request says neither.
    answered_ask: bool,
    /// It said that it is synced.
    is_synced: bool,
    /// It said that it is not synced and waits for others.
    waits: bool,
    /// It runs an earlier release, which confirms no targets.
    confirms_nothing: bool,
    /// It runs an earlier release, which takes no parts of digests.
    takes_no_parts: bool,
    /// This node's digest when it last sent the hashes of its buckets, until the answer is here.
    compared: Option<VersionVector>,
    /// The parts of its latest digest, until all are here.
    incoming: DigestAssembly,
    /// Failed requests in a row.
    failures: u32,
    /// It is not asked before this time, because a request failed.
    rest_until: Duration,
    /// When the last full pull began that repairs a divergence.
    repaired_at: Option<Duration>,
    /// Writers whose pull fell short of the peer's digest, with that version. They are not asked
    /// for again until the peer holds more.
    fruitless: BTreeMap<ReplicaId, Version>,
}

impl ConnectedPeer {
    /// The versions that it was last heard to hold.
    pub(crate) fn heard(&self) -> &VersionVector {
        &self.heard
    }

    /// Up to which version it was last heard to hold a writer.
    pub(crate) fn holds(&self, writer: ReplicaId) -> Version {
        self.heard.get(writer)
    }

    /// True once it has said what it holds.
    pub(crate) fn has_digest(&self) -> bool {
        self.heard_at.is_some()
    }

    /// True once it has answered an ask.
    pub(crate) fn answered_ask(&self) -> bool {
        self.answered_ask
    }

    /// True if this node has held, at some time, all that the peer was heard to hold then.
    pub(crate) fn is_pulled(&self) -> bool {
        self.is_pulled
    }

    /// True if it said that it is synced.
    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// True if it is not synced and waits for others.
    pub(super) fn waits(&self) -> bool {
        self.waits && !self.is_synced
    }

    /// True if it has said nothing for so long that it may be gone.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// False if it runs an earlier release, which confirms no targets.
    pub(crate) fn confirms(&self) -> bool {
        !self.confirms_nothing
    }

    /// False if it runs an earlier release, which takes no parts of digests.
    pub(crate) fn takes_parts(&self) -> bool {
        !self.takes_no_parts
    }

    /// False if it no longer names a writer, or a pull from it did not bring that version.
    pub(crate) fn may_bring(&self, writer: ReplicaId, version: Version) -> bool {
        self.heard.get(writer) > 0 && self.is_worth_asking(writer, version)
    }

    /// False if a pull from it was to bring this version of a writer and did not.
    fn is_worth_asking(&self, writer: ReplicaId, version: Version) -> bool {
        self.fruitless.get(&writer).is_none_or(|asked| *asked < version)
    }

    /// True while it is not asked anything, because a request failed.
    pub(crate) fn rests(&self, now: Duration) -> bool {
        self.rest_until > now
    }

    /// Until when it rests, or rested last.
    pub(crate) fn rest_until(&self) -> Duration {
        self.rest_until
    }

    /// Failed requests in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// True if it failed too often to wait for.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// True if this node need not wait for it: it was pulled to the end, or failed too often.
    pub(super) fn is_resolved(&self) -> bool {
        (self.is_pulled && self.answered_ask) || self.has_failed()
    }

    /// True if a divergence may be repaired: the last repair is an `interval` ago.
    pub(super) fn may_repair(&self, now: Duration, interval: Duration) -> bool {
        self.repaired_at.is_none_or(|at| now >= at + interval)
    }

    /// The writers of which this peer holds more than `seen`, each with the number of missing
    /// versions. The fewest come first, so quiet writers come before busy ones.
    pub(crate) fn wanted(&self, seen: &VersionVector) -> Vec<(Version, ReplicaId)> {
        let lacking = |(writer, version, seen): (ReplicaId, Version, Version)| {
            (version > seen && self.is_worth_asking(writer, version))
                .then(|| (version - seen, writer))
        };
        let mut wanted: Vec<_> = self.heard.beside(seen).filter_map(lacking).collect();
        wanted.sort_unstable();
        wanted
    }

    /// How far it is from `seen`. `None` before its first digest. O(writers).
    pub(super) fn lag(&self, seen: &VersionVector, now: Duration) -> Option<Lag> {
        let heard = now.saturating_sub(self.heard_at?);
        let beyond = |all: &VersionVector, than: &VersionVector| {
            all.beside(than)
                .map(|(_, version, than)| version.saturating_sub(than))
                .fold(0, u64::saturating_add)
        };
        Some(Lag {
            cells_behind: self.lacks.cells,
            time_behind: self.lacks.time,
            versions_behind: beyond(seen, &self.heard),
            versions_ahead: beyond(&self.heard, seen),
            heard,
        })
    }

    /// It holds `heard`, and was behind this node by `lacks`.
    pub(super) fn hear(&mut self, heard: VersionVector, lacks: Shortfall, now: Duration) {
        (self.heard, self.lacks) = (heard, lacks);
        self.heard_at = Some(now);
    }

    /// It holds `writer` up to `version`. Ignored before its first digest.
    pub(super) fn hear_writer(&mut self, writer: ReplicaId, version: Version) {
        if self.has_digest() {
            self.heard.raise(writer, version);
        }
    }

    /// This node's digest at the time of a compare with the hashes of its buckets.
    pub(super) fn set_compared(&mut self, digest: VersionVector) {
        self.compared = Some(digest);
    }

    /// Takes that digest if it has this hash. The buckets of an answer mean nothing beside another.
    pub(super) fn take_compared(&mut self, hash: u128) -> Option<VersionVector> {
        self.compared.take_if(|digest| digest.digest_hash() == hash)
    }

    /// It held exactly what this node held when it was asked.
    pub(super) fn set_equal(&mut self, synced: bool) {
        (self.is_synced, self.is_pulled) = (synced, true);
    }

    /// It answered an ask, and said whether it waits for others.
    pub(super) fn set_waits(&mut self, waits: bool) {
        (self.waits, self.answered_ask) = (waits, true);
    }

    /// It answered an ask with its digest. Once it is synced, the state that it held before no
    /// longer counts as pulled.
    pub(super) fn set_status(&mut self, status: PeerStatus) {
        self.is_pulled &= self.is_synced || !status.synced;
        self.is_synced = status.synced;
        self.set_waits(status.waits);
    }

    /// It runs an earlier release, which confirms no targets. True if that is news.
    pub(super) fn set_confirms_nothing(&mut self) -> bool {
        !std::mem::replace(&mut self.confirms_nothing, true)
    }

    /// It runs an earlier release, which takes no parts of digests.
    pub(super) fn set_takes_no_parts(&mut self) {
        self.takes_no_parts = true;
    }

    /// It fell silent, or said something. Returns true if it was silent before.
    pub(super) fn set_silent(&mut self, silent: bool) -> bool {
        std::mem::replace(&mut self.is_silent, silent)
    }

    /// It answered a request, and the answer was in order.
    pub(super) fn request_succeeded(&mut self) {
        self.failures = 0;
    }

    /// A request failed. It rests, longer each time. Returns until when.
    pub(super) fn request_failed(&mut self, now: Duration) -> Duration {
        self.failures += 1;
        self.rest_until = now + Duration::from_millis(100 << self.failures.min(6));
        self.rest_until
    }

    /// A full pull begins.
    pub(super) fn begin_repair(&mut self, now: Duration) {
        self.repaired_at = Some(now);
    }

    /// A pull ended that was to bring these versions.
    pub(super) fn pull_ended(
        &mut self,
        promised: &VersionVector,
        seen: impl Fn(ReplicaId) -> Version,
    ) {
        for (writer, version) in promised.iter() {
            if seen(writer) < version {
                self.fruitless.insert(writer, version);
            } else {
                self.fruitless.remove(&writer);
            }
        }
    }

    /// Counts as pulled if this node holds its digest, apart from what no pull brought. O(log
    /// writers) while the same writer is missing, else O(writers log writers).
    pub(super) fn mark_pulled(&mut self, seen_of: impl Fn(ReplicaId) -> Version) {
        if self.is_pulled || !self.has_digest() {
            return;
        }
        let is_missing = |writer: ReplicaId, version: Version| {
            seen_of(writer) < version && self.is_worth_asking(writer, version)
        };
        let same = self.missing.filter(|writer| is_missing(*writer, self.heard.get(*writer)));
        self.missing = same.or_else(|| {
            let mut heard = self.heard.iter();
            heard.find(|(writer, version)| is_missing(*writer, *version)).map(|(writer, _)| writer)
        });
        self.is_pulled = self.missing.is_none();
    }

    /// What was pulled was dropped, and has to be asked for again.
    pub(super) fn forget_pulled(&mut self) {
        self.is_pulled = false;
        self.fruitless.clear();
    }

    /// Forgets what was heard of other writers.
    pub(super) fn retain_writers(&mut self, keep: impl Fn(ReplicaId) -> bool) {
        self.heard.retain(&keep);
        self.fruitless.retain(|writer, _| keep(*writer));
    }

    /// The parts of its digest that have come so far.
    pub(super) fn incoming_digest(&mut self) -> &mut DigestAssembly {
        &mut self.incoming
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The buckets that an answer leaves out equal those of the digest that was compared.
    #[test]
    fn answer_to_an_earlier_compare_finds_no_digest() {
        let digest = |upto| [(ReplicaId::new(1, 1), upto)].into_iter().collect::<VersionVector>();
        let mut peer = ConnectedPeer::default();
        peer.set_compared(digest(1));
        peer.set_compared(digest(2));
        assert_eq!(peer.take_compared(digest(1).digest_hash()), None);
        assert_eq!(peer.take_compared(digest(2).digest_hash()), Some(digest(2)));
    }
}
