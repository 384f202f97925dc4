//! The peers with an open connection: what each was last heard to hold, and how far this node has
//! pulled from it.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{ReplicaId, Version, VersionVector};

use crate::protocol::input::NodeId;
use crate::protocol::membership::{Lag, Shortfall};
use crate::protocol::output::Refusal;
use crate::protocol::wire::{DigestAssembly, DigestEntries, PartNumber, PeerStatus, WholeDigest};

/// After this many failed requests in a row, this node no longer waits for a peer before it counts
/// as synced.
const FAILURES_MAX: u32 = 3;

/// One connected peer.
#[derive(Debug, Default)]
pub(crate) struct ConnectedPeer {
    /// The versions that it was last heard to hold.
    heard: VersionVector,
    /// How far it was behind this node then.
    lacks: Shortfall,
    /// When that was, or `None` before the first answer.
    heard_at: Option<Duration>,
    /// It has said nothing for so long that it may be gone.
    is_silent: bool,
    /// This node has held, at some time, all that the peer was heard to hold then.
    is_pulled: bool,
    /// It answered an ask, so `is_synced` and `waits` are its own words. A digest that comes with a
    /// request says neither.
    answered_ask: bool,
    /// It said that it is synced.
    is_synced: bool,
    /// It said that it is not, and waits for others.
    waits: bool,
    /// It runs an earlier release, which confirms no targets.
    confirms_nothing: bool,
    /// It runs an earlier release, which takes no parts of digests.
    takes_no_parts: bool,
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

/// Every connected peer, by node.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    connected: BTreeMap<NodeId, ConnectedPeer>,
    /// The number of the last own digest that went out in parts.
    digest_serial: u64,
}

impl Peers {
    pub(crate) fn up(&mut self, peer: NodeId) -> bool {
        let news = !self.connected.contains_key(&peer);
        self.connected.entry(peer).or_default();
        news
    }

    pub(crate) fn down(&mut self, peer: NodeId) -> bool {
        self.connected.remove(&peer).is_some()
    }

    pub(crate) fn get(&self, peer: NodeId) -> Option<&ConnectedPeer> {
        self.connected.get(&peer)
    }

    /// The number of the next own digest that goes out in parts.
    pub(super) fn next_digest_serial(&mut self) -> u64 {
        self.digest_serial += 1;
        self.digest_serial
    }

    fn get_mut(&mut self, peer: NodeId) -> Option<&mut ConnectedPeer> {
        self.connected.get_mut(&peer)
    }

    /// A peer answered a request, and the answer was in order.
    pub(super) fn succeeded(&mut self, peer: NodeId) {
        self.get_mut(peer).into_iter().for_each(|source| source.failures = 0);
    }

    /// A peer cannot confirm targets. True if that is news.
    pub(super) fn set_confirms_nothing(&mut self, peer: NodeId) -> bool {
        self.get_mut(peer)
            .is_some_and(|source| !std::mem::replace(&mut source.confirms_nothing, true))
    }

    /// A peer cannot take parts of digests.
    pub(super) fn set_takes_no_parts(&mut self, peer: NodeId) {
        self.get_mut(peer).into_iter().for_each(|source| source.takes_no_parts = true);
    }

    /// Notes that a peer held just what this node held when it asked.
    pub(super) fn note_equal(&mut self, peer: NodeId, synced: bool) {
        if let Some(source) = self.get_mut(peer) {
            (source.is_synced, source.is_pulled) = (synced, true);
        }
    }

    /// A peer answered an ask, and said whether it waits for others.
    pub(super) fn said_waits(&mut self, peer: NodeId, waits: bool) {
        if let Some(source) = self.get_mut(peer) {
            (source.waits, source.answered_ask) = (waits, true);
        }
    }

    /// A peer answered an ask with its digest, and said whether it is synced and whether it waits.
    pub(super) fn said(&mut self, peer: NodeId, answer: PeerStatus) {
        if let Some(source) = self.get_mut(peer) {
            source.set_synced(answer.synced);
            source.waits = answer.waits;
        }
    }

    /// True if a divergence from a peer may be repaired: it is connected, and the last repair is
    /// an `interval` ago.
    pub(super) fn may_repair(&self, peer: NodeId, now: Duration, interval: Duration) -> bool {
        self.get(peer)
            .is_some_and(|source| source.repaired_at.is_none_or(|at| now >= at + interval))
    }

    /// A full pull from a peer begins.
    pub(super) fn begin_repair(&mut self, peer: NodeId, now: Duration) {
        self.get_mut(peer).into_iter().for_each(|source| source.repaired_at = Some(now));
    }

    /// A pull from a peer ended. It was to bring these versions. A writer that it did not bring is
    /// not asked of this peer again until the peer holds more.
    pub(super) fn pull_ended(
        &mut self,
        peer: NodeId,
        promised: &VersionVector,
        seen: impl Fn(ReplicaId) -> Version,
    ) {
        let Some(source) = self.get_mut(peer) else { return };
        for (writer, version) in promised.iter() {
            if seen(writer) < version {
                source.fruitless.insert(writer, version);
            } else {
                source.fruitless.remove(&writer);
            }
        }
    }

    /// Takes a part of a peer's digest. Returns the whole with the last part.
    ///
    /// # Errors
    /// As [`DigestAssembly::put`].
    pub(super) fn put_part(
        &mut self,
        peer: NodeId,
        incarnation: Option<u64>,
        part: PartNumber,
        entries: DigestEntries,
        answer: Option<PeerStatus>,
        replicas_max: usize,
    ) -> Result<Option<WholeDigest>, Refusal> {
        let Some(source) = self.get_mut(peer) else { return Ok(None) };
        source.incoming.put(incarnation, part, entries, answer, replicas_max)
    }

    /// A peer's digest came in one piece, so the parts of an earlier one are of no use.
    pub(super) fn drop_parts(&mut self, peer: NodeId) {
        self.get_mut(peer).into_iter().for_each(|source| source.incoming.clear());
    }

    /// A peer fell silent. False if it is not connected.
    pub(crate) fn fell_silent(&mut self, peer: NodeId) -> bool {
        let Some(source) = self.get_mut(peer) else { return false };
        source.is_silent = true;
        true
    }

    /// A peer said something. True if it was silent.
    pub(crate) fn spoke(&mut self, peer: NodeId) -> bool {
        self.get_mut(peer).is_some_and(|source| std::mem::take(&mut source.is_silent))
    }

    pub(crate) fn contains(&self, peer: NodeId) -> bool {
        self.connected.contains_key(&peer)
    }

    /// True if the connection to a peer is open and not silent, so the peer is there.
    pub(crate) fn vouch_for(&self, peer: NodeId) -> bool {
        self.connected.get(&peer).is_some_and(|source| !source.is_silent)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connected.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.connected.len()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.connected.keys().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &ConnectedPeer)> {
        self.connected.iter().map(|(node, source)| (*node, source))
    }

    /// The peer says that it holds `heard`. Only its last word counts, so the memory for it is
    /// bounded by one digest.
    pub(crate) fn hear(
        &mut self,
        peer: NodeId,
        heard: VersionVector,
        lacks: Shortfall,
        now: Duration,
    ) {
        if let Some(source) = self.connected.get_mut(&peer) {
            (source.heard, source.lacks) = (heard, lacks);
            source.heard_at = Some(now);
        }
    }

    /// Forgets what was heard of other writers.
    pub(crate) fn retain_writers(&mut self, keep: impl Fn(ReplicaId) -> bool) {
        for source in self.connected.values_mut() {
            source.heard.retain(&keep);
            source.fruitless.retain(|writer, _| keep(*writer));
        }
    }

    /// The peer holds `writer` up to `version`, as its gossip or a page given to it shows.
    pub(crate) fn hear_writer(&mut self, peer: NodeId, writer: ReplicaId, version: Version) {
        if let Some(source) =
            self.connected.get_mut(&peer).filter(|source| source.heard_at.is_some())
        {
            source.heard.raise(writer, version);
        }
    }

    /// Marks every peer whose digest `seen` covers as pulled.
    pub(crate) fn mark_pulled(&mut self, seen: &VersionVector) {
        for source in self
            .connected
            .values_mut()
            .filter(|source| !source.is_pulled && source.heard_at.is_some())
        {
            source.is_pulled = source.heard.iter().all(|(writer, version)| {
                seen.get(writer) >= version
                    || source.fruitless.get(&writer).is_some_and(|asked| *asked >= version)
            });
        }
    }

    /// A request to the peer failed. It rests, longer each time. Returns until when.
    pub(crate) fn failed(&mut self, peer: NodeId, now: Duration) -> Option<Duration> {
        let source = self.connected.get_mut(&peer)?;
        source.failures += 1;
        source.rest_until = now + Duration::from_millis(100 << source.failures.min(6));
        Some(source.rest_until)
    }

    /// Peers that have neither answered with everything nor failed too often to wait for.
    pub(crate) fn unresolved(&self) -> usize {
        self.connected.values().filter(|source| !source.is_resolved()).count()
    }

    /// True if another peer than this one is still to answer.
    pub(crate) fn any_unresolved_but(&self, peer: NodeId) -> bool {
        self.connected.iter().any(|(node, source)| *node != peer && !source.is_resolved())
    }

    /// True if a peer has ever answered.
    pub(crate) fn any_answers(&self) -> bool {
        self.connected.values().any(|source| source.heard_at.is_some())
    }

    /// True if a peer has answered and is being pulled.
    pub(crate) fn any_pulling(&self) -> bool {
        self.connected.values().any(|source| source.heard_at.is_some() && !source.is_resolved())
    }

    /// True if all that some peer held was here once.
    pub(crate) fn any_pulled(&self) -> bool {
        self.connected.values().any(|source| source.is_pulled && source.answered_ask)
    }

    /// True if an unsynced peer waits for others.
    pub(crate) fn any_waits(&self) -> bool {
        self.connected.values().any(|source| source.waits && !source.is_synced)
    }

    /// True if all that some synced peer held was here once.
    pub(crate) fn any_synced_pulled(&self) -> bool {
        self.connected.values().any(|source| source.is_pulled && source.is_synced)
    }

    /// How far a peer is from `seen`. `None` before its first answer. O(writers).
    pub(crate) fn lag(&self, peer: NodeId, seen: &VersionVector, now: Duration) -> Option<Lag> {
        let source = self.connected.get(&peer)?;
        let heard = now.saturating_sub(source.heard_at?);
        let beyond = |all: &VersionVector, than: &VersionVector| {
            all.iter()
                .map(|(writer, version)| version.saturating_sub(than.get(writer)))
                .fold(0, u64::saturating_add)
        };
        let (cells_behind, time_behind) = (source.lacks.cells, source.lacks.time);
        Some(Lag {
            cells_behind,
            time_behind,
            versions_behind: beyond(seen, &source.heard),
            versions_ahead: beyond(&source.heard, seen),
            heard,
        })
    }
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
    pub(crate) fn has_answered(&self) -> bool {
        self.heard_at.is_some()
    }

    /// True once it has answered an ask.
    pub(super) fn answered_ask(&self) -> bool {
        self.answered_ask
    }

    /// True if this node has held, at some time, all that the peer was heard to hold then.
    pub(super) fn is_pulled(&self) -> bool {
        self.is_pulled
    }

    /// True if it said that it is synced.
    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
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
    pub(super) fn takes_parts(&self) -> bool {
        !self.takes_no_parts
    }

    /// False if it no longer names a writer, or a pull from it did not bring that version.
    pub(super) fn may_bring(&self, writer: ReplicaId, version: Version) -> bool {
        self.heard.get(writer) > 0
            && self.fruitless.get(&writer).is_none_or(|asked| *asked < version)
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

    /// True if it was pulled to the end, or failed too often to wait for.
    fn is_resolved(&self) -> bool {
        (self.is_pulled && self.answered_ask) || self.has_failed()
    }

    /// True if it failed too often to wait for.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// The peer reports whether it is synced. Once it is, the state that it held before no longer
    /// counts as pulled.
    pub(crate) fn set_synced(&mut self, synced: bool) {
        self.is_pulled &= self.is_synced || !synced;
        (self.is_synced, self.answered_ask) = (synced, true);
    }

    /// The writers that this peer holds beyond `seen`, nearest first, and by how many versions.
    /// Quiet writers come before busy ones.
    pub(crate) fn wanted(&self, seen: &VersionVector) -> Vec<(Version, ReplicaId)> {
        let lacking = |(writer, version): (ReplicaId, Version)| {
            let unasked = self.fruitless.get(&writer).is_none_or(|asked| *asked < version);
            (version > seen.get(writer) && unasked).then(|| (version - seen.get(writer), writer))
        };
        let mut wanted: Vec<_> = self.heard.iter().filter_map(lacking).collect();
        wanted.sort_unstable();
        wanted
    }
}
