//! Announces this node, and follows the other members as they come, fall silent, are suspected,
//! answer and leave.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{CounterMap, Replica, ReplicaId};
use serde_bytes::ByteBuf;

use super::announcer::Announcer;
use super::dialling::{Candidate, Dialling};
use super::member::Presence;
use super::members::{MemberEntry, Members, Merged};
use super::numbering::Numbering;
use crate::protocol::context::{Context, Timer};
use crate::protocol::interface::{Alarm, Counted, MessageKind, NodeId, Refusal};
use crate::protocol::peers::Peers;
use crate::protocol::wire::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, Announcement, GossipMessage};
use crate::protocol::wire::{Id, MemberState, NumberAsk, Numbered, Suspicion};

/// The members of the cluster that this node has heard of, itself included.
///
/// Invariant: each member but this node has a timer at which its state ends. Only this node raises
/// the version of its own announcement.
#[derive(Debug)]
pub(crate) struct Membership {
    members: Members,
    announcer: Announcer,
    dialling: Dialling,
    numbering: Numbering,
}

impl Membership {
    /// A cluster that has only this node.
    pub(crate) fn new(ctx: &Context, region: &str) -> Self {
        Self {
            members: Members::new(ctx.own, region.to_owned(), &ctx.config),
            announcer: Announcer::new(ctx.now),
            dialling: Dialling::new(ctx.config.dial_all_max),
            numbering: Numbering::default(),
        }
    }

    /// This node continues as a later incarnation.
    pub(crate) fn renew(&mut self, incarnation: ReplicaId) {
        self.members.renew(incarnation);
    }

    /// Returns true if readers would see a difference since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        self.members.take_changed()
    }
}

/// The table of members.
impl Membership {
    /// The entry of a node, if it is known.
    pub(crate) fn get(&self, node: NodeId) -> Option<&MemberEntry> {
        self.members.get(node)
    }

    /// The incarnation under which a node was last heard of.
    pub(crate) fn replica_of(&self, node: NodeId) -> Option<ReplicaId> {
        self.get(node).map(|entry| entry.replica)
    }

    /// Every node known, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &MemberEntry)> {
        self.members.iter()
    }

    /// The live members without this node, ascending.
    pub(crate) fn others_live(&self) -> impl Iterator<Item = (NodeId, &MemberEntry)> {
        let own = self.members.own().replica.node;
        self.iter().filter(move |(node, entry)| node.0 != own && entry.is_live())
    }

    /// True if this very incarnation counts for presence.
    pub(crate) fn is_live(&self, replica: ReplicaId) -> bool {
        self.members.is_live(replica)
    }

    /// When an incarnation that has not left last said something. `None` if it was not heard since
    /// this node started.
    pub(crate) fn last_word(&self, replica: ReplicaId) -> Option<Duration> {
        self.members.last_word(replica)
    }

    /// True if any other member is live.
    pub(crate) fn has_others(&self) -> bool {
        self.members.has_others()
    }

    /// True if another live member says that it is synced.
    pub(crate) fn knows_synced(&self) -> bool {
        self.members.knows_synced()
    }

    /// The replicas that count for copies and for stability, see [`Members::enrolled`].
    pub(crate) fn enrolled(&self, map: &CounterMap) -> Vec<ReplicaId> {
        self.members.enrolled(map)
    }

    /// The enrolled replicas without this one, ascending.
    pub(crate) fn others_enrolled(&self, map: &CounterMap) -> Vec<ReplicaId> {
        let own = self.members.own().replica;
        self.enrolled(map).into_iter().filter(|replica| *replica != own).collect()
    }

    /// The enrolled replicas that are not live now, ascending. O(writers).
    pub(crate) fn missing(&self, map: &CounterMap) -> Vec<ReplicaId> {
        self.members.missing(map)
    }

    /// Viewers and nodes by region. O(members).
    pub(crate) fn presence(&self) -> BTreeMap<String, Presence> {
        self.members.presence()
    }

    /// This node's own announcement.
    pub(crate) fn own_announcement(&self, now: Duration) -> Announcement {
        self.members.own_announcement(now)
    }

    /// Every announcement, with the time that each has left.
    pub(crate) fn announcements(&self, now: Duration) -> Vec<Announcement> {
        self.members.announcements(now)
    }

    /// A hash of what live members say, see [`Members::hash`].
    pub(crate) fn hash(&self) -> u128 {
        self.members.hash()
    }

    /// True if a heartbeat of some live member was missed.
    pub(crate) fn is_stale(&self, now: Duration) -> bool {
        self.members.is_stale(now)
    }
}

/// This node's own announcements.
impl Membership {
    /// True once this node has announced its leave.
    pub(crate) fn is_leaving(&self) -> bool {
        self.members.own().has_left()
    }

    pub(crate) fn set_viewers(&mut self, ctx: &mut Context, viewers: u64) {
        if self.members.set_viewers(viewers) {
            self.announce_soon(ctx);
        }
    }

    /// This node has caught up.
    pub(crate) fn set_synced(&mut self, ctx: &mut Context) {
        if self.members.set_synced() {
            self.announce_soon(ctx);
        }
    }

    /// Other members learn where this node listens, to dial it.
    pub(crate) fn set_listening(&mut self, ctx: &mut Context, addresses: Vec<Vec<u8>>) {
        let fits = |address: &Vec<u8>| address.len() <= ADDRESS_BYTES_MAX;
        let addresses: Vec<ByteBuf> =
            addresses.into_iter().filter(fits).take(ADDRESSES_MAX).map(ByteBuf::from).collect();
        if self.members.set_addresses(addresses) {
            self.announcer.addresses_changed(ctx.now);
            if self.members.own().version > 0 {
                self.announce_soon(ctx);
            }
        }
    }

    /// The first connection is open, or the first after a time alone. Others may not know what
    /// changed meanwhile, so this node announces itself a little later.
    pub(crate) fn first_peer_up(&mut self, ctx: &mut Context) {
        self.announcer.wait_until(ctx.now + ctx.config.announce_interval);
        self.announce_soon(ctx);
    }

    /// Announces this node at once, or when the interval since the last time is over.
    pub(crate) fn announce_soon(&mut self, ctx: &mut Context) {
        ctx.timers.set_by(Timer::Announce, self.announcer.next(ctx.now));
    }

    /// Announces this node to all, and again when the heartbeat is due.
    pub(crate) fn announce(&mut self, ctx: &mut Context, peers: &Peers) {
        self.announcer.announced(ctx.now, ctx.config.announce_interval);
        let heartbeat =
            ctx.jittered(ctx.config.heartbeat_interval.mul_f64(self.members.slowdown()));
        ctx.timers.set(Timer::Announce, ctx.now + heartbeat);
        self.members.raise_version();
        if !peers.is_empty() {
            let mut said = self.own_announcement(ctx.now);
            if !self.announcer.carries_addresses(ctx.now) {
                // Members that know this incarnation have its addresses, and pass them on.
                said.addresses.clear();
            }
            let message = GossipMessage { announcement: Some(said), ..GossipMessage::default() };
            ctx.publish_envelope(MessageKind::GossipPresence, message);
        }
    }

    /// Marks this node as leaving. Announce that with [`announce_leave`](Self::announce_leave).
    pub(crate) fn begin_leave(&mut self) {
        self.members.set_left();
    }

    /// Announces the leave. No other announcement follows.
    pub(crate) fn announce_leave(&mut self, ctx: &mut Context, peers: &Peers) {
        self.announce(ctx, peers);
        ctx.timers.cancel(Timer::Announce);
    }

    /// Announces this node with a greater version than the one that it refutes.
    fn refute(&mut self, ctx: &mut Context, peers: &Peers, version: u64) {
        if self.is_leaving() {
            return;
        }
        ctx.out.count(Counted::Refutation);
        self.members.outbid(version);
        self.announce(ctx, peers);
    }
}

/// Announcements of members.
impl Membership {
    /// The node itself said something.
    pub(crate) fn hear(&mut self, node: NodeId, now: Duration) {
        self.members.hear(node, now);
    }

    /// Takes an announcement from its author.
    ///
    /// # Errors
    /// It is malformed, or about another node.
    pub(crate) fn take_signed(
        &mut self,
        ctx: &mut Context,
        peers: &Peers,
        signer: NodeId,
        said: &Announcement,
    ) -> Result<(), Refusal> {
        if said.replica().node != signer.0 {
            return Err(Refusal::ForgedWriter);
        }
        self.take_announcement(ctx, peers, said, true)
    }

    /// Takes the announcements that a peer passes on. A malformed one is counted and skipped.
    pub(crate) fn take_announcements(
        &mut self,
        ctx: &mut Context,
        peers: &Peers,
        said: &[Announcement],
    ) {
        for said in said.iter().take(ctx.config.members_max) {
            if let Err(reason) = self.take_announcement(ctx, peers, said, false) {
                ctx.out.count_refusal(reason);
            }
        }
    }

    /// Takes an announcement of any node. `first_hand` is true if it comes from the node itself.
    fn take_announcement(
        &mut self,
        ctx: &mut Context,
        peers: &Peers,
        said: &Announcement,
        first_hand: bool,
    ) -> Result<(), Refusal> {
        if !said.is_sound() {
            return Err(Refusal::Malformed);
        }
        let node = NodeId(said.replica().node);
        match self.members.merge(said, first_hand, ctx.now) {
            Merged::Taken => {
                self.dial_soon(ctx);
                self.absolve_connected(ctx, peers, node);
                self.set_member_timer(ctx, node);
                self.ask_synced(ctx, peers, node);
            }
            Merged::Stale => {}
            Merged::Refute => self.refute(ctx, peers, said.version),
            Merged::AnotherSelf if self.numbering.asks() => {
                self.numbering.hear(said.replica().incarnation)
            }
            Merged::AnotherSelf => ctx.out.alarm(Alarm::AnotherSelf { replica: said.replica() }),
            Merged::Full => ctx.out.count_refusal(Refusal::MembersFull),
        }
        Ok(())
    }

    /// An unsynced node re-asks a peer as soon as the peer announces that it is synced.
    fn ask_synced(&mut self, ctx: &mut Context, peers: &Peers, node: NodeId) {
        let is_synced = self.members.own().synced;
        let is_news = self.get(node).is_some_and(|entry| entry.synced) && !is_synced;
        if is_news && let Some(peer) = peers.get(node).filter(|peer| !peer.is_synced()) {
            ctx.timers.set_by(Timer::Retry(node), ctx.now.max(peer.rest_until()));
        }
    }

    /// Sets the timer for the end of an entry's state.
    fn set_member_timer(&mut self, ctx: &mut Context, node: NodeId) {
        match self.get(node) {
            Some(entry) => ctx.timers.set(Timer::Member(node), entry.until),
            None => ctx.timers.cancel(Timer::Member(node)),
        }
    }

    /// The time of an entry's state is over. Returns true if the member is forgotten.
    pub(crate) fn expire(&mut self, ctx: &mut Context, node: NodeId) -> bool {
        self.members.expire(node, ctx.now);
        self.dial_soon(ctx);
        self.set_member_timer(ctx, node);
        self.get(node).is_none()
    }
}

/// Suspicions.
impl Membership {
    /// A connection was lost, or fell silent. A suspicion is announced after a short random time,
    /// unless the connection comes back or another peer speaks first.
    pub(crate) fn watch_lost(&mut self, ctx: &mut Context, node: NodeId) {
        let delay = ctx.config.suspicion_delay.mul_f64(ctx.rng.f64());
        ctx.timers.set(Timer::Suspect(node), ctx.now + delay);
    }

    /// An open connection that is not silent outweighs any suspicion.
    pub(crate) fn absolve_connected(&mut self, ctx: &mut Context, peers: &Peers, node: NodeId) {
        if peers.is_reachable(node) {
            ctx.timers.cancel(Timer::Suspect(node));
            self.members.absolve(node);
            self.set_member_timer(ctx, node);
        }
    }

    /// Suspects a member that is out of reach, and announces the suspicion.
    pub(crate) fn suspect_lost(&mut self, ctx: &mut Context, peers: &Peers, node: NodeId) {
        let Some(entry) = self.get(node).filter(|entry| entry.state == MemberState::Live) else {
            return;
        };
        let (replica, version) = (entry.replica, entry.version);
        if peers.is_reachable(node) || !self.suspect(ctx, replica, version) {
            return;
        }
        ctx.out.count(Counted::Suspicion);
        let suspicion = Suspicion { replica: Id(replica), version, by: Id(ctx.own) };
        let message = GossipMessage { suspicion: Some(suspicion), ..GossipMessage::default() };
        ctx.publish_envelope(MessageKind::GossipPresence, message);
    }

    /// Takes the suspicion of another member. One about this node is refuted.
    pub(crate) fn take_suspicion(&mut self, ctx: &mut Context, peers: &Peers, said: &Suspicion) {
        let (replica, version) = (said.replica.0, said.version);
        if replica == ctx.own {
            if version >= self.members.own().version {
                self.refute(ctx, peers, version);
            }
        } else if !peers.is_reachable(NodeId(replica.node)) {
            self.suspect(ctx, replica, version);
        }
    }

    fn suspect(&mut self, ctx: &mut Context, replica: ReplicaId, version: u64) -> bool {
        let until = ctx.now + ctx.config.suspicion_timeout;
        let is_news = self.members.suspect(replica, version, until);
        if is_news {
            self.set_member_timer(ctx, NodeId(replica.node));
        }
        is_news
    }
}

/// The number of this incarnation.
impl Membership {
    /// The state of this incarnation's number.
    pub(crate) fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// No disk remembers the numbers of this node's incarnations, so peers are asked.
    pub(crate) fn open_number(&mut self) {
        self.numbering.open();
    }

    /// Answers with the latest incarnation of the peer's node that is known here, other than the
    /// one that asks.
    ///
    /// # Errors
    /// The peer asks for another node.
    pub(crate) fn serve_number(
        &self,
        replica: &Replica,
        peer: NodeId,
        ask: &NumberAsk,
    ) -> Result<Numbered, Refusal> {
        let asking = ask.replica.0;
        if asking.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        let announced = self.replica_of(peer).filter(|incarnation| *incarnation != asking);
        let latest = replica
            .map()
            .latest_other_incarnation(asking)
            .max(announced)
            .map_or(0, |incarnation| incarnation.incarnation);
        Ok(Numbered { latest, synced: self.members.own().synced })
    }

    /// Takes a peer's answer.
    ///
    /// # Errors
    /// It names a number that no incarnation can have.
    pub(crate) fn take_numbered(&mut self, peer: NodeId, said: &Numbered) -> Result<(), Refusal> {
        self.numbering.take(peer, said)
    }

    /// A peer that runs an earlier release knows no node names, so it counts as having answered.
    pub(crate) fn cannot_number(&mut self, peer: NodeId) {
        self.numbering.answer(peer, true);
    }

    /// Settles the number if enough peers have answered, and returns the incarnation under it.
    /// `expects_peers` is true while peers may turn up that are not connected yet.
    pub(crate) fn settle_number(
        &mut self,
        ctx: &Context,
        peers: &Peers,
        expects_peers: bool,
    ) -> Option<ReplicaId> {
        self.numbering.settle(ctx, peers, expects_peers)
    }
}

/// Dials.
impl Membership {
    /// Chooses the members to dial right after the current input.
    pub(crate) fn dial_soon(&mut self, ctx: &mut Context) {
        ctx.timers.set_by(Timer::Dial, ctx.now);
    }

    /// Dials the live members that this node has to reach.
    pub(crate) fn dial(&mut self, ctx: &mut Context, peers: &Peers) {
        if self.is_leaving() {
            return;
        }
        let candidate = |(node, entry): (NodeId, &MemberEntry)| Candidate {
            node,
            connected: peers.is_reachable(node),
            not_before: entry.met.0 + dial_pause(ctx, node, entry),
        };
        let live_backwards = self.members.backwards().filter(|(_, entry)| entry.is_live());
        let (dials, again) = self.dialling.due(live_backwards, candidate, ctx.now);
        for node in dials {
            let addresses = self.get(node).map(|entry| entry.addresses.clone()).unwrap_or_default();
            ctx.out.dial(node, addresses.into_iter().map(ByteBuf::into_vec).collect());
        }
        if let Some(at) = again {
            ctx.timers.set_by(Timer::Dial, at);
        }
    }

    /// A member was not reached. It is suspected, as if a connection to it were lost.
    pub(crate) fn dial_failed(&mut self, ctx: &mut Context, peers: &Peers, node: NodeId) {
        if self.get(node).is_none_or(|entry| !entry.is_live()) {
            return;
        }
        self.dialling.failed(node, ctx.now);
        self.dial_soon(ctx);
        if !self.is_leaving() {
            self.suspect_lost(ctx, peers, node);
        }
    }
}

/// How long this node waits for a member that it heard of to connect on its own.
fn dial_pause(ctx: &Context, node: NodeId, entry: &MemberEntry) -> Duration {
    let (met, first_hand) = entry.met;
    let patience = ctx.config.dial_patience;
    if first_hand {
        patience
    } else if met > ctx.started + patience {
        // A new node dials older ones.
        patience.mul_f64(0.75)
    } else if node < ctx.node() {
        // If two new nodes hear of each other, only one dials at once.
        patience / 2
    } else {
        Duration::ZERO
    }
}
