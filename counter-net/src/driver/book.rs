//! The address book: whom to dial, where, and when again. Knows no socket and no clock, so it is
//! tested without either.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::cause::Cause;
use crate::config::{
    ADDRESSES_PER_PEER_MAX, KNOWN_PEERS_MAX, PEERS_WANTED, REDIAL_MAX, REDIAL_MIN, is_loopback,
    is_reachable_shape,
};

/// An entry that nobody named is forgotten after so many failures in a row, once nobody reports it
/// any more.
const ATTEMPTS_MAX: u32 = 10;
/// Nobody reports an address any more that was not reported for this long: every way of discovery
/// repeats itself sooner.
const REPORTED_FOR: Duration = Duration::from_secs(60);
/// A refused dial is repeated this often before it counts as failed. Nodes that start together are
/// not all listening yet: two pauses are about half a second.
const REFUSALS: u32 = 3;
/// Sentences of trouble at a time.
const TROUBLES_MAX: usize = 3;

/// Whom an entry leads to: a known peer, or whoever answers at an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Place(Multiaddr),
    Peer(PeerId),
}

/// Who said that there is a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Origin {
    /// Anybody on the network segment: it says nothing about the cluster.
    #[default]
    Multicast,
    /// Discovery, or another node.
    Found,
    /// The operator. Never forgotten, and dialled however many peers there are.
    Named,
}

#[derive(Debug, Default)]
struct Entry {
    /// The latest first. One for a place: itself.
    addresses: Vec<Multiaddr>,
    origin: Origin,
    /// The replicator wants it reached, however many peers there are.
    wanted: bool,
    reported_at: Duration,
    /// Failures since somebody there last spoke our protocol. Who connects and never speaks has
    /// failed too.
    attempts: u32,
    /// Somebody there has spoken our protocol since the connection was made.
    spoke: bool,
    /// Somebody there has ever spoken our protocol.
    was_reached: bool,
    /// Why the last dial failed; none since one succeeded.
    cause: Option<Cause>,
    /// The cause that was logged last.
    logged: Option<Cause>,
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

    /// Whether a node may be there that has not answered. Silence is no answer, and neither is a
    /// connection.
    fn is_candidate(&self) -> bool {
        let is_silent = match &self.cause {
            None | Some(Cause::Silent | Cause::Unfinished) => true,
            Some(Cause::Refused | Cause::HungUp | Cause::Other(_)) => self.attempts < REFUSALS,
            Some(_) => false,
        };
        is_silent && !self.spoke && self.stage != Stage::Own
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
        self.origin == Origin::Named || self.wanted
    }

    /// It leads to a node with another key or of another cluster.
    fn is_foreign(&self) -> bool {
        matches!(self.cause, Some(Cause::WrongKey | Cause::OtherCluster(_))) && !self.spoke
    }
}

/// A line for the log: the state of a peer changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A peer that was named or reached before is not reached any more, or for another reason.
    Unreached { peer: String, cause: Cause },
    /// None of the addresses that were found leads to a node.
    NoneReached { addresses: usize, last: String, cause: Cause },
}

/// Every address that may lead to a member of the cluster.
pub(super) struct AddressBook {
    own: PeerId,
    /// Without a cluster key nobody outside of this machine can be a member.
    loopback_only: bool,
    entries: BTreeMap<Target, Entry>,
    random: fastrand::Rng,
    next_due: Option<Duration>,
    /// Peers that were connected when the book was last asked.
    up: usize,
    /// That no found address is reached was logged, and none was since.
    none_reached_logged: bool,
}

impl AddressBook {
    pub(super) fn new(own: PeerId, loopback_only: bool, seed: u64) -> Self {
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

    /// An address that the operator named.
    pub(super) fn name(&mut self, address: Multiaddr, now: Duration) {
        self.enter(address, Origin::Named, now);
        self.settle();
    }

    /// Addresses that discovery or another node reported; those that cannot be dialled from here
    /// are passed over.
    pub(super) fn found(
        &mut self,
        addresses: impl IntoIterator<Item = Multiaddr>,
        origin: Origin,
        now: Duration,
    ) {
        for address in addresses {
            if self.is_dialable(&address) {
                self.enter(address, origin, now);
            }
        }
        self.settle();
    }

    /// The replicator wants `peer` reached. False where no address of it is known.
    pub(super) fn want(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
        now: Duration,
    ) -> bool {
        self.found(
            addresses.into_iter().filter(|address| peer_of(address) == Some(peer)),
            Origin::Found,
            now,
        );
        let Some(entry) = self.entries.get_mut(&Target::Peer(peer)) else { return false };
        entry.wanted = true;
        if entry.stage == Stage::Waiting {
            entry.due = now;
        }
        self.settle();
        true
    }

    fn is_dialable(&self, address: &Multiaddr) -> bool {
        is_reachable_shape(address) && (!self.loopback_only || is_loopback(address))
    }

    /// Where a connected peer says that it listens: what is dialled if the connection is lost.
    /// Replaces what it said before.
    pub(super) fn learned(&mut self, peer: PeerId, listens: impl IntoIterator<Item = Multiaddr>) {
        let mut addresses: Vec<Multiaddr> = listens
            .into_iter()
            .filter(|address| self.is_dialable(address))
            .map(without_peer)
            .take(ADDRESSES_PER_PEER_MAX)
            .collect();
        if peer == self.own || addresses.is_empty() || !self.make_room(&Target::Peer(peer)) {
            return;
        }
        let entry = self
            .entries
            .entry(Target::Peer(peer))
            .or_insert_with(|| Entry { origin: Origin::Found, ..Entry::default() });
        if entry.origin == Origin::Named {
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
        if entry.stage == Stage::Waiting {
            entry.stage = Stage::Connected(peer);
        }
        self.settle();
    }

    /// The entries to dial now, with their addresses, while `up` peers are connected.
    pub(super) fn take_due(&mut self, now: Duration, up: usize) -> Vec<(Target, Vec<Multiaddr>)> {
        if self.up != up {
            self.up = up;
            self.settle();
        }
        if self.next_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut room = self.room(up);
        let mut due = Vec::new();
        // Those not tried yet go first, whatever their address.
        let mut waiting: Vec<(&Target, &mut Entry)> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.stage == Stage::Waiting && entry.due <= now)
            .collect();
        waiting.sort_by_key(|(_, entry)| (!entry.has_priority(), entry.attempts));
        for (target, entry) in waiting {
            if entry.has_priority() || room > 0 {
                room -= usize::from(!entry.has_priority());
                entry.stage = Stage::Dialling;
                due.push((target.clone(), entry.addresses.clone()));
            } else if up >= PEERS_WANTED {
                entry.due = now + REDIAL_MAX;
            }
        }
        self.settle();
        due
    }

    /// How many more entries may be dialled that nobody named.
    fn room(&self, up: usize) -> usize {
        let dialling = self
            .entries
            .values()
            .filter(|entry| entry.stage == Stage::Dialling && !entry.has_priority())
            .count();
        PEERS_WANTED.saturating_sub(up + dialling)
    }

    /// A dial of `target` failed. Returns what is worth a line in the log.
    pub(super) fn failed(&mut self, target: &Target, cause: Cause, now: Duration) -> Option<News> {
        let entry = self.entries.get_mut(target)?;
        if entry.stage == Stage::Dialling {
            // A name may lead to this node now, and to another one later.
            entry.stage = if cause == Cause::Own && !entry.is_by_name() {
                Stage::Own
            } else {
                Stage::Waiting
            };
        }
        entry.wanted = false;
        entry.back_off(now, &mut self.random);
        let is_useless = entry.attempts >= ATTEMPTS_MAX
            && now.saturating_sub(entry.reported_at) > REPORTED_FOR
            || cause == Cause::Stranger;
        let news = entry.note(target, cause);
        if is_useless && entry.origin != Origin::Named {
            self.entries.remove(target);
        }
        self.settle();
        news.or_else(|| self.none_reached())
    }

    /// A node of another cluster answered as `peer`, with this name of its own.
    pub(super) fn is_foreign(&mut self, peer: PeerId, family: &str) {
        for entry in self.entries.values_mut().filter(|entry| entry.stage == Stage::Connected(peer))
        {
            entry.cause = Some(Cause::OtherCluster(family.to_owned()));
        }
        self.forget(peer);
    }

    /// A connection to `peer` is open; `dialled` names the entry that led there, if it was this
    /// node's dial.
    pub(super) fn connected(&mut self, peer: PeerId, dialled: Option<&Target>) {
        for target in [Some(&Target::Peer(peer)), dialled].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(target) {
                entry.stage = Stage::Connected(peer);
            }
        }
        self.settle();
    }

    /// The connected `peer` speaks our protocol: the dials that led to it were right. Returns those
    /// of them that were said to be unreachable.
    pub(super) fn spoke(&mut self, peer: PeerId) -> Vec<String> {
        let mut back = Vec::new();
        for (target, entry) in
            self.entries.iter_mut().filter(|(_, entry)| entry.stage == Stage::Connected(peer))
        {
            (entry.attempts, entry.spoke, entry.was_reached, entry.cause, entry.wanted) =
                (0, true, true, None, false);
            if entry.logged.take().is_some() {
                back.push(named(target, entry));
            }
        }
        self.none_reached_logged = false;
        back
    }

    /// The last connection to `peer` closed: it is dialled again where an address is known, at once
    /// unless it never spoke our protocol.
    pub(super) fn disconnected(&mut self, peer: PeerId, now: Duration) {
        let lost = Stage::Connected(peer);
        for entry in self.entries.values_mut().filter(|entry| entry.stage == lost) {
            entry.stage = Stage::Waiting;
            if std::mem::take(&mut entry.spoke) {
                entry.due = now + REDIAL_MIN.mul_f64(self.random.f64());
            } else {
                entry.cause.get_or_insert(Cause::Silent);
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
        self.entries
            .retain(|target, entry| entry.origin == Origin::Named || *target != Target::Peer(peer));
        self.settle();
    }

    /// Where the connected peers listen, each with its identity: at most `addresses_max`, two a
    /// peer, the peers in random order.
    pub(super) fn introduce(&mut self, addresses_max: usize) -> Vec<Multiaddr> {
        let mut peers: Vec<(PeerId, &[Multiaddr])> = self
            .entries
            .iter()
            .filter_map(|(target, entry)| match (target, &entry.stage) {
                (Target::Peer(peer), Stage::Connected(_)) => {
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

    /// When something is to be dialled next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.next_due
    }

    /// How many entries may lead to a node that has not answered, while `up` peers are connected.
    /// Those that wait because enough others are tried do not count.
    pub(super) fn candidates(&self, up: usize) -> usize {
        let candidates = || self.entries.values().filter(|entry| entry.is_candidate());
        let deferred = candidates()
            .filter(|entry| entry.stage == Stage::Waiting && !entry.has_priority())
            .count();
        candidates().count() - deferred + deferred.min(self.room(up))
    }

    /// Whether nodes are there, and all of them refuse this node's key. Multicast is heard by
    /// strangers too.
    pub(super) fn is_key_refused(&self) -> bool {
        let refuses = |entry: &Entry| {
            entry.cause == Some(Cause::WrongKey)
                && entry.origin != Origin::Multicast
                && !entry.spoke
        };
        self.entries.values().any(refuses)
            && !self.entries.values().any(|entry| entry.spoke || entry.is_candidate())
    }

    /// What keeps this node from others, most telling first; `up` are connected. With peers at hand
    /// only what an operator has to mend is named.
    pub(super) fn troubles(&self, up: usize) -> Vec<(String, Cause)> {
        let tells = |entry: &Entry| {
            entry.is_foreign() && entry.origin != Origin::Multicast || up == 0 && !entry.spoke
        };
        let mut troubles: Vec<(&Target, &Entry, &Cause)> = self
            .entries
            .iter()
            .filter(|(_, entry)| tells(entry) && entry.stage != Stage::Own)
            .filter_map(|(target, entry)| Some((target, entry, entry.cause.as_ref()?)))
            .collect();
        troubles.sort_by_key(|(_, entry, cause)| {
            std::cmp::Reverse((entry.is_foreign(), entry.origin, *cause))
        });
        troubles
            .into_iter()
            .take(TROUBLES_MAX)
            .map(|(target, entry, cause)| (named(target, entry), cause.clone()))
            .collect()
    }

    /// None of the addresses that were found is reached: said once until one is.
    fn none_reached(&mut self) -> Option<News> {
        let found = || {
            self.entries
                .iter()
                .filter(|(_, entry)| entry.origin == Origin::Found && entry.stage != Stage::Own)
        };
        let is_over =
            |entry: &Entry| !entry.is_candidate() && !entry.spoke && entry.cause.is_some();
        if self.none_reached_logged
            || self.entries.values().any(|entry| entry.spoke)
            || !found().all(|(_, entry)| is_over(entry))
        {
            return None;
        }
        let (target, entry) = found().max_by_key(|(_, entry)| entry.cause.clone())?;
        let news = News::NoneReached {
            addresses: found().count(),
            last: named(target, entry),
            cause: entry.cause.clone()?,
        };
        self.none_reached_logged = true;
        Some(news)
    }

    fn enter(&mut self, address: Multiaddr, origin: Origin, now: Duration) {
        let target = match peer_of(&address) {
            Some(peer) if peer == self.own => return,
            Some(peer) => Target::Peer(peer),
            None => Target::Place(address.clone()),
        };
        if !self.make_room(&target) {
            return;
        }
        let entry =
            self.entries.entry(target).or_insert_with(|| Entry { due: now, ..Entry::default() });
        entry.origin = entry.origin.max(origin);
        entry.reported_at = now;
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
            .filter(|(_, entry)| entry.stage == Stage::Waiting && entry.origin != Origin::Named)
            .max_by_key(|(_, entry)| entry.attempts);
        let worst = worst.map(|(target, _)| target.clone());
        worst.is_some_and(|target| self.entries.remove(&target).is_some())
    }

    fn settle(&mut self) {
        // Who waits for room is due when a dial ends, not at a time.
        let has_room = self.room(self.up) > 0 || self.up >= PEERS_WANTED;
        let waits =
            |entry: &&Entry| entry.stage == Stage::Waiting && (has_room || entry.has_priority());
        self.next_due = self.entries.values().filter(waits).map(|entry| entry.due).min();
    }
}

impl Entry {
    /// Notes why a dial failed. A peer that was named or reached before gets a line when the cause
    /// changes, and so does a node with another key.
    fn note(&mut self, target: &Target, cause: Cause) -> Option<News> {
        self.cause = Some(cause.clone());
        // Where a known peer was, another one is: it was replaced.
        let was_reached = self.was_reached && cause != Cause::Stranger;
        let is_known = self.origin == Origin::Named
            || was_reached
            || cause == Cause::WrongKey && self.origin != Origin::Multicast;
        if !is_known
            || self.is_candidate()
            || cause == Cause::Own
            || self.logged.as_ref() == Some(&cause)
        {
            return None;
        }
        // A cause that comes and goes is one line, the most telling one.
        if self.logged.as_ref().is_some_and(|logged| *logged > cause) {
            return None;
        }
        self.logged = Some(cause.clone());
        Some(News::Unreached { peer: named(target, self), cause })
    }
}

/// A peer as an operator knows it: where it is dialled.
fn named(target: &Target, entry: &Entry) -> String {
    match (target, entry.addresses.first()) {
        (_, Some(address)) => address.to_string(),
        (Target::Place(address), None) => address.to_string(),
        (Target::Peer(peer), None) => peer.to_string(),
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
