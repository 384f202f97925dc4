//! An heir at work on lives that ended: adopt, fold, compact, in steps of as many bytes as the
//! caller allows.

use std::vec::Vec;

use crate::error::AddError;
use crate::record::Folded;
use crate::replica::Replica;
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;

/// One round of an heir: the lives that it takes over together, and how far it is.
///
/// 1. [`Replica::adopt`] when every enrolled replica knows all claims and all that they hold of
///    these lives is held here: then the lives are final. Cell by cell, what they counted becomes
///    part of the heir's cell; whoever holds that cell stops counting theirs.
/// 2. [`Replica::fold`] when every enrolled replica holds all of the adoption: the lives are
///    forgotten everywhere.
/// 3. [`Replica::compact`] at once after it: what was taken over becomes the heir's own amounts,
///    and its cells are as small as any.
///
/// # Examples
/// Alone, everybody agrees at once; with others, the caller waits for their digests before each
/// step.
/// ```
/// use counter_core::{Replica, ReplicaId};
/// let mut first = Replica::new(ReplicaId::new(1, 1 << 32), "ord")?;
/// first.add("clicks", 5)?;
/// first.flush();
/// let mut next = Replica::with_map(ReplicaId::new(1, 2 << 32), "ord", first.map().clone())?;
/// next.claim(first.id());
/// let mut work = next.inheritance(None).expect("it is the heir");
/// next.adopt(&mut work, usize::MAX)?;
/// next.fold(&mut work);
/// next.compact(usize::MAX);
/// assert_eq!((next.total("clicks"), next.map().replicas().collect::<Vec<_>>()), (5, vec![next.id()]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inheritance {
    heir: ReplicaId,
    /// Ascending.
    lives: Vec<ReplicaId>,
    /// Whose dedup entries are next, by index into `lives`, and after which version.
    marked: (usize, Version),
    /// Whose cells are next, by index into `lives`, and which.
    next: (usize, u32),
    /// Entries with an add that is to be taken back, by life and version. Such adds come after the
    /// cells, the last entry first.
    doubled: Vec<(ReplicaId, Version)>,
    /// The own version after which the round took over its first cell; None before.
    begun: Option<Version>,
    /// The own version that holds all of the adoption, once it is complete.
    adopted: Option<Version>,
    folded: bool,
}

impl Inheritance {
    /// The lives that are taken over, in the order of ids.
    pub fn lives(&self) -> &[ReplicaId] {
        &self.lives
    }

    /// Whether it is on record that these lives are being absorbed: from then on nothing changes
    /// who does.
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// The heir's version that completes the adoption; None before.
    pub fn adopted(&self) -> Option<Version> {
        self.adopted
    }

    /// Whether the lives are folded: what is left is to compact the own cells.
    pub fn is_folded(&self) -> bool {
        self.folded
    }
}

impl Replica {
    /// Claims a life that ended: from now on nobody who knows of it listens to that life, and this
    /// replica offers to be its heir. Returns the version of the change; None where the life is
    /// this one, is claimed by this one, is folded or has a successor, or where this replica has
    /// left.
    pub fn claim(&mut self, ended: ReplicaId) -> Option<Version> {
        let id = self.id();
        let claims_it = self.map().record(id).is_some_and(|record| record.claims.contains(&ended));
        let answered =
            claims_it || self.map().is_folded(ended) || self.map().heir_of(ended).is_some();
        if ended == id || answered || self.has_left() {
            None
        } else {
            self.map_mut().change_record(id, |record| record.claim(ended))
        }
    }

    /// Writes the last statement: all that is held now, this very change included. From then on
    /// this replica writes nothing more: not a flush, a reset or a claim, and no add is taken back.
    /// Returns the version of the change; None where it has left before.
    ///
    /// # Complexity
    /// O(writers), and as many bytes in the record.
    pub fn leave(&mut self) -> Option<Version> {
        if self.has_left() {
            return None;
        }
        let (id, mut held) = (self.id(), self.map().version_vector());
        held.raise(id, self.version() + 1);
        self.map_mut().change_record(id, |record| record.left = held.iter().collect())
    }

    /// Whether this replica has written its last statement.
    pub fn has_left(&self) -> bool {
        self.map().has_left(self.id())
    }

    /// What to work on next: the round under way once it has begun to adopt, else what this replica
    /// is the heir of *now*, since another's claim may have become known. None where there is
    /// nothing. To be asked before each step. What was under way as another writer is dropped.
    pub fn inheritance(&self, under_way: Option<Inheritance>) -> Option<Inheritance> {
        let heir = self.id();
        under_way.filter(|work| work.begun.is_some() && work.heir == heir).or_else(|| {
            let lives = self.map().inheritance(heir);
            (!lives.is_empty()).then_some(Inheritance {
                heir,
                lives,
                marked: (0, 0),
                next: (0, 0),
                doubled: Vec::new(),
                begun: None,
                adopted: None,
                folded: false,
            })
        })
    }

    /// Takes over cells of the lives and the ids that they know, about `bytes_max` bytes of them
    /// and one at least. Returns how many bytes they cost each peer. Lives whose amounts would
    /// leave less than half of a cell's room are left out of the round: they stay, and count by
    /// themselves.
    ///
    /// # Errors
    /// `CellFull` where no life is left in the round, or the heir's own amounts have come near 2^62
    /// since it began: what does not fit was not taken, what came before it was.
    pub fn adopt(&mut self, work: &mut Inheritance, bytes_max: usize) -> Result<usize, AddError> {
        let id = self.id();
        let begun = match work.begun {
            Some(begun) => begun,
            None => self.begin(work)?,
        };
        let mut bytes = 0;
        let mut of_life: Option<(ReplicaId, Version)> = None;
        let mut written = |replica: &Self, life| {
            let known = of_life.filter(|(of, _)| *of == life);
            of_life.insert(known.unwrap_or_else(|| (life, replica.map().written_since(life, id)))).1
        };
        while let Some(&life) = work.lives.get(work.marked.0) {
            let Some(entry) = self.map().next_entry(life, work.marked.1) else {
                work.marked = (work.marked.0 + 1, 0);
                continue;
            };
            if bytes >= bytes_max {
                self.drop_surplus();
                return Ok(bytes);
            }
            work.marked.1 = entry.version;
            let (settled, is_part) = self.settled_part(life, entry);
            if is_part {
                work.doubled.push((life, work.marked.1));
            }
            if let Some(settled) = settled {
                let written = written(self, life);
                bytes += self.absorb_entry(life, written, settled);
            }
        }
        while let Some(&life) = work.lives.get(work.next.0) {
            let Some((slot, key)) = self.map().keys_from(life, work.next.1).next() else {
                work.next = (work.next.0 + 1, 0);
                continue;
            };
            if bytes >= bytes_max {
                self.drop_surplus();
                return Ok(bytes);
            }
            bytes += self.map_mut().adopt(id, &work.lives, begun, key)?;
            work.next.1 = slot + 1;
        }
        while let Some((life, version)) = work.doubled.pop() {
            let entry =
                self.map().next_entry(life, version - 1).filter(|entry| entry.version == version);
            if bytes >= bytes_max {
                work.doubled.push((life, version));
                self.drop_surplus();
                return Ok(bytes);
            }
            if let Some(entry) = entry {
                let written = written(self, life);
                bytes += self.absorb_entry(life, written, entry);
            }
        }
        self.drop_surplus();
        work.adopted = Some(self.version());
        Ok(bytes)
    }

    /// Before the first cell it goes on record that these lives are being taken over, so that who
    /// claims them later leaves them alone; and what they had folded themselves, or it would come
    /// back with a late copy. Returns the version after which the round writes cells.
    fn begin(&mut self, work: &mut Inheritance) -> Result<Version, AddError> {
        let id = self.id();
        let fitting = self.map().fitting(id, &work.lives);
        if fitting.is_empty() {
            return Err(AddError::CellFull);
        }
        work.lives = fitting;
        let (lives, inherited) = (work.lives.clone(), self.map().folded_by(&work.lives));
        self.map_mut().change_record(id, |record| {
            record.adopting = lives;
            inherited.into_iter().for_each(|folded| record.fold(folded));
        });
        work.begun = Some(self.version());
        Ok(self.version())
    }

    /// Folds the lives, whose adoption must be complete: they are forgotten, here and wherever this
    /// replica's record comes. Returns the version.
    pub fn fold(&mut self, work: &mut Inheritance) -> Option<Version> {
        work.adopted?;
        work.folded = true;
        let (id, lives) = (self.id(), work.lives.clone());
        self.fold_entries(&lives);
        self.map_mut().change_record(id, |record| {
            record.claims.retain(|claimed| lives.binary_search(claimed).is_err());
            lives.into_iter().map(Folded::of).for_each(|folded| record.fold(folded));
            record.adopting.clear();
            record.compacting = true;
        })
    }

    /// Makes own amounts of what was taken over and folded, about `bytes_max` bytes of cells and
    /// one at least. Returns how many bytes they cost each peer; 0 when nothing is left, which goes
    /// on record.
    pub fn compact(&mut self, bytes_max: usize) -> usize {
        let id = self.id();
        let (mut bytes, mut next) = (0, 0);
        while let Some(slot) = self
            .map()
            .next_extra(id, next, |extra| !extra.items.is_empty())
            .filter(|_| bytes < bytes_max)
        {
            bytes += self.map_mut().compact(id, slot).unwrap_or(0);
            next = slot + 1;
        }
        if bytes > 0 {
            self.close_full();
        } else if self.map().record(id).is_some_and(|record| record.compacting) {
            self.map_mut().change_record(id, |record| record.compacting = false);
        }
        bytes
    }

    /// Whether an own cell names what was cleared of a life that is folded, or the own record
    /// claims one: [`forget_cleared`](Self::forget_cleared) has work, now or later.
    pub fn names_folded(&self) -> bool {
        let map = self.map();
        self.claims_folded()
            || map
                .next_extra(self.id(), 0, |extra| {
                    extra.cleared.iter().any(|(life, _)| map.is_folded(*life))
                })
                .is_some()
    }

    /// Whether the own record still claims a life that another replica has folded.
    fn claims_folded(&self) -> bool {
        let map = self.map();
        map.record(self.id())
            .is_some_and(|record| record.claims.iter().any(|life| map.is_folded(*life)))
    }

    /// Drops from the own cells what was cleared of lives that were folded, and from the own record
    /// claims of them, when every enrolled replica holds the fold and nobody is still compacting;
    /// about `bytes_max` bytes of cells and one at least. Returns how many bytes they cost each
    /// peer; 0 when nothing is left.
    pub fn forget_cleared(&mut self, bytes_max: usize) -> usize {
        let id = self.id();
        if self.map().is_compacting() {
            return 0;
        }
        let (mut bytes, mut next) = (0, 0);
        if self.claims_folded() {
            let kept: Vec<ReplicaId> = self
                .map()
                .record(id)
                .into_iter()
                .flat_map(|record| record.claims.iter().copied())
                .collect();
            let kept: Vec<ReplicaId> =
                kept.into_iter().filter(|life| !self.map().is_folded(*life)).collect();
            self.map_mut().change_record(id, |record| record.claims = kept);
            bytes += self.map().record(id).map_or(0, |record| record.bytes_max());
        }
        loop {
            let map = self.map();
            let names_folded = |extra: &crate::cell::Extra| {
                extra.cleared.iter().any(|(life, _)| map.is_folded(*life))
            };
            let Some(slot) = map.next_extra(id, next, names_folded).filter(|_| bytes < bytes_max)
            else {
                return bytes;
            };
            bytes += self.map_mut().forget_cleared(id, slot).unwrap_or(0);
            next = slot + 1;
        }
    }
}
