//! The machine: it routes inputs and timers to the parts of the protocol.
//!
//! Each part is a type with private fields: members, peers, pulls, acks and so on. The methods of
//! [`Replicator`] that connect several parts lie in the folder of their task. A method that needs
//! only one part belongs to that part.

mod readers;

use std::time::Duration;

use counter_core::{Replica, ReplicaId, Version, VersionVector};

use crate::protocol::acks::Acks;
use crate::protocol::config::ProtocolConfig;
use crate::protocol::context::{Context, Timer};
use crate::protocol::gossip::{Gaps, Publisher};
use crate::protocol::input::{Input, NodeId};
use crate::protocol::membership::{Announcer, Bootstrap, Dialling, Members, NotReady, Numbering};
use crate::protocol::output::{Notice, Output};
use crate::protocol::pull::{CatchUp, Commits, OpenRequests, Peers, Pulls};
use crate::protocol::removal::Removal;
use crate::protocol::retirement::Retirement;
use crate::protocol::stability::{Confirmations, Promises, Snapshots};
use crate::protocol::stats::Sizes;

/// The protocol of one node. See the [module](crate::protocol) for how to drive it.
#[derive(Debug)]
pub struct Replicator {
    /// What all machines share, and how they act.
    pub(super) ctx: Context,

    /// Paces flushes, and tracks which own cells went out.
    pub(super) publisher: Publisher,
    /// Deltas that came before their predecessors.
    pub(super) gaps: Gaps,

    /// The connected peers, and the versions that each was heard to hold.
    pub(super) peers: Peers,
    pub(super) requests: OpenRequests,
    pub(super) pulls: Pulls,
    /// What pulls brought and is not whole yet.
    pub(super) catch_up: CatchUp,
    /// The versions on disk, and the work that waits for a commit.
    pub(super) commits: Commits,

    /// Every node known.
    pub(super) members: Members,
    pub(super) announcer: Announcer,
    pub(super) dialling: Dialling,
    /// How far this node is from being synced and ready.
    pub(super) bootstrap: Bootstrap,
    pub(super) numbering: Numbering,
    /// True from [`Input::Leave`] on.
    pub(super) leaving: bool,

    pub(super) acks: Acks,
    pub(super) confirmations: Confirmations,
    pub(super) snapshots: Snapshots,
    /// The versions that the enrolled replicas have promised to keep.
    pub(super) promises: Promises,
    pub(super) retirement: Retirement,
    /// This node's traces of removals and resets.
    pub(super) removal: Removal,

    status: Status,
}

/// The state that readers were last notified of.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
struct Status {
    synced: bool,
    readiness: Option<Result<(), NotReady>>,
    in_touch: bool,
}

impl Replicator {
    /// A machine for `replica`. `now` is the time on a monotonic clock of any origin, and `seed`
    /// feeds jitter and the choice of peers.
    pub fn new(config: ProtocolConfig, replica: &Replica, seed: u64, now: Duration) -> Self {
        let own = replica.id();
        let mut machine = Self {
            members: Members::new(own, replica.region().to_owned(), &config),
            peers: Peers::default(),
            pulls: Pulls::new(
                config.pulls_max,
                config.staging_cells_max,
                config.digest_replicas_max,
            ),
            catch_up: CatchUp::new(replica.map(), own, config.staging_cells_max),
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
            promises: Promises::default(),
            retirement: Retirement::default(),
            removal: Removal::default(),
            numbering: Numbering::default(),
            status: Status::default(),
            ctx: Context::new(config, replica, seed, now),
        };
        machine.ctx.timers.set(Timer::Ready, now + machine.ctx.config.ready_within);
        machine.ctx.timers.set(Timer::Retire, now);
        machine.set_next_round();
        machine
    }

    /// Reports that there is a store, and the versions that it holds. From now on this node
    /// promises others only those. Call it before the first input.
    pub fn follow_store(&mut self, on_disk: VersionVector) {
        self.commits.follow(on_disk);
    }

    /// Reports up to which versions the store holds these writers now.
    pub fn note_committed(&mut self, written: impl IntoIterator<Item = (ReplicaId, Version)>) {
        written.into_iter().for_each(|(writer, upto)| self.commits.note(writer, upto));
    }

    /// True if an answer or own cells wait for a commit. After one, feed [`Input::LocalChange`].
    pub fn awaits_commit(&self) -> bool {
        self.commits.is_awaited()
    }

    /// Takes one input. `replica` must be the one that the machine was made for. The time never
    /// goes back: a smaller `now` counts as the last one.
    pub fn handle(&mut self, replica: &mut Replica, input: Input, now: Duration) {
        self.ctx.now = self.ctx.now.max(now);
        // No output holds a key now: they were drained after the last input.
        if replica.has_garbage() && self.ctx.out.is_empty() {
            replica.give_back();
        }
        if let Some(node) = input.speaker() {
            self.members.hear(node, self.ctx.now);
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
        while let Some(timer) = self.ctx.timers.take_due(self.ctx.now) {
            self.on_timer(replica, timer);
        }
        self.serve_deferred(replica);
        self.settle_acks(replica);
        self.snapshot_if_due(replica);
        self.advance(replica);
        self.notify_readers();
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
            Timer::Dial => self.on_dial(),
            Timer::Gap => self.on_gap(replica),
            Timer::Retire => self.on_retire(replica),
            Timer::CleanUp => self.on_clean_up(replica),
            Timer::FirstPeerWait => self.plan(replica),
            Timer::Retry(peer) => self.on_retry(replica, peer),
            Timer::Suspect(node) => self.on_suspect(node),
            Timer::Member(node) => self.on_member(node),
            // These are looked at after every input.
            Timer::Acks | Timer::Confirm => {}
            Timer::Stable => self.on_stable(replica),
            Timer::Request(id) => self.on_overdue(replica, id),
        }
    }

    /// Takes the steps that any input may have made possible: the number, the end of catching up,
    /// a renewal, a clean-up.
    fn advance(&mut self, replica: &mut Replica) {
        if !self.is_synced() && !self.peers.is_empty() {
            // The cells that a peer was heard to hold may have come from others meanwhile.
            self.peers.mark_pulled(&self.catch_up.seen(replica.map()));
        }
        self.settle_number(replica);
        let was_synced = self.is_synced();
        self.bootstrap.look(&self.peers, &self.members);
        if self.is_synced() && !was_synced {
            // Without an answer to the end, only a part of what the peers hold waits.
            if self.peers.any_pulled() || self.peers.any_synced_pulled() {
                let _refused_and_alarmed = self.join_held(replica);
            } else {
                self.catch_up.drop_parts();
            }
            let waiting = self.gaps.writers();
            self.join_waiting(replica, &waiting);
            self.look_for_ended();
        }
        let _refused_and_alarmed = self.join_whole(replica);
        if self.retirement.take_renewal() && !self.leaving {
            self.renew(replica);
        }
        self.look_for_traces(replica);
        if self.bootstrap.is_synced() && self.members.set_synced() {
            self.announce_soon();
        }
    }

    /// Tells readers once what the input changed.
    fn notify_readers(&mut self) {
        let status = Status {
            synced: self.is_synced(),
            readiness: Some(self.readiness()),
            in_touch: self.in_touch(),
        };
        if status != self.status {
            self.status = status;
            self.ctx.out.notify(Notice::Synced);
        }
        if self.members.take_changed() {
            self.confirmations.look_again();
            self.ctx.out.notify(Notice::MembersChanged);
        }
        self.ctx.out.set_sizes(Sizes {
            gap_entries: self.gaps.entries(),
            gap_bytes: self.gaps.bytes(),
            pulls_in_flight: self.pulls.len(),
            staged_cells: self.pulls.staged_cells(),
            waits: self.acks.len(),
        });
    }

    /// The next thing to do, or `None`. Drain it after every `handle`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.ctx.out.pop()
    }

    /// The latest time to call `handle` with [`Input::Timer`], on the clock of `now`. It may lie in
    /// the past.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.ctx.timers.next()
    }
}
