//! Routes every input and every timer, and takes the steps that may follow any of them.

use std::time::Duration;

use counter_core::{Replica, ReplicaId, Version, VersionVector};

use super::Replicator;
use crate::protocol::acks::Acks;
use crate::protocol::context::{Context, Timer};
use crate::protocol::gossip::Gossip;
use crate::protocol::interface::{Input, Notice, Output, ProtocolConfig, Sizes};
use crate::protocol::membership::{Bootstrap, Membership, NotReady};
use crate::protocol::peers::Peers;
use crate::protocol::promises::{Committed, Promises};
use crate::protocol::pull::AntiEntropy;
use crate::protocol::removal::Removal;
use crate::protocol::retirement::{Leave, Retirement};
use crate::protocol::stability::Stability;

/// The state that readers were last notified of.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Status {
    synced: bool,
    readiness: Option<Result<(), NotReady>>,
    in_touch: bool,
}

impl Replicator {
    /// Creates the machine for `replica`. `now` is the time on a monotonic clock of any origin, and
    /// `seed` feeds jitter and the choice of peers.
    pub fn new(config: ProtocolConfig, replica: &Replica, seed: u64, now: Duration) -> Self {
        let mut ctx = Context::new(config, replica, seed, now);
        ctx.timers.set(Timer::Ready, now + ctx.config.ready_within);
        ctx.timers.set(Timer::Retire, now);
        AntiEntropy::set_next_round(&mut ctx);
        Self {
            peers: Peers::default(),
            membership: Membership::new(&ctx, replica.region()),
            bootstrap: Bootstrap::new(ctx.config.peers_named),
            gossip: Gossip::new(&ctx, replica),
            anti_entropy: AntiEntropy::new(&ctx, replica),
            committed: Committed::default(),
            promises: Promises::default(),
            acks: Acks::new(&ctx.config),
            stability: Stability::new(&ctx),
            retirement: Retirement::default(),
            leave: Leave::default(),
            removal: Removal::default(),
            status: Status::default(),
            ctx,
        }
    }

    /// Reports that there is a store, and the versions that it holds. From now on this node
    /// promises others only those. Call it before the first input.
    pub fn follow_store(&mut self, on_disk: VersionVector) {
        self.committed.follow(on_disk);
    }

    /// Reports up to which versions the store holds these writers now.
    pub fn note_committed(&mut self, written: impl IntoIterator<Item = (ReplicaId, Version)>) {
        written.into_iter().for_each(|(writer, upto)| self.committed.note(writer, upto));
    }

    /// Reports that no disk remembers the numbers of this node's incarnations. Peers are asked
    /// before they hear of this one. Call it before the first input.
    pub fn ask_for_number(&mut self) {
        self.membership.open_number();
    }

    /// Takes one input. `replica` must be the one that the machine was made for. The time never
    /// goes back: a smaller `now` counts as the last one.
    pub fn handle(&mut self, replica: &mut Replica, input: Input, now: Duration) {
        self.ctx.now = self.ctx.now.max(now);
        // No output holds a key now: they were drained after the last input.
        if replica.has_garbage() && self.ctx.out.is_empty() {
            replica.collect_garbage();
        }
        if let Some(node) = input.speaker() {
            self.membership.hear(node, self.ctx.now);
        }
        self.on_input(replica, input);
        while let Some(timer) = self.ctx.timers.take_due(self.ctx.now) {
            self.on_timer(replica, timer);
        }
        self.serve_deferred(replica);
        self.settle_acks(replica);
        self.stability.snapshot_if_due(&mut self.ctx, replica.map());
        self.advance(replica);
        self.notify_readers();
        let is_synced = self.is_synced();
        self.stability.poll(
            &mut self.ctx,
            replica.map(),
            &mut self.peers,
            &self.membership,
            is_synced,
        );
    }

    fn on_input(&mut self, replica: &mut Replica, input: Input) {
        let Self { ctx, peers, membership, .. } = self;
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
            Input::Viewers(viewers) => membership.set_viewers(ctx, viewers),
            Input::Search(search) => self.bootstrap.set_search(search),
            Input::Listening(addresses) => membership.set_listening(ctx, addresses),
            Input::DialFailed { peer } => membership.dial_failed(ctx, peers, peer),
            Input::AwaitCopies { id, copies, within } => {
                self.acks.await_copies(ctx, replica, id, copies, within);
                self.on_local_change(replica);
            }
            Input::AwaitVersions { id, versions, within } => {
                self.acks.await_versions(ctx, replica.map(), id, &versions, within)
            }
            Input::Forget { id } => self.acks.cancel(id),
            Input::Leave { for_good } => self.on_leave(replica, for_good),
            Input::Timer => {}
        }
    }

    fn on_timer(&mut self, replica: &mut Replica, timer: Timer) {
        let Self { ctx, peers, membership, .. } = self;
        match timer {
            Timer::Flush => self.flush(replica),
            Timer::Round => self.on_round(replica),
            Timer::Announce => self.on_announce(replica),
            Timer::Ready => self.bootstrap.end_patience(),
            Timer::Dial => membership.dial(ctx, peers),
            Timer::Gap => self.on_gap(replica),
            Timer::Retire => self.on_retire(replica),
            Timer::CleanUp => self.on_clean_up(replica),
            Timer::FirstPeerWait => self.begin_pulls(replica),
            Timer::Retry(peer) => self.on_retry(replica, peer),
            Timer::Suspect(node) => membership.suspect_lost(ctx, peers, node),
            Timer::Member(node) => {
                if membership.expire(ctx, node) {
                    self.stability.forget_member(node);
                }
            }
            // Both are checked after every input.
            Timer::Acks | Timer::Confirm => {}
            Timer::Stable => self.on_stable(replica),
            Timer::Request(id) => self.on_overdue(replica, id),
        }
    }

    /// Answers callers whose wait is over. Fetches awaited versions that gossip did not bring:
    /// their writer is asked, or a random peer if the writer is not connected.
    fn settle_acks(&mut self, replica: &Replica) {
        let Self { ctx, acks, peers, membership, committed, .. } = self;
        let Some(writer) = acks.poll(ctx, replica, peers, membership, committed) else { return };
        self.begin_pulls(replica);
        if !self.anti_entropy.is_pulling(&self.ctx, writer)
            && let Some(peer) = self.peers.free_node_of(&mut self.ctx, writer)
        {
            self.exchange(replica).ask(peer);
        }
    }

    /// Asks replicas that lack the latest snapshot for digests.
    fn on_stable(&mut self, replica: &mut Replica) {
        let Self { ctx, stability, peers, membership, .. } = self;
        for peer in stability.check(ctx, replica, peers, membership) {
            self.compare(replica, peer);
        }
    }

    /// Takes the steps that any input may have made possible. It settles this incarnation's number,
    /// ends the catch-up, renews the incarnation, or begins a clean-up.
    fn advance(&mut self, replica: &mut Replica) {
        if !self.is_synced() && !self.peers.is_empty() {
            // The cells that a peer was heard to hold may have come from others meanwhile.
            let map = replica.map();
            self.peers.mark_pulled(|writer| self.anti_entropy.seen_of(map, writer));
        }
        self.settle_number(replica);
        let was_synced = self.is_synced();
        self.bootstrap.update(&self.peers, &self.membership);
        if self.is_synced() && !was_synced {
            let caught_up = self.anti_entropy.take_caught_up(&mut self.peers);
            let _refused_and_alarmed = self.join_all(replica, caught_up);
            // What waited may be nowhere else by now, and a leaver has made its last statement.
            if !self.leave.has_statement() {
                let waiting = self.gossip.waiting_writers();
                self.join_waiting(replica, &waiting);
            }
            self.retirement.look_again(&mut self.ctx);
        }
        let whole = self.anti_entropy.take_whole(
            &self.ctx,
            replica.map(),
            &self.peers,
            self.bootstrap.is_synced(),
        );
        let _refused_and_alarmed = self.join_all(replica, whole);
        if self.retirement.take_renewal() && !self.membership.is_leaving() {
            self.renew(replica);
        }
        self.look_for_traces(replica);
        if self.bootstrap.is_synced() {
            self.membership.set_synced(&mut self.ctx);
        }
    }

    /// Tells readers what the input changed, once for the whole input.
    fn notify_readers(&mut self) {
        let status = Status {
            synced: self.is_synced(),
            readiness: Some(self.readiness()),
            in_touch: self.in_touch(),
        };
        if status != self.status {
            self.status = status;
            self.ctx.out.notify(Notice::StatusChanged);
        }
        if self.membership.take_changed() {
            self.stability.members_changed();
            self.ctx.out.notify(Notice::MembersChanged);
        }
        let (gap_entries, gap_bytes) = self.gossip.waiting();
        let (pulls_in_flight, staged_cells) = self.anti_entropy.in_flight();
        let waits = self.acks.len();
        let sizes = Sizes { gap_entries, gap_bytes, pulls_in_flight, staged_cells, waits };
        self.ctx.out.set_sizes(sizes);
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
