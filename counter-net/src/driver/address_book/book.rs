//! The address book: whom to dial, at which address, and when again. It uses no socket and no
//! clock, so tests need neither.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::dial_failure::DialFailure;
use super::entry::{AddressEntry, AddressOrigin, DialTarget, PeerNews};
use crate::config::{
    ADDRESSES_PER_PEER_MAX, KNOWN_PEERS_MAX, PEERS_WANTED, REDIAL_MAX, is_loopback,
    is_reachable_shape,
};

/// The most causes of trouble reported at a time.
const TROUBLES_MAX: usize = 3;

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
        entry.want(now);
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
        let addresses: Vec<Multiaddr> = listens
            .into_iter()
            .filter(|address| self.is_dialable(address))
            .map(without_peer)
            .take(ADDRESSES_PER_PEER_MAX)
            .collect();
        if peer == self.own || addresses.is_empty() || !self.make_room(&DialTarget::Peer(peer)) {
            return;
        }
        self.entries
            .entry(DialTarget::Peer(peer))
            .or_insert_with(|| AddressEntry::new(AddressOrigin::Found, Duration::ZERO))
            .learn(peer, addresses);
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
            .filter(|(_, entry)| entry.is_waiting() && entry.due() <= now)
            .collect();
        waiting.sort_by_key(|(_, entry)| (!entry.has_priority(), entry.attempts()));
        for (target, entry) in waiting {
            if entry.has_priority() || room > 0 {
                room -= usize::from(!entry.has_priority());
                due.push((target.clone(), entry.begin_dial()));
            } else if up >= PEERS_WANTED {
                entry.defer(now + REDIAL_MAX);
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
            .filter(|entry| entry.is_dialling() && !entry.has_priority())
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
        let news = entry.dial_failed(target, cause, now, &mut self.random);
        if entry.is_useless(now) {
            self.entries.remove(target);
        }
        self.update_next_due();
        news.or_else(|| self.none_reached())
    }

    /// Notes that `peer` is a node of another cluster, which has this name.
    pub(in crate::driver) fn note_foreign(&mut self, peer: PeerId, family: &str) {
        for entry in self.entries.values_mut().filter(|entry| entry.leads_to(peer)) {
            entry.set_foreign(family);
        }
        self.forget(peer);
    }

    /// A connection to `peer` is open. `dialled` is the target of this node's dial, if it dialled.
    pub(in crate::driver) fn connected(&mut self, peer: PeerId, dialled: Option<&DialTarget>) {
        for target in [Some(&DialTarget::Peer(peer)), dialled].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(target) {
                entry.connected(peer);
            }
        }
        self.update_next_due();
    }

    /// The connected `peer` speaks the protocol. Returns the targets that lead to it and were
    /// logged as unreachable.
    pub(in crate::driver) fn spoke(&mut self, peer: PeerId) -> Vec<String> {
        let mut back = Vec::new();
        for (target, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.leads_to(peer)) {
            if entry.speaks() {
                back.push(entry.display_name(target));
            }
        }
        self.none_reached_logged = false;
        back
    }

    /// The last connection to `peer` closed. It is dialled again if an address is known, soon if it
    /// had spoken the protocol.
    pub(in crate::driver) fn disconnected(&mut self, peer: PeerId, now: Duration) {
        for entry in self.entries.values_mut().filter(|entry| entry.leads_to(peer)) {
            entry.disconnected(now, &mut self.random);
        }
        self.update_next_due();
    }

    /// Schedules a dial of every target that is not connected, whatever failed before.
    pub(in crate::driver) fn retry_all(&mut self, now: Duration) {
        for entry in self.entries.values_mut().filter(|entry| entry.is_waiting()) {
            entry.retry(now);
        }
        self.update_next_due();
    }

    /// Forgets a peer that was cut off.
    pub(in crate::driver) fn forget(&mut self, peer: PeerId) {
        self.entries.retain(|target, entry| entry.is_named() || *target != DialTarget::Peer(peer));
        self.update_next_due();
    }

    /// Addresses of connected peers, each with its identity: two per peer, in random order of
    /// peers, at most `addresses_max`.
    pub(in crate::driver) fn introduce(&mut self, addresses_max: usize) -> Vec<Multiaddr> {
        let mut peers: Vec<(PeerId, &[Multiaddr])> = self
            .entries
            .iter()
            .filter_map(|(target, entry)| match target {
                DialTarget::Peer(peer) if entry.is_connected() => Some((*peer, entry.addresses())),
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
        let deferred =
            candidates().filter(|entry| entry.is_waiting() && !entry.has_priority()).count();
        candidates().count() - deferred + deferred.min(self.free_dials(up))
    }

    /// Returns true if nodes were found and all of them refuse this node's key. Nodes found by
    /// multicast do not count, because strangers answer it too.
    pub(in crate::driver) fn is_key_refused(&self) -> bool {
        let refuses = |entry: &AddressEntry| {
            entry.cause() == Some(&DialFailure::WrongKey)
                && entry.origin() != AddressOrigin::Multicast
                && !entry.has_spoken()
        };
        self.entries.values().any(refuses)
            && !self.entries.values().any(|entry| entry.has_spoken() || entry.is_candidate())
    }

    /// Causes that keep this node from others, the most telling first. While peers are connected
    /// (`up`), these are only faults that an operator has to mend.
    pub(in crate::driver) fn troubles(&self, up: usize) -> Vec<(String, DialFailure)> {
        let tells = |entry: &AddressEntry| {
            entry.is_foreign() && entry.origin() != AddressOrigin::Multicast
                || up == 0 && !entry.has_spoken()
        };
        let mut troubles: Vec<(&DialTarget, &AddressEntry, &DialFailure)> = self
            .entries
            .iter()
            .filter(|(_, entry)| tells(entry) && !entry.is_own())
            .filter_map(|(target, entry)| Some((target, entry, entry.cause()?)))
            .collect();
        troubles.sort_by_key(|(_, entry, cause)| {
            std::cmp::Reverse((entry.is_foreign(), entry.origin(), *cause))
        });
        troubles
            .into_iter()
            .take(TROUBLES_MAX)
            .map(|(target, entry, cause)| (entry.display_name(target), cause.clone()))
            .collect()
    }

    /// Reports once that no found address is reached, until one is.
    fn none_reached(&mut self) -> Option<PeerNews> {
        let found = || {
            self.entries
                .iter()
                .filter(|(_, entry)| entry.origin() == AddressOrigin::Found && !entry.is_own())
        };
        let is_over = |entry: &AddressEntry| {
            !entry.is_candidate() && !entry.has_spoken() && entry.cause().is_some()
        };
        if self.none_reached_logged
            || self.entries.values().any(AddressEntry::has_spoken)
            || !found().all(|(_, entry)| is_over(entry))
        {
            return None;
        }
        let (target, entry) = found().max_by_key(|(_, entry)| entry.cause().cloned())?;
        let news = PeerNews::NoneReached {
            addresses: found().count(),
            last: entry.display_name(target),
            cause: entry.cause()?.clone(),
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
        self.entries
            .entry(target)
            .or_insert_with(|| AddressEntry::new(AddressOrigin::default(), now))
            .report(without_peer(address), origin, now);
    }

    /// Makes room for `target`. Returns false if the book is full of entries that must stay.
    fn make_room(&mut self, target: &DialTarget) -> bool {
        if self.entries.contains_key(target) || self.entries.len() < KNOWN_PEERS_MAX {
            return true;
        }
        let worst = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_waiting() && !entry.is_named())
            .max_by_key(|(_, entry)| entry.attempts());
        let worst = worst.map(|(target, _)| target.clone());
        worst.is_some_and(|target| self.entries.remove(&target).is_some())
    }

    fn update_next_due(&mut self) {
        // A target that waits for room is due when a dial ends.
        let has_room = self.free_dials(self.up) > 0 || self.up >= PEERS_WANTED;
        let waits =
            |entry: &&AddressEntry| entry.is_waiting() && (has_room || entry.has_priority());
        self.next_due = self.entries.values().filter(waits).map(AddressEntry::due).min();
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
