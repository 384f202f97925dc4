//! What counts at one key: of each writer what lies above the most that was cleared of it, and
//! nobody who was taken over.
//!
//! A cell that has taken over others (retirement) counts with them, and they no longer count by
//! themselves where that cell is held. A reset names the version of each cell that it saw, so it is
//! known in which coordinates it speaks: of a cell that took over others later, it means the
//! writer's own amounts, and what was cleared of the others comes on top; of one that had taken
//! them over, it means the sum.

use std::collections::{BTreeMap, BTreeSet};

use crate::lattice::amounts::Amounts;
use crate::lattice::cell::{Cleared, Extra};
use crate::lattice::versions::vector::Version;
use crate::replica_id::ReplicaId;

/// One held cell of the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<'a> {
    pub(crate) replica: ReplicaId,
    pub(crate) version: Version,
    pub(crate) amounts: Amounts,
    pub(crate) extra: Option<&'a Extra>,
}

impl Held<'_> {
    /// The cell's own amounts and all that it has taken over.
    pub(crate) fn total(&self) -> Amounts {
        self.extra.map_or(self.amounts, |extra| self.amounts.plus(extra.absorbed.total()))
    }
}

/// All that cells of one key say of each other.
#[derive(Debug, Default)]
pub(crate) struct Baselines {
    cleared: BTreeMap<ReplicaId, Vec<Cleared>>,
    /// Those that some cell has taken over.
    taken: BTreeSet<ReplicaId>,
}

impl Baselines {
    /// O(extras of all cells).
    pub(crate) fn of<'a>(cells: impl Iterator<Item = Held<'a>>) -> Self {
        let mut baselines = Self::default();
        for extra in cells.filter_map(|held| held.extra) {
            for &(replica, cleared) in &extra.cleared {
                baselines.cleared.entry(replica).or_default().push(cleared);
            }
            baselines.taken.extend(extra.absorbed.iter().map(|item| item.replica));
        }
        baselines
    }

    /// Whether the replica's own cell no longer counts: a held cell has taken it over.
    pub(crate) fn is_taken(&self, replica: ReplicaId) -> bool {
        self.taken.contains(&replica)
    }

    /// What was cleared of a cell, as a part of its total.
    pub(crate) fn of_cell(&self, held: &Held<'_>) -> Amounts {
        let total = held.total();
        let absorbed = held.extra.filter(|extra| !extra.absorbed.is_empty());
        let below = absorbed.map(|extra| (extra.absorbed_at, self.of_items(extra)));
        self.baseline(held.replica, held.version, total, below).within(total)
    }

    fn of_items(&self, extra: &Extra) -> Amounts {
        extra.absorbed.baselines(|item, total, below| {
            // An item is its writer's last state: nobody has seen a later one.
            self.baseline(
                item.replica,
                Version::MAX,
                total,
                below.map(|below| (item.absorbed_at, below)),
            )
        })
    }

    /// What a cell counts; None where it was taken over.
    pub(crate) fn share(&self, held: &Held<'_>) -> Option<Amounts> {
        (!self.is_taken(held.replica)).then(|| held.total().above(self.of_cell(held)))
    }

    /// The baseline of a cell that is held at `version`; `below` is when it took over others, and
    /// the sum of their baselines.
    fn baseline(
        &self,
        replica: ReplicaId,
        version: Version,
        total: Amounts,
        below: Option<(Version, Amounts)>,
    ) -> Amounts {
        let cleared = self.cleared.get(&replica).map_or(&[][..], Vec::as_slice);
        if cleared.iter().any(|seen| seen.version > version) {
            // Whoever cleared that saw a later state: all that is held here lies before it.
            return total;
        }
        let most = |seen: &mut dyn Iterator<Item = &Cleared>| {
            seen.fold(Amounts::default(), |most, seen| most.join(seen.amounts))
        };
        let Some((absorbed_at, below)) = below else { return most(&mut cleared.iter()) };
        let of_all = most(&mut cleared.iter().filter(|seen| seen.version >= absorbed_at));
        let of_own = most(&mut cleared.iter().filter(|seen| seen.version < absorbed_at));
        of_all.join(of_own.saturating_plus(below))
    }
}

/// What a reset that sees these cells clears: each counted cell's total, and each item's, since
/// others may still count it by itself.
pub(crate) fn seen<'a>(cells: impl Iterator<Item = Held<'a>> + Clone) -> Vec<(ReplicaId, Cleared)> {
    let baselines = Baselines::of(cells.clone());
    let mut seen = Vec::new();
    for held in cells.filter(|held| !baselines.is_taken(held.replica)) {
        seen.push((held.replica, Cleared { version: held.version, amounts: held.total() }));
        let absorbed = held.extra.into_iter().flat_map(|extra| extra.absorbed.totals());
        // Its last version is not known here; that it took over what lies below it, is.
        seen.extend(absorbed.map(|(item, total)| {
            (item.replica, Cleared { version: item.absorbed_at, amounts: total })
        }));
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

    /// The successor's cell with 2 of its own, which took over 6 of the dead one at version 4.
    fn successor() -> Extra {
        let mut absorbed = AbsorbedTree::default();
        assert!(absorbed.take(DEAD, 0, amounts(6), &AbsorbedTree::default()));
        Extra { absorbed_at: 4, absorbed, ..Extra::default() }
    }

    fn cleared(entries: &[(ReplicaId, Version, u64)]) -> Extra {
        let mut extra = Extra::default();
        entries.iter().for_each(|&(replica, version, sum)| {
            extra.clear(replica, Cleared { version, amounts: amounts(sum) })
        });
        extra
    }

    /// What is left at a replica that holds the successor's cell at version 5 and a reset.
    fn left(entries: &[(ReplicaId, Version, u64)]) -> u64 {
        let (absorbed, reset) = (successor(), cleared(entries));
        let cells = [
            Held { replica: DEAD, version: 9, amounts: amounts(6), extra: None },
            Held { replica: SUCCESSOR, version: 5, amounts: amounts(2), extra: Some(&absorbed) },
            Held { replica: RESETTER, version: 1, amounts: amounts(0), extra: Some(&reset) },
        ];
        let baselines = Baselines::of(cells.iter().copied());
        assert_eq!(baselines.share(&cells[0]), None, "it was taken over");
        baselines.share(&cells[1]).unwrap().increments
    }

    #[test]
    fn a_reset_from_before_the_absorption_means_own_amounts_and_the_items_come_on_top() {
        assert_eq!(left(&[]), 8);
        assert_eq!(left(&[(SUCCESSOR, 3, 2)]), 6);
        assert_eq!(left(&[(SUCCESSOR, 3, 2), (DEAD, 7, 5)]), 1);
    }

    #[test]
    fn a_reset_from_after_the_absorption_means_the_sum() {
        assert_eq!(left(&[(SUCCESSOR, 4, 7)]), 1);
        assert_eq!(
            left(&[(SUCCESSOR, 4, 7), (DEAD, 0, 6)]),
            1,
            "the item is named besides, and not cleared twice"
        );
    }

    #[test]
    fn a_reset_that_saw_a_later_version_clears_the_whole_cell() {
        assert_eq!(left(&[(SUCCESSOR, 6, 1)]), 0);
    }

    #[test]
    fn a_baseline_is_never_more_than_what_is_there() {
        assert_eq!(left(&[(SUCCESSOR, 3, u64::MAX), (DEAD, 1, u64::MAX)]), 0);
        assert_eq!(left(&[(DEAD, 1, u64::MAX)]), 2);
    }

    #[test]
    fn a_reset_names_each_counted_cell_with_its_total_and_each_item() {
        let absorbed = successor();
        let cells = [
            Held { replica: DEAD, version: 9, amounts: amounts(6), extra: None },
            Held { replica: SUCCESSOR, version: 5, amounts: amounts(2), extra: Some(&absorbed) },
        ];
        let names: Vec<_> = seen(cells.iter().copied())
            .into_iter()
            .map(|(id, said)| (id, said.version, said.amounts.increments))
            .collect();
        assert_eq!(names, [(SUCCESSOR, 5, 8), (DEAD, 0, 6)]);
    }
}
