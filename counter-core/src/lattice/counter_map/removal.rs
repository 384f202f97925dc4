//! Dropped cells: tombstones, and the own traces that a writer may take back.
//!
//! Only its writer changes a cell, so a removal is a request. Each writer sheds the amounts that
//! resets have cleared, drops its empty cells, and forgets the tombstones once all hold them. Each
//! step here takes the versions that every enrolled replica has proved it holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{CounterMap, Joined};
use crate::codec::dictionary::KeyNames;
use crate::dedup::entry::DedupEntry;
use crate::incarnation::baseline::{Baselines, HeldCell};
use crate::lattice::amounts::Amounts;
use crate::lattice::cell::{Cleared, Extra, Origin};
use crate::lattice::keys::{KeyId, KeySearch, Renumbering};
use crate::lattice::tombstones::{key_bytes, names_of};
use crate::lattice::versions::vector::{Version, VersionVector};
use crate::replica_id::ReplicaId;

/// The most tombstones of one writer. At this bound it drops no cells before older drops are
/// forgotten: empty cells stay, and no number changes.
pub(crate) const TOMBSTONES_MAX: usize = 20_000_000;

/// Stands for the version of the change that is about to be written.
const NEXT: Version = Version::MAX;

impl CounterMap {
    /// Asks for the removal of one region of a counter as `replica`: a reset, after which each
    /// writer drops its cell. Adds that are concurrent stay, and the counter with them. Returns the
    /// version of the change; None if no cell is held.
    pub(crate) fn request_removal(&mut self, replica: ReplicaId, key: u32) -> Option<Version> {
        self.held(key).next()?;
        Some(self.clear(replica, key, true))
    }

    /// The number of tombstones of all writers. O(writers).
    pub fn tombstone_count(&self) -> usize {
        self.writers.iter().map(|writer| writer.tombstones().len()).sum()
    }

    /// The number of tombstones of one writer.
    pub fn tombstones_of(&self, replica: ReplicaId) -> usize {
        self.writer(replica).map_or(0, |writer| writer.tombstones().len())
    }

    /// A cell that `at` makes as its writer. Returns its slot. If a cell was dropped at that key,
    /// it begins anew.
    #[inline(never)]
    pub(super) fn make_own(&mut self, at: usize, key: u32) -> u32 {
        self.keys.revive(key);
        let expires_at = self.expiry_of_new(key);
        let writer = &mut self.writers[at];
        let origin = writer.origin_of_new(&self.keys, key).unwrap_or_default();
        let slot = writer.make(key);
        writer.begin_extra(slot, Extra { origin, expires_at, ..Extra::default() });
        if origin.is_set() {
            self.values.cover(key, self.keys.counter_of(key));
            self.values.mark_shaped(key);
        }
        slot
    }

    /// The writers that have dropped their cells at a key, and have neither forgotten that nor made
    /// another, as a reset names them.
    pub(super) fn dropped(&self, key: u32) -> impl Iterator<Item = (ReplicaId, Cleared)> + '_ {
        let name = key_bytes(self.keys.names(key));
        self.writers.iter().filter_map(move |writer| {
            if writer.tombstones().is_empty() || writer.slot(key, key).is_some() {
                return None;
            }
            let version = writer.tombstones().latest(&name)?;
            Some((writer.id(), Cleared { version, amounts: Amounts::default() }))
        })
    }

    /// The origin of a replica's cell at a key. If the cell was dropped, it is that of the next
    /// one.
    pub(super) fn origin_of(&self, baselines: &Baselines, replica: ReplicaId, key: u32) -> Origin {
        let dropped = || {
            let writer = self.writer(replica)?;
            if writer.tombstones().is_empty() || writer.slot(key, key).is_some() {
                return None;
            }
            let version = writer.tombstones().latest(&key_bytes(self.keys.names(key)))?;
            Some(Origin::after_drop(version))
        };
        baselines.origin_of(replica).or_else(dropped).unwrap_or_default()
    }

    /// Takes a tombstone of another writer: drops the cell that it names, unless that is newer.
    pub(super) fn take_tombstone(
        &mut self,
        at: usize,
        version: Version,
        key: &[u8],
        joined: &mut Joined,
    ) {
        self.writers[at].put_tombstone(version, key);
        self.drop_older(at, version, key, joined);
    }

    /// Drops the cell of a key, unless it is newer than this.
    pub(super) fn drop_older(
        &mut self,
        at: usize,
        version: Version,
        key: &[u8],
        joined: &mut Joined,
    ) {
        let here = names_of(key).and_then(|(counter, region)| self.keys.find(counter, region));
        let Some(here) = here else { return };
        let writer = &self.writers[at];
        let slot = writer.slot(here, here).filter(|&slot| writer.plain(slot).version < version);
        if let Some(slot) = slot {
            self.drop_cell(at, slot);
            joined.changed.push(KeyId(here));
        }
    }

    /// Drops the cells of a writer below version `forgot` whose keys are not among `kept`.
    pub(super) fn drop_missing(
        &mut self,
        at: usize,
        names: &impl KeyNames,
        kept: impl Iterator<Item = u32>,
        forgot: Version,
        joined: &mut Joined,
    ) {
        let mut search = KeySearch::default();
        let kept: BTreeSet<u32> =
            kept.filter_map(|theirs| self.keys.find_same(&mut search, names, theirs)).collect();
        let writer = &self.writers[at];
        let gone: Vec<u32> = writer
            .slots()
            .filter(|&slot| writer.plain(slot).version <= forgot)
            .map(|slot| writer.key(slot))
            .filter(|key| !kept.contains(key))
            .collect();
        for key in gone {
            if let Some(slot) = self.writers[at].slot(key, key) {
                self.drop_cell(at, slot);
                joined.changed.push(KeyId(key));
            }
        }
    }

    /// Drops a cell, and brings the values up to date.
    fn drop_cell(&mut self, at: usize, slot: u32) {
        let key = self.writers[at].key(slot);
        let amounts = self.writers[at].drop_cell(&self.keys, slot);
        match self.values.is_shaped(key) {
            true => self.recount_value(key),
            false => self.values.shift(key, self.keys.counter_of(key), -amounts.net()),
        }
        self.bury_without_cells(key);
    }

    /// The number of keys that had cells and have none any more.
    #[inline]
    pub(crate) fn dead_count(&self) -> usize {
        self.keys.dead_count()
    }

    /// True if a key had cells and has none any more.
    #[inline]
    pub(crate) fn is_dead(&self, KeyId(key): KeyId) -> bool {
        self.keys.is_dead(key)
    }

    /// True if the counter exists: it was made, or some writer has a cell of it, and it was not
    /// removed since. O(regions * writers) if its total is 0, else O(1).
    pub fn contains(&self, counter: &str) -> bool {
        self.keys.counter(counter).is_some_and(|number| {
            self.values.of_counter(number) != 0
                || self
                    .keys
                    .of_counter(number)
                    .any(|key| !self.keys.is_dead(key) && !self.is_removed(key))
        })
    }

    /// True if a reset names a replica that is neither held here nor folded. If no enrolled replica
    /// holds it either, the trace stays: the replica may still turn up with the cleared adds.
    /// O(traces).
    pub fn names_unknown(&self) -> bool {
        let is_unknown = |replica: ReplicaId| self.counted_up_to(replica) == 0;
        self.values
            .shaped_from(0)
            .flat_map(|key| self.held(key))
            .filter_map(|held| held.extra)
            .any(|extra| extra.cleared.iter().any(|(replica, _)| is_unknown(*replica)))
    }

    /// True if a removal is under way at a key, and no add is left.
    pub(super) fn is_removed(&self, key: u32) -> bool {
        self.values.is_shaped(key)
            && self.held(key).any(|held| held.extra.is_some_and(|extra| extra.removal > 0))
            && self.shares(key).all(|(_, share)| share == Amounts::default())
    }

    /// Forgets the names and keys that nothing uses: no cell, no dedup entry, and not `keeps`.
    /// Every [`KeyId`] changes. O(cells).
    pub(crate) fn compact(&mut self, keeps: impl Fn(KeyId) -> bool) -> Renumbering {
        let mut used = vec![false; self.keys.len()];
        for writer in &self.writers {
            writer.slots().for_each(|slot| used[writer.key(slot) as usize] = true);
            let entries = writer.entries().since(0).flat_map(DedupEntry::keys);
            entries.for_each(|key| used[key as usize] = true);
        }
        let named = |counter| (counter, self.keys.counter_name(counter).to_owned());
        let names: BTreeMap<u32, String> = self.expiries.counters().map(named).collect();
        let renumbering = self.keys.compact(|key| used[key as usize] || keeps(KeyId(key)));
        self.writers.iter_mut().for_each(|writer| writer.renumber(&renumbering));
        self.values.renumber(&renumbering, |key| self.keys.counter_of(key));
        self.expiries.renumber(|counter| self.keys.counter(names.get(&counter)?));
        self.generation += 1;
        renumbering
    }

    /// The number of times that all [`KeyId`]s have changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Drops the own cell of `replica` at a key, and leaves a tombstone.
    pub(super) fn drop_own(&mut self, replica: ReplicaId, key: u32) {
        let Ok(at) = self.writer_at(replica) else { return };
        let Some(slot) = self.writers[at].slot(key, key) else { return };
        self.drop_cell(at, slot);
        let (writer, name) = (&mut self.writers[at], key_bytes(self.keys.names(key)));
        let version = writer.next_version();
        writer.put_tombstone(version, &name);
        writer.hold_up_to(version);
    }

    /// Drops the own cells of a counter, by its number, whatever they count. Cells that clear or
    /// have absorbed something, or ask for a removal, stay. Returns the keys that changed.
    pub(crate) fn drop_own_of(&mut self, own: ReplicaId, counter: u32) -> Vec<KeyId> {
        let is_plain = |key: &u32| {
            self.writer(own).and_then(|writer| writer.amounts(*key)).is_some_and(|(_, extra)| {
                extra.is_none_or(|extra| {
                    extra.cleared.is_empty() && extra.absorbed.is_empty() && extra.removal == 0
                })
            })
        };
        let has_room =
            self.writer(own).is_some_and(|writer| writer.tombstones().len() < TOMBSTONES_MAX);
        let keys: Vec<u32> =
            self.keys.of_counter(counter).filter(is_plain).filter(|_| has_room).collect();
        keys.iter().for_each(|&key| self.drop_own(own, key));
        keys.into_iter().map(KeyId).collect()
    }

    /// The keys with traces of resets, removals or absorbed incarnations, from `key` on.
    pub(crate) fn unsettled_from(&self, key: u32) -> impl Iterator<Item = u32> + '_ {
        self.values.shaped_from(key)
    }

    /// Takes the next step that `own` may take at one key. `stable` are the versions that every
    /// enrolled replica holds. Returns whether something changed. O(writers).
    pub(crate) fn settle_key(&mut self, own: ReplicaId, key: u32, stable: &VersionVector) -> bool {
        match self.next_step(own, key, stable) {
            None => return false,
            Some(Step::Drop) => self.drop_own(own, key),
            Some(Step::Rewrite { amounts, extra }) => self.rewrite_own(own, key, amounts, extra),
        }
        true
    }

    fn rewrite_own(&mut self, own: ReplicaId, key: u32, amounts: Amounts, mut extra: Extra) {
        let Ok(at) = self.writer_at(own) else { return };
        let Some(slot) = self.writers[at].slot(key, key) else { return };
        let writer = &mut self.writers[at];
        let version = writer.next_version();
        if extra.origin.version == NEXT {
            extra.origin.version = version;
        }
        extra
            .cleared
            .iter_mut()
            .filter(|entry| entry.1.version == NEXT)
            .for_each(|entry| entry.1.version = version);
        let before = writer.plain(slot).version;
        writer.put_extra(slot, Some(extra.clone()));
        writer.put(slot, before, amounts);
        self.write_extra(at, slot, extra);
    }

    fn next_step(&self, own: ReplicaId, key: u32, stable: &VersionVector) -> Option<Step> {
        let none = Extra::default();
        let held: Vec<HeldCell<'_>> = self.held(key).collect();
        let mine = held.iter().find(|held| held.replica == own)?;
        let extra = mine.extra.unwrap_or(&none);
        let baselines = Baselines::of(held.iter().copied());
        if !extra.absorbed.is_empty() || baselines.is_absorbed(own) {
            return None;
        }
        let removes = held.iter().any(|held| held.extra.is_some_and(|extra| extra.removal > 0));
        let baseline = baselines.of_cell(mine);
        let mut next = extra.clone();
        next.cleared.retain(|(writer, seen)| match *writer == own {
            true => extra.origin.cleared(seen) != Amounts::default(),
            false => !self.is_done(*writer, *seen, &held, key, stable),
        });
        // Own amounts that were cleared are shed: nobody needs to clear them any more.
        let sheds = baseline != Amounts::default() && extra.origin.version == 0;
        let amounts = if sheds { mine.amounts.above(baseline) } else { mine.amounts };
        if sheds {
            next.cleared.retain(|(writer, _)| *writer != own);
            next.origin = Origin { version: NEXT, offset: baseline };
        } else if baseline != Amounts::default()
            && !extra
                .cleared
                .iter()
                .any(|(writer, seen)| *writer == own && seen.amounts == baseline)
        {
            // Resets of two origins cannot be shed at once. Until the first origin ends, the cell
            // itself names what is cleared, and the resets of others may go.
            next.clear(own, Cleared { version: NEXT, amounts: baseline }, extra.origin);
        }
        let is_empty = amounts == Amounts::default() && next.cleared.is_empty();
        let others_shed = || {
            held.iter().filter(|held| held.replica != own).all(|held| {
                let share = baselines.share(held);
                let asks = held.extra.is_some_and(|extra| extra.removal > 0);
                // Adds that the removal did not see stay.
                share.is_some_and(|share| share != Amounts::default())
                    || asks && held.amounts == Amounts::default()
            })
        };
        // Nobody needs the request any more. A cell that is not seen here holds adds that stay.
        let is_over = extra.removal > 0 && others_shed();
        if is_over {
            next.removal = 0;
        }
        let has_room =
            self.writer(own).is_some_and(|writer| writer.tombstones().len() < TOMBSTONES_MAX);
        if is_empty && removes && next.removal == 0 && has_room {
            return Some(Step::Drop);
        }
        // A request alone is dropped with its cell, or as soon as its cell has amounts to keep.
        if is_over && amounts == Amounts::default() {
            next.removal = extra.removal;
        }
        (next != *extra).then_some(Step::Rewrite { amounts, extra: next })
    }

    /// True if this reset entry can go: since `seen` the cell began anew, was dropped or had
    /// nothing, and every enrolled replica holds that.
    fn is_done(
        &self,
        writer: ReplicaId,
        seen: Cleared,
        held: &[HeldCell<'_>],
        key: u32,
        stable: &VersionVector,
    ) -> bool {
        let Some(of) = self.writer(writer) else { return false };
        if self.is_ended(writer) || of.seen() < seen.version {
            return false;
        }
        if seen.amounts == Amounts::default() && stable.get(writer) >= seen.version {
            return true;
        }
        match held.iter().find(|held| held.replica == writer) {
            Some(cell) => {
                let origin = cell.extra.map_or(Origin::default(), |extra| extra.origin);
                let cleared = origin.cleared(&seen);
                let names_itself = cell
                    .extra
                    .filter(|extra| extra.absorbed.is_empty())
                    .and_then(|extra| extra.cleared.iter().find(|entry| entry.0 == writer))
                    .is_some_and(|(_, own)| {
                        own.version > seen.version
                            && cleared.above(own.amounts) == Amounts::default()
                            && stable.get(writer) >= own.version
                    });
                let began_anew = origin.version > seen.version
                    && cleared == Amounts::default()
                    && stable.get(writer) >= origin.version;
                began_anew || names_itself
            }
            None => of
                .tombstones()
                .latest(&key_bytes(self.keys.names(key)))
                .is_none_or(|dropped| stable.get(writer) >= dropped),
        }
    }

    /// True if no held cell names an amount of `own` at a key that a reset cleared before version
    /// `before`.
    fn is_unnamed(&self, own: ReplicaId, key: u32, before: Version) -> bool {
        self.held(key).filter_map(|held| held.extra).all(|extra| {
            let names = |(writer, seen): &(ReplicaId, Cleared)| {
                *writer == own && seen.version < before && seen.amounts != Amounts::default()
            };
            !extra.cleared.iter().any(names)
        })
    }

    /// True if `own` may have something to take back: a key is unsettled, or a drop of its own is
    /// not forgotten.
    pub(crate) fn has_traces(&self, own: ReplicaId) -> bool {
        self.values.has_shaped()
            || self.writer(own).is_some_and(|writer| !writer.tombstones().is_empty())
    }

    /// The keys at which the own cell began anew up to version `heard` and no reset of an earlier
    /// state of it is left, with their origins' versions. Looks at `max` cells with traces at most,
    /// from a slot on, and returns the slot to go on from; 0 if there is none.
    pub(crate) fn finished_origins(
        &self,
        own: ReplicaId,
        heard: Version,
        from: u32,
        max: usize,
    ) -> (Vec<(u32, Version)>, u32) {
        let Some(writer) = self.writer(own) else { return (Vec::new(), 0) };
        let finished = writer
            .extras_from(from)
            .take(max)
            .filter(|(_, extra)| (1..=heard).contains(&extra.origin.version))
            .map(|(slot, extra)| (writer.key(slot), extra.origin.version))
            .filter(|&(key, origin)| self.is_unnamed(own, key, origin))
            .collect();
        (finished, writer.extras_from(from).nth(max).map_or(0, |(slot, _)| slot))
    }

    /// The latest of the own tombstones up to version `heard` before the first one whose cell is
    /// still named by a reset. 0 if there is none. Looks at `max` at most.
    pub(crate) fn finished_tombstones(
        &self,
        own: ReplicaId,
        heard: Version,
        max: usize,
    ) -> Version {
        let Some(writer) = self.writer(own) else { return 0 };
        let is_finished = |(version, key): &(Version, &[u8])| {
            *version <= heard
                && names_of(key)
                    .and_then(|(counter, region)| self.keys.find(counter, region))
                    .is_none_or(|here| self.is_unnamed(own, here, *version))
        };
        writer
            .tombstones()
            .since(0)
            .take(max)
            .take_while(is_finished)
            .last()
            .map_or(0, |(version, _)| version)
    }

    /// Takes the origins away from own cells whose origins are still these.
    pub(crate) fn end_origins(&mut self, own: ReplicaId, origins: &[(u32, Version)]) -> usize {
        let mut ended = 0;
        for &(key, version) in origins {
            let Some((amounts, Some(extra))) =
                self.writer(own).and_then(|writer| writer.amounts(key))
            else {
                continue;
            };
            if extra.origin.version == version {
                let extra = Extra { origin: Origin::default(), ..extra.clone() };
                self.rewrite_own(own, key, amounts, extra);
                ended += 1;
            }
        }
        ended
    }
}

/// What a writer does next with its own cell at one key.
enum Step {
    /// Drops it.
    Drop,
    /// Writes it with these amounts. The version [`NEXT`] stands for that of the change.
    Rewrite { amounts: Amounts, extra: Extra },
}
