//! The amounts that a cell has absorbed from ended incarnations: a tree of frozen cells, stored
//! flat.

use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::lattice::cell::Origin;
use crate::lattice::cell::amounts::{Amounts, CELL_MAX};
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// The frozen cell of one incarnation that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AbsorbedCell {
    pub(crate) replica: ReplicaId,
    /// The version at which this cell absorbed the cells below it; 0 if there are none.
    pub(crate) absorbed_at: Version,
    /// Its own amounts, without those of the cells below it.
    amounts: Amounts,
    pub(crate) origin: Origin,
    /// The number of cells below it, which it had absorbed. They come right after it.
    below: u32,
}

/// Absorbed cells in preorder: each is followed by those below it. Their amounts sum to at most
/// 2^62.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AbsorbedTree(Vec<AbsorbedCell>);

/// The fewest bytes of one absorbed cell: an id, a version, two amounts, a count.
const ABSORBED_BYTES_MIN: usize = ReplicaId::BYTES + 4;

impl AbsorbedTree {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every cell, including those below others.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AbsorbedCell> {
        self.0.iter()
    }

    /// The sum over all cells.
    pub(crate) fn total(&self) -> Amounts {
        sum(&self.0)
    }

    /// Each cell with the sum of its amounts and of all below it.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (&AbsorbedCell, Amounts)> {
        self.0
            .iter()
            .enumerate()
            .map(|(at, item)| (item, sum(&self.0[at..=at + item.below as usize])))
    }

    /// Absorbs a whole cell, and below it the cells that it had absorbed.
    ///
    /// Returns false, and absorbs nothing, if the sum would pass 2^62.
    pub(crate) fn absorb(
        &mut self,
        replica: ReplicaId,
        amounts: Amounts,
        (absorbed_at, below): (Version, &Self),
        origin: Origin,
    ) -> bool {
        let all = self.total().plus(amounts).plus(below.total());
        if all.increments > CELL_MAX || all.decrements > CELL_MAX {
            return false;
        }
        let below_count = below.0.len() as u32;
        self.0.push(AbsorbedCell { replica, absorbed_at, amounts, origin, below: below_count });
        self.0.extend_from_slice(&below.0);
        true
    }

    /// True if some cell had begun anew before it was absorbed.
    pub(crate) fn has_origins(&self) -> bool {
        self.0.iter().any(|item| item.origin != Origin::default())
    }

    /// `(cell-number origin)*` of the cells that had begun anew.
    pub(crate) fn write_origins(&self, out: &mut Vec<u8>) {
        for (at, item) in self.0.iter().enumerate() {
            if item.origin != Origin::default() {
                write_varint(out, at as u64);
                item.origin.write(out);
            }
        }
    }

    /// Reads the bytes of [`write_origins`](Self::write_origins) into a tree that has none.
    pub(crate) fn read_origins(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let (mut reader, mut next) = (Reader::new(bytes), 0);
        while reader.left() > 0 || next == 0 {
            let at = reader.varint()?;
            if at < next || at >= self.0.len() as u64 {
                return Err(DecodeError::Invalid(
                    "origins must ascend and belong to absorbed cells",
                ));
            }
            self.0[at as usize].origin = Origin::read(&mut reader)?;
            next = at + 1;
        }
        Ok(())
    }

    /// The sum of the baselines of the topmost cells. `baseline` computes the baseline of a cell
    /// from the cell, its total, and the sum of the baselines directly below it. A baseline that
    /// exceeds its cell's total is cut to it.
    pub(crate) fn baselines(
        &self,
        baseline: impl Fn(&AbsorbedCell, Amounts, Option<Amounts>) -> Amounts,
    ) -> Amounts {
        let mut baselines = vec![Amounts::default(); self.0.len()];
        for at in (0..self.0.len()).rev() {
            let item = &self.0[at];
            let (first, end) = (at + 1, at + 1 + item.below as usize);
            let below = (item.below > 0).then(|| self.sum_of_topmost(&baselines, first, end));
            let total = sum(&self.0[at..end]);
            baselines[at] = baseline(item, total, below).within(total);
        }
        self.sum_of_topmost(&baselines, 0, self.0.len())
    }

    fn sum_of_topmost(&self, baselines: &[Amounts], mut at: usize, end: usize) -> Amounts {
        let mut sum = Amounts::default();
        while at < end {
            sum = sum.plus(baselines[at]);
            at += 1 + self.0[at].below as usize;
        }
        sum
    }

    /// `count (replica absorbed-at increments decrements below)*`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.0.len() as u64);
        for item in &self.0 {
            out.extend_from_slice(&item.replica.to_bytes());
            for number in [
                item.absorbed_at,
                item.amounts.increments,
                item.amounts.decrements,
                u64::from(item.below),
            ] {
                write_varint(out, number);
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(ABSORBED_BYTES_MIN)?;
        let mut items: Vec<AbsorbedCell> = Vec::with_capacity(count);
        // The ends of the open subtrees.
        let mut ends = vec![count];
        let mut total = Amounts::default();
        for at in 0..count {
            while ends.last().is_some_and(|&end| end <= at) {
                ends.pop();
            }
            let replica = reader.replica()?;
            let absorbed_at = reader.varint()?;
            let amounts = Amounts { increments: reader.amount()?, decrements: reader.amount()? };
            let below = reader.varint()?;
            total = total.plus(amounts);
            let room = ends.last().map_or(0, |&end| end - at - 1);
            if below > room as u64 || total.increments > CELL_MAX || total.decrements > CELL_MAX {
                return Err(DecodeError::Invalid(
                    "absorbed cells must nest and sum to at most 2^62",
                ));
            }
            ends.push(at + 1 + below as usize);
            items.push(AbsorbedCell {
                replica,
                absorbed_at,
                amounts,
                origin: Origin::default(),
                below: below as u32,
            });
        }
        Ok(Self(items))
    }
}

fn sum(items: &[AbsorbedCell]) -> Amounts {
    items.iter().fold(Amounts::default(), |sum, item| sum.plus(item.amounts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(increments: u64) -> Amounts {
        Amounts { increments, decrements: 0 }
    }

    fn tree() -> AbsorbedTree {
        let (mut leaf, mut middle, mut root) =
            (AbsorbedTree::default(), AbsorbedTree::default(), AbsorbedTree::default());
        let (nothing, never) = ((0, &AbsorbedTree::default()), Origin::default());
        assert!(leaf.absorb(ReplicaId::new(1, 1), amounts(1), nothing, never));
        assert!(middle.absorb(ReplicaId::new(2, 1), amounts(10), (1, &leaf), never));
        assert!(root.absorb(ReplicaId::new(3, 1), amounts(100), (2, &middle), never));
        assert!(root.absorb(ReplicaId::new(4, 1), amounts(1000), nothing, never));
        root
    }

    #[test]
    fn a_tree_reads_back_and_knows_its_totals() {
        let mut bytes = Vec::new();
        tree().write(&mut bytes);
        assert_eq!(AbsorbedTree::read(&mut Reader::new(&bytes)).unwrap(), tree());
        assert_eq!(
            tree().totals().map(|(_, total)| total.increments).collect::<Vec<_>>(),
            [111, 11, 1, 1000]
        );
        assert_eq!(tree().total(), amounts(1111));
    }

    #[test]
    fn origins_read_back() {
        let mut with = tree();
        with.0[1].origin = Origin::after_drop(7);
        with.0[3].origin = Origin { version: 9, offset: amounts(3) };
        let (mut bytes, mut read) = (Vec::new(), tree());
        with.write_origins(&mut bytes);
        read.read_origins(&bytes).unwrap();
        assert_eq!(read, with);
        for broken in [&bytes[..bytes.len() - 1], &[], &[4, 1, 0, 0], &[1, 0, 0, 0]] {
            assert!(tree().read_origins(broken).is_err());
        }
    }

    #[test]
    fn baselines_add_up_the_tree() {
        let baseline = tree().baselines(|item, total, below| match below {
            Some(below) => below.plus(amounts(item.absorbed_at)),
            None => total,
        });
        assert_eq!(baseline, amounts(1 + 1 + 2 + 1000));
    }

    #[test]
    fn bad_nesting_and_overflow_are_refused() {
        for at in 0..4 {
            let mut broken = tree();
            broken.0[at].below += 4;
            let mut bytes = Vec::new();
            broken.write(&mut bytes);
            assert!(AbsorbedTree::read(&mut Reader::new(&bytes)).is_err());
        }
        let mut full = tree();
        let nothing = (0, &AbsorbedTree::default());
        assert!(!full.absorb(ReplicaId::new(9, 1), amounts(CELL_MAX), nothing, Origin::default()));
        full.0[3].amounts = amounts(CELL_MAX);
        let mut bytes = Vec::new();
        full.write(&mut bytes);
        assert!(AbsorbedTree::read(&mut Reader::new(&bytes)).is_err());
    }
}
