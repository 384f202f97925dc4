//! One entry of the address book: the addresses of a target, and how its dials went.

use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::dial_failure::DialFailure;
use crate::config::{ADDRESSES_PER_PEER_MAX, REDIAL_MAX, REDIAL_MIN};

/// After this many failures in a row, an entry that is no longer reported is forgotten, unless the
/// operator named it.
pub(super) const ATTEMPTS_MAX: u32 = 10;
/// An address counts as reported for this long after each report. Every discovery method repeats
/// its reports sooner.
pub(super) const REPORTED_FOR: Duration = Duration::from_secs(60);
/// The number of refused dials that count as a failure. Nodes that start together do not all listen
/// yet, and the pauses between three dials take about half a second.
pub(super) const REFUSALS: u32 = 3;

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

/// A change of a peer's state that is worth a log line.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::driver) enum PeerNews {
    /// A peer that was named or reached before is unreachable, or for a new reason.
    Unreached { peer: String, cause: DialFailure },
    /// None of the found addresses leads to a node.
    NoneReached { addresses: usize, last: String, cause: DialFailure },
}

/// The addresses of one target, and the state of its dials.
///
/// Invariant: at most [`ADDRESSES_PER_PEER_MAX`] addresses, without peer ids, the latest first. The
/// entry of a place has just that address.
#[derive(Debug, Default)]
pub(super) struct AddressEntry {
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
    /// An entry whose first dial is due at `now`.
    pub(super) fn new(origin: AddressOrigin, now: Duration) -> Self {
        Self { origin, due: now, ..Self::default() }
    }

    pub(super) fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    pub(super) fn origin(&self) -> AddressOrigin {
        self.origin
    }

    pub(super) fn is_named(&self) -> bool {
        self.origin == AddressOrigin::Named
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The failure of the last dial.
    pub(super) fn cause(&self) -> Option<&DialFailure> {
        self.cause.as_ref()
    }

    /// When the next dial is due.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.stage == DialStage::Waiting
    }

    pub(super) fn is_dialling(&self) -> bool {
        self.stage == DialStage::Dialling
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.stage, DialStage::Connected(_))
    }

    /// True if it is connected to this peer.
    pub(super) fn leads_to(&self, peer: PeerId) -> bool {
        self.stage == DialStage::Connected(peer)
    }

    /// True if it leads to this very node.
    pub(super) fn is_own(&self) -> bool {
        self.stage == DialStage::Own
    }

    /// True if the target has spoken the protocol over the present connection.
    pub(super) fn has_spoken(&self) -> bool {
        self.spoke
    }

    /// True if the target is dialled however many peers are connected.
    pub(super) fn has_priority(&self) -> bool {
        self.is_named() || self.wanted
    }

    /// True if a node may be there that has not answered yet. Neither silence nor a bare connection
    /// is an answer.
    pub(super) fn is_candidate(&self) -> bool {
        let is_silent = match &self.cause {
            None | Some(DialFailure::Silent | DialFailure::Unfinished) => true,
            Some(DialFailure::Refused | DialFailure::HungUp | DialFailure::Other(_)) => {
                self.attempts < REFUSALS
            }
            Some(_) => false,
        };
        is_silent && !self.spoke && !self.is_own()
    }

    /// True if it leads to a node with another key or of another cluster.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self.cause, Some(DialFailure::WrongKey | DialFailure::OtherCluster(_)))
            && !self.spoke
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

    /// The name that an operator knows the target by: its address.
    pub(super) fn display_name(&self, target: &DialTarget) -> String {
        match (target, self.addresses.first()) {
            (_, Some(address)) => address.to_string(),
            (DialTarget::Place(address), None) => address.to_string(),
            (DialTarget::Peer(peer), None) => peer.to_string(),
        }
    }

    /// An address of the target was reported.
    pub(super) fn report(&mut self, address: Multiaddr, origin: AddressOrigin, now: Duration) {
        self.origin = self.origin.max(origin);
        self.reported_at = now;
        if !self.addresses.contains(&address) {
            self.addresses.insert(0, address);
            self.addresses.truncate(ADDRESSES_PER_PEER_MAX);
            self.due = self.due.min(now);
        }
    }

    /// The connected `peer` reports where it listens. Addresses that the operator named stay.
    pub(super) fn learn(&mut self, peer: PeerId, mut listens: Vec<Multiaddr>) {
        let before = std::mem::take(&mut self.addresses);
        if self.is_named() {
            let named = before.into_iter().filter(|address| !listens.contains(address));
            let named: Vec<Multiaddr> = named.collect();
            listens.extend(named);
            listens.truncate(ADDRESSES_PER_PEER_MAX);
        }
        self.addresses = listens;
        if self.is_waiting() {
            self.connected(peer);
        }
    }

    /// The replicator asks for the target.
    pub(super) fn want(&mut self, now: Duration) {
        self.wanted = true;
        if self.is_waiting() {
            self.due = now;
        }
    }

    /// A dial begins.
    pub(super) fn begin_dial(&mut self) -> Vec<Multiaddr> {
        self.stage = DialStage::Dialling;
        self.addresses.clone()
    }

    /// Enough other peers are connected, so the next dial waits until `until`.
    pub(super) fn defer(&mut self, until: Duration) {
        self.due = until;
    }

    /// A dial failed. Returns a change that is worth a log line.
    pub(super) fn dial_failed(
        &mut self,
        target: &DialTarget,
        cause: DialFailure,
        now: Duration,
        random: &mut fastrand::Rng,
    ) -> Option<PeerNews> {
        if self.is_dialling() {
            // A name that leads to this node may lead to another one later.
            let is_own = cause == DialFailure::Own && !self.is_by_name();
            self.stage = if is_own { DialStage::Own } else { DialStage::Waiting };
        }
        self.wanted = false;
        self.back_off(now, random);
        self.note(target, cause)
    }

    /// True if the entry is of no use any more: another node answers there, or it failed often and
    /// nobody reports it.
    pub(super) fn is_useless(&self, now: Duration) -> bool {
        let is_forgotten =
            self.attempts >= ATTEMPTS_MAX && now.saturating_sub(self.reported_at) > REPORTED_FOR;
        !self.is_named() && (is_forgotten || self.cause == Some(DialFailure::Stranger))
    }

    /// A connection to `peer` is open.
    pub(super) fn connected(&mut self, peer: PeerId) {
        self.stage = DialStage::Connected(peer);
    }

    /// The connected peer speaks the protocol. Returns true if it was logged as unreachable.
    pub(super) fn speaks(&mut self) -> bool {
        (self.attempts, self.spoke, self.was_reached, self.cause, self.wanted) =
            (0, true, true, None, false);
        self.logged.take().is_some()
    }

    /// The connected peer is a node of another cluster, which has this name.
    pub(super) fn set_foreign(&mut self, family: &str) {
        self.cause = Some(DialFailure::OtherCluster(family.to_owned()));
    }

    /// The connection closed. The next dial is soon if the peer had spoken the protocol.
    pub(super) fn disconnected(&mut self, now: Duration, random: &mut fastrand::Rng) {
        self.stage = DialStage::Waiting;
        if std::mem::take(&mut self.spoke) {
            self.due = now + REDIAL_MIN.mul_f64(random.f64());
        } else {
            self.cause.get_or_insert(DialFailure::Silent);
            self.back_off(now, random);
        }
    }

    /// Schedules a dial now, whatever failed before.
    pub(super) fn retry(&mut self, now: Duration) {
        (self.attempts, self.due) = (0, now);
    }

    /// Schedules the next dial after a wait that doubles each time, with jitter.
    fn back_off(&mut self, now: Duration, random: &mut fastrand::Rng) {
        self.attempts += 1;
        let wait = REDIAL_MIN.saturating_mul(1 << self.attempts.min(10)).min(REDIAL_MAX);
        self.due = now + wait.mul_f64(0.5 + 0.5 * random.f64());
    }

    /// Notes the failure of a dial. Returns news if the cause changed, for a peer that was named or
    /// reached before and for a node with another key.
    fn note(&mut self, target: &DialTarget, cause: DialFailure) -> Option<PeerNews> {
        self.cause = Some(cause.clone());
        // Another node answers there: the known peer was replaced.
        let was_reached = self.was_reached && cause != DialFailure::Stranger;
        let is_known = self.is_named()
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
        Some(PeerNews::Unreached { peer: self.display_name(target), cause })
    }
}
