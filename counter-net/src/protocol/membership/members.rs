//! The table of members: one entry per node, with the greatest announcement heard of it.
//!
//! The announcements of a node form a lattice ordered by (incarnation, version, state). The
//! greatest one holds, so every node comes to the same view whatever the order of arrival. Only the
//! node itself raises its version. An announcement is passed on with the time that it has left, and
//! one that ended is remembered for one ttl more. So passing on an announcement does not keep its
//! node alive.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::OnceLock;
use std::time::Duration;

use counter_core::{CounterMap, ReplicaId};
use serde_bytes::ByteBuf;

use super::member::Presence;
use crate::protocol::interface::{NodeId, ProtocolConfig};
use crate::protocol::wire::Id;
use crate::protocol::wire::{Announcement, MemberState, RELEASE_BYTES_MAX};

/// The greatest announcement heard of one node.
#[derive(Clone, Debug)]
pub(crate) struct MemberEntry {
    pub replica: ReplicaId,
    pub region: String,
    pub viewers: u64,
    pub release: String,
    pub version: u64,
    pub state: MemberState,
    pub synced: bool,
    /// When its last greater version was heard.
    pub heard: Duration,
    /// When anything of the node itself was last heard, an announcement or not. Readers see it, and
    /// presence does not depend on it.
    pub last_word: Duration,
    /// Where it listens, in the driver's own bytes.
    pub addresses: Vec<ByteBuf>,
    /// When this incarnation was first heard of, and whether from itself.
    pub met: (Duration, bool),
    /// When the state ends: a live or suspected node becomes ended, and an ended or left one is
    /// forgotten.
    pub until: Duration,
    /// How long its last announcement was valid when it came.
    valid_for: Duration,
}

/// The outcome of an announcement that was heard.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Merged {
    /// It holds now.
    Taken,
    /// It was known, or something greater is.
    Stale,
    /// It is about this node and claims more than this node said. It must be refuted.
    Refute,
    /// It is about a later incarnation of this node.
    AnotherSelf,
    /// The table is full.
    Full,
}

/// Up to this many members heartbeats come at their full rate. 300: at 30 s that is ten messages a
/// second at each node, 3 kB/s. Nodes that know different numbers of members must not expire each
/// other: a ttl is three heartbeats, so the numbers may differ by a factor of two.
const MEMBERS_AT_FULL_RATE: f64 = 300.0;

/// Every node known, this one included.
#[derive(Debug)]
pub(crate) struct Members {
    own: ReplicaId,
    entries: BTreeMap<NodeId, MemberEntry>,
    members_max: usize,
    /// How long an announcement stays valid in a small cluster.
    base_ttl: Duration,
    /// Readers would see a difference since [`take_changed`](Members::take_changed).
    has_changed: bool,
    /// The [`hash`](Members::hash) of the present entries, once it was asked for.
    hash: OnceLock<u128>,
    /// When forgotten incarnations last said something. At most `members_max`; the earliest is
    /// dropped.
    forgotten: BTreeMap<ReplicaId, Duration>,
    /// Replicas that announced their leave and were dropped from the table. They do not count
    /// again.
    departed: BTreeSet<ReplicaId>,
    departed_max: usize,
}

impl Members {
    /// A table that knows only this node, which never expires in its own view.
    pub(crate) fn new(own: ReplicaId, region: String, config: &ProtocolConfig) -> Self {
        let release = config.release.chars().filter(|c| !c.is_control()).scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= RELEASE_BYTES_MAX).then_some(c)
        });
        let entry = MemberEntry {
            replica: own,
            region,
            viewers: 0,
            release: release.collect(),
            version: 0,
            state: MemberState::Live,
            synced: false,
            heard: Duration::ZERO,
            last_word: Duration::ZERO,
            addresses: Vec::new(),
            met: (Duration::ZERO, true),
            until: Duration::MAX,
            valid_for: Duration::MAX,
        };
        let entries = BTreeMap::from([(NodeId(own.node), entry)]);
        Self {
            own,
            entries,
            members_max: config.members_max,
            base_ttl: config.announcement_ttl,
            has_changed: false,
            hash: OnceLock::new(),
            forgotten: BTreeMap::new(),
            departed: BTreeSet::new(),
            departed_max: config.heard_replicas_max,
        }
    }

    /// The factor by which heartbeats are rarer and announcements valid for longer than in a small
    /// cluster. Because of it, the heartbeats that a node receives do not grow with the cluster.
    pub(super) fn slowdown(&self) -> f64 {
        slowdown_of(self.entries.len())
    }

    /// The longest validity that is accepted from others. A newcomer does not know yet how many
    /// members there are.
    fn ttl_max(&self) -> Duration {
        self.base_ttl.mul_f64(slowdown_of(self.members_max))
    }

    /// How long an announcement stays valid.
    fn ttl(&self) -> Duration {
        self.base_ttl.mul_f64(self.slowdown())
    }

    pub(crate) fn own(&self) -> &MemberEntry {
        &self.entries[&NodeId(self.own.node)]
    }

    /// True if readers would see a difference since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Returns true if the number has changed.
    pub(super) fn set_viewers(&mut self, viewers: u64) -> bool {
        let is_news = self.own().viewers != viewers;
        self.own_mut().viewers = viewers;
        self.has_changed |= is_news;
        self.hash.take();
        is_news
    }

    /// This node has caught up. True if that is news.
    pub(crate) fn set_synced(&mut self) -> bool {
        let is_news = !std::mem::replace(&mut self.own_mut().synced, true);
        self.has_changed |= is_news;
        if is_news {
            self.hash.take();
        }
        is_news
    }

    /// This node leaves.
    pub(super) fn set_left(&mut self) {
        self.own_mut().state = MemberState::Left;
        self.has_changed = true;
        self.hash.take();
    }

    /// Returns true if the addresses have changed.
    pub(super) fn set_addresses(&mut self, addresses: Vec<ByteBuf>) -> bool {
        let is_news = self.own().addresses != addresses;
        self.own_mut().addresses = addresses;
        is_news
    }

    /// Makes this node's next announcement greater than the last one.
    pub(super) fn raise_version(&mut self) {
        let own = self.own_mut();
        own.version = own.version.saturating_add(1);
    }

    /// Makes this node's next announcement greater than `version`.
    pub(super) fn outbid(&mut self, version: u64) {
        let own = self.own_mut();
        own.version = own.version.max(version);
    }

    /// This node's own announcement.
    pub(super) fn own_announcement(&self, now: Duration) -> Announcement {
        self.own().announcement(now, self.ttl())
    }

    fn own_mut(&mut self) -> &mut MemberEntry {
        self.entries
            .entry(NodeId(self.own.node))
            .or_insert_with(|| unreachable!("the own entry is never removed"))
    }

    /// This node continues as a later incarnation.
    pub(crate) fn renew(&mut self, incarnation: ReplicaId) {
        self.own = incarnation;
        self.own_mut().replica = incarnation;
        self.has_changed = true;
        self.hash.take();
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&MemberEntry> {
        self.entries.get(&node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &MemberEntry)> {
        self.entries.iter().map(|(node, entry)| (*node, entry))
    }

    /// Every other node known, backwards on the ring of ids from this one.
    pub(super) fn backwards(&self) -> impl Iterator<Item = (NodeId, &MemberEntry)> + Clone {
        let own = NodeId(self.own.node);
        let lower = self.entries.range(..own).rev();
        let upper = self.entries.range((Bound::Excluded(own), Bound::Unbounded)).rev();
        lower.chain(upper).map(|(node, entry)| (*node, entry))
    }

    /// Takes an announcement of any node. `first_hand` is true if it comes from the node itself.
    /// O(log members), and O(members) if the table is full.
    pub(crate) fn merge(&mut self, said: &Announcement, first_hand: bool, now: Duration) -> Merged {
        let (replica, Some(state)) = (said.replica(), said.state()) else {
            return Merged::Stale;
        };
        let node = NodeId(replica.node);
        if replica.node == self.own.node {
            return self.about_self(replica.incarnation, said.version, state);
        }
        let known = self.entries.get(&node);
        let rank = |entry: &MemberEntry| (entry.replica.incarnation, entry.version, entry.state);
        if known.is_some_and(|entry| rank(entry) >= (replica.incarnation, said.version, state)) {
            return Merged::Stale;
        }
        let renewed = known.is_none_or(|entry| {
            (entry.replica.incarnation, entry.version) < (replica.incarnation, said.version)
        });
        let heard = known.filter(|_| !renewed).map_or(now, |entry| entry.heard);
        let last_word = known.map_or(heard, |entry| entry.last_word.max(heard));
        let addresses = match known.filter(|entry| entry.replica == replica) {
            // An announcement without addresses leaves them as they are.
            Some(entry) if said.addresses.is_empty() => entry.addresses.clone(),
            _ => said.addresses.clone(),
        };
        let met = known
            .filter(|entry| entry.replica == replica)
            .map_or((now, first_hand), |entry| entry.met);
        if known.is_none() && !self.make_room() {
            return Merged::Full;
        }
        let valid_for = Duration::from_millis(said.ttl_ms).min(self.ttl_max());
        let next = MemberEntry {
            replica,
            region: said.region.clone(),
            viewers: said.viewers,
            release: said.release.clone(),
            version: said.version,
            state,
            synced: said.synced,
            heard,
            last_word,
            addresses,
            met,
            until: now.saturating_add(valid_for),
            valid_for,
        };
        let before = self.entries.insert(node, next);
        let next = &self.entries[&node];
        let is_shown = before.as_ref().is_some_and(|before| visible(before) == visible(next));
        // A heartbeat changes neither.
        if !is_shown || before.is_none_or(|before| before.synced != next.synced) {
            self.hash.take();
        }
        self.has_changed |= !is_shown;
        Merged::Taken
    }

    fn about_self(&self, incarnation: u64, version: u64, state: MemberState) -> Merged {
        let own = self.own();
        match incarnation.cmp(&self.own.incarnation) {
            std::cmp::Ordering::Less => Merged::Stale,
            std::cmp::Ordering::Greater => Merged::AnotherSelf,
            std::cmp::Ordering::Equal if (version, state) > (own.version, own.state) => {
                Merged::Refute
            }
            std::cmp::Ordering::Equal => Merged::Stale,
        }
    }

    /// Makes room for one more entry. The one that ended first gives way, and a live one never
    /// does.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < self.members_max {
            return true;
        }
        let ended = self
            .iter()
            .filter(|(_, entry)| !entry.is_live())
            .min_by_key(|(_, entry)| entry.until)
            .map(|(node, _)| node);
        ended.is_some_and(|node| self.entries.remove(&node).is_some())
    }

    /// The node itself said something. That does not prolong its state.
    pub(crate) fn hear(&mut self, node: NodeId, now: Duration) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.last_word = now;
        }
    }

    /// Suspects a live node, whose presence then ends at `until` unless it announces itself again.
    /// True if that is news.
    pub(crate) fn suspect(&mut self, replica: ReplicaId, version: u64, until: Duration) -> bool {
        let Some(entry) = self.entries.get_mut(&NodeId(replica.node)) else { return false };
        let news = entry.replica == replica
            && entry.version == version
            && entry.state == MemberState::Live
            && replica != self.own;
        if news {
            entry.state = MemberState::Suspected;
            entry.until = entry.until.min(until);
        }
        news
    }

    /// A connection to a suspected node is open again. It is live for as long as its announcement
    /// may still hold.
    pub(crate) fn absolve(&mut self, node: NodeId) {
        let ttl = self.ttl();
        if let Some(entry) =
            self.entries.get_mut(&node).filter(|entry| entry.state == MemberState::Suspected)
        {
            entry.state = MemberState::Live;
            entry.until = entry.heard.saturating_add(ttl);
        }
    }

    /// Handles an entry's deadline. A live entry becomes ended, and is remembered for one more ttl.
    /// Any other entry is forgotten.
    pub(crate) fn expire(&mut self, node: NodeId, now: Duration) {
        let ttl = self.ttl();
        if let Some(entry) = self.entries.get(&node).filter(|entry| entry.has_left())
            && self.departed.len() < self.departed_max
        {
            self.departed.insert(entry.replica);
        }
        let Some(entry) = self.entries.get_mut(&node).filter(|entry| entry.until <= now) else {
            return;
        };
        if entry.is_live() {
            entry.state = MemberState::Ended;
            entry.until = now.saturating_add(ttl);
            self.hash.take();
        } else {
            let (replica, last_word) = (entry.replica, entry.last_word);
            self.entries.remove(&node);
            self.forgotten.insert(replica, last_word);
            if self.forgotten.len() > self.members_max
                && let Some(&earliest) = self
                    .forgotten
                    .iter()
                    .min_by_key(|(_, last_word)| **last_word)
                    .map(|(replica, _)| replica)
            {
                self.forgotten.remove(&earliest);
            }
        }
        self.has_changed = true;
    }

    /// The replicas that count for copies and for stability, ascending and with this one among
    /// them: every known writer whose incarnation no replica claims, reachable or not. Earlier
    /// incarnations of a node do not count once a later one is known, nor do replicas that
    /// announced their leave. O(writers).
    pub(crate) fn enrolled(&self, map: &CounterMap) -> Vec<ReplicaId> {
        let mut writers: Vec<ReplicaId> = map.enrolled().collect();
        writers.push(self.own);
        writers.sort_unstable();
        writers.dedup();
        let last_incarnation =
            |at: &usize| writers.get(at + 1).is_none_or(|next| next.node != writers[*at].node);
        (0..writers.len())
            .filter(last_incarnation)
            .map(|at| writers[at])
            .filter(|replica| *replica == self.own || !self.has_left(map, *replica))
            .collect()
    }

    /// The enrolled replicas that are not live now, ascending. O(writers).
    pub(crate) fn missing(&self, map: &CounterMap) -> Vec<ReplicaId> {
        let is_there = |replica: &ReplicaId| *replica == self.own || self.is_live(*replica);
        self.enrolled(map).into_iter().filter(|replica| !is_there(replica)).collect()
    }

    /// True if this very incarnation counts for presence.
    pub(crate) fn is_live(&self, replica: ReplicaId) -> bool {
        self.entry_of(replica).is_some_and(MemberEntry::is_live)
    }

    fn has_left(&self, map: &CounterMap, replica: ReplicaId) -> bool {
        map.has_left(replica)
            || self.departed.contains(&replica)
            || self.entry_of(replica).is_some_and(MemberEntry::has_left)
    }

    /// The entry of the replica's node, if it is about this very incarnation.
    fn entry_of(&self, replica: ReplicaId) -> Option<&MemberEntry> {
        self.get(NodeId(replica.node)).filter(|entry| entry.replica == replica)
    }

    /// When an incarnation that has not left last said something. `None` if it was not heard since
    /// this node started.
    pub(crate) fn last_word(&self, replica: ReplicaId) -> Option<Duration> {
        match self.get(NodeId(replica.node)).filter(|entry| entry.replica == replica) {
            Some(entry) => Some(entry.last_word).filter(|_| !entry.has_left()),
            None => self.forgotten.get(&replica).copied(),
        }
    }

    /// Every announcement, with the time that each has left.
    pub(crate) fn announcements(&self, now: Duration) -> Vec<Announcement> {
        let ttl = self.ttl();
        self.entries.values().map(|entry| entry.announcement(now, ttl)).collect()
    }

    /// A hash of what live members say. It is equal on two nodes that show the same, and heartbeats
    /// do not move it. O(members) after a change of what readers see, else O(1).
    pub(crate) fn hash(&self) -> u128 {
        let hash = *self.hash.get_or_init(|| self.computed_hash());
        debug_assert_eq!(hash, self.computed_hash());
        hash
    }

    fn computed_hash(&self) -> u128 {
        let mut bytes = Vec::with_capacity(self.entries.len() * 48);
        for entry in self.entries.values().filter(|entry| entry.is_live()) {
            bytes.extend_from_slice(&entry.replica.to_bytes());
            bytes.extend_from_slice(&entry.viewers.to_be_bytes());
            bytes.push(u8::from(entry.synced));
            for text in [&entry.region, &entry.release] {
                bytes.push(text.len() as u8);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }

    /// True if more than half of the validity of some live member's last announcement has passed,
    /// so that a heartbeat of it was missed. A member that knew fewer members gave it a shorter one.
    pub(crate) fn is_stale(&self, now: Duration) -> bool {
        let is_late = |entry: &MemberEntry| entry.until < now + entry.valid_for / 2;
        self.entries
            .values()
            .any(|entry| entry.is_live() && entry.replica != self.own && is_late(entry))
    }

    /// True if another live member says that it is synced.
    pub(crate) fn knows_synced(&self) -> bool {
        self.entries
            .values()
            .any(|entry| entry.is_live() && entry.synced && entry.replica != self.own)
    }

    /// True if any other member is live.
    pub(crate) fn has_others(&self) -> bool {
        self.entries.values().any(|entry| entry.is_live() && entry.replica != self.own)
    }

    /// Viewers and nodes by region. The sum over live members is recomputed each time, so it
    /// cannot drift. O(members).
    pub(crate) fn presence(&self) -> BTreeMap<String, Presence> {
        let mut regions: BTreeMap<String, Presence> = BTreeMap::new();
        for entry in self.entries.values().filter(|entry| entry.is_live()) {
            let region = regions.entry(entry.region.clone()).or_default();
            region.connected = region.connected.saturating_add(entry.viewers);
            region.nodes += 1;
        }
        regions
    }
}

impl MemberEntry {
    /// True if the node counts for presence. A suspected one does until its suspicion is over.
    pub(crate) fn is_live(&self) -> bool {
        self.state <= MemberState::Suspected
    }

    pub(crate) fn has_left(&self) -> bool {
        self.state == MemberState::Left
    }

    /// The announcement as it is passed on at `now`.
    pub(crate) fn announcement(&self, now: Duration, ttl: Duration) -> Announcement {
        let left = self.until.saturating_sub(now).min(ttl);
        Announcement {
            replica: Id(self.replica),
            region: self.region.clone(),
            viewers: self.viewers,
            release: self.release.clone(),
            version: self.version,
            ttl_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            state: self.state as u8,
            synced: self.synced,
            addresses: self.addresses.clone(),
        }
    }
}

fn slowdown_of(members: usize) -> f64 {
    (members as f64 / MEMBERS_AT_FULL_RATE).max(1.0)
}

/// The part of an entry that readers see.
fn visible(entry: &MemberEntry) -> (ReplicaId, &str, u64, &str, bool, bool) {
    (
        entry.replica,
        &entry.region,
        entry.viewers,
        &entry.release,
        entry.is_live(),
        entry.state == MemberState::Left,
    )
}
