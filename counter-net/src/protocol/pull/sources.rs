//! The peers with an open connection: what each was last heard to hold, and how the first pull from
//! it went.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{ReplicaId, Version, VersionVector};

use crate::protocol::input::NodeId;
use crate::protocol::membership::{Lag, Shortfall};
use crate::protocol::wire::Incoming;

/// After so many failed requests in a row a peer no longer holds up `synced`.
const FAILURES_MAX: u32 = 3;

/// One connected peer.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// What the peer was last heard to hold.
    pub heard: VersionVector,
    /// It says nothing, and may be gone.
    pub silent: bool,
    /// What it lacked then.
    pub lacks: Shortfall,
    /// When that was; `None` before the first answer.
    pub heard_at: Option<Duration>,
    /// All that it was heard to hold at its first answer, or at some later one, was here at that
    /// time.
    pub pulled: bool,
    /// It answered an ask, so that `synced` and `waits` are its own words. A digest that came with
    /// a request of its own says neither.
    pub answered: bool,
    /// It said that it is synced.
    pub synced: bool,
    /// It said that it is not, and waits for others.
    pub waits: bool,
    /// It runs an earlier release, which confirms no targets.
    pub confirms_nothing: bool,
    /// It runs an earlier release, which takes no parts of digests.
    pub takes_no_parts: bool,
    /// The parts of its latest digest, until all are here.
    pub incoming: Incoming,
    /// Failed requests in a row.
    pub failures: u32,
    /// Not asked before this time, after a failure.
    pub rest_until: Duration,
    /// When a full pull because of a divergence was last begun.
    pub repaired_at: Option<Duration>,
    /// For writers that a pull from this peer did not bring up to what was heard: what was heard
    /// then. Not asked again until that grows.
    pub asked: BTreeMap<ReplicaId, Version>,
}

/// Every connected peer, by node.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    connected: BTreeMap<NodeId, Source>,
}

impl Sources {
    pub(crate) fn up(&mut self, peer: NodeId) -> bool {
        let news = !self.connected.contains_key(&peer);
        self.connected.entry(peer).or_default();
        news
    }

    pub(crate) fn down(&mut self, peer: NodeId) -> bool {
        self.connected.remove(&peer).is_some()
    }

    pub(crate) fn get(&self, peer: NodeId) -> Option<&Source> {
        self.connected.get(&peer)
    }

    pub(crate) fn get_mut(&mut self, peer: NodeId) -> Option<&mut Source> {
        self.connected.get_mut(&peer)
    }

    pub(crate) fn contains(&self, peer: NodeId) -> bool {
        self.connected.contains_key(&peer)
    }

    /// Whether the connection to a peer is open and not silent: the peer is there.
    pub(crate) fn vouch_for(&self, peer: NodeId) -> bool {
        self.connected.get(&peer).is_some_and(|source| !source.silent)
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Source)> {
        self.connected.iter().map(|(node, source)| (*node, source))
    }

    /// The peer holds `heard`, it says: the last word counts, so that the memory for it stays
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

    /// Keeps what was heard of some writers only.
    pub(crate) fn retain_writers(&mut self, keep: impl Fn(ReplicaId) -> bool) {
        for source in self.connected.values_mut() {
            source.heard.retain(&keep);
            source.asked.retain(|writer, _| keep(*writer));
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
        for source in
            self.connected.values_mut().filter(|source| !source.pulled && source.heard_at.is_some())
        {
            source.pulled = source.heard.iter().all(|(writer, version)| {
                seen.get(writer) >= version
                    || source.asked.get(&writer).is_some_and(|asked| *asked >= version)
            });
        }
    }

    /// A request to the peer failed: it rests, longer each time. Returns until when.
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

    /// Whether another peer than this one is still to answer.
    pub(crate) fn any_unresolved_but(&self, peer: NodeId) -> bool {
        self.connected.iter().any(|(node, source)| *node != peer && !source.is_resolved())
    }

    /// Whether a peer has ever answered.
    pub(crate) fn any_answers(&self) -> bool {
        self.connected.values().any(|source| source.heard_at.is_some())
    }

    /// Whether a peer has answered and is being pulled.
    pub(crate) fn any_pulling(&self) -> bool {
        self.connected.values().any(|source| source.heard_at.is_some() && !source.is_resolved())
    }

    /// Whether all that some peer held was here once.
    pub(crate) fn any_pulled(&self) -> bool {
        self.connected.values().any(|source| source.pulled && source.answered)
    }

    /// Whether an unsynced peer waits for others.
    pub(crate) fn any_waits(&self) -> bool {
        self.connected.values().any(|source| source.waits && !source.synced)
    }

    /// Whether all that some synced peer held was here once.
    pub(crate) fn any_synced_pulled(&self) -> bool {
        self.connected.values().any(|source| source.pulled && source.synced)
    }

    /// How far a peer is from `seen`; `None` before its first answer. O(writers).
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

impl Source {
    /// It was pulled to the end, or has failed too often to wait for.
    fn is_resolved(&self) -> bool {
        (self.pulled && self.answered) || self.has_failed()
    }

    /// It has failed too often to wait for.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// The peer says whether it is synced. What it held before it was does not count as pulled any
    /// more.
    pub(crate) fn set_synced(&mut self, synced: bool) {
        self.pulled &= self.synced || !synced;
        (self.synced, self.answered) = (synced, true);
    }

    /// The writers of whom this peer holds more than `seen`, nearest first, and how many versions
    /// more. Quiet writers come before busy ones.
    pub(crate) fn wanted(&self, seen: &VersionVector) -> Vec<(Version, ReplicaId)> {
        let lacking = |(writer, version): (ReplicaId, Version)| {
            let unasked = self.asked.get(&writer).is_none_or(|asked| *asked < version);
            (version > seen.get(writer) && unasked).then(|| (version - seen.get(writer), writer))
        };
        let mut wanted: Vec<_> = self.heard.iter().filter_map(lacking).collect();
        wanted.sort_unstable();
        wanted
    }
}
