//! Adds that their writer took back, after resets may have cleared them.
//!
//! Taking an add back subtracts its amount again. If a reset had cleared the add before, the
//! subtraction alone would leave the counter one add too low. So each reset that saw the add, but
//! not the subtraction, counts as if it had seen both.

use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::lattice::cell::amounts::Amounts;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// The most retractions of one holder in a cell. A cell is sent whole with each change, so this
/// bounds its bytes to about 2 kB. Further adds are taken back without one.
pub(crate) const RETRACTIONS_MAX: usize = 256;

/// One add that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Retraction {
    /// The writer whose cell subtracted the amount.
    pub(crate) holder: ReplicaId,
    /// The version of the holder's cell that subtracted it.
    pub(crate) at: Version,
    /// The first version of the holder's cell that contains the add; `at` if none does.
    pub(crate) from: Version,
    /// What the cell was raised by: the add, with the opposite sign.
    pub(crate) by: Amounts,
    /// Other writers whose cells contained the add, each with the first version that did.
    pub(crate) others: Vec<(ReplicaId, Version)>,
}

/// The retractions that a cell carries, by holder and version. Those of other holders come from
/// cells that it absorbed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Retractions(Box<[Retraction]>);

/// The fewest bytes of one retraction: a flag, four numbers, a count.
const RETRACTION_BYTES_MIN: usize = 6;

/// Stands before a holder. Without it, the holder is that of the retraction before.
const OTHER_HOLDER: u8 = 1;

impl Retractions {
    /// Applies a change to the list.
    fn change(&mut self, change: impl FnOnce(&mut Vec<Retraction>)) {
        let mut retractions = std::mem::take(&mut self.0).into_vec();
        change(&mut retractions);
        self.0 = retractions.into();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= RETRACTIONS_MAX
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Retraction> {
        self.0.iter()
    }

    /// Adds a retraction, unless it is there.
    pub(crate) fn insert(&mut self, retraction: Retraction) {
        let place = |held: &Retraction| (held.holder, held.at);
        if let Err(at) = self.0.binary_search_by_key(&place(&retraction), place) {
            self.change(|retractions| retractions.insert(at, retraction));
        }
    }

    pub(crate) fn extend(&mut self, others: &Self) {
        others.iter().cloned().for_each(|retraction| self.insert(retraction));
    }

    pub(crate) fn retain(&mut self, keeps: impl FnMut(&Retraction) -> bool) {
        self.change(|retractions| retractions.retain(keeps));
    }

    /// Keeps those of `holder` alone, as the cells of all others are now part of its own.
    pub(crate) fn keep_own(&mut self, holder: ReplicaId) {
        self.change(|retractions| {
            retractions.retain(|retraction| retraction.holder == holder);
            retractions.iter_mut().for_each(|retraction| retraction.others.clear());
        });
    }

    /// Replaces the id `from` by `to`.
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId) {
        self.change(|retractions| {
            for retraction in retractions.iter_mut() {
                let others = retraction.others.iter_mut().map(|(replica, _)| replica);
                let ids = others.chain([&mut retraction.holder]);
                ids.filter(|replica| **replica == from).for_each(|replica| *replica = to);
            }
            retractions.sort_unstable();
        });
    }

    /// `count (flag [holder] at at-from increments decrements count (replica version)*)*`.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_varint(&mut bytes, self.0.len() as u64);
        let mut before = None;
        for Retraction { holder, at, from, by, others } in self.iter() {
            match before.replace(holder) == Some(holder) {
                true => bytes.push(0),
                false => {
                    bytes.push(OTHER_HOLDER);
                    bytes.extend_from_slice(&holder.to_bytes());
                }
            }
            [*at, at - from, by.increments, by.decrements, others.len() as u64]
                .into_iter()
                .for_each(|number| write_varint(&mut bytes, number));
            for (replica, version) in others {
                bytes.extend_from_slice(&replica.to_bytes());
                write_varint(&mut bytes, *version);
            }
        }
        bytes
    }

    /// Reads the bytes of [`to_bytes`](Self::to_bytes) of retractions that are not empty.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let count = reader.count(RETRACTION_BYTES_MIN)?;
        let mut retractions: Vec<Retraction> = Vec::with_capacity(count);
        let mut of_holder = 0;
        for _ in 0..count {
            let holder = match (reader.byte()?, retractions.last()) {
                (0, Some(last)) => last.holder,
                (OTHER_HOLDER, last) => {
                    let holder = reader.replica()?;
                    match last.is_none_or(|last| last.holder < holder) {
                        true => holder,
                        false => return Err(DecodeError::Invalid("holders must ascend")),
                    }
                }
                _ => return Err(DecodeError::Invalid("a retraction must have a holder")),
            };
            let is_first = retractions.last().is_none_or(|last| last.holder != holder);
            of_holder = if is_first { 1 } else { of_holder + 1 };
            if of_holder > RETRACTIONS_MAX {
                return Err(DecodeError::Invalid("a cell must have at most 256 retractions"));
            }
            let at = reader.varint()?;
            let from = at.checked_sub(reader.varint()?);
            let from =
                from.ok_or(DecodeError::Invalid("an add must come before it is taken back"))?;
            let by = Amounts { increments: reader.amount()?, decrements: reader.amount()? };
            let others = reader.count(ReplicaId::BYTES + 1)?;
            let others = (0..others)
                .map(|_| Ok((reader.replica()?, reader.varint()?)))
                .collect::<Result<_, DecodeError>>()?;
            if retractions.last().is_some_and(|last| last.holder == holder && last.at >= at) {
                return Err(DecodeError::Invalid("retractions must ascend"));
            }
            retractions.push(Retraction { holder, at, from, by, others });
        }
        reader.finish()?;
        match retractions.is_empty() {
            true => Err(DecodeError::Invalid("the field of retractions must not be empty")),
            false => Ok(Self(retractions.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retractions_read_back_and_bad_ones_are_refused() {
        let own = |at, from| Retraction {
            holder: ReplicaId::new(1, 1),
            at,
            from,
            by: Amounts { increments: 0, decrements: 5 },
            others: Vec::new(),
        };
        let mut some = Retractions::default();
        let others = vec![(ReplicaId::new(9, 1), 300)];
        [own(7, 3), Retraction { others, ..own(5, 5) }, own(7, 4)]
            .into_iter()
            .for_each(|retraction| some.insert(retraction));
        assert_eq!(some.iter().map(|one| (one.at, one.from)).collect::<Vec<_>>(), [(5, 5), (7, 3)]);
        let bytes = some.to_bytes();
        assert_eq!(Retractions::read(&bytes), Ok(some));
        assert!((0..bytes.len()).all(|upto| Retractions::read(&bytes[..upto]).is_err()));
        assert!(Retractions::read(&[0]).is_err());
        let mut many = Retractions::default();
        (1..=RETRACTIONS_MAX as u64).for_each(|at| many.insert(own(at, at)));
        assert!(many.is_full() && Retractions::read(&many.to_bytes()).is_ok());
        many.insert(own(1_000, 1_000));
        assert!(Retractions::read(&many.to_bytes()).is_err());
    }
}
