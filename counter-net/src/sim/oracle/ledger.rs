//! The ledger: who added what under which version, what each reset saw, and what each node has
//! shown so far.

use std::collections::{BTreeMap, BTreeSet};

use counter_core::{CounterMap, KeyId, Replica, ReplicaId, Version};

use super::ids::Ids;
use super::units::{UNITS_MAX, amount, read};
use crate::sim::Failure;

/// What a node has shown of each key: the adds that it counts, and those that were cleared.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Vec<Mask>);

#[derive(Copy, Clone, Debug, Default)]
struct Mask {
    shown: u32,
    cleared: u32,
    /// All that was ever shown or cleared.
    known: u32,
}

impl Seen {
    fn at(&mut self, key: usize) -> &mut Mask {
        if self.0.len() <= key {
            self.0.resize(key + 1, Mask::default());
        }
        &mut self.0[key]
    }

    fn get(&self, key: usize) -> Mask {
        self.0.get(key).copied().unwrap_or_default()
    }
}

/// One add.
#[derive(Clone, Debug)]
struct Unit {
    writer: ReplicaId,
    is_negative: bool,
    /// The writer's versions before and after the flush that wrote it; None while it is pending, or
    /// if a crash took it.
    written: Option<(Version, Version)>,
}

/// A region of a counter.
#[derive(Clone, Debug)]
struct Key {
    counter: String,
    region: String,
    units: Vec<Unit>,
    /// What some reset saw.
    clearable: u32,
    /// Adds of replicas that were retired while they ran, and what their resets saw: these may come
    /// and go.
    loose: u32,
}

/// One reset, written by a replica under a version, and the adds that it saw.
#[derive(Clone, Debug)]
struct Reset {
    key: usize,
    writer: ReplicaId,
    version: Version,
    saw: u32,
}

/// One process of a node.
#[derive(Debug)]
struct View {
    writer: ReplicaId,
    seen: Seen,
    /// What its directory had shown.
    from_disk: Seen,
    /// Whether it has caught up with the cluster. Before, it may take a reset sooner than the state
    /// in whose terms the reset speaks.
    is_synced: bool,
    /// Whether it has written its last statement. What it hears after that it owes to nobody.
    has_left: bool,
    /// The version before the last look.
    version: Version,
    /// Of the state that was looked at last.
    fingerprint: u64,
    /// Where each key of the ledger lies in the node's map.
    places: Vec<Option<KeyId>>,
}

impl View {
    /// What it has shown since it caught up; before that, what its directory had shown.
    fn owed(&self) -> Seen {
        let mut owed = self.seen.clone();
        if !self.is_synced {
            for (key, mask) in owed.0.iter_mut().enumerate() {
                *mask = Mask { known: mask.known, ..self.from_disk.get(key) };
            }
        }
        owed
    }
}

/// All that happened, and all that was shown.
#[derive(Debug, Default)]
pub(in crate::sim) struct Ledger {
    keys: Vec<Key>,
    /// By base name and region, the newest key.
    newest: BTreeMap<(String, String), usize>,
    resets: Vec<Reset>,
    /// Keys with pending adds, by writer.
    pending: BTreeMap<ReplicaId, Vec<(usize, usize)>>,
    views: BTreeMap<usize, View>,
    /// Replicas that were retired while they ran.
    retired_alive: BTreeSet<ReplicaId>,
    pub(super) ids: Ids,
}

impl Ledger {
    /// A ledger with this account of ids.
    pub(super) fn with_ids(ids: Ids) -> Self {
        Self { ids, ..Self::default() }
    }

    /// A process begins, with what its directory had shown.
    pub(super) fn begins(&mut self, host: usize, writer: ReplicaId, from_disk: Option<Seen>) {
        let from_disk = from_disk.unwrap_or_default();
        let seen = from_disk.clone();
        let view = View {
            writer,
            seen,
            from_disk,
            is_synced: false,
            has_left: false,
            version: 0,
            fingerprint: 0,
            places: Vec::new(),
        };
        self.views.insert(host, view);
    }

    /// A process ended. What it had not flushed is gone. Returns what it had shown.
    pub(super) fn ends(&mut self, host: usize) -> Seen {
        let Some(view) = self.views.remove(&host) else { return Seen::default() };
        self.pending.remove(&view.writer);
        view.owed()
    }

    /// What a node that crashes now must show again once it is back.
    pub(super) fn owed(&self, host: usize) -> Seen {
        self.views.get(&host).map(View::owed).unwrap_or_default()
    }

    /// What a node has shown until now.
    pub(super) fn seen(&self, host: usize) -> Seen {
        self.views.get(&host).map(|view| view.seen.clone()).unwrap_or_default()
    }

    /// A node left with success, so all that it had shown is in the hands of nodes that run, or in
    /// `directories`.
    ///
    /// # Errors
    /// The first add or reset that nobody has.
    pub(super) fn left(&self, seen: &Seen, directories: &[&Seen]) -> Result<(), Failure> {
        let survivors: Vec<&Seen> =
            self.views.values().map(|view| &view.seen).chain(directories.iter().copied()).collect();
        for key in 0..self.keys.len() {
            let of = |part: fn(Mask) -> u32| survivors.iter().map(move |seen| part(seen.get(key)));
            let lost = seen.get(key).shown & !of(|mask| mask.known).fold(0, |all, one| all | one);
            if lost != 0 {
                return Err(Failure::WrongValue(format!(
                    "a node left with success, and nobody has {}",
                    self.name(key, first(lost))
                )));
            }
            let undone = seen.get(key).cleared
                & of(|mask| mask.shown & !mask.cleared).fold(u32::MAX, |all, one| all & one);
            if undone != 0 {
                let what = format!(
                    "a node left with success, and nobody has the reset of {}",
                    self.name(key, first(undone))
                );
                return Err(Failure::WrongValue(what));
            }
        }
        Ok(())
    }

    /// The counter's name and the amount of the next add to a base name in a region.
    pub(super) fn next_add(&mut self, base: &str, region: &str) -> (String, i64) {
        let place = (base.to_owned(), region.to_owned());
        let newest =
            self.newest.get(&place).copied().filter(|key| self.keys[*key].units.len() < UNITS_MAX);
        let key = newest.unwrap_or_else(|| {
            let counter = match self.newest.get(&place) {
                Some(full) => format!("{base}.{full}"),
                None => base.to_owned(),
            };
            self.keys.push(Key {
                counter,
                region: region.to_owned(),
                units: Vec::new(),
                clearable: 0,
                loose: 0,
            });
            self.newest.insert(place, self.keys.len() - 1);
            self.keys.len() - 1
        });
        (self.keys[key].counter.clone(), amount(self.keys[key].units.len()))
    }

    /// An add for which [`next_add`](Self::next_add) gave the amount was taken by a node.
    pub(super) fn added(&mut self, base: &str, region: &str, writer: ReplicaId, is_negative: bool) {
        let Some(&key) = self.newest.get(&(base.to_owned(), region.to_owned())) else { return };
        self.keys[key].units.push(Unit { writer, is_negative, written: None });
        self.keys[key].loose |=
            u32::from(self.retired_alive.contains(&writer)) << (self.keys[key].units.len() - 1);
        self.pending.entry(writer).or_default().push((key, self.keys[key].units.len() - 1));
    }

    /// Counter and region of some key.
    pub(super) fn key(&self, pick: usize) -> Option<(usize, String, String)> {
        let at = pick % self.keys.len().max(1);
        self.keys.get(at).map(|key| (at, key.counter.clone(), key.region.clone()))
    }

    /// A node wrote a reset, right after it was looked at.
    pub(super) fn reset(&mut self, host: usize, key: usize, version: Version) {
        let Some(view) = self.views.get_mut(&host) else { return };
        let saw = view.seen.at(key).shown;
        self.keys[key].clearable |= saw;
        if self.retired_alive.contains(&view.writer) {
            self.keys[key].loose |= saw;
        }
        self.resets.push(Reset { key, writer: view.writer, version, saw });
    }

    /// An operator retired a replica that runs: what it had counted and nobody else holds may be
    /// lost, and what it resets may come back.
    pub(super) fn retired_alive(&mut self, writer: ReplicaId) {
        self.retired_alive.insert(writer);
        for key in &mut self.keys {
            let theirs = (0..key.units.len()).filter(|place| key.units[*place].writer == writer);
            key.loose |= theirs.fold(0, |mask, place| mask | 1 << place);
        }
        for reset in self.resets.iter().filter(|reset| reset.writer == writer) {
            self.keys[reset.key].loose |= reset.saw;
        }
    }

    /// A writer without a disk was killed while those that run were parts which do not know each
    /// other. What only some parts hold of those that are gone may be lost: another part may take
    /// their place without having asked.
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
            for (place, unit) in key.units.iter().enumerate() {
                key.loose |= u32::from(
                    unit.written.is_some_and(|(_, version)| at_risk(unit.writer, version)),
                ) << place;
            }
        }
        for reset in self.resets.iter().filter(|reset| at_risk(reset.writer, reset.version)) {
            self.keys[reset.key].loose |= reset.saw;
        }
    }

    /// A process took another number before anybody else held anything of it.
    pub(in crate::sim) fn renumbered(&mut self, host: usize, from: ReplicaId, to: ReplicaId) {
        if let Some(view) = self.views.get_mut(&host) {
            (view.writer, view.fingerprint) = (to, 0);
        }
        if let Some(pending) = self.pending.remove(&from) {
            self.pending.insert(to, pending);
        }
        let units = self.keys.iter_mut().flat_map(|key| &mut key.units);
        units.filter(|unit| unit.writer == from).for_each(|unit| unit.writer = to);
        self.resets
            .iter_mut()
            .filter(|reset| reset.writer == from)
            .for_each(|reset| reset.writer = to);
    }

    /// Reads all values of a node and holds them against what it holds and what it has shown.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(in crate::sim) fn look(
        &mut self,
        host: usize,
        replica: &Replica,
        is_synced: bool,
    ) -> Result<(), Failure> {
        let Some(mut view) = self.views.remove(&host) else { return Ok(()) };
        let looked = self.look_at(&mut view, replica, is_synced);
        self.views.insert(host, view);
        looked.map_err(|what| Failure::WrongValue(format!("node {host}: {what}")))
    }

    fn look_at(
        &mut self,
        view: &mut View,
        replica: &Replica,
        is_synced: bool,
    ) -> Result<(), String> {
        let map = replica.map();
        let held: Vec<(ReplicaId, Version)> =
            map.replicas().map(|writer| (writer, map.seen_of(writer))).collect();
        let fingerprint = fingerprint(&held);
        if (fingerprint == view.fingerprint || view.has_left) && view.writer == replica.id() {
            return Ok(());
        }
        view.has_left = replica.has_left();
        if view.writer != replica.id() {
            self.note_written(view, replica);
            // Others ended it: it forgot what they did not have.
            (view.writer, view.seen, view.version) = (replica.id(), Seen::default(), 0);
            (view.from_disk, view.is_synced) = (Seen::default(), false);
        }
        self.note_written(view, replica);
        (view.fingerprint, view.version) = (fingerprint, replica.version());
        for key in 0..self.keys.len() {
            self.look_at_key(view, map, &held, key)?;
        }
        view.is_synced |= is_synced;
        self.ids.look(map)
    }

    /// Gives those pending adds their versions that are in the own cells by now.
    fn note_written(&mut self, view: &View, replica: &Replica) {
        let Some(pending) = self.pending.get_mut(&view.writer) else { return };
        let (keys, map) = (&mut self.keys, replica.map());
        pending.retain(|&(key, place)| {
            let Key { counter, region, units, .. } = &mut keys[key];
            let own = map
                .pn_counter(counter, region)
                .cells()
                .find(|(id, _)| *id == view.writer)
                .map(|(_, cell)| cell.clone());
            let Some(own) = own else { return true };
            let part = if units[place].is_negative {
                own.amounts.decrements
            } else {
                own.amounts.increments
            };
            let is_written = part >> (2 * place) & 1 == 1;
            if is_written {
                units[place].written = Some((view.version, own.version));
            }
            !is_written
        });
    }

    fn look_at_key(
        &self,
        view: &mut View,
        map: &CounterMap,
        held: &[(ReplicaId, Version)],
        at: usize,
    ) -> Result<(), String> {
        let key = &self.keys[at];
        let count = key.units.len();
        if view.places.len() <= at {
            view.places.resize(at + 1, None);
        }
        view.places[at] = view.places[at].or_else(|| map.key(&key.counter, &key.region));
        let value = view.places[at].map_or(0, |place| map.value_of(place));
        let name = |place: usize| self.name(at, place);
        let mask = read(value, count, |place| key.units[place].is_negative)
            .map_err(|(place, times)| format!("{} counts {times} times", name(place)))?;
        let (seen, before) = (view.seen.at(at), view.from_disk.get(at));
        if !view.is_synced {
            // Until it has caught up, what its disk had shown is held against it, and nothing that
            // it learns on the way.
            *seen = Mask { known: seen.known, ..before };
        }
        seen.cleared &= !key.loose;
        let gone = seen.shown & !mask & !key.loose;
        if gone & !key.clearable != 0 {
            return Err(format!(
                "{} was shown and is gone, and no reset saw it",
                name(first(gone & !key.clearable))
            ));
        }
        if mask & seen.cleared != 0 {
            return Err(format!(
                "{} was reset and is shown again",
                name(first(mask & seen.cleared))
            ));
        }
        seen.cleared |= gone;
        for (place, unit) in key.units.iter().enumerate() {
            let Some((before, version)) = unit.written else {
                if mask >> place & 1 == 1 {
                    return Err(format!("{} is shown and was never written", name(place)));
                }
                continue;
            };
            let held_upto = held
                .binary_search_by_key(&unit.writer, |(writer, _)| *writer)
                .map_or(0, |at| held[at].1);
            let is_shown = mask >> place & 1 == 1;
            // A successor's cell may name adds of a writer whose own cells, and end, are not known
            // here yet.
            if is_shown && held_upto <= before && map.incarnation_records().next().is_none() {
                return Err(format!(
                    "{} is shown, and of its writer version {held_upto} is held",
                    name(place)
                ));
            }
            if !is_shown
                && held_upto >= version
                && key.loose >> place & 1 == 0
                && seen.cleared >> place & 1 == 0
            {
                if key.clearable >> place & 1 == 0 {
                    return Err(format!(
                        "{} is held and not shown, and no reset saw it",
                        name(place)
                    ));
                }
                seen.cleared |= 1 << place;
            }
        }
        for reset in self.resets.iter().filter(|reset| reset.key == at) {
            let held_upto = held
                .binary_search_by_key(&reset.writer, |(writer, _)| *writer)
                .map_or(0, |at| held[at].1);
            if held_upto < reset.version {
                continue;
            }
            let shown = reset.saw & mask & !key.loose;
            if shown != 0 && view.is_synced {
                return Err(format!(
                    "{} is shown, and the reset that saw it is held",
                    name(first(shown))
                ));
            }
            seen.cleared |= reset.saw & !mask & !key.loose;
        }
        seen.shown = mask;
        seen.known |= mask | seen.cleared;
        Ok(())
    }

    fn name(&self, key: usize, place: usize) -> String {
        let Key { counter, region, units, .. } = &self.keys[key];
        match units.get(place) {
            Some(unit) => format!(
                "add {place} of {counter}/{region} by {} at {:?}",
                unit.writer,
                unit.written.map(|written| written.1)
            ),
            None => format!("a sum that no adds make of {counter}/{region}"),
        }
    }

    /// Whether all nodes show the same.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn compare(&mut self) -> Result<(), Failure> {
        let hosts: Vec<usize> = self.views.keys().copied().collect();
        let Some(&first_host) = hosts.first() else { return Ok(()) };
        for key in 0..self.keys.len() {
            let shown: Vec<u32> =
                self.views.values_mut().map(|view| view.seen.at(key).shown).collect();
            if let Some(at) = (0..shown.len()).find(|at| shown[*at] != shown[0]) {
                let place = first(shown[at] ^ shown[0]);
                let what = format!(
                    "nodes {first_host} and {} differ in {}",
                    hosts[at],
                    self.name(key, place)
                );
                return Err(Failure::WrongValue(what));
            }
        }
        Ok(())
    }
}

fn first(mask: u32) -> usize {
    mask.trailing_zeros() as usize
}

fn fingerprint(held: &[(ReplicaId, Version)]) -> u64 {
    held.iter().fold(1, |sum: u64, (writer, version)| {
        (sum.rotate_left(7)
            ^ writer.node
            ^ writer.incarnation.rotate_left(32)
            ^ version.rotate_left(48))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
