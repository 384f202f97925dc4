//! The look: after every input, all values of a node are compared with what it holds and with what
//! it has shown before.
//!
//! A value reads back as a set of adds. For each add there are four questions. Was it shown before?
//! Then it is still shown, unless a reset saw it. Was it cleared before? Then it stays away. Does
//! the node hold the version that wrote it? Then it is shown, unless a reset saw it. Does the node
//! hold a reset that saw it? Then it is not shown.
//!
//! A new writer starts a new account of what was shown. See [`View`] for a process that has not
//! caught up, and [`Ledger::retired_running`] and [`Ledger::killed_apart`] for the adds that are
//! excused.

use counter_core::{CounterMap, Replica, ReplicaId, Version};

use super::super::units::read;
use super::seen::{Mask, View};
use super::{Ledger, LedgerKey, first};
use crate::sim::Failure;

/// The versions that a node holds, by writer.
struct HeldVersions(Vec<(ReplicaId, Version)>);

impl HeldVersions {
    fn of(map: &CounterMap) -> Self {
        Self(map.replicas().map(|writer| (writer, map.seen_of(writer))).collect())
    }

    fn upto(&self, writer: ReplicaId) -> Version {
        self.0.binary_search_by_key(&writer, |(writer, _)| *writer).map_or(0, |at| self.0[at].1)
    }

    /// A number that differs whenever the versions differ.
    fn fingerprint(&self) -> u64 {
        self.0.iter().fold(1, |sum: u64, (writer, version)| {
            (sum.rotate_left(7)
                ^ writer.node
                ^ writer.incarnation.rotate_left(32)
                ^ version.rotate_left(48))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }
}

impl Ledger {
    /// Reads all values of a node and compares them with what it holds and what it has shown.
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
        let (map, is_same_writer) = (replica.map(), view.writer == replica.id());
        let held = HeldVersions::of(map);
        let fingerprint = held.fingerprint();
        if (fingerprint == view.fingerprint || view.has_left) && is_same_writer {
            return Ok(());
        }
        view.has_left = replica.has_left();
        if !is_same_writer {
            self.note_written(view, replica);
            self.keep_pending(view.writer, replica.id());
            view.renew(replica.id());
        }
        self.note_written(view, replica);
        (view.fingerprint, view.version) = (fingerprint, replica.version());
        for at in 0..self.keys.len() {
            let shown = self.look_at_key(view, map, &held, at)?;
            if let Some(before) = view.only(at).filter(|_| !is_synced) {
                self.check_unchanged(view.writer, at, shown ^ before)?;
            }
        }
        view.note_synced(is_synced);
        self.ids.look(map)
    }

    /// A process continues as another incarnation, which will write its pending adds.
    fn keep_pending(&mut self, from: ReplicaId, to: ReplicaId) {
        let pending = self.pending.remove(&from).unwrap_or_default();
        for &(key, place) in &pending {
            self.keys[key].adds[place].writer = to;
        }
        self.pending.entry(to).or_default().extend(pending);
    }

    /// Notes the version of each pending add that is in the writer's own cells by now.
    fn note_written(&mut self, view: &View, replica: &Replica) {
        let Some(pending) = self.pending.get_mut(&view.writer) else { return };
        let (keys, map) = (&mut self.keys, replica.map());
        pending.retain(|&(key, place)| {
            let LedgerKey { counter, region, adds, .. } = &mut keys[key];
            let own = map
                .pn_counter(counter, region)
                .cells()
                .find(|(id, _)| *id == view.writer)
                .map(|(_, cell)| cell.clone());
            let Some(own) = own else { return true };
            let part = if adds[place].is_negative {
                own.amounts.decrements
            } else {
                own.amounts.increments
            };
            let is_written = part >> (2 * place) & 1 == 1;
            if is_written {
                adds[place].written = Some((view.version, own.version));
            }
            !is_written
        });
    }

    fn look_at_key(
        &self,
        view: &mut View,
        map: &CounterMap,
        held: &HeldVersions,
        at: usize,
    ) -> Result<u32, String> {
        let key = &self.keys[at];
        let value = view.value(map, at, (&key.counter, &key.region));
        let shown = read(value, key.adds.len(), |place| key.adds[place].is_negative)
            .map_err(|(place, times)| format!("{} counts {times} times", self.name(at, place)))?;
        let mut seen = view.owes(at);
        self.check_earlier(at, shown, &mut seen)?;
        self.check_adds(at, shown, &mut seen, held, map)?;
        self.check_resets(at, shown, &mut seen, held, view.is_synced())?;
        (seen.shown, seen.last) = (shown, shown);
        seen.known |= shown | seen.cleared;
        view.note(at, seen);
        Ok(shown)
    }

    /// Checks that a process that has not caught up shows its directory's state. Of the adds at a
    /// key, only its own may have `changed` since it started.
    fn check_unchanged(&self, writer: ReplicaId, at: usize, changed: u32) -> Result<(), String> {
        let (key, changed) = (&self.keys[at], changed & !self.keys[at].excused);
        let is_own = |place: usize| key.adds.get(place).is_some_and(|add| add.writer == writer);
        let foreign =
            (0..u32::BITS as usize).find(|place| changed >> place & 1 == 1 && !is_own(*place));
        foreign.map_or(Ok(()), |place| {
            Err(format!("{} changed before the node caught up", self.name(at, place)))
        })
    }

    /// Compares a key with what was shown and cleared before.
    fn check_earlier(&self, at: usize, shown: u32, seen: &mut Mask) -> Result<(), String> {
        let key = &self.keys[at];
        seen.cleared &= !key.excused;
        let gone = seen.shown & !shown & !key.excused;
        if gone & !key.clearable != 0 {
            let name = self.name(at, first(gone & !key.clearable));
            return Err(format!("{name} was shown and is gone, and no reset saw it"));
        }
        if shown & seen.cleared != 0 {
            let name = self.name(at, first(shown & seen.cleared));
            return Err(format!("{name} was reset and is shown again"));
        }
        seen.cleared |= gone;
        Ok(())
    }

    /// Compares a key with the adds whose versions the node holds.
    fn check_adds(
        &self,
        at: usize,
        shown: u32,
        seen: &mut Mask,
        held: &HeldVersions,
        map: &CounterMap,
    ) -> Result<(), String> {
        let key = &self.keys[at];
        for (place, add) in key.adds.iter().enumerate() {
            let is_shown = shown >> place & 1 == 1;
            let Some((before, version)) = add.written else {
                if is_shown {
                    let name = self.name(at, place);
                    return Err(format!("{name} is shown and was never written"));
                }
                continue;
            };
            let upto = held.upto(add.writer);
            // A successor's cell may carry adds of a writer whose own cells, and whose end, have
            // not reached this node yet.
            if is_shown && upto <= before && map.incarnation_records().next().is_none() {
                let name = self.name(at, place);
                return Err(format!("{name} is shown, and only version {upto} of it is held"));
            }
            // It may have arrived together with a reset of it, and was never shown then.
            seen.known |= u32::from(upto >= version) << place;
            let is_excused = (key.excused | seen.cleared) >> place & 1 == 1;
            if !is_shown && upto >= version && !is_excused {
                if key.clearable >> place & 1 == 0 {
                    let name = self.name(at, place);
                    return Err(format!("{name} is held and not shown, and no reset saw it"));
                }
                seen.cleared |= 1 << place;
            }
        }
        Ok(())
    }

    /// Compares a key with the resets whose versions the node holds.
    fn check_resets(
        &self,
        at: usize,
        shown: u32,
        seen: &mut Mask,
        held: &HeldVersions,
        is_synced: bool,
    ) -> Result<(), String> {
        let key = &self.keys[at];
        for reset in self.resets.iter().filter(|reset| reset.key == at) {
            if held.upto(reset.writer) < reset.version {
                continue;
            }
            let still_shown = reset.saw & shown & !key.excused;
            if still_shown != 0 && is_synced {
                let name = self.name(at, first(still_shown));
                return Err(format!("{name} is shown, and the reset that saw it is held"));
            }
            seen.cleared |= reset.saw & !shown & !key.excused;
        }
        Ok(())
    }
}
