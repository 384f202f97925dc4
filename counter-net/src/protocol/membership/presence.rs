//! This node announces itself. Other members come, fall silent, are suspected, answer and leave.

use std::time::Duration;

use counter_core::{Replica, ReplicaId};
use serde_bytes::ByteBuf;

use super::dialling::Candidate;
use super::members::{MemberEntry, Merged};
use crate::protocol::context::Timer;
use crate::protocol::input::NodeId;
use crate::protocol::output::{Alarm, Refusal};
use crate::protocol::replicator::Replicator;
use crate::protocol::stats::{Event, Kind};
use crate::protocol::wire::Gossip;
use crate::protocol::wire::Id;
use crate::protocol::wire::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, Announcement, Standing, Suspicion};

impl Replicator {
    pub(crate) fn on_viewers(&mut self, viewers: u64) {
        if self.members.set_viewers(viewers) {
            self.announce_soon();
        }
    }

    /// Announces this node at once, or when the interval since the last time is over.
    pub(crate) fn announce_soon(&mut self) {
        self.ctx.timers.set_by(Timer::Announce, self.announcer.next(self.ctx.now));
    }

    /// Announces this node to all, and again when the heartbeat is due.
    pub(crate) fn announce(&mut self) {
        self.announcer.announced(self.ctx.now, self.ctx.config.announce_interval);
        let heartbeat = self.ctx.jittered(self.ctx.config.heartbeat_interval);
        self.ctx.timers.set(Timer::Announce, self.ctx.now + heartbeat);
        self.members.raise_version();
        if !self.peers.is_empty() {
            let mut said = self.own_announcement();
            if !self.announcer.carries_addresses(self.ctx.now) {
                // Members that know this incarnation have its addresses, and pass them on.
                said.addresses.clear();
            }
            let announcement = Some(said);
            let gossip = Gossip { announcement, ..Gossip::default() };
            self.ctx.publish_envelope(Kind::GossipPresence, gossip);
        }
    }

    pub(crate) fn own_announcement(&self) -> Announcement {
        self.members.own_announcement(self.ctx.now)
    }

    /// Takes a statement about any node. `first_hand` if the node itself makes it.
    pub(crate) fn take_announcement(
        &mut self,
        said: &Announcement,
        first_hand: bool,
    ) -> Result<(), Refusal> {
        if !said.is_sound() {
            return Err(Refusal::Malformed);
        }
        let node = NodeId(said.replica().node);
        match self.members.merge(said, first_hand, self.ctx.now) {
            Merged::Taken => {
                self.dial_soon(self.ctx.now);
                self.absolve_connected(node);
                self.set_member_timer(node);
                self.ask_synced(node);
            }
            Merged::Stale => {}
            Merged::Refute => self.refute(said.version),
            Merged::AnotherSelf if self.numbering.asks() => {
                self.numbering.hear(said.replica().incarnation)
            }
            Merged::AnotherSelf => {
                self.ctx.out.alarm(Alarm::AnotherSelf { replica: said.replica() })
            }
            Merged::Full => self.ctx.out.count_refusal(Refusal::MembersFull),
        }
        Ok(())
    }

    /// Takes the statements that a peer passes on. An unsound one is counted and skipped.
    pub(crate) fn take_announcements(&mut self, said: &[Announcement]) {
        for said in said.iter().take(self.ctx.config.members_max) {
            if let Err(reason) = self.take_announcement(said, false) {
                self.ctx.out.count_refusal(reason);
            }
        }
    }

    /// An unsynced node re-asks a peer as soon as the peer announces that it is synced.
    fn ask_synced(&mut self, node: NodeId) {
        let news = self.members.get(node).is_some_and(|entry| entry.synced) && !self.is_synced();
        if news && let Some(source) = self.peers.get(node).filter(|source| !source.is_synced()) {
            self.ctx.timers.set_by(Timer::Retry(node), self.ctx.now.max(source.rest_until()));
        }
    }

    /// Sets the timer for the end of an entry's standing.
    fn set_member_timer(&mut self, node: NodeId) {
        match self.members.get(node) {
            Some(entry) => self.ctx.timers.set(Timer::Member(node), entry.until),
            None => self.ctx.timers.cancel(Timer::Member(node)),
        }
    }

    pub(crate) fn on_member(&mut self, node: NodeId) {
        self.members.expire(node, self.ctx.now);
        if self.members.get(node).is_none() {
            self.confirmations.forget(node);
        }
        self.dial_soon(self.ctx.now);
        self.set_member_timer(node);
    }

    /// A connection was lost. A suspicion is announced after a short random time, unless the
    /// connection comes back or another peer speaks first.
    pub(crate) fn watch_lost(&mut self, node: NodeId) {
        let delay = self.ctx.config.suspicion_delay.mul_f64(self.ctx.rng.f64());
        self.ctx.timers.set(Timer::Suspect(node), self.ctx.now + delay);
    }

    /// A peer fell silent. It is suspected as if its connection were lost, unless it says something
    /// first.
    pub(crate) fn on_peer_silent(&mut self, node: NodeId) {
        if !self.leaving && self.peers.fell_silent(node) {
            self.watch_lost(node);
        }
    }

    pub(crate) fn on_peer_heard(&mut self, node: NodeId) {
        if self.peers.spoke(node) {
            self.absolve_connected(node);
        }
    }

    /// An open connection that is not silent outweighs any suspicion.
    pub(crate) fn absolve_connected(&mut self, node: NodeId) {
        if self.peers.vouch_for(node) {
            self.ctx.timers.cancel(Timer::Suspect(node));
            self.members.absolve(node);
            self.set_member_timer(node);
        }
    }

    /// Other members learn where this node listens, to dial it.
    pub(crate) fn on_listening(&mut self, addresses: Vec<Vec<u8>>) {
        let fits = |address: &Vec<u8>| address.len() <= ADDRESS_BYTES_MAX;
        let addresses: Vec<ByteBuf> =
            addresses.into_iter().filter(fits).take(ADDRESSES_MAX).map(ByteBuf::from).collect();
        if self.members.set_addresses(addresses) {
            self.announcer.addresses_changed(self.ctx.now);
            if self.members.own().version > 0 {
                self.announce_soon();
            }
        }
    }

    /// Chooses the members to dial, at `at` at the latest.
    pub(crate) fn dial_soon(&mut self, at: Duration) {
        self.ctx.timers.set_by(Timer::Dial, at);
    }

    /// How long this node waits for a member that it heard of to connect on its own.
    fn dial_pause(&self, node: NodeId, entry: &MemberEntry) -> Duration {
        let (met, first_hand) = entry.met;
        let patience = self.ctx.config.dial_patience;
        if first_hand {
            patience
        } else if met > self.ctx.started + patience {
            // A new node dials older ones.
            patience.mul_f64(0.75)
        } else if node < self.ctx.node() {
            // If two new nodes hear of each other, only one dials at once.
            patience / 2
        } else {
            Duration::ZERO
        }
    }

    /// Dials the live members that this node has to reach.
    pub(crate) fn on_dial(&mut self) {
        if self.leaving {
            return;
        }
        let live =
            self.members.iter().filter(|(node, entry)| *node != self.ctx.node() && entry.is_live());
        let candidate = |(node, entry): (NodeId, &MemberEntry)| Candidate {
            node,
            connected: self.peers.vouch_for(node),
            not_before: entry.met.0 + self.dial_pause(node, entry),
        };
        let live: Vec<Candidate> = live.map(candidate).collect();
        let (dials, again) = self.dialling.due(&live, self.ctx.now);
        for node in dials {
            let addresses =
                self.members.get(node).map(|entry| entry.addresses.clone()).unwrap_or_default();
            self.ctx.out.dial(node, addresses.into_iter().map(ByteBuf::into_vec).collect());
        }
        if let Some(at) = again {
            self.dial_soon(at);
        }
    }

    /// A member was not reached. It is suspected, as if a connection to it were lost.
    pub(crate) fn on_dial_failed(&mut self, node: NodeId) {
        if self.members.get(node).is_none_or(|entry| !entry.is_live()) {
            return;
        }
        self.dialling.failed(node, self.ctx.now);
        self.dial_soon(self.ctx.now);
        if !self.leaving {
            self.on_suspect(node);
        }
    }

    pub(crate) fn on_suspect(&mut self, node: NodeId) {
        let Some(entry) = self.members.get(node).filter(|entry| entry.standing == Standing::Live)
        else {
            return;
        };
        let (replica, version) = (entry.replica, entry.version);
        if self.peers.vouch_for(node) || !self.suspect(replica, version) {
            return;
        }
        self.ctx.out.count(Event::Suspicion);
        let suspicion = Some(Suspicion { replica: Id(replica), version, by: Id(self.ctx.own) });
        let gossip = Gossip { suspicion, ..Gossip::default() };
        self.ctx.publish_envelope(Kind::GossipPresence, gossip);
    }

    pub(crate) fn suspected_by_other(&mut self, replica: ReplicaId, version: u64) {
        if replica == self.ctx.own {
            if version >= self.members.own().version {
                self.refute(version);
            }
        } else if !self.peers.vouch_for(NodeId(replica.node)) {
            self.suspect(replica, version);
        }
    }

    fn suspect(&mut self, replica: ReplicaId, version: u64) -> bool {
        let news = self.members.suspect(
            replica,
            version,
            self.ctx.now + self.ctx.config.suspicion_timeout,
        );
        if news {
            self.set_member_timer(NodeId(replica.node));
        }
        news
    }

    /// Announces this node above what was said of it.
    fn refute(&mut self, version: u64) {
        if self.leaving {
            return;
        }
        self.ctx.out.count(Event::Refutation);
        self.members.outbid(version);
        self.announce();
    }

    /// Publishes pending amounts, announces the leave, and hands the last cells to the peers.
    pub(crate) fn on_leave(&mut self, replica: &mut Replica, for_good: bool) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        self.flush(replica);
        self.members.set_left();
        self.announce();
        self.ctx.timers.cancel(Timer::Announce);
        if for_good {
            self.want_leave(replica);
        }
        if !self.has_stated_leave() {
            for peer in self.peers.nodes().collect::<Vec<_>>() {
                self.tell(replica, peer);
            }
        }
    }
}
