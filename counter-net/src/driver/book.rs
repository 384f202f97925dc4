//! The address book: whom to dial, where, and when again. Knows no socket and no clock, so it is tested without either.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::config::{ADDRESSES_PER_PEER_MAX, KNOWN_PEERS_MAX, REDIAL_MAX, REDIAL_MIN, is_loopback, is_reachable_shape};

/// An entry that nobody asked for by name is forgotten after so many failures in a row; discovery may find it again.
const ATTEMPTS_MAX: u32 = 10;

/// Whom an entry leads to: a known peer, or whoever answers at an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Place(Multiaddr),
    Peer(PeerId),
}

#[derive(Debug, Default)]
struct Entry {
    /// The latest first. One for a place: itself.
    addresses: Vec<Multiaddr>,
    /// Named by the operator: never forgotten, and dialled however many peers there are.
    permanent: bool,
    /// Failures since somebody there last spoke our protocol. Who connects and never speaks has failed too.
    attempts: u32,
    /// Somebody there has spoken our protocol since the connection was made.
    spoke: bool,
    due: Duration,
    stage: Stage,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Waiting,
    Dialling,
    /// Connected to this peer; for a place, whoever answered there.
    Connected(PeerId),
    /// It leads to this very node.
    Own,
}

impl Entry {
    /// The next dial follows after a wait that doubles and is never quite the same on two nodes.
    fn back_off(&mut self, now: Duration, random: &mut fastrand::Rng) {
        self.attempts += 1;
        let wait = REDIAL_MIN.saturating_mul(1 << self.attempts.min(10)).min(REDIAL_MAX);
        self.due = now + wait.mul_f64(0.5 + 0.5 * random.f64());
    }
}

/// How a dial went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody, or nobody with our key, is there now.
    Unreached,
    /// It was this node itself.
    Own,
    /// Somebody else than the peer that was meant is there.
    Stranger,
}

/// Every address that may lead to a member of the cluster.
pub(super) struct AddressBook {
    own: PeerId,
    /// Without a cluster key nobody outside of this machine can be a member.
    loopback_only: bool,
    entries: BTreeMap<Target, Entry>,
    random: fastrand::Rng,
    next_due: Option<Duration>,
    candidates: usize,
}

impl AddressBook {
    pub(super) fn new(own: PeerId, loopback_only: bool, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { own, loopback_only, entries: BTreeMap::new(), random, next_due: None, candidates: 0 }
    }

    /// An address that the operator named.
    pub(super) fn name(&mut self, address: Multiaddr, now: Duration) {
        self.enter(address, true, now);
        self.settle();
    }

    /// Addresses that discovery found; those that cannot be dialled from here are passed over.
    pub(super) fn found(&mut self, addresses: impl IntoIterator<Item = Multiaddr>, now: Duration) {
        for address in addresses {
            let dialable = is_reachable_shape(&address) && (!self.loopback_only || is_loopback(&address));
            if dialable {
                self.enter(address, false, now);
            }
        }
        self.settle();
    }

    /// Where a connected peer says that it listens: what is dialled if the connection is lost. Replaces what it said before.
    pub(super) fn learned(&mut self, peer: PeerId, listens: impl IntoIterator<Item = Multiaddr>) {
        let loopback_only = self.loopback_only;
        let mut addresses: Vec<Multiaddr> = listens
            .into_iter()
            .filter(|address| is_reachable_shape(address) && (!loopback_only || is_loopback(address)))
            .map(without_peer)
            .take(ADDRESSES_PER_PEER_MAX)
            .collect();
        if peer == self.own || addresses.is_empty() || !self.make_room(&Target::Peer(peer)) {
            return;
        }
        let entry = self.entries.entry(Target::Peer(peer)).or_default();
        if entry.permanent {
            let named = entry.addresses.iter().filter(|address| !addresses.contains(address)).cloned().collect::<Vec<_>>();
            addresses.extend(named);
            addresses.truncate(ADDRESSES_PER_PEER_MAX);
        }
        entry.addresses = addresses;
        if entry.stage == Stage::Waiting {
            entry.stage = Stage::Connected(peer);
        }
        self.settle();
    }

    /// The entries to dial now, with their addresses. `room`: whether more peers are wanted beyond those named by the operator.
    pub(super) fn take_due(&mut self, now: Duration, room: bool) -> Vec<(Target, Vec<Multiaddr>)> {
        if self.next_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (target, entry) in &mut self.entries {
            if entry.stage != Stage::Waiting || entry.due > now {
                continue;
            }
            if room || entry.permanent {
                entry.stage = Stage::Dialling;
                due.push((target.clone(), entry.addresses.clone()));
            } else {
                entry.due = now + REDIAL_MAX;
            }
        }
        self.settle();
        due
    }

    /// A dial of `target` failed.
    pub(super) fn failed(&mut self, target: &Target, failure: Failure, now: Duration) {
        let Some(entry) = self.entries.get_mut(target) else { return };
        if entry.stage == Stage::Dialling {
            entry.stage = if failure == Failure::Own { Stage::Own } else { Stage::Waiting };
        }
        entry.back_off(now, &mut self.random);
        let useless = entry.attempts >= ATTEMPTS_MAX || failure == Failure::Stranger;
        if useless && !entry.permanent {
            self.entries.remove(target);
        }
        self.settle();
    }

    /// A connection to `peer` is open; `dialled` names the entry that led there, if it was this node's dial.
    pub(super) fn connected(&mut self, peer: PeerId, dialled: Option<&Target>) {
        for target in [Some(&Target::Peer(peer)), dialled].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(target) {
                entry.stage = Stage::Connected(peer);
            }
        }
        self.settle();
    }

    /// The connected `peer` speaks our protocol: the dials that led to it were right.
    pub(super) fn spoke(&mut self, peer: PeerId) {
        for entry in self.entries.values_mut().filter(|entry| entry.stage == Stage::Connected(peer)) {
            (entry.attempts, entry.spoke) = (0, true);
        }
    }

    /// The last connection to `peer` closed: it is dialled again where an address is known, at once unless it never spoke our protocol.
    pub(super) fn disconnected(&mut self, peer: PeerId, now: Duration) {
        let lost = Stage::Connected(peer);
        for entry in self.entries.values_mut().filter(|entry| entry.stage == lost) {
            entry.stage = Stage::Waiting;
            if std::mem::take(&mut entry.spoke) {
                entry.due = now + REDIAL_MIN.mul_f64(self.random.f64());
            } else {
                entry.back_off(now, &mut self.random);
            }
        }
        self.settle();
    }

    /// Everything that is not connected is dialled now, whatever went wrong before.
    pub(super) fn retry_all(&mut self, now: Duration) {
        for entry in self.entries.values_mut().filter(|entry| entry.stage == Stage::Waiting) {
            (entry.attempts, entry.due) = (0, now);
        }
        self.settle();
    }

    /// Forgets a peer that was cut off.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.entries.retain(|target, entry| entry.permanent || *target != Target::Peer(peer));
        self.settle();
    }

    /// Where the connected peers listen, each with its identity: at most `addresses_max`, two a peer, the peers in random order.
    pub(super) fn introduce(&mut self, addresses_max: usize) -> Vec<Multiaddr> {
        let mut peers: Vec<(PeerId, &[Multiaddr])> = self
            .entries
            .iter()
            .filter_map(|(target, entry)| match (target, &entry.stage) {
                (Target::Peer(peer), Stage::Connected(_)) => Some((*peer, entry.addresses.as_slice())),
                _ => None,
            })
            .collect();
        self.random.shuffle(&mut peers);
        let listed =
            peers.iter().flat_map(|(peer, addresses)| addresses.iter().take(2).filter_map(|address| address.clone().with_p2p(*peer).ok()));
        listed.take(addresses_max).collect()
    }

    /// When something is to be dialled next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.next_due
    }

    /// Entries that are not connected and have not failed yet.
    pub(super) fn candidates(&self) -> usize {
        self.candidates
    }

    fn enter(&mut self, address: Multiaddr, permanent: bool, now: Duration) {
        let target = match peer_of(&address) {
            Some(peer) if peer == self.own => return,
            Some(peer) => Target::Peer(peer),
            None => Target::Place(address.clone()),
        };
        if !self.make_room(&target) {
            return;
        }
        let entry = self.entries.entry(target).or_insert_with(|| Entry { due: now, ..Entry::default() });
        entry.permanent |= permanent;
        let address = without_peer(address);
        if !entry.addresses.contains(&address) {
            entry.addresses.insert(0, address);
            entry.addresses.truncate(ADDRESSES_PER_PEER_MAX);
            entry.due = entry.due.min(now);
        }
    }

    /// False when the book is full of entries that are better kept than `target`.
    fn make_room(&mut self, target: &Target) -> bool {
        if self.entries.contains_key(target) || self.entries.len() < KNOWN_PEERS_MAX {
            return true;
        }
        let worst = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.stage == Stage::Waiting && !entry.permanent)
            .max_by_key(|(_, entry)| entry.attempts);
        let worst = worst.map(|(target, _)| target.clone());
        worst.is_some_and(|target| self.entries.remove(&target).is_some())
    }

    fn settle(&mut self) {
        self.next_due = self.entries.values().filter(|entry| entry.stage == Stage::Waiting).map(|entry| entry.due).min();
        let open = |entry: &&Entry| entry.attempts == 0 && matches!(entry.stage, Stage::Waiting | Stage::Dialling);
        self.candidates = self.entries.values().filter(open).count();
    }
}

fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().find_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None })
}

fn without_peer(address: Multiaddr) -> Multiaddr {
    address.into_iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

#[cfg(test)]
mod tests;
