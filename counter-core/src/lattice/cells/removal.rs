//! Removal: a writer drops its own cells, and then the traces of the removal.
//!
//! Only its writer changes a cell, so a removal is a request. Each writer subtracts the amounts
//! that resets have cleared, drops its empty cells, and forgets the tombstones once all replicas
//! hold them. Each step here depends on the versions that every enrolled replica has proved it
//! holds.

use std::collections::BTreeSet;

use super::joined::Joined;
use super::store::Cells;
use crate::codec::dictionary::KeyNames;
use crate::incarnation::baseline::{Baselines, HeldCell};
use crate::lattice::cell::amounts::Amounts;
use crate::lattice::cell::{CellExtra, Cleared, Origin};
use crate::lattice::keys::{KeyId, KeySearch};
use crate::lattice::versions::{Version, VersionVector};
use crate::lattice::writer::tombstones::{key_bytes, names_of};
use crate::replica_id::ReplicaId;

/// The most tombstones of one writer. At this bound a writer keeps its empty cells until older
/// tombstones are forgotten. No value changes.
pub(crate) const TOMBSTONES_MAX: usize = 20_000_000;

/// Stands for the version of the change that is about to be written.
const NEXT: Version = Version::MAX;

impl Cells {
    /// Asks for the removal of one region of a counter as `replica`: a reset, after which each
    /// writer drops its cell. Concurrent adds stay, and the counter with them. Returns the version
    /// of the change; None if no cell is held.
    pub(crate) fn request_removal(&mut self, replica: ReplicaId, key: u32) -> Option<Version> {
        self.held(key).next()?;
        Some(self.clear(replica, key, true))
    }

    /// Takes a tombstone of another writer: drops the cell that it names, unless that is newer.
    pub(crate) fn take_tombstone(
        &mut self,
        at: usize,
        version: Version,
        key: &[u8],
        joined: &mut Joined,
    ) {
        self.put_tombstone(at, version, key);
        self.drop_older(at, version, key, joined);
    }

    /// Drops the cell of a key, unless it is newer than `version`.
    pub(crate) fn drop_older(
        &mut self,
        at: usize,
        version: Version,
        key: &[u8],
        joined: &mut Joined,
    ) {
        let here = names_of(key).and_then(|(counter, region)| self.keys().find(counter, region));
        let Some(here) = here else { return };
        let writer = self.writers().at(at);
        let slot = writer.slot(here, here).filter(|&slot| writer.plain(slot).version < version);
        if let Some(slot) = slot {
            self.drop_cell(at, slot);
            joined.changed.push(KeyId(here));
        }
    }

    /// Drops the cells of a writer up to version `forgot` whose keys are not among `kept`.
    pub(crate) fn drop_missing(
        &mut self,
        at: usize,
        names: &impl KeyNames,
        kept: impl Iterator<Item = u32>,
        forgot: Version,
        joined: &mut Joined,
    ) {
        let mut search = KeySearch::default();
        let kept: BTreeSet<u32> =
            kept.filter_map(|theirs| self.keys().find_same(&mut search, names, theirs)).collect();
        let writer = self.writers().at(at);
        let gone: Vec<u32> = writer
            .slots()
            .filter(|&slot| writer.plain(slot).version <= forgot)
            .map(|slot| writer.key(slot))
            .filter(|key| !kept.contains(key))
            .collect();
        for key in gone {
            if let Some(slot) = self.writers().at(at).slot(key, key) {
                self.drop_cell(at, slot);
                joined.changed.push(KeyId(key));
            }
        }
    }

    /// True if a removal is under way at a key, and no add is left.
    pub(crate) fn is_removed(&self, key: u32) -> bool {
        self.is_adjusted(key)
            && self.held(key).any(|held| held.extra.is_some_and(|extra| extra.removal > 0))
            && self.shares(key).all(|(_, share)| share == Amounts::default())
    }

    /// The keys of a counter, by its number, at which `own` may drop its cell, whatever the
    /// amounts: all but those whose cells hold resets or absorbed amounts, or ask for a removal.
    pub(crate) fn droppable(&self, own: ReplicaId, counter: u32) -> Vec<KeyId> {
        let is_plain = |key: &u32| {
            self.writers().get(own).and_then(|writer| writer.amounts(*key)).is_some_and(
                |(_, extra)| {
                    extra.is_none_or(|extra| {
                        extra.resets.is_empty() && extra.absorbed.is_empty() && extra.removal == 0
                    })
                },
            )
        };
        let has_room = self
            .writers()
            .get(own)
            .is_some_and(|writer| writer.tombstones().len() < TOMBSTONES_MAX);
        let keys = self.keys().of_counter(counter).filter(is_plain).filter(|_| has_room);
        keys.map(KeyId).collect()
    }

    /// Takes a cleanup step of `own` at one key, which [`next_step`](Self::next_step) found.
    pub(crate) fn take_step(&mut self, own: ReplicaId, key: u32, step: CleanupStep) {
        match step {
            CleanupStep::Drop => self.drop_own(own, key),
            CleanupStep::Rewrite { amounts, extra, .. } => {
                self.rewrite_own(own, key, amounts, extra)
            }
        }
    }

    fn rewrite_own(&mut self, own: ReplicaId, key: u32, amounts: Amounts, mut extra: CellExtra) {
        let Ok(at) = self.writers().find(own) else { return };
        let writer = self.writers().at(at);
        let Some(slot) = writer.slot(key, key) else { return };
        let version = writer.next_version();
        if extra.origin.version == NEXT {
            extra.origin.version = version;
        }
        extra.resets.set_version(NEXT, version);
        self.write_cell(at, slot, amounts, extra);
    }

    /// The next cleanup step of `own` at one key, if there is one. `stable` lists the versions that
    /// every enrolled replica holds. O(writers).
    pub(crate) fn next_step(
        &self,
        own: ReplicaId,
        key: u32,
        stable: &VersionVector,
    ) -> Option<CleanupStep> {
        let none = CellExtra::default();
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
        next.resets.retain(|writer, seen| match writer == own {
            true => extra.origin.cleared(&seen) != Amounts::default(),
            false => !self.is_done(writer, seen, (&held, &baselines), key, stable),
        });
        // If resets cleared own amounts, subtract these. Then no reset has to cover them.
        let sheds = baseline != Amounts::default() && extra.origin.version == 0;
        let amounts = if sheds { mine.amounts.above(baseline) } else { mine.amounts };
        let mut settled = 0;
        if sheds {
            next.resets.retain(|writer, _| writer != own);
            next.origin = Origin { version: NEXT, offset: baseline };
            settled = baselines.seen_by_others(own);
        } else if baseline != Amounts::default()
            && extra.resets.of(own).is_none_or(|seen| seen.amounts != baseline)
        {
            // A cell has only one origin, so it cannot subtract again until the first origin ends.
            // Until then it records the cleared amounts itself, so others may drop their resets.
            next.resets.clear(own, Cleared { version: NEXT, amounts: baseline }, extra.origin);
            settled = baselines.seen_by_others(own);
        }
        let is_empty = amounts == Amounts::default() && next.resets.is_empty();
        let others_shed = || {
            held.iter().filter(|held| held.replica != own).all(|held| {
                let share = baselines.share(held);
                let asks = held.extra.is_some_and(|extra| extra.removal > 0);
                // Adds that the removal did not see stay.
                share.is_some_and(|share| share != Amounts::default())
                    || asks && held.amounts == Amounts::default()
            })
        };
        // No other writer needs the request any more. A cell that is not held here must hold adds
        // that stay.
        let is_over = extra.removal > 0 && others_shed();
        if is_over {
            next.removal = 0;
        }
        let has_room = self
            .writers()
            .get(own)
            .is_some_and(|writer| writer.tombstones().len() < TOMBSTONES_MAX);
        if is_empty && removes && next.removal == 0 && has_room {
            return Some(CleanupStep::Drop);
        }
        // A cell without amounts keeps its request until the cell itself can be dropped.
        if is_over && amounts == Amounts::default() {
            next.removal = extra.removal;
        }
        (next != *extra).then_some(CleanupStep::Rewrite { amounts, extra: next, settled })
    }

    /// True if this reset of `writer` can go. Since `seen` the cell began anew or was dropped, or
    /// the reset found it empty. Every enrolled replica holds that state.
    fn is_done(
        &self,
        writer: ReplicaId,
        seen: Cleared,
        (held, baselines): (&[HeldCell<'_>], &Baselines),
        key: u32,
        stable: &VersionVector,
    ) -> bool {
        let Some(theirs) = self.writers().get(writer) else { return false };
        if self.writers().ended().is_ended(writer) || theirs.seen() < seen.version {
            return false;
        }
        if seen.amounts == Amounts::default() && stable.get(writer) >= seen.version {
            return true;
        }
        match held.iter().find(|held| held.replica == writer) {
            Some(cell) => {
                let origin = cell.extra.map_or(Origin::default(), |extra| extra.origin);
                let cleared = baselines.cleared_by(writer, &seen, origin);
                let names_itself = cell
                    .extra
                    .filter(|extra| extra.absorbed.is_empty())
                    .and_then(|extra| extra.resets.of(writer))
                    .is_some_and(|own| {
                        own.version > seen.version
                            && cleared.above(own.amounts) == Amounts::default()
                            && stable.get(writer) >= own.version
                    });
                let began_anew = origin.version > seen.version
                    && cleared == Amounts::default()
                    && stable.get(writer) >= origin.version;
                began_anew || names_itself
            }
            None => theirs
                .tombstones()
                .latest(&key_bytes(self.keys().names(key)))
                .is_none_or(|dropped| stable.get(writer) >= dropped),
        }
    }

    /// True if no held cell has a reset that cleared amounts of `own` at a key before version
    /// `before`.
    fn is_unnamed(&self, own: ReplicaId, key: u32, before: Version) -> bool {
        self.held(key).filter_map(|held| held.extra).all(|extra| {
            extra
                .resets
                .of(own)
                .is_none_or(|seen| seen.version >= before || seen.amounts == Amounts::default())
        })
    }

    /// True if `own` may have traces to remove: some key holds traces of resets, or one of its
    /// tombstones is not forgotten.
    pub(crate) fn has_traces(&self, own: ReplicaId) -> bool {
        self.has_adjusted()
            || self.writers().get(own).is_some_and(|writer| !writer.tombstones().is_empty())
    }

    /// Finds the origins and retractions that can end: `own` wrote them up to version `arrived`,
    /// and no reset of an earlier state is left. Returns their keys and versions. Looks at up to
    /// `max` cells with traces, starting at slot `from`. Also returns the slot to continue from; 0
    /// at the end.
    pub(crate) fn finished_traces(
        &self,
        own: ReplicaId,
        arrived: Version,
        from: u32,
        max: usize,
    ) -> (Vec<(u32, Version)>, u32) {
        let Some(writer) = self.writers().get(own) else { return (Vec::new(), 0) };
        let finished = writer
            .extras_from(from)
            .take(max)
            .flat_map(|(slot, extra)| {
                let retractions = extra.retractions.iter();
                let own = retractions.filter(|one| one.holder == own && one.others.is_empty());
                let versions = own.map(|retraction| retraction.at).chain([extra.origin.version]);
                versions.map(move |version| (writer.key(slot), version))
            })
            .filter(|(_, version)| (1..=arrived).contains(version))
            .filter(|&(key, version)| self.is_unnamed(own, key, version))
            .collect();
        (finished, writer.extras_from(from).nth(max).map_or(0, |(slot, _)| slot))
    }

    /// The version up to which the tombstones of `own` can be forgotten; 0 for none. It stops at
    /// version `arrived`, and before the first tombstone whose cell a reset still mentions. Looks
    /// at up to `max` tombstones.
    pub(crate) fn finished_tombstones(
        &self,
        own: ReplicaId,
        arrived: Version,
        max: usize,
    ) -> Version {
        let Some(writer) = self.writers().get(own) else { return 0 };
        let is_finished = |(version, key): &(Version, &[u8])| {
            *version <= arrived
                && names_of(key)
                    .and_then(|(counter, region)| self.keys().find(counter, region))
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

    /// Clears the origins and retractions of these versions in the replica's own cells. Those of
    /// one key follow each other.
    pub(crate) fn end_traces(&mut self, own: ReplicaId, traces: &[(u32, Version)]) {
        for of_key in traces.chunk_by(|one, next| one.0 == next.0) {
            let key = of_key[0].0;
            let Some((amounts, Some(extra))) =
                self.writers().get(own).and_then(|writer| writer.amounts(key))
            else {
                continue;
            };
            let ends = |version| of_key.iter().any(|&(_, ended)| ended == version);
            let mut next = extra.clone();
            next.retractions.retain(|one| one.holder != own || !ends(one.at));
            if ends(next.origin.version) {
                next.origin = Origin::default();
            }
            if next != *extra {
                self.rewrite_own(own, key, amounts, next);
            }
        }
    }
}

/// A writer's next change to its own cell at one key.
pub(crate) enum CleanupStep {
    /// Drops it.
    Drop,
    /// Rewrites it with these amounts. [`NEXT`] stands for the version of the change.
    ///
    /// The cell no longer depends on the resets that saw it up to version `settled`; 0 if it does.
    Rewrite { amounts: Amounts, extra: CellExtra, settled: Version },
}
