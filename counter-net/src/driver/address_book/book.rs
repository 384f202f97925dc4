//! The address book: whom to dial, at which address, and when again. It uses no socket and no
//! clock, so tests need neither.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::dial_failure::DialFailure;
use crate::config::{
    ADDRESSES_PER_PEER_MAX, KNOWN_PEERS_MAX, PEERS_WANTED, REDIAL_MAX, REDIAL_MIN, is_loopback,
    is_reachable_shape,
};

/// After this many failures in a row, an entry that is no longer reported is forgotten, unless the
/// operator named it.
const ATTEMPTS_MAX: u32 = 10;
/// An address counts as reported for this long after each report. Every way of discovery repeats
/// its reports sooner.
const REPORTED_FOR: Duration = Duration::from_secs(60);
/// The number of refused dials that count as a failure. Nodes that start together do not all listen
/// yet, and the pauses between three dials take about half a second.
const REFUSALS: u32 = 3;
/// The most causes of trouble reported at a time.
const TROUBLES_MAX: usize = 3;

/// The target of a dial: a known peer, or any node that answers at an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::driver) enum DialTarget {
    Place(Multiaddr),
    Peer(PeerId),
}

/// The source of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::driver) enum AddressOrigin {
    /// A multicast on the network segment, where nodes of other clusters answer too.
    #[default]
    Multicast,
    /// Discovery, or another node.
    Found,
    /// The operator. Never forgotten, and dialled however many peers are connected.
    Named,
}

#[derive(Debug, Default)]
struct AddressEntry {
    /// The latest first. The entry of a place has just that address.
    addresses: Vec<Multiaddr>,
    origin: AddressOrigin,
    /// The replicator asked for it, so it is dialled however many peers are connected.
    wanted: bool,
    reported_at: Duration,
    /// Failures since the target last spoke the protocol. Connecting without speaking is a failure
    /// too.
    attempts: u32,
    /// It has spoken the protocol over the present connection.
    spoke: bool,
    /// It has spoken the protocol at some time.
    was_reached: bool,
    /// The failure of the last dial. Cleared when one succeeds.
    cause: Option<DialFailure>,
    /// The cause that was logged last.
    logged: Option<DialFailure>,
    due: Duration,
    stage: DialStage,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum DialStage {
    #[default]
    Waiting,
    Dialling,
    /// Connected to this peer. For a place, it is the peer that answered there.
    Connected(PeerId),
    /// It leads to this very node.
    Own,
}

impl AddressEntry {
    /// Schedules the next dial after a wait that doubles each time, with jitter.
    fn back_off(&mut self, now: Duration, random: &mut fastrand::Rng) {
        self.attempts += 1;
        let wait = REDIAL_MIN.saturating_mul(1 << self.attempts.min(10)).min(REDIAL_MAX);
        self.due = now + wait.mul_f64(0.5 + 0.5 * random.f64());
    }

    /// Returns true if a node may be there that has not answered yet. Neither silence nor a bare
    /// connection is an answer.
    fn is_candidate(&self) -> bool {
        let is_silent = match &self.cause {
            None | Some(DialFailure::Silent | DialFailure::Unfinished) => true,
            Some(DialFailure::Refused | DialFailure::HungUp | DialFailure::Other(_)) => {
                self.attempts < REFUSALS
            }
            Some(_) => false,
        };
        is_silent && !self.spoke && self.stage != DialStage::Own
    }

    fn is_by_name(&self) -> bool {
        let is_name = |part| {
            matches!(
                part,
                Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)
            )
        };
        self.addresses.iter().any(|address| address.iter().any(is_name))
    }

    fn has_priority(&self) -> bool {
        self.origin == AddressOrigin::Named || self.wanted
    }

    /// Returns true if it leads to a node with another key or of another cluster.
    fn is_foreign(&self) -> bool {
        matches!(self.cause, Some(DialFailure::WrongKey | DialFailure::OtherCluster(_)))
            && !self.spoke
    }
}

/// A change of a peer's state that is worth a log line.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::driver) enum PeerNews {
    /// A peer that was named or reached before is unreachable, or for a new reason.
    Unreached { peer: String, cause: DialFailure },
    /// None of the found addresses leads to a node.
    NoneReached { addresses: usize, last: String, cause: DialFailure },
}

/// Every address that may lead to a member of the cluster.
///
/// Bounded by [`KNOWN_PEERS_MAX`] entries. A target is dialled by one dial at a time.
pub(in crate::driver) struct AddressBook {
    own: PeerId,
    /// Without a cluster key all members are on this machine.
    loopback_only: bool,
    entries: BTreeMap<DialTarget, AddressEntry>,
    random: fastrand::Rng,
    next_due: Option<Duration>,
    /// The number of connected peers at the last query.
    up: usize,
    /// [`PeerNews::NoneReached`] was logged, and no address was reached since.
    none_reached_logged: bool,
}

impl AddressBook {
    pub(in crate::driver) fn new(own: PeerId, loopback_only: bool, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self {
            own,
            loopback_only,
            entries: BTreeMap::new(),
            random,
            next_due: None,
            up: 0,
            none_reached_logged: false,
        }
    }

    /// Adds an address that the operator named.
    pub(in crate::driver) fn name(&mut self, address: Multiaddr, now: Duration) {
        self.enter(address, AddressOrigin::Named, now);
        self.update_next_due();
    }

    /// Adds addresses that discovery or another node reported. Skips those that cannot be dialled
    /// from here.
    pub(in crate::driver) fn found(
        &mut self,
        addresses: impl IntoIterator<Item = Multiaddr>,
        origin: AddressOrigin,
        now: Duration,
    ) {
        for address in addresses {
            if self.is_dialable(&address) {
                self.enter(address, origin, now);
            }
        }
        self.update_next_due();
    }

    /// Schedules a dial of `peer` for the replicator. Returns false if no address of it is known.
    pub(in crate::driver) fn want(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
        now: Duration,
    ) -> bool {
        self.found(
            addresses.into_iter().filter(|address| peer_of(address) == Some(peer)),
            AddressOrigin::Found,
            now,
        );
        let Some(entry) = self.entries.get_mut(&DialTarget::Peer(peer)) else { return false };
        entry.wanted = true;
        if entry.stage == DialStage::Waiting {
            entry.due = now;
        }
        self.update_next_due();
        true
    }

    fn is_dialable(&self, address: &Multiaddr) -> bool {
        is_reachable_shape(address) && (!self.loopback_only || is_loopback(address))
    }

    /// Replaces the addresses of a connected peer by those that it reports. They are dialled if the
    /// connection is lost.
    pub(in crate::driver) fn learned(
        &mut self,
        peer: PeerId,
        listens: impl IntoIterator<Item = Multiaddr>,
    ) {
        let mut addresses: Vec<Multiaddr> = listens
            .into_iter()
            .filter(|address| self.is_dialable(address))
            .map(without_peer)
            .take(ADDRESSES_PER_PEER_MAX)
            .collect();
        if peer == self.own || addresses.is_empty() || !self.make_room(&DialTarget::Peer(peer)) {
            return;
        }
        let entry = self.entries.entry(DialTarget::Peer(peer)).or_insert_with(|| AddressEntry {
            origin: AddressOrigin::Found,
            ..AddressEntry::default()
        });
        if entry.origin == AddressOrigin::Named {
            let named = entry
                .addresses
                .iter()
                .filter(|address| !addresses.contains(address))
                .cloned()
                .collect::<Vec<_>>();
            addresses.extend(named);
            addresses.truncate(ADDRESSES_PER_PEER_MAX);
        }
        entry.addresses = addresses;
        if entry.stage == DialStage::Waiting {
            entry.stage = DialStage::Connected(peer);
        }
        self.update_next_due();
    }

    /// Takes the targets to dial now, with their addresses. `up` peers are connected.
    pub(in crate::driver) fn take_due(
        &mut self,
        now: Duration,
        up: usize,
    ) -> Vec<(DialTarget, Vec<Multiaddr>)> {
        if self.up != up {
            self.up = up;
            self.update_next_due();
        }
        if self.next_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut room = self.free_dials(up);
        let mut due = Vec::new();
        // Targets with fewer attempts go first.
        let mut waiting: Vec<(&DialTarget, &mut AddressEntry)> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.stage == DialStage::Waiting && entry.due <= now)
            .collect();
        waiting.sort_by_key(|(_, entry)| (!entry.has_priority(), entry.attempts));
        for (target, entry) in waiting {
            if entry.has_priority() || room > 0 {
                room -= usize::from(!entry.has_priority());
                entry.stage = DialStage::Dialling;
                due.push((target.clone(), entry.addresses.clone()));
            } else if up >= PEERS_WANTED {
                entry.due = now + REDIAL_MAX;
            }
        }
        self.update_next_due();
        due
    }

    /// How many more targets without priority may be dialled.
    fn free_dials(&self, up: usize) -> usize {
        let dialling = self
            .entries
            .values()
            .filter(|entry| entry.stage == DialStage::Dialling && !entry.has_priority())
            .count();
        PEERS_WANTED.saturating_sub(up + dialling)
    }

    /// A dial of `target` failed. Returns a change that is worth a log line.
    pub(in crate::driver) fn failed(
        &mut self,
        target: &DialTarget,
        cause: DialFailure,
        now: Duration,
    ) -> Option<PeerNews> {
        let entry = self.entries.get_mut(target)?;
        if entry.stage == DialStage::Dialling {
            // A name that leads to this node may lead to another one later.
            entry.stage = if cause == DialFailure::Own && !entry.is_by_name() {
                DialStage::Own
            } else {
                DialStage::Waiting
            };
        }
        entry.wanted = false;
        entry.back_off(now, &mut self.random);
        let is_useless = entry.attempts >= ATTEMPTS_MAX
            && now.saturating_sub(entry.reported_at) > REPORTED_FOR
            || cause == DialFailure::Stranger;
        let news = entry.note(target, cause);
        if is_useless && entry.origin != AddressOrigin::Named {
            self.entries.remove(target);
        }
        self.update_next_due();
        news.or_else(|| self.none_reached())
    }

    /// Notes that `peer` is a node of another cluster, which has this name.
    pub(in crate::driver) fn note_foreign(&mut self, peer: PeerId, family: &str) {
        for entry in
            self.entries.values_mut().filter(|entry| entry.stage == DialStage::Connected(peer))
        {
            entry.cause = Some(DialFailure::OtherCluster(family.to_owned()));
        }
        self.forget(peer);
    }

    /// A connection to `peer` is open. `dialled` is the target of this node's dial, if it dialled.
    pub(in crate::driver) fn connected(&mut self, peer: PeerId, dialled: Option<&DialTarget>) {
        for target in [Some(&DialTarget::Peer(peer)), dialled].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(target) {
                entry.stage = DialStage::Connected(peer);
            }
        }
        self.update_next_due();
    }

    /// The connected `peer` speaks the protocol. Returns the targets that lead to it and were
    /// logged as unreachable.
    pub(in crate::driver) fn spoke(&mut self, peer: PeerId) -> Vec<String> {
        let mut back = Vec::new();
        for (target, entry) in
            self.entries.iter_mut().filter(|(_, entry)| entry.stage == DialStage::Connected(peer))
        {
            (entry.attempts, entry.spoke, entry.was_reached, entry.cause, entry.wanted) =
                (0, true, true, None, false);
            if entry.logged.take().is_some() {
                back.push(display_name(target, entry));
            }
        }
        self.none_reached_logged = false;
        back
    }

    /// The last connection to `peer` closed. It is dialled again if an address is known, soon if it
    /// had spoken the protocol.
    pub(in crate::driver) fn disconnected(&mut self, peer: PeerId, now: Duration) {
        let lost = DialStage::Connected(peer);
        for entry in self.entries.values_mut().filter(|entry| entry.stage == lost) {
            entry.stage = DialStage::Waiting;
            if std::mem::take(&mut entry.spoke) {
                entry.due = now + REDIAL_MIN.mul_f64(self.random.f64());
            } else {
                entry.cause.get_or_insert(DialFailure::Silent);
                entry.back_off(now, &mut self.random);
            }
        }
        self.update_next_due();
    }

    /// Schedules a dial of every target that is not connected, whatever failed before.
    pub(in crate::driver) fn retry_all(&mut self, now: Duration) {
        for entry in self.entries.values_mut().filter(|entry| entry.stage == DialStage::Waiting) {
            (entry.attempts, entry.due) = (0, now);
        }
        self.update_next_due();
    }

    /// Forgets a peer that was cut off.
    pub(in crate::driver) fn forget(&mut self, peer: PeerId) {
        self.entries.retain(|target, entry| {
            entry.origin == AddressOrigin::Named || *target != DialTarget::Peer(peer)
        });
        self.update_next_due();
    }

    /// Addresses of connected peers, each with its identity: two per peer, in random order of
    /// peers, at most `addresses_max`.
    pub(in crate::driver) fn introduce(&mut self, addresses_max: usize) -> Vec<Multiaddr> {
        let mut peers: Vec<(PeerId, &[Multiaddr])> = self
            .entries
            .iter()
            .filter_map(|(target, entry)| match (target, &entry.stage) {
                (DialTarget::Peer(peer), DialStage::Connected(_)) => {
                    Some((*peer, entry.addresses.as_slice()))
                }
                _ => None,
            })
            .collect();
        self.random.shuffle(&mut peers);
        let listed = peers.iter().flat_map(|(peer, addresses)| {
            addresses.iter().take(2).filter_map(|address| address.clone().with_p2p(*peer).ok())
        });
        listed.take(addresses_max).collect()
    }

    /// When the next dial is due.
    pub(in crate::driver) fn next_due(&self) -> Option<Duration> {
        self.next_due
    }

    /// The number of targets that may lead to a node that has not answered. `up` peers are
    /// connected. Targets that wait because enough others are being dialled do not count.
    pub(in crate::driver) fn candidates(&self, up: usize) -> usize {
        let candidates = || self.entries.values().filter(|entry| entry.is_candidate());
        let deferred = candidates()
            .filter(|entry| entry.stage == DialStage::Waiting && !entry.has_priority())
            .count();
        candidates().count() - deferred + deferred.min(self.free_dials(up))
    }

    /// Returns true if there are nodes and all refuse this node's key. Nodes found by multicast do
    /// not count, because strangers answer it too.
    pub(in crate::driver) fn is_key_refused(&self) -> bool {
        let refuses = |entry: &AddressEntry| {
            entry.cause == Some(DialFailure::WrongKey)
                && entry.origin != AddressOrigin::Multicast
                && !entry.spoke
        };
        self.entries.values().any(refuses)
            && !self.entries.values().any(|entry| entry.spoke || entry.is_candidate())
    }

    /// Causes that keep this node from others, the most telling first. While peers are connected
    /// (`up`), these are only faults that an operator has to mend.
    pub(in crate::driver) fn troubles(&self, up: usize) -> Vec<(String, DialFailure)> {
        let tells = |entry: &AddressEntry| {
            entry.is_foreign() && entry.origin != AddressOrigin::Multicast
                || up == 0 && !entry.spoke
        };
        let mut troubles: Vec<(&DialTarget, &AddressEntry, &DialFailure)> = self
            .entries
            .iter()
            .filter(|(_, entry)| tells(entry) && entry.stage != DialStage::Own)
            .filter_map(|(target, entry)| Some((target, entry, entry.cause.as_ref()?)))
            .collect();
        troubles.sort_by_key(|(_, entry, cause)| {
            std::cmp::Reverse((entry.is_foreign(), entry.origin, *cause))
        });
        troubles
            .into_iter()
            .take(TROUBLES_MAX)
            .map(|(target, entry, cause)| (display_name(target, entry), cause.clone()))
            .collect()
    }

    /// Reports once that no found address is reached, until one is.
    fn none_reached(&mut self) -> Option<PeerNews> {
        let found = || {
            self.entries.iter().filter(|(_, entry)| {
                entry.origin == AddressOrigin::Found && entry.stage != DialStage::Own
            })
        };
        let is_over =
            |entry: &AddressEntry| !entry.is_candidate() && !entry.spoke && entry.cause.is_some();
        if self.none_reached_logged
            || self.entries.values().any(|entry| entry.spoke)
            || !found().all(|(_, entry)| is_over(entry))
        {
            return None;
        }
        let (target, entry) = found().max_by_key(|(_, entry)| entry.cause.clone())?;
        let news = PeerNews::NoneReached {
            addresses: found().count(),
            last: display_name(target, entry),
            cause: entry.cause.clone()?,
        };
        self.none_reached_logged = true;
        Some(news)
    }

    fn enter(&mut self, address: Multiaddr, origin: AddressOrigin, now: Duration) {
        let target = match peer_of(&address) {
            Some(peer) if peer == self.own => return,
            Some(peer) => DialTarget::Peer(peer),
            None => DialTarget::Place(address.clone()),
        };
        if !self.make_room(&target) {
            return;
        }
        let entry = self
            .entries
            .entry(target)
            .or_insert_with(|| AddressEntry { due: now, ..AddressEntry::default() });
        entry.origin = entry.origin.max(origin);
        entry.reported_at = now;
        let address = without_peer(address);
        if !entry.addresses.contains(&address) {
            entry.addresses.insert(0, address);
            entry.addresses.truncate(ADDRESSES_PER_PEER_MAX);
            entry.due = entry.due.min(now);
        }
    }

    /// Makes room for `target`. Returns false if the book is full of entries that must stay.
    fn make_room(&mut self, target: &DialTarget) -> bool {
        if self.entries.contains_key(target) || self.entries.len() < KNOWN_PEERS_MAX {
            return true;
        }
        let worst = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry.stage == DialStage::Waiting && entry.origin != AddressOrigin::Named
            })
            .max_by_key(|(_, entry)| entry.attempts);
        let worst = worst.map(|(target, _)| target.clone());
        worst.is_some_and(|target| self.entries.remove(&target).is_some())
    }

    fn update_next_due(&mut self) {
        // A target that waits for room is due when a dial ends.
        let has_room = self.free_dials(self.up) > 0 || self.up >= PEERS_WANTED;
        let waits = |entry: &&AddressEntry| {
            entry.stage == DialStage::Waiting && (has_room || entry.has_priority())
        };
        self.next_due = self.entries.values().filter(waits).map(|entry| entry.due).min();
    }
}

impl AddressEntry {
    /// Notes the failure of a dial. Returns news if the cause changed, for a peer that was named or
    /// reached before and for a node with another key.
    fn note(&mut self, target: &DialTarget, cause: DialFailure) -> Option<PeerNews> {
        self.cause = Some(cause.clone());
        // Another node answers there: the known peer was replaced.
        let was_reached = self.was_reached && cause != DialFailure::Stranger;
        let is_known = self.origin == AddressOrigin::Named
            || was_reached
            || cause == DialFailure::WrongKey && self.origin != AddressOrigin::Multicast;
        if !is_known
            || self.is_candidate()
            || cause == DialFailure::Own
            || self.logged.as_ref() == Some(&cause)
        {
            return None;
        }
        // Alternating causes give one line, for the most telling one.
        if self.logged.as_ref().is_some_and(|logged| *logged > cause) {
            return None;
        }
        self.logged = Some(cause.clone());
        Some(PeerNews::Unreached { peer: display_name(target, self), cause })
    }
}

/// The name that an operator knows a target by: its address.
fn display_name(target: &DialTarget, entry: &AddressEntry) -> String {
    match (target, entry.addresses.first()) {
        (_, Some(address)) => address.to_string(),
        (DialTarget::Place(address), None) => address.to_string(),
        (DialTarget::Peer(peer), None) => peer.to_string(),
    }
}

fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().find_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None })
}

fn without_peer(address: Multiaddr) -> Multiaddr {
    address.into_iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
