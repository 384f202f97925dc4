//! The value of one key: each writer's total minus the largest reset of it, skipping absorbed
//! writers.
//!
//! A cell that absorbed others includes their amounts. A replica that holds it stops counting the
//! others separately. A reset records the version of each cell that it saw, which tells what the
//! cleared amount covers. If the cell absorbed others only after that version, the cleared amount
//! covers the writer's own amounts, and the resets of the others are added. If it had absorbed them
//! already, the cleared amount covers the sum.
//!
//! A reset that saw an add which was taken back later counts as if it had seen that too, see
//! [`Retraction`].

use std::collections::{BTreeMap, BTreeSet};

use crate::lattice::cell::amounts::Amounts;
use crate::lattice::cell::{CellExtra, Cleared, Origin, Retraction};
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// One held cell of the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldCell<'a> {
    pub(crate) replica: ReplicaId,
    pub(crate) version: Version,
    pub(crate) amounts: Amounts,
    pub(crate) extra: Option<&'a CellExtra>,
}

impl HeldCell<'_> {
    /// The cell's own amounts and all that it has absorbed.
    pub(crate) fn total(&self) -> Amounts {
        self.extra.map_or(self.amounts, |extra| self.amounts.plus(extra.absorbed.total()))
    }
}

/// The resets and absorptions that the cells of one key record about each other.
#[derive(Debug, Default)]
pub(crate) struct Baselines {
    /// The resets of each replica's cell by others.
    cleared: BTreeMap<ReplicaId, Vec<Cleared>>,
    /// What each replica's cell records as cleared of itself.
    cleared_of_self: BTreeMap<ReplicaId, Cleared>,
    /// The retractions of each replica.
    retractions: BTreeMap<ReplicaId, Vec<Retraction>>,
    /// The replicas that some cell has absorbed.
    absorbed: BTreeSet<ReplicaId>,
    /// The origins of the cells that began anew, absorbed ones included.
    origins: BTreeMap<ReplicaId, Origin>,
}

impl Baselines {
    /// O(extras of all cells).
    pub(crate) fn of<'a>(cells: impl Iterator<Item = HeldCell<'a>>) -> Self {
        let mut baselines = Self::default();
        for (replica, extra) in cells.filter_map(|held| Some((held.replica, held.extra?))) {
            for (of, cleared) in extra.resets.iter() {
                match of == replica {
                    true => drop(baselines.cleared_of_self.insert(of, cleared)),
                    false => baselines.cleared.entry(of).or_default().push(cleared),
                }
            }
            for retraction in extra.retractions.iter() {
                let held = baselines.retractions.entry(retraction.holder).or_default();
                if held.iter().all(|held| held.at != retraction.at) {
                    held.push(retraction.clone());
                }
            }
            baselines.absorbed.extend(extra.absorbed.iter().map(|item| item.replica));
            let absorbed = extra.absorbed.iter().map(|item| (item.replica, item.origin));
            baselines.origins.extend(
                absorbed.chain([(replica, extra.origin)]).filter(|(_, origin)| origin.is_set()),
            );
        }
        baselines
    }

    /// True if the replica's own cell no longer counts: a held cell has absorbed it.
    pub(crate) fn is_absorbed(&self, replica: ReplicaId) -> bool {
        self.absorbed.contains(&replica)
    }

    /// The origin of a replica's cell; None if it never began anew.
    pub(crate) fn origin_of(&self, replica: ReplicaId) -> Option<Origin> {
        self.origins.get(&replica).copied()
    }

    /// The greatest version of a writer's cell that some reset saw, if it is above `version`.
    pub(crate) fn seen_after(&self, replica: ReplicaId, version: Version) -> Option<Version> {
        let seen = self.resets_of(replica).map(|seen| seen.version).max();
        seen.filter(|seen| *seen > version)
    }

    /// The greatest version of a writer's cell that another writer's reset saw; 0 if none did.
    pub(crate) fn seen_by_others(&self, replica: ReplicaId) -> Version {
        let seen = self.cleared.get(&replica).into_iter().flatten();
        seen.map(|seen| seen.version).max().unwrap_or(0)
    }

    fn resets_of(&self, replica: ReplicaId) -> impl Iterator<Item = &Cleared> {
        let by_others = self.cleared.get(&replica).into_iter().flatten();
        by_others.chain(self.cleared_of_self.get(&replica))
    }

    /// The amounts of a replica's cell that another writer's reset clears, counted from the origin
    /// of that cell.
    pub(crate) fn cleared_by(&self, replica: ReplicaId, seen: &Cleared, origin: Origin) -> Amounts {
        self.cleared_with(replica, seen, origin, false)
    }

    fn cleared_with(
        &self,
        replica: ReplicaId,
        seen: &Cleared,
        origin: Origin,
        is_of_itself: bool,
    ) -> Amounts {
        let [before, since] = self.retracted(replica, seen.version, origin, is_of_itself);
        let amounts = seen.amounts.saturating_plus(before);
        origin.cleared(&Cleared { amounts, ..*seen }).saturating_plus(since)
    }

    /// The amounts by which a replica took adds back that a reset saw, at versions that it did not
    /// see: before the cell's origin, and since then. The reset saw the replica's cell at
    /// `version`; 0 if it did not see that cell. What a cell records as cleared of itself did not
    /// see the adds of that cell: those are settled, and taken back without a retraction.
    fn retracted(
        &self,
        replica: ReplicaId,
        version: Version,
        origin: Origin,
        is_of_itself: bool,
    ) -> [Amounts; 2] {
        let saw_other = |&(other, from): &(ReplicaId, Version)| {
            self.resets_of(other).any(|seen| seen.version >= from)
        };
        let retractions = self.retractions.get(&replica).into_iter().flatten();
        let unseen = retractions.filter(|retraction| version < retraction.at);
        let mut sums = [Amounts::default(); 2];
        for retraction in unseen {
            let saw_own = version >= retraction.from && !is_of_itself;
            if saw_own || retraction.others.iter().any(saw_other) {
                let sum = &mut sums[usize::from(retraction.at >= origin.version)];
                *sum = sum.saturating_plus(retraction.by);
            }
        }
        sums
    }

    /// The reset baseline of a cell, at most its total.
    pub(crate) fn of_cell(&self, held: &HeldCell<'_>) -> Amounts {
        let total = held.total();
        let absorbed = held.extra.filter(|extra| !extra.absorbed.is_empty());
        let below = absorbed.map(|extra| (extra.absorbed_at, self.of_absorbed(extra)));
        let origin = held.extra.map_or(Origin::default(), |extra| extra.origin);
        self.baseline(held.replica, held.version, total, origin, below).within(total)
    }

    fn of_absorbed(&self, extra: &CellExtra) -> Amounts {
        extra.absorbed.baselines(|item, total, below| {
            // An absorbed cell is its writer's last state, so no reset can have seen a later one.
            self.baseline(
                item.replica,
                Version::MAX,
                total,
                item.origin,
                below.map(|below| (item.absorbed_at, below)),
            )
        })
    }

    /// The amounts that a cell counts; None if it was absorbed.
    pub(crate) fn share(&self, held: &HeldCell<'_>) -> Option<Amounts> {
        (!self.is_absorbed(held.replica)).then(|| held.total().above(self.of_cell(held)))
    }

    /// The baseline of a cell that is held at `version`. If it has absorbed others, `below` holds
    /// the version at which it did, and the sum of their baselines.
    fn baseline(
        &self,
        replica: ReplicaId,
        version: Version,
        total: Amounts,
        origin: Origin,
        below: Option<(Version, Amounts)>,
    ) -> Amounts {
        if self.resets_of(replica).any(|seen| seen.version > version) {
            // That reset saw a later state, so it covers everything that is held here.
            return total;
        }
        let (absorbed_at, below) = below.unwrap_or_default();
        let unseen = Cleared::default();
        let by_others = self.cleared.get(&replica).into_iter().flatten().chain([&unseen]);
        let by_others = by_others.map(|seen| (seen, self.cleared_by(replica, seen, origin)));
        let by_itself = self.cleared_of_self.get(&replica).into_iter();
        let by_itself =
            by_itself.map(|seen| (seen, self.cleared_with(replica, seen, origin, true)));
        let (mut of_all, mut of_own) = (Amounts::default(), Amounts::default());
        for (seen, amounts) in by_others.chain(by_itself) {
            let most = if seen.version >= absorbed_at { &mut of_all } else { &mut of_own };
            *most = most.join(amounts);
        }
        of_all.join(of_own.saturating_plus(below))
    }
}

/// The amounts that a reset of these cells clears: the total of each cell that counts, and of each
/// absorbed cell. Other replicas may still count absorbed cells separately.
pub(crate) fn cleared_by_reset<'a>(
    cells: impl Iterator<Item = HeldCell<'a>> + Clone,
) -> Vec<(ReplicaId, Cleared)> {
    let baselines = Baselines::of(cells.clone());
    let mut seen = Vec::new();
    for held in cells.filter(|held| !baselines.is_absorbed(held.replica)) {
        seen.push((held.replica, Cleared { version: held.version, amounts: held.total() }));
        let absorbed = held.extra.into_iter().flat_map(|extra| extra.absorbed.totals());
        seen.extend(absorbed.map(|(item, total)| (item.replica, Cleared::of_last(total))));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incarnation::absorbed::AbsorbedTree;

    const DEAD: ReplicaId = ReplicaId::new(1, 1);
    const SUCCESSOR: ReplicaId = ReplicaId::new(2, 1);
    const RESETTER: ReplicaId = ReplicaId::new(3, 1);

    fn amounts(increments: u64) -> Amounts {
        Amounts { increments, decrements: 0 }
    }

    /// The successor's cell: 2 of its own, and 6 of the dead one that it absorbed at version 4.
    fn successor() -> CellExtra {
        let mut absorbed = AbsorbedTree::default();
        assert!(absorbed.absorb(
            DEAD,
            amounts(6),
            (0, &AbsorbedTree::default()),
            Origin::default()
        ));
        CellExtra { absorbed_at: 4, absorbed, ..CellExtra::default() }
    }

    fn cleared(entries: &[(ReplicaId, Version, u64)]) -> CellExtra {
        let mut extra = CellExtra::default();
        entries.iter().for_each(|&(replica, version, sum)| {
            extra.resets.clear(
                replica,
                Cleared { version, amounts: amounts(sum) },
                Origin::default(),
            )
        });
        extra
    }

    /// The value at a replica that holds the successor's cell at version 5 and a reset.
    fn left(entries: &[(ReplicaId, Version, u64)]) -> u64 {
        let (absorbed, reset) = (successor(), cleared(entries));
        let cells = [
            HeldCell { replica: DEAD, version: 9, amounts: amounts(6), extra: None },
            HeldCell {
                replica: SUCCESSOR,
                version: 5,
                amounts: amounts(2),
                extra: Some(&absorbed),
            },
            HeldCell { replica: RESETTER, version: 1, amounts: amounts(0), extra: Some(&reset) },
        ];
        let baselines = Baselines::of(cells.iter().copied());
        assert_eq!(baselines.share(&cells[0]), None, "it was absorbed");
        baselines.share(&cells[1]).unwrap().increments
    }

    #[test]
    fn reset_before_absorption_means_own_amounts() {
        assert_eq!(left(&[]), 8);
        assert_eq!(left(&[(SUCCESSOR, 3, 2)]), 6);
        assert_eq!(left(&[(SUCCESSOR, 3, 2), (DEAD, 7, 5)]), 1);
    }

    #[test]
    fn reset_after_absorption_means_the_sum() {
        assert_eq!(left(&[(SUCCESSOR, 4, 7)]), 1);
        assert_eq!(
            left(&[(SUCCESSOR, 4, 7), (DEAD, 0, 6)]),
            1,
            "the item is named besides, and not cleared twice"
        );
    }

    #[test]
    fn reset_of_a_later_version_clears_the_cell() {
        assert_eq!(left(&[(SUCCESSOR, 6, 1)]), 0);
    }

    #[test]
    fn baseline_never_exceeds_the_total() {
        assert_eq!(left(&[(SUCCESSOR, 3, u64::MAX), (DEAD, 1, u64::MAX)]), 0);
        assert_eq!(left(&[(DEAD, 1, u64::MAX)]), 2);
    }

    #[test]
    fn reset_names_every_counted_and_absorbed_cell() {
        let absorbed = successor();
        let cells = [
            HeldCell { replica: DEAD, version: 9, amounts: amounts(6), extra: None },
            HeldCell {
                replica: SUCCESSOR,
                version: 5,
                amounts: amounts(2),
                extra: Some(&absorbed),
            },
        ];
        let names: Vec<_> = cleared_by_reset(cells.iter().copied())
            .into_iter()
            .map(|(id, said)| (id, said.version, said.amounts.increments))
            .collect();
        assert_eq!(names, [(SUCCESSOR, 5, 8), (DEAD, Cleared::of_last(amounts(6)).version, 6)]);
    }
}
