//! Faults: crashes, disks that lag, cuts, slow nodes, odd clocks.

use std::time::Duration;

use counter_core::ReplicaId;

use super::Sim;
use crate::protocol::Input;
use crate::sim::Link;
use crate::sim::network::{Event, pair};

impl Sim {
    /// Sets one link, in both directions.
    pub fn set_link(&mut self, a: usize, b: usize, link: Link) {
        self.own_links.insert(pair(a, b), link);
    }

    /// Sets all links, but for those that [`set_link`](Self::set_link) set.
    pub fn set_links(&mut self, link: Link) {
        self.config.link = link;
    }

    /// Sets how long discovery takes to answer. It applies to nodes started from now on.
    pub fn set_discovery(&mut self, after: Duration) {
        self.config.discovery = after;
    }

    pub(super) fn link(&self, a: usize, b: usize) -> &Link {
        self.own_links.get(&pair(a, b)).unwrap_or(&self.config.link)
    }

    pub(super) fn latency(&mut self, a: usize, b: usize) -> Duration {
        let latency = self.link(a, b).latency;
        latency.sample(&mut self.rng)
    }

    /// Kills a node. Its peers see their connections close. It loses what it had not flushed; what
    /// it had flushed stays on its disk, unless [`commit`](Self::commit) decides what is there.
    pub fn crash(&mut self, host: usize) {
        let Some(alive) = self.hosts[host].alive.take() else { return };
        self.truth.crashed(alive.replica.id());
        self.hosts[host].disk =
            Some(self.hosts[host].committed.clone().unwrap_or_else(|| alive.replica.map().clone()));
        self.hosts[host].viewers = 0;
        for peer in self.links.peers(host) {
            self.close_soon(host, peer);
        }
    }

    /// The node's disk holds its present state. From the first call on it holds nothing later until
    /// the next commit, also across restarts.
    pub fn commit(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(alive) = host.alive.as_mut() else { return };
        let versions = alive.replica.map().version_vector();
        match host.committed {
            Some(_) => alive.machine.note_committed(versions.iter()),
            None => alive.machine.follow_store(versions),
        }
        host.committed = Some(alive.replica.map().clone());
        if alive.machine.awaits_commit() {
            self.hand(at, Input::LocalChange, None);
        }
    }

    /// Asks a node to leave, lets it hand over what it has, and stops it.
    pub fn leave(&mut self, host: usize) {
        self.leave_as(host, false);
    }

    /// As [`leave`](Self::leave), and another node becomes the successor of what it wrote. False if
    /// no other node has all that it wrote.
    pub fn leave_for_good(&mut self, host: usize) -> bool {
        self.leave_as(host, true)
    }

    fn leave_as(&mut self, host: usize, for_good: bool) -> bool {
        self.hand(host, Input::Leave { for_good }, None);
        // A shutdown does not wait longer than this for a peer that does not answer.
        let _ = self.run_until(Duration::from_secs(2), |sim| sim.is_drained(host));
        let wrote = self.hosts[host]
            .alive
            .as_ref()
            .map(|alive| (alive.replica.id(), alive.replica.version()));
        self.crash(host);
        wrote.is_some_and(|(writer, version)| {
            self.up().any(|(_, alive)| alive.replica.map().counted_up_to(writer) >= version)
        })
    }

    /// An operator at `host` retires the last incarnation of a node that is down for good. True if
    /// it is claimed now.
    pub fn retire(&mut self, host: usize, lost: usize) -> bool {
        let lost = self.hosts[lost].replica_id();
        let Some(alive) = self.hosts[host].alive.as_mut() else { return false };
        let retired = alive.machine.force_retire(&mut alive.replica, lost).is_ok();
        self.hand(host, Input::LocalChange, None);
        retired
    }

    /// An operator at `host` retires every enrolled incarnation that is not running.
    pub fn retire_absent(&mut self, host: usize) {
        let up: Vec<ReplicaId> = self.up().map(|(_, alive)| alive.replica.id()).collect();
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        let map = alive.replica.map();
        let absent: Vec<ReplicaId> = map
            .enrolled()
            .chain(map.without_successor())
            .filter(|incarnation| !up.contains(incarnation))
            .collect();
        // The node refuses to retire one that it still counts as live.
        let retired = absent
            .into_iter()
            .filter(|&incarnation| {
                alive.machine.force_retire(&mut alive.replica, incarnation).is_ok()
            })
            .count();
        if retired > 0 {
            self.hand(host, Input::LocalChange, None);
        }
    }

    /// The node has a store that commits after every input, from now on and in its later starts.
    pub(in crate::sim) fn commit_always(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(alive) = host.alive.as_mut() else { return };
        let versions = alive.replica.map().version_vector();
        alive.machine.follow_store(versions.clone());
        host.on_disk = Some(versions);
    }

    /// Commits if the node's store commits after every input.
    pub(super) fn commit_at_once(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let (Some(alive), Some(on_disk)) = (host.alive.as_mut(), host.on_disk.as_mut()) else {
            return;
        };
        let versions = alive.replica.map().version_vector();
        if versions == *on_disk {
            return;
        }
        alive.machine.note_committed(versions.iter());
        *on_disk = versions;
        if alive.machine.awaits_commit() {
            self.hand(at, Input::LocalChange, None);
        }
    }

    /// Starts a node that is down, as a new writer. With its disk it still holds what its earlier
    /// incarnations held.
    pub fn restart(&mut self, host: usize, with_disk: bool) {
        if self.hosts[host].alive.is_some() {
            return;
        }
        for peer in self.links.peers(host) {
            self.close(host, peer);
        }
        self.boot(host, with_disk);
        for peer in self.links.wanted_by(host) {
            self.dial(host, peer);
        }
    }

    /// Cuts all ways from `from` to `to`. The other direction stays open.
    pub fn cut_one_way(&mut self, from: &[usize], to: &[usize]) {
        for (a, b) in
            from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b)
        {
            self.links.cut(a, b);
            if let Some(epoch) = self.links.epoch(a, b) {
                self.queue.push(self.now + self.config.lost_after, Event::Lost { a, b, epoch });
            }
        }
    }

    /// Cuts all ways between two sides, in both directions.
    pub fn cut(&mut self, one: &[usize], other: &[usize]) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Ends every cut. Connections come back one by one.
    pub fn heal(&mut self) {
        self.links.heal();
        let lost: Vec<(usize, usize)> =
            self.links.wanted().filter(|(a, b)| self.links.epoch(*a, *b).is_none()).collect();
        for (a, b) in lost {
            let after = self.config.reconnect_after.mul_f64(self.rng.f64());
            self.dial_after(a, b, after);
        }
    }

    /// From now on a node takes this long over each input.
    pub fn slow_down(&mut self, host: usize, each: Duration) {
        self.hosts[host].slowness = each;
    }

    /// From now on a node accepts connections and says nothing: it answers no request, sends none,
    /// and passes no gossip on.
    pub fn mute(&mut self, host: usize) {
        self.hosts[host].is_mute = true;
    }

    /// Makes a node's clock jump ahead, as when a suspended machine wakes, and run at `rate` from
    /// now on. 1.0 is the right rate, and rates must be above 0.
    pub fn set_clock(&mut self, host: usize, jump: Duration, rate: f64) {
        self.hosts[host].set_clock(jump, rate.max(0.01), self.now);
        self.rewake(host);
    }

    /// Both ends see a connection close, one message's time from now.
    fn close_soon(&mut self, a: usize, b: usize) {
        if let Some(epoch) = self.links.epoch(a, b) {
            let at = self.now + self.latency(a, b);
            self.queue.push(at, Event::Disconnect { a, b, epoch });
        }
    }

    pub(super) fn close(&mut self, a: usize, b: usize) {
        self.links.close(a, b);
        self.mesh.remove(a, b);
        for (end, other) in [(a, b), (b, a)] {
            let peer = self.hosts[other].node;
            self.hand(end, Input::PeerDown { peer }, None);
            self.graft(end);
        }
    }

    /// Gives a node with too few edges in the mesh more of them, to its other peers.
    fn graft(&mut self, node: usize) {
        for peer in self.links.peers(node) {
            if !self.mesh.lacks(node) {
                break;
            }
            self.mesh.offer(node, peer);
        }
    }

    pub(super) fn on_lost(&mut self, a: usize, b: usize, epoch: u64) {
        if self.links.epoch(a, b) == Some(epoch) && !self.links.is_whole(a, b) {
            self.close(a, b);
        }
    }

    pub(super) fn on_disconnect(&mut self, a: usize, b: usize, epoch: u64) {
        if self.links.epoch(a, b) == Some(epoch) {
            self.close(a, b);
        }
    }
}
