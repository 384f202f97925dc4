//! Nodes that leave for good, and the checks of each leave.
//!
//! A node leaves with success once a member covers it: the member holds all that the leaver had
//! shown. A leaver that nobody covers ends too, later, and an operator has to retire it. The
//! protocol has failed only if some node was able to cover it the whole time.

use std::time::Duration;

use super::super::ledger::Seen;
use super::{SLICE, Stage};
use crate::protocol::{Input, Replicator};
use crate::sim::Failure;

/// A node that is leaving.
struct OpenLeave {
    host: usize,
    since: Duration,
    /// When its process ends, covered or not.
    until: Duration,
    /// The nodes that were able to cover it all the time.
    company: Vec<usize>,
}

/// The leaves that are under way, and the nodes that were lost.
#[derive(Default)]
pub(super) struct Leaves {
    open: Vec<OpenLeave>,
    /// The accounts of nodes that were killed or left without being covered, each with the time.
    lost: Vec<(Duration, Seen)>,
    uncovered: usize,
}

impl Leaves {
    /// True if a node is leaving.
    pub(super) fn has(&self, host: usize) -> bool {
        self.open.iter().any(|leave| leave.host == host)
    }

    /// True if no node is leaving.
    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// True if a node ever left without being covered.
    pub(super) fn any_uncovered(&self) -> bool {
        self.uncovered > 0
    }

    /// A node was killed, and leaves no more.
    pub(super) fn forget(&mut self, host: usize) {
        self.open.retain(|leave| leave.host != host);
    }

    /// A node hangs. It covers nobody, and nobody is expected to cover it.
    pub(super) fn note_hang(&mut self, host: usize) {
        for leave in &mut self.open {
            let hangs = leave.host == host;
            leave.company.retain(|other| !hangs && *other != host);
        }
    }

    /// A node was lost for good, with what it had shown.
    pub(super) fn lose(&mut self, now: Duration, seen: Seen) {
        self.lost.push((now, seen));
    }

    /// The accounts of nodes that were lost since a time.
    fn lost_since(&self, since: Duration) -> impl Iterator<Item = &Seen> {
        self.lost.iter().filter(move |(at, _)| *at >= since).map(|(_, seen)| seen)
    }

    /// Takes out the newest leave that ends by now.
    fn next_ended(&mut self, ends: impl Fn(&OpenLeave) -> bool) -> Option<OpenLeave> {
        self.open.iter().rposition(ends).map(|at| self.open.remove(at))
    }
}

impl Stage<'_> {
    /// Asks a node to leave for good.
    pub(super) fn leave(&mut self, number: usize) {
        let Some(host) = self.up(number).filter(|host| !self.leaves.has(*host)) else { return };
        self.sim.hand(host, Input::Leave { for_good: true }, None);
        let since = self.sim.now();
        let (until, company) = (since + self.mix.patience, self.company_of(host));
        self.leaves.open.push(OpenLeave { host, since, until, company });
        if let Some(at) = self.actor(number) {
            self.actors[at].is_gone = true;
        }
    }

    /// The longest that time may run before somebody looks after the leavers.
    pub(super) fn slice(&self, rest: Duration) -> Duration {
        if self.leaves.is_over() { rest } else { rest.min(SLICE) }
    }

    /// Ends the processes that have handed over everything, and those that took too long.
    pub(super) fn end_leaves(&mut self) -> Result<(), Failure> {
        let (sim, now) = (&self.sim, self.sim.now());
        let ends = |leave: &OpenLeave| sim.is_drained(leave.host) || now >= leave.until;
        let Some(leave) = self.leaves.next_ended(ends) else { return Ok(()) };
        self.end_leave(&leave)?;
        self.end_leaves()
    }

    fn end_leave(&mut self, leave: &OpenLeave) -> Result<(), Failure> {
        let host = leave.host;
        let is_covered = self.sim.machine(host).is_some_and(Replicator::is_leave_covered);
        let is_late = !self.sim.is_drained(host);
        if is_late && leave.company.iter().any(|other| self.may_cover(*other)) {
            return Err(Failure::NotConverged(format!(
                "node {host} left for {:?}, and nobody covers it\n{}",
                self.mix.patience,
                self.picture()
            )));
        }
        self.sim.crash(host);
        let seen = self.sim.ledger().seen(host);
        self.sim.ledger_mut().ended(host);
        if !is_covered {
            self.leaves.lose(self.sim.now(), seen);
            self.leaves.uncovered += 1;
            return Ok(());
        }
        // The member that covered it may be down by now, with a directory, or lost as well.
        let down = self.actors.iter().filter(|actor| !self.sim.is_up(actor.host) && !actor.is_gone);
        let directories = down.filter_map(|actor| actor.directory.as_ref()?.seen());
        let elsewhere: Vec<&Seen> =
            directories.chain(self.leaves.lost_since(leave.since)).collect();
        self.sim.ledger().left(&seen, &elsewhere)
    }

    /// True if a node is able to cover a leaver: it runs, listens, stays and is synced.
    fn may_cover(&self, host: usize) -> bool {
        !self.leaves.has(host)
            && !self.sim.is_mute(host)
            && self.sim.machine(host).is_some_and(Replicator::is_synced)
    }

    /// The nodes that are able to cover a leaver from now on: those that it knows, since it serves
    /// nobody else after its last statement. None if links may be cut in this mix, or if the leaver
    /// says nothing.
    fn company_of(&self, host: usize) -> Vec<usize> {
        let may_be_cut = self.mix.cut > 0 || self.mix.cut_one_way > 0 || self.mix.lonely > 0;
        if may_be_cut || self.sim.is_mute(host) {
            return Vec::new();
        }
        let Some(map) = self.sim.map(host) else { return Vec::new() };
        let is_known = |other: &usize| map.seen_of(self.sim.writer_of(*other)) > 0;
        let others = self.actors.iter().map(|actor| actor.host).filter(|other| *other != host);
        others.filter(is_known).filter(|other| self.may_cover(*other)).collect()
    }
}
