//! A successor's work on ended incarnations: absorb, fold, rebase. Each step writes about as many
//! bytes as the caller allows.

use crate::dedup::settled::RememberedKeys;
use crate::error::WriteError;
use crate::lattice::versions::Version;
use crate::replica::Replica;
use crate::replica_id::ReplicaId;

/// One round of a successor: the incarnations that it absorbs together, and its progress.
///
/// 1. [`Replica::absorb`] once every enrolled replica knows all claims, and everything that they
///    hold of these incarnations is held here. The incarnations are then final. Cell by cell, their
///    amounts become part of the successor's cell. A replica that holds that cell stops counting
///    theirs.
/// 2. [`Replica::fold`] once every enrolled replica holds the whole absorption. All replicas forget
///    the incarnations.
/// 3. [`Replica::rebase`] right after the fold. The absorbed amounts become the successor's own,
///    and its cells are plain again.
///
/// # Examples
/// A replica alone needs no agreement. With others, the caller waits for their digests before each
/// step.
/// ```
/// use counter_core::{Replica, ReplicaId};
/// let mut first = Replica::new(ReplicaId::new(1, 1 << 32), "ord")?;
/// first.add("clicks", 5)?;
/// first.flush();
/// let mut next = Replica::with_map(ReplicaId::new(1, 2 << 32), "ord", first.map().clone())?;
/// next.claim(first.id());
/// let mut work = next.absorb_round(None).expect("it is the successor");
/// next.absorb(&mut work, usize::MAX)?;
/// next.fold(&mut work);
/// next.rebase(usize::MAX);
/// assert_eq!(next.total("clicks"), 5);
/// assert_eq!(next.map().replicas().collect::<Vec<_>>(), [next.id()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsorbRound {
    successor: ReplicaId,
    /// Ascending.
    incarnations: Vec<ReplicaId>,
    /// The next dedup entry: an index into `incarnations`, and the version that it follows.
    next_entry: (usize, Version),
    /// The next cell: an index into `incarnations`, and its slot.
    next_cell: (usize, u32),
    /// Entries with an add that must be taken back, by incarnation and version. They are absorbed
    /// after the cells, in reverse order.
    to_take_back: Vec<(ReplicaId, Version)>,
    /// The successor's version just before the round absorbed its first cell; None until then.
    begun: Option<Version>,
    /// The successor's version that completes the absorption; None until then.
    absorbed: Option<Version>,
    folded: bool,
}

impl AbsorbRound {
    /// The incarnations of this round, in the order of ids.
    pub fn incarnations(&self) -> &[ReplicaId] {
        &self.incarnations
    }

    /// True once the successor's record lists these incarnations as being absorbed. From then on no
    /// other replica may absorb them.
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// The successor's version that completes the absorption; None until then.
    pub fn absorbed(&self) -> Option<Version> {
        self.absorbed
    }

    /// True once the incarnations are folded. Only rebasing is left.
    pub fn is_folded(&self) -> bool {
        self.folded
    }
}

impl Replica {
    /// Claims an ended incarnation: this replica offers to be its successor. A replica that knows
    /// of the claim accepts nothing more from that incarnation directly.
    ///
    /// Returns the version of the change. None if the incarnation is this replica itself, if this
    /// replica claims it already, if it is folded or has a successor, or if this replica has left.
    ///
    /// # Complexity
    /// O(writers + claims and folds of all records).
    pub fn claim(&mut self, ended: ReplicaId) -> Option<Version> {
        let id = self.id();
        let claims_it =
            self.map().record(id).is_some_and(|record| record.claims().contains(&ended));
        let answered =
            claims_it || self.map().is_folded(ended) || self.map().successor_of(ended).is_some();
        if ended == id || answered || self.has_left() {
            None
        } else {
            self.map_mut().change_record(id, |record| record.claim(ended))
        }
    }

    /// Writes the last statement: the versions held now, this change included. After that this
    /// replica writes nothing: no flush, reset or claim, and it takes no add back. Returns the
    /// version of the change; None if it has left before.
    ///
    /// # Complexity
    /// O(writers) time, and as much space in the record.
    pub fn leave(&mut self) -> Option<Version> {
        if self.has_left() {
            return None;
        }
        let (id, mut held) = (self.id(), self.map().version_vector());
        held.raise(id, self.version() + 1);
        self.map_mut().change_record(id, |record| record.leave(held.iter()))
    }

    /// True if this replica has written its last statement.
    pub fn has_left(&self) -> bool {
        self.map().has_left(self.id())
    }

    /// The round to work on next. It is the round under way if that has begun to absorb. Otherwise
    /// it is a new round for the incarnations whose successor this replica is *now*, because other
    /// claims may have arrived. None if there is nothing to do. Call it before each step. A round
    /// that was begun under another id is dropped.
    pub fn absorb_round(&self, under_way: Option<AbsorbRound>) -> Option<AbsorbRound> {
        let successor = self.id();
        under_way.filter(|work| work.begun.is_some() && work.successor == successor).or_else(|| {
            let incarnations = self.map().absorbable_by(successor);
            (!incarnations.is_empty()).then_some(AbsorbRound {
                successor,
                incarnations,
                next_entry: (0, 0),
                next_cell: (0, 0),
                to_take_back: Vec::new(),
                begun: None,
                absorbed: None,
                folded: false,
            })
        })
    }

    /// Absorbs cells and dedup entries of the incarnations: about `bytes_max` bytes, and at least
    /// one cell or entry. Returns how many bytes they cost each peer. Call it until
    /// [`AbsorbRound::absorbed`] is set. Incarnations whose amounts would leave less than half of a
    /// cell's room are left out of the round, and keep counting separately.
    ///
    /// # Complexity
    /// O(writers) per cell. Each entry takes a look-up in every writer that holds entries. The
    /// first call of a round also visits all cells of the incarnations.
    ///
    /// # Errors
    /// `CellFull` if no incarnation fits in the round, or if the successor's own amounts have come
    /// near 2^62 since the round began. Everything before the amount that does not fit was
    /// absorbed.
    pub fn absorb(
        &mut self,
        work: &mut AbsorbRound,
        bytes_max: usize,
    ) -> Result<usize, WriteError> {
        let id = self.id();
        let begun = match work.begun {
            Some(begun) => begun,
            None => self.begin(work)?,
        };
        let mut bytes = 0;
        let mut of_incarnation: Option<(ReplicaId, Version)> = None;
        let mut written =
            |replica: &Self, incarnation| {
                let known = of_incarnation.filter(|(of, _)| *of == incarnation);
                of_incarnation
                    .insert(known.unwrap_or_else(|| {
                        (incarnation, replica.map().written_since(incarnation, id))
                    }))
                    .1
            };
        while let Some(&incarnation) = work.incarnations.get(work.next_entry.0) {
            let Some(entry) = self.map().dedup().next_entry(incarnation, work.next_entry.1) else {
                work.next_entry = (work.next_entry.0 + 1, 0);
                continue;
            };
            if bytes >= bytes_max {
                self.drop_surplus();
                return Ok(bytes);
            }
            work.next_entry.1 = entry.version;
            let (settled, is_part) = self.settled_part(incarnation, entry);
            if is_part {
                work.to_take_back.push((incarnation, work.next_entry.1));
            }
            if let Some(settled) = settled {
                let written = written(self, incarnation);
                bytes += self.absorb_entry(incarnation, written, settled);
            }
        }
        while let Some(&incarnation) = work.incarnations.get(work.next_cell.0) {
            let Some((slot, key)) =
                self.map().cells().keys_from(incarnation, work.next_cell.1).next()
            else {
                work.next_cell = (work.next_cell.0 + 1, 0);
                continue;
            };
            if bytes >= bytes_max {
                self.drop_surplus();
                return Ok(bytes);
            }
            bytes += self.map_mut().absorb_cells(id, &work.incarnations, begun, key)?;
            work.next_cell.1 = slot + 1;
        }
        while let Some((incarnation, version)) = work.to_take_back.pop() {
            let entry = self
                .map()
                .dedup()
                .next_entry(incarnation, version - 1)
                .filter(|entry| entry.version == version);
            if bytes >= bytes_max {
                work.to_take_back.push((incarnation, version));
                self.drop_surplus();
                return Ok(bytes);
            }
            if let Some(entry) = entry {
                let written = written(self, incarnation);
                bytes += self.absorb_entry(incarnation, written, entry);
            }
        }
        self.drop_surplus();
        work.absorbed = Some(self.version());
        Ok(bytes)
    }

    /// Lists these incarnations in the record as being absorbed, before the first cell. Later
    /// claimants then leave them alone. Also takes over their folds, because without these a late
    /// copy could bring a folded incarnation back. Returns the version after which the round writes
    /// cells.
    fn begin(&mut self, work: &mut AbsorbRound) -> Result<Version, WriteError> {
        let id = self.id();
        let fitting = self.map().cells().fitting(id, &work.incarnations);
        if fitting.is_empty() {
            return Err(WriteError::CellFull);
        }
        work.incarnations = fitting;
        let (incarnations, inherited) =
            (work.incarnations.clone(), self.map().cells().folded_by(&work.incarnations));
        self.map_mut().change_record(id, |record| record.begin_absorbing(incarnations, inherited));
        work.begun = Some(self.version());
        Ok(self.version())
    }

    /// Folds the incarnations once their absorption is complete. They are forgotten, here and
    /// wherever this replica's record arrives. Returns the version of the change. While the
    /// absorption is incomplete, returns None and changes nothing.
    ///
    /// # Complexity
    /// O(cells of the incarnations * writers), and O(dedup entries of this replica).
    pub fn fold(&mut self, work: &mut AbsorbRound) -> Option<Version> {
        work.absorbed?;
        work.folded = true;
        let (id, incarnations) = (self.id(), work.incarnations.clone());
        self.fold_entries(&incarnations);
        self.map_mut().change_record(id, |record| record.fold(&incarnations))
    }

    /// Turns absorbed amounts of folded incarnations into own amounts: about `bytes_max` bytes of
    /// cells, and at least one cell. Returns how many bytes they cost each peer; 0 if nothing is
    /// left. The record then marks rebasing as complete.
    ///
    /// # Complexity
    /// O(writers) per rebased cell, and O(own cells with more than amounts + handles).
    pub fn rebase(&mut self, bytes_max: usize) -> usize {
        let id = self.id();
        let (mut bytes, mut next, mut remembered) = (0, 0, RememberedKeys::default());
        while let Some(slot) = self
            .map()
            .cells()
            .next_extra(id, next, |extra| !extra.absorbed.is_empty())
            .filter(|_| bytes < bytes_max)
        {
            let key = self.map().cells().keys_from(id, slot).next().map(|(_, key)| key);
            if let Some(key) = key {
                let settled = self.map().cells().seen_by_others(id, key);
                self.note_settled(key, settled, &mut remembered);
            }
            bytes += self.map_mut().cells_mut().rebase(id, slot).unwrap_or(0);
            next = slot + 1;
        }
        if bytes > 0 {
            self.close_full();
        } else if self.map().record(id).is_some_and(|record| record.is_rebasing()) {
            self.map_mut().change_record(id, |record| record.end_rebasing());
        }
        bytes
    }

    /// True if one of this replica's cells holds the reset of a folded incarnation, or its record
    /// claims one. Then [`forget_cleared`](Self::forget_cleared) has work, now or later. O(own
    /// claims + resets in own cells).
    pub fn names_folded(&self) -> bool {
        let map = self.map();
        !self.folded_claims().is_empty()
            || map
                .cells()
                .next_extra(self.id(), 0, |extra| {
                    extra.resets.iter().any(|(incarnation, _)| map.is_folded(incarnation))
                })
                .is_some()
    }

    /// The folded incarnations that this replica's record still claims, because another replica
    /// folded them. Ascending.
    fn folded_claims(&self) -> Vec<ReplicaId> {
        let claims = self.map().record(self.id()).map_or(&[][..], |record| record.claims());
        claims.iter().copied().filter(|claimed| self.map().is_folded(*claimed)).collect()
    }

    /// Drops the resets of folded incarnations from this replica's cells, and their claims from its
    /// record. Does nothing while any replica is rebasing. Call it once every enrolled replica
    /// holds the fold. Writes about `bytes_max` bytes of cells, and at least one cell. Returns how
    /// many bytes they cost each peer; 0 if nothing is left.
    ///
    /// # Complexity
    /// O(writers) per written cell, and O(resets in own cells).
    pub fn forget_cleared(&mut self, bytes_max: usize) -> usize {
        let id = self.id();
        if self.map().is_rebasing() {
            return 0;
        }
        let (mut bytes, mut next) = (0, 0);
        let claims = self.folded_claims();
        if !claims.is_empty() {
            self.map_mut().change_record(id, |record| record.drop_claims(&claims));
            bytes += self.map().record(id).map_or(0, |record| record.bytes_max());
        }
        loop {
            let map = self.map();
            let names_folded = |extra: &crate::lattice::cell::CellExtra| {
                extra.resets.iter().any(|(incarnation, _)| map.is_folded(incarnation))
            };
            let Some(slot) =
                map.cells().next_extra(id, next, names_folded).filter(|_| bytes < bytes_max)
            else {
                return bytes;
            };
            bytes += self.map_mut().cells_mut().forget_cleared(id, slot).unwrap_or(0);
            next = slot + 1;
        }
    }
}
