//! A writer's cells in version order, linked as a ring. If cells change in the order in which they
//! are linked, the ring only turns: the oldest cell becomes the newest.

use crate::lattice::versions::Version;

/// No slot.
const NO_SLOT: u32 = u32::MAX;

/// A cell's neighbours.
#[derive(Clone, Copy)]
struct Neighbours {
    prev: u32,
    next: u32,
}

/// The link of a cell that has no version yet.
const UNLINKED: Neighbours = Neighbours { prev: NO_SLOT, next: NO_SLOT };

/// Slots in version order. 8 bytes per cell.
#[derive(Clone)]
pub(crate) struct Ring {
    links: Vec<Neighbours>,
    /// The end of the ring; NO_SLOT without cells.
    newest: u32,
}

impl Default for Ring {
    fn default() -> Self {
        Self { links: Vec::new(), newest: NO_SLOT }
    }
}

impl Ring {
    pub(crate) fn reserve(&mut self, cells: usize) {
        self.links.reserve(cells);
    }

    /// Adds a slot that is not linked yet.
    pub(crate) fn make(&mut self) {
        self.links.push(UNLINKED);
    }

    /// Removes a slot. The last slot takes its number.
    pub(crate) fn swap_remove(&mut self, slot: u32) {
        self.unlink(slot);
        let last = self.links.len() as u32 - 1;
        self.links.swap_remove(slot as usize);
        if slot == last || self.links[slot as usize].prev == NO_SLOT {
            return;
        }
        let Neighbours { prev, next } = self.links[slot as usize];
        // A ring of one cell points at itself.
        let here = |at: u32| if at == last { slot } else { at };
        self.links[slot as usize] = Neighbours { prev: here(prev), next: here(next) };
        self.links[here(prev) as usize].next = slot;
        self.links[here(next) as usize].prev = slot;
        self.newest = here(self.newest);
    }

    /// Frees spare capacity, like `Vec::shrink_to`.
    pub(crate) fn shrink_to(&mut self, cells: usize) {
        self.links.shrink_to(cells);
    }

    pub(crate) fn oldest(&self) -> Option<u32> {
        self.links.get(self.newest as usize).map(|link| link.next)
    }

    /// The next newer slot after `slot`; None if `slot` is the newest.
    #[inline]
    pub(crate) fn following(&self, slot: u32) -> Option<u32> {
        (slot != self.newest).then(|| self.links[slot as usize].next)
    }

    /// The slots from `first` to the newest.
    #[inline]
    pub(crate) fn from(&self, first: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(first, |&slot| self.following(slot))
    }

    /// All slots, the newest first.
    #[inline]
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = u32> + '_ {
        let oldest = self.oldest();
        let newest = oldest.map(|_| self.newest);
        std::iter::successors(newest, move |&slot| {
            (Some(slot) != oldest).then(|| self.links[slot as usize].prev)
        })
    }

    /// Moves a cell to its place, which is the end unless a repair writes an older version.
    /// `previous` is the version that it had; 0 if it is new.
    #[inline]
    pub(crate) fn put(
        &mut self,
        slot: u32,
        previous: Version,
        version: Version,
        version_of: impl Fn(u32) -> Version,
    ) {
        if previous != 0 && (previous == version || self.newest == slot && previous < version) {
            return;
        }
        let turns =
            previous != 0 && self.oldest() == Some(slot) && version_of(self.newest) < version;
        if turns && self.newest != slot {
            self.newest = slot;
        } else {
            self.relink(slot, previous != 0, version, version_of);
        }
    }

    /// Moves cells to the end of the order. `slots` are in the order of their versions, which are
    /// above those of all other cells. O(slots).
    pub(crate) fn order(&mut self, slots: &[u32]) {
        let (Some(&first), Some(&last)) = (slots.first(), slots.last()) else { return };
        if slots.len() == self.links.len() {
            self.newest = NO_SLOT;
        } else {
            slots.iter().for_each(|&slot| self.unlink(slot));
        }
        let (before, after) = self.oldest().map_or((last, first), |oldest| (self.newest, oldest));
        let mut prev = before;
        for &slot in slots {
            self.links[slot as usize].prev = prev;
            self.links[prev as usize].next = slot;
            prev = slot;
        }
        self.links[last as usize].next = after;
        self.links[after as usize].prev = last;
        self.newest = last;
    }

    fn relink(
        &mut self,
        slot: u32,
        linked: bool,
        version: Version,
        version_of: impl Fn(u32) -> Version,
    ) {
        if linked {
            self.unlink(slot);
        }
        self.link(slot, version, version_of);
    }

    /// Takes a cell out of the order if it is in it.
    fn unlink(&mut self, slot: u32) {
        let Neighbours { prev, next } = self.links[slot as usize];
        if prev == NO_SLOT {
            return;
        }
        self.links[prev as usize].next = next;
        self.links[next as usize].prev = prev;
        self.links[slot as usize] = UNLINKED;
        if self.newest == slot {
            self.newest = if prev == slot { NO_SLOT } else { prev };
        }
    }

    fn link(&mut self, slot: u32, version: Version, version_of: impl Fn(u32) -> Version) {
        let Some(oldest) = self.oldest() else {
            self.links[slot as usize] = Neighbours { prev: slot, next: slot };
            self.newest = slot;
            return;
        };
        let newest = self.newest;
        let mut prev = newest;
        while version_of(prev) > version {
            let older = self.links[prev as usize].prev;
            if prev == oldest {
                // Older than all: before the oldest, which is after the newest.
                prev = newest;
                break;
            }
            prev = older;
        }
        if version_of(newest) <= version {
            self.newest = slot;
        }
        let next = std::mem::replace(&mut self.links[prev as usize].next, slot);
        self.links[next as usize].prev = slot;
        self.links[slot as usize] = Neighbours { prev, next };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn in_order_versions_need_no_search() {
        let (mut ring, mut versions, looks) = (Ring::default(), Vec::new(), Cell::new(0));
        let mut put = |slot: u32, version: Version| {
            if slot as usize == versions.len() {
                ring.make();
                versions.push(0);
            }
            let previous = std::mem::replace(&mut versions[slot as usize], version);
            ring.put(slot, previous, version, |slot| {
                looks.set(looks.get() + 1);
                versions[slot as usize]
            });
        };
        (0..1_000).for_each(|slot| put(slot, Version::from(slot) + 1));
        (0..1_000).rev().for_each(|slot| put(slot, Version::from(slot) + 1));
        (0..1_000).rev().for_each(|slot| put(slot, 3_000 - Version::from(slot)));
        assert!(looks.get() <= 3 * 2_000, "{} looks for 3,000 cells", looks.get());
        assert!(ring.from(ring.oldest()).eq((0..1_000).rev()));
    }
    #[test]
    fn last_slot_takes_the_number_of_a_removed_one() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let (mut ring, mut versions) = (Ring::default(), Vec::<Version>::new());
            for version in 1..40 {
                let slot = random.usize(..versions.len() + 1);
                if slot == versions.len() {
                    ring.make();
                    versions.push(0);
                }
                let previous = std::mem::replace(&mut versions[slot], version);
                ring.put(slot as u32, previous, version, |slot| versions[slot as usize]);
                if random.u8(..3) == 0 {
                    let gone = random.usize(..versions.len());
                    ring.swap_remove(gone as u32);
                    versions.swap_remove(gone);
                }
                let mut order: Vec<u32> = (0..versions.len() as u32).collect();
                order.sort_by_key(|&slot| versions[slot as usize]);
                assert!(ring.from(ring.oldest()).eq(order.iter().copied()));
                assert!(ring.newest_first().eq(order.into_iter().rev()));
            }
        }
    }
}
