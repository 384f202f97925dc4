//! The ledger: the writer and the version of each add, the adds that each reset saw or that were in
//! each expired cell, and what each node has shown so far.
//!
//! A story reports every act to the ledger. After every input of a node the ledger checks that node
//! (`look`). Adds are grouped by key, a counter in a region, and have a place there. A set of adds
//! is a bitmap by place.

mod look;
mod seen;

use std::collections::{BTreeMap, BTreeSet};

use counter_core::{Cell, CounterMap, Replica, ReplicaId, Version};

use super::ids::Ids;
use super::units::{UNITS_MAX, amount};
use crate::sim::Failure;
pub(super) use seen::Seen;
use seen::View;

/// One add.
#[derive(Clone, Debug)]
struct LedgerAdd {
    writer: ReplicaId,
    is_negative: bool,
    /// The writer's versions before and after the flush that wrote it. `None` while it is pending,
    /// and for good if a crash took it.
    written: Option<(Version, Version)>,
}

/// A region of a counter.
#[derive(Clone, Debug)]
struct LedgerKey {
    counter: String,
    region: String,
    adds: Vec<LedgerAdd>,
    /// Adds that some reset saw.
    clearable: u32,
    /// Adds that may come and go, because the story went beyond a documented limit.
    excused: u32,
}

/// One reset, or the end of one writer's cell: the writer and version of it, and the adds that it
/// saw.
#[derive(Clone, Debug)]
struct LedgerReset {
    key: usize,
    writer: ReplicaId,
    version: Version,
    saw: u32,
}

/// All that happened in a story, and all that was shown.
#[derive(Debug, Default)]
pub(in crate::sim) struct Ledger {
    keys: Vec<LedgerKey>,
    /// The newest key of each base name and region.
    newest: BTreeMap<(String, String), usize>,
    resets: Vec<LedgerReset>,
    /// The key and place of each pending add, by writer.
    pending: BTreeMap<ReplicaId, Vec<(usize, usize)>>,
    /// The processes that run, by host.
    views: BTreeMap<usize, View>,
    /// Replicas that an operator retired while they ran.
    retired_running: BTreeSet<ReplicaId>,
    ids: Ids,
}

impl Ledger {
    /// An empty ledger, for a cluster that keeps this many dedup entries of a kind for each writer.
    pub(super) fn new(dedup_max: usize) -> Self {
        Self { ids: Ids::new(dedup_max), ..Self::default() }
    }

    /// The account of adds with ids.
    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The account of adds with ids, to record an act in.
    pub(super) fn ids_mut(&mut self) -> &mut Ids {
        &mut self.ids
    }

    /// A process started. `from_disk` is what its directory had shown, if that holds a state.
    pub(super) fn started(&mut self, host: usize, writer: ReplicaId, from_disk: Option<Seen>) {
        let has_state = from_disk.is_some();
        self.views.insert(host, View::new(writer, from_disk.unwrap_or_default(), has_state));
    }

    /// A process ended, and lost its unflushed adds. Returns the account that it must show again if
    /// it comes back with its state.
    pub(super) fn ended(&mut self, host: usize) -> Seen {
        let Some(view) = self.views.remove(&host) else { return Seen::default() };
        self.pending.remove(&view.writer);
        view.owed()
    }

    /// The account that a node must show again if it crashes now and comes back.
    pub(super) fn owed(&self, host: usize) -> Seen {
        self.views.get(&host).map(View::owed).unwrap_or_default()
    }

    /// The account of everything that a node has shown until now.
    pub(super) fn seen(&self, host: usize) -> Seen {
        self.views.get(&host).map(|view| view.seen().clone()).unwrap_or_default()
    }

    /// A node left with success. All that it had shown is held by nodes that run, or in
    /// `elsewhere`: directories of nodes that are down, and nodes that were lost since.
    ///
    /// # Errors
    /// The first add or reset that nobody holds.
    pub(super) fn left(&self, seen: &Seen, elsewhere: &[&Seen]) -> Result<(), Failure> {
        let survivors: Vec<&Seen> =
            self.views.values().map(View::seen).chain(elsewhere.iter().copied()).collect();
        for key in 0..self.keys.len() {
            let theirs = || survivors.iter().map(|seen| seen.get(key));
            let lost = seen.get(key).shown & !theirs().fold(0, |all, one| all | one.known);
            if lost != 0 {
                return Err(Failure::WrongValue(format!(
                    "a node left with success, and nobody has {}",
                    self.name(key, first(lost))
                )));
            }
            let shown_by_all = theirs().fold(u32::MAX, |all, one| all & one.shown & !one.cleared);
            let undone = seen.get(key).cleared & shown_by_all;
            if undone != 0 {
                return Err(Failure::WrongValue(format!(
                    "a node left with success, and nobody has the reset of {}",
                    self.name(key, first(undone))
                )));
            }
        }
        Ok(())
    }

    /// The counter and the amount of the next add to a base name in a region.
    pub(super) fn next_add(&mut self, base: &str, region: &str) -> (String, i64) {
        let place = (base.to_owned(), region.to_owned());
        let newest =
            self.newest.get(&place).copied().filter(|key| self.keys[*key].adds.len() < UNITS_MAX);
        let key = newest.unwrap_or_else(|| {
            let counter = match self.newest.get(&place) {
                Some(full) => format!("{base}.{full}"),
                None => base.to_owned(),
            };
            let region = region.to_owned();
            self.keys.push(LedgerKey {
                counter,
                region,
                adds: Vec::new(),
                clearable: 0,
                excused: 0,
            });
            self.newest.insert(place, self.keys.len() - 1);
            self.keys.len() - 1
        });
        (self.keys[key].counter.clone(), amount(self.keys[key].adds.len()))
    }

    /// A node took the add for which [`next_add`](Self::next_add) gave the amount.
    pub(super) fn added(&mut self, base: &str, region: &str, writer: ReplicaId, is_negative: bool) {
        let Some(&at) = self.newest.get(&(base.to_owned(), region.to_owned())) else { return };
        let (key, is_excused) = (&mut self.keys[at], self.retired_running.contains(&writer));
        let place = key.adds.len();
        key.adds.push(LedgerAdd { writer, is_negative, written: None });
        key.excused |= u32::from(is_excused) << place;
        self.pending.entry(writer).or_default().push((at, place));
    }

    /// Some key: its index, counter and region.
    pub(super) fn key(&self, pick: usize) -> Option<(usize, String, String)> {
        let at = pick % self.keys.len().max(1);
        self.keys.get(at).map(|key| (at, key.counter.clone(), key.region.clone()))
    }

    /// The keys of a counter.
    pub(super) fn keys_of(&self, counter: &str) -> Vec<usize> {
        (0..self.keys.len()).filter(|key| self.keys[*key].counter == counter).collect()
    }

    /// A node wrote a reset, right after the ledger looked at it.
    pub(super) fn reset(&mut self, host: usize, key: usize, version: Version) {
        let Some(view) = self.views.get(&host) else { return };
        let (writer, saw) = (view.writer, view.seen().get(key).shown);
        self.keys[key].clearable |= saw;
        if self.retired_running.contains(&writer) {
            self.keys[key].excused |= saw;
        }
        self.resets.push(LedgerReset { key, writer, version, saw });
    }

    /// The adds in a node's own cells, by key.
    pub(in crate::sim) fn own_cells(&self, replica: &Replica) -> Vec<(usize, u32)> {
        let saw = |at: usize| {
            let LedgerKey { counter, region, adds, .. } = &self.keys[at];
            let own = own_cell(replica, (counter, region))?.total();
            let has = |place: &usize| {
                let sum = if adds[*place].is_negative { own.decrements } else { own.increments };
                sum >> (2 * place) & 1 == 1
            };
            Some((at, (0..adds.len()).filter(has).fold(0, |mask, place| mask | 1 << place)))
        };
        (0..self.keys.len()).filter_map(saw).collect()
    }

    /// A node may have dropped some of its cells, because their counters have expired. It is as if
    /// it had reset the adds in them.
    pub(in crate::sim) fn expired(&mut self, replica: &Replica, cells: &[(usize, u32)]) {
        for &(key, saw) in cells {
            let LedgerKey { counter, region, .. } = &self.keys[key];
            if own_cell(replica, (counter, region)).is_some() {
                continue;
            }
            self.keys[key].clearable |= saw;
            if self.retired_running.contains(&replica.id()) {
                self.keys[key].excused |= saw;
            }
            let (writer, version) = (replica.id(), replica.version());
            self.resets.push(LedgerReset { key, writer, version, saw });
        }
    }

    /// An operator retired a replica that runs. Adds that only it holds may be lost, and adds that
    /// it reset may come back.
    pub(super) fn retired_running(&mut self, writer: ReplicaId) {
        self.retired_running.insert(writer);
        for key in &mut self.keys {
            let theirs = (0..key.adds.len()).filter(|place| key.adds[*place].writer == writer);
            key.excused |= theirs.fold(0, |mask, place| mask | 1 << place);
        }
        for reset in self.resets.iter().filter(|reset| reset.writer == writer) {
            self.keys[reset.key].excused |= reset.saw;
        }
    }

    /// A writer without a disk was killed while the nodes that run formed `parts` that do not know
    /// each other. Adds of a writer that is gone, and that only some parts hold, may be lost:
    /// another part may absorb that writer without having asked them.
    pub(super) fn killed_apart(
        &mut self,
        parts: &[Vec<&CounterMap>],
        is_gone: impl Fn(ReplicaId) -> bool,
    ) {
        let holds = |part: &Vec<&CounterMap>, writer, version| {
            part.iter().any(|map| map.seen_of(writer) >= version)
        };
        let at_risk = |writer, version| {
            let holders = parts.iter().filter(|part| holds(part, writer, version)).count();
            is_gone(writer) && (1..parts.len()).contains(&holders)
        };
        for key in &mut self.keys {
            for (place, add) in key.adds.iter().enumerate() {
                let is_at_risk =
                    add.written.is_some_and(|(_, version)| at_risk(add.writer, version));
                key.excused |= u32::from(is_at_risk) << place;
            }
        }
        for reset in self.resets.iter().filter(|reset| at_risk(reset.writer, reset.version)) {
            self.keys[reset.key].excused |= reset.saw;
        }
    }

    /// All nodes that run were restored, and no node that they know of knows the `unknown` ones.
    /// They may fold what the copies have of a writer that is gone, and lose adds of it that only
    /// unknown nodes hold. Resets that only those hold name what was folded, so their adds may come
    /// back.
    pub(super) fn restored_apart(
        &mut self,
        known: &[&CounterMap],
        unknown: &[&CounterMap],
        is_gone: impl Fn(ReplicaId) -> bool,
    ) {
        let holds = |maps: &[&CounterMap], writer, version| {
            maps.iter().any(|map| map.counted_up_to(writer) >= version)
        };
        let is_apart =
            |writer, version| holds(unknown, writer, version) && !holds(known, writer, version);
        for key in &mut self.keys {
            for (place, add) in key.adds.iter().enumerate() {
                let is_at_risk = is_gone(add.writer)
                    && add.written.is_some_and(|(_, version)| is_apart(add.writer, version));
                key.excused |= u32::from(is_at_risk) << place;
            }
        }
        for reset in self.resets.iter().filter(|reset| is_apart(reset.writer, reset.version)) {
            self.keys[reset.key].excused |= reset.saw;
        }
    }

    /// A process took another incarnation number before anybody else held anything of it.
    pub(in crate::sim) fn renumbered(&mut self, host: usize, from: ReplicaId, to: ReplicaId) {
        if let Some(view) = self.views.get_mut(&host) {
            (view.writer, view.fingerprint) = (to, 0);
        }
        if let Some(pending) = self.pending.remove(&from) {
            self.pending.insert(to, pending);
        }
        let adds = self.keys.iter_mut().flat_map(|key| &mut key.adds);
        let resets = self.resets.iter_mut().map(|reset| &mut reset.writer);
        let writers = adds.map(|add| &mut add.writer).chain(resets);
        writers.filter(|writer| **writer == from).for_each(|writer| *writer = to);
    }

    /// Checks that all nodes show the same.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn compare(&self) -> Result<(), Failure> {
        let hosts: Vec<usize> = self.views.keys().copied().collect();
        for key in 0..self.keys.len() {
            let shown: Vec<u32> =
                self.views.values().map(|view| view.seen().get(key).shown).collect();
            if let Some(at) = (0..shown.len()).find(|at| shown[*at] != shown[0]) {
                return Err(Failure::WrongValue(format!(
                    "nodes {} and {} differ in {}",
                    hosts[0],
                    hosts[at],
                    self.name(key, first(shown[at] ^ shown[0]))
                )));
            }
        }
        Ok(())
    }

    /// An add's name in a message.
    fn name(&self, key: usize, place: usize) -> String {
        let LedgerKey { counter, region, adds, .. } = &self.keys[key];
        match adds.get(place) {
            Some(add) => format!(
                "add {place} of {counter}/{region} by {} at {:?}",
                add.writer,
                add.written.map(|written| written.1)
            ),
            None => format!("a sum that no adds make of {counter}/{region}"),
        }
    }
}

/// A replica's own cell at a key.
fn own_cell(replica: &Replica, (counter, region): (&str, &str)) -> Option<Cell> {
    let cells = replica.map().pn_counter(counter, region);
    cells.cells().find(|(id, _)| *id == replica.id()).map(|(_, cell)| cell.clone())
}

/// The lowest place in a set of adds.
fn first(mask: u32) -> usize {
    mask.trailing_zeros() as usize
}
