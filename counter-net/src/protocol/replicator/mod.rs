//! The machine: it routes inputs and deadlines to the rooms, and answers its readers.

mod outbox;
mod timers;

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{Replica, ReplicaId, Version, VersionVector};

use crate::protocol::acks::Acks;
use crate::protocol::config::ProtocolConfig;
use crate::protocol::gossip::Gaps;
use crate::protocol::gossip::Publisher;
use crate::protocol::input::{Input, NodeId};
use crate::protocol::membership::Dialling;
use crate::protocol::membership::Members;
use crate::protocol::membership::Numbering;
use crate::protocol::membership::{Announcer, Bootstrap, NotReady};
use crate::protocol::membership::{Member, Presence};
use crate::protocol::output::{Notice, Output};
use crate::protocol::pull::Commits;
use crate::protocol::pull::OpenRequests;
use crate::protocol::pull::Peers;
use crate::protocol::pull::Pulls;
use crate::protocol::retirement::Retirement;
use crate::protocol::stability::Confirmations;
use crate::protocol::stability::Snapshots;
use crate::protocol::stats::Stats;
use crate::protocol::wire::Sequence;
use outbox::Outbox;
pub(super) use timers::Timer;
use timers::Timers;

/// One node's part of the protocol. See the [module](crate::protocol) for how to drive it.
#[derive(Debug)]
pub struct Replicator {
    pub(super) config: ProtocolConfig,
    pub(super) own: ReplicaId,
    pub(super) started: Duration,
    /// The greatest time ever handed in.
    pub(super) now: Duration,
    pub(super) rng: fastrand::Rng,
    pub(super) out: Outbox,
    pub(super) timers: Timers,
    pub(super) sequence: Sequence,
    pub(super) members: Members,
    pub(super) peers: Peers,
    pub(super) pulls: Pulls,
    pub(super) gaps: Gaps,
    pub(super) bootstrap: Bootstrap,
    pub(super) dialling: Dialling,
    pub(super) confirmations: Confirmations,
    pub(super) commits: Commits,
    pub(super) acks: Acks,
    pub(super) snapshots: Snapshots,
    pub(super) requests: OpenRequests,
    pub(super) publisher: Publisher,
    pub(super) announcer: Announcer,
    /// Told to leave.
    pub(super) leaving: bool,
    /// Of the last digest that went out in parts.
    pub(super) digest_serial: u64,
    pub(super) retirement: Retirement,
    pub(super) numbering: Numbering,
    /// This incarnation was ended, or is not the only one under its id: it is to be renewed before
    /// the next input.
    pub(super) renew_due: bool,
    status: Status,
}

/// What readers were last told of.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
struct Status {
    synced: bool,
    readiness: Option<Result<(), NotReady>>,
    in_touch: bool,
}

impl Replicator {
    /// A machine for `replica`, at `now` since any fixed point of a monotonic clock; `seed` feeds
    /// jitter and the choice of peers.
    pub fn new(config: ProtocolConfig, replica: &Replica, seed: u64, now: Duration) -> Self {
        let own = replica.id();
        let mut machine = Self {
            own,
            started: now,
            now,
            rng: fastrand::Rng::with_seed(seed),
            out: Outbox::default(),
            timers: Timers::default(),
            sequence: Sequence::default(),
            members: Members::new(own, replica.region().to_owned(), &config),
            peers: Peers::default(),
            pulls: Pulls::new(
                config.pulls_max,
                config.staging_cells_max,
                config.digest_replicas_max,
            ),
            gaps: Gaps::new(config.gap_entries_max, config.gap_bytes_max, now),
            bootstrap: Bootstrap::new(config.peers_named),
            dialling: Dialling::new(NodeId(own.node), config.dial_all_max),
            confirmations: Confirmations::new(own, config.confirm_interval),
            commits: Commits::default(),
            acks: Acks::new(&config),
            snapshots: Snapshots::default(),
            requests: OpenRequests::default(),
            publisher: Publisher::new(replica, now),
            announcer: Announcer::new(now),
            leaving: false,
            digest_serial: 0,
            retirement: Retirement::default(),
            numbering: Numbering::default(),
            renew_due: false,
            status: Status::default(),
            config,
        };
        machine.timers.set(Timer::Ready, now + machine.config.ready_within);
        machine.timers.set(Timer::Retire, now);
        machine.set_next_round();
        machine
    }

    /// There is a store, which holds this. From now on this node promises others to keep only what
    /// is on the disk: to be called before the first input.
    pub fn follow_store(&mut self, on_disk: VersionVector) {
        self.commits.follow(on_disk);
    }

    /// The store holds these writers up to these versions now.
    pub fn note_committed(&mut self, written: impl IntoIterator<Item = (ReplicaId, Version)>) {
        written.into_iter().for_each(|(writer, upto)| self.commits.note(writer, upto));
    }

    /// True if an answer or own cells wait for a commit. After one, feed [`Input::LocalChange`].
    pub fn awaits_commit(&self) -> bool {
        self.commits.is_awaited()
    }

    /// Takes one input. `replica` must be the one that the machine was made for. A `now` before the
    /// last one counts as the last one.
    pub fn handle(&mut self, replica: &mut Replica, input: Input, now: Duration) {
        self.now = self.now.max(now);
        if let Some(node) = input.speaker() {
            self.members.hear(node, self.now);
        }
        match input {
            Input::LocalChange => self.on_local_change(replica),
            Input::Gossip { token, signer, payload } => {
                self.on_gossip(replica, token, signer, &payload)
            }
            Input::Request { peer, id, payload } => self.on_request(replica, peer, id, &payload),
            Input::Response { peer, id, payload } => self.on_response(replica, peer, id, &payload),
            Input::RequestFailed { peer, id } => self.on_request_failed(replica, peer, id),
            Input::PeerUp { peer } => self.on_peer_up(replica, peer),
            Input::PeerDown { peer } => self.on_peer_down(replica, peer),
            Input::PeerSilent { peer } => self.on_peer_silent(peer),
            Input::PeerHeard { peer } => self.on_peer_heard(peer),
            Input::Viewers(viewers) => self.on_viewers(viewers),
            Input::Search(search) => self.bootstrap.set_search(search),
            Input::Listening(addresses) => self.on_listening(addresses),
            Input::DialFailed { peer } => self.on_dial_failed(peer),
            Input::AwaitCopies { id, copies, within } => {
                self.on_await_copies(replica, id, copies, within)
            }
            Input::AwaitVersions { id, versions, within } => {
                self.on_await_versions(replica, id, &versions, within)
            }
            Input::Forget { id } => self.acks.cancel(id),
            Input::Leave { for_good } => self.on_leave(replica, for_good),
            Input::Timer => {}
        }
        while let Some(timer) = self.timers.take_due(self.now) {
            self.on_timer(replica, timer);
        }
        self.serve_deferred(replica);
        self.settle_acks(replica);
        self.look(replica);
        self.settle(replica);
        self.confirm(replica);
    }

    fn on_timer(&mut self, replica: &mut Replica, timer: Timer) {
        match timer {
            Timer::Flush => self.flush(replica),
            Timer::Round => self.on_round(replica),
            Timer::Announce => {
                self.publish_birth(replica);
                self.announce();
            }
            Timer::Ready => self.bootstrap.end_patience(),
            // Looked at after every input anyway.
            Timer::Confirm => {}
            Timer::Dial => self.on_dial(),
            Timer::Gap => self.on_gap(replica),
            Timer::Retire => self.on_retire(replica),
            Timer::Hold => self.plan(replica),
            Timer::Retry(peer) => self.on_retry(replica, peer),
            Timer::Suspect(node) => self.on_suspect(node),
            Timer::Member(node) => self.on_member(node),
            // Looked at after every input anyway.
            Timer::Acks => {}
            Timer::Stable => self.on_stable(replica),
            Timer::Request(id) => self.on_overdue(replica, id),
        }
    }

    /// Tells readers what an input changed, once.
    fn settle(&mut self, replica: &mut Replica) {
        if !self.is_synced() && !self.peers.is_empty() {
            // What a peer was heard to hold may have come from anywhere meanwhile.
            self.peers.mark_pulled(&replica.map().version_vector());
        }
        self.settle_number(replica);
        let was_synced = self.is_synced();
        self.bootstrap.look(&self.peers, &self.members);
        if self.is_synced() && !was_synced {
            let waiting = self.gaps.writers();
            self.join_waiting(replica, &waiting);
            self.look_for_ended();
        }
        if std::mem::take(&mut self.renew_due) && !self.leaving {
            self.renew(replica);
        }
        if self.bootstrap.is_synced() && self.members.set_synced() {
            self.announce_soon();
        }
        let status = Status {
            synced: self.is_synced(),
            readiness: Some(self.readiness()),
            in_touch: self.in_touch(),
        };
        if status != self.status {
            self.status = status;
            self.out.notify(Notice::Synced);
        }
        if self.members.take_changed() {
            self.confirmations.look_again();
            self.out.notify(Notice::MembersChanged);
        }
        let stats = &mut self.out.stats;
        (stats.gap_entries, stats.gap_bytes) = (self.gaps.entries(), self.gaps.bytes());
        stats.waits = self.acks.len();
        (stats.pulls_in_flight, stats.staged_cells) = (self.pulls.len(), self.pulls.staged_cells());
    }

    /// What is to be done next; `None` when nothing is. To be drained after every `handle`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When to call `handle` with [`Input::Timer`] at the latest, on the clock of `now`; it may lie
    /// in the past.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        NodeId(self.own.node)
    }

    /// The settings.
    pub fn config(&self) -> &ProtocolConfig {
        &self.config
    }

    /// Every node known, this one included, in the order of their ids; those that left or whose
    /// presence ended for one ttl more.
    ///
    /// # Complexity
    /// O(members + peers * replicas).
    pub fn members(&self, replica: &Replica, now: Duration) -> Vec<Member> {
        let seen = replica.map().version_vector();
        let member = |(node, entry): (NodeId, &crate::protocol::membership::MemberEntry)| Member {
            replica: entry.replica,
            region: entry.region.clone(),
            viewers: entry.viewers,
            release: entry.release.clone(),
            live: entry.is_live(),
            left: entry.has_left(),
            synced: entry.synced,
            last_heard: if entry.replica == self.own {
                Duration::ZERO
            } else {
                now.saturating_sub(entry.last_word)
            },
            connected: self.peers.contains(node),
            lag: self.lag(replica, node, &seen, now),
        };
        self.members.iter().map(member).collect()
    }

    /// The enrolled replicas that are not there now. Each keeps counting until its node starts
    /// again, under its name or from its directory, or until an operator retires it. Ascending;
    /// O(writers).
    pub fn missing(&self, replica: &Replica) -> Vec<ReplicaId> {
        self.members.missing(replica.map())
    }

    /// Viewers and live nodes, by region.
    pub fn presence(&self) -> BTreeMap<String, Presence> {
        self.members.presence()
    }

    /// True once this node has caught up with the cluster, or knows that it is alone. Stays true.
    pub fn is_synced(&self) -> bool {
        self.bootstrap.is_synced()
    }

    /// Whether this node may serve: it is synced, or `ready_within` is over and no pull is under
    /// way.
    ///
    /// # Errors
    /// Why not. A node that was ready is so no more while a bound refuses what peers send.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.bootstrap.readiness()
    }

    /// False where others should be there and none answers.
    pub fn in_touch(&self) -> bool {
        self.bootstrap.in_touch(&self.peers, &self.members)
    }

    /// After [`Input::Leave`]: every peer that still answers has all that this replica wrote. Where
    /// it leaves for good: one member that stays covers its last statement, or nobody is left who
    /// could.
    pub fn is_drained(&self, replica: &Replica) -> bool {
        self.has_left_for_good(replica).unwrap_or_else(|| self.has_handed_over(replica))
    }

    /// After [`Input::Leave`] for good: whether a member that stays has shown that it holds all
    /// that this replica held. False where the leave is over because nobody is left who could.
    pub fn is_leave_covered(&self) -> bool {
        self.retirement.is_leave_covered()
    }

    fn has_handed_over(&self, replica: &Replica) -> bool {
        let own = replica.map().seen_of(self.own);
        !replica.has_pending()
            && self
                .peers
                .iter()
                .all(|(_, source)| source.failures() > 0 || source.holds(self.own) >= own)
    }

    /// Whether the incarnation of a node that is known said that it leaves.
    pub fn has_left_node(&self, node: NodeId) -> bool {
        self.members.get(node).is_some_and(|entry| entry.has_left())
    }

    /// How many peers are connected.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.out.stats
    }
}
