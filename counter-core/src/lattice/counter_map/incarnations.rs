//! Ended incarnations: their claims, their successors, and whether all replicas agree on them.
//! Everything is read from the replicas' records.

use crate::incarnation::record::Record;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::versions::{Version, VersionVector};
use crate::replica_id::ReplicaId;

impl CounterMap {
    /// True if an incarnation was folded into its successor. Its cells are then forgotten, and late
    /// copies of them are ignored. O(log nodes).
    pub fn is_folded(&self, replica: ReplicaId) -> bool {
        self.writers().ended().is_folded(replica)
    }

    /// The version up to which a writer is counted here: for a folded one, the maximum. O(log
    /// writers).
    pub fn counted_up_to(&self, replica: ReplicaId) -> Version {
        if self.is_folded(replica) { Version::MAX } else { self.seen_of(replica) }
    }

    /// True if an incarnation has ended: some replica claims it, or it was folded. O(log
    /// incarnations).
    pub fn is_ended(&self, replica: ReplicaId) -> bool {
        self.writers().ended().is_ended(replica)
    }

    /// False if an incarnation has ended, or a later one of its node has: a fold of the later one
    /// covers both. What such an incarnation still sends must not be taken. O(log incarnations).
    pub fn may_write(&self, replica: ReplicaId) -> bool {
        self.writers().ended().may_write(replica)
    }

    /// Every incarnation that some replica claims, ascending.
    fn claimed(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.writers().ended().claimed()
    }

    /// Every writer whose incarnation has not ended, reachable or not, in the order of ids. All of
    /// them must agree before an ended incarnation is absorbed.
    pub fn enrolled(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.replicas().filter(|&replica| !self.is_ended(replica))
    }

    /// The successor of an incarnation that ended; None if some replica has to claim it again.
    /// O(claims).
    ///
    /// - A replica that has begun to absorb it is the successor. If that replica has ended too,
    ///   *its* successor takes over, and absorbs both together.
    ///
    /// - If no replica has begun, the successor is the lowest claimant that has not ended. If all
    ///   claimants have ended, it is the successor of the latest one on the same node.
    ///
    /// The claims of other ended replicas do not pass to their successors. Otherwise, two replicas
    /// that claimed each other could give two successors.
    pub fn successor_of(&self, ended: ReplicaId) -> Option<ReplicaId> {
        self.writers().ended().successor_of(ended)
    }

    /// The incarnations that have left or ended, are not folded, and have no successor. Each waits
    /// for a claim. Ascending. O(writers + claims).
    pub fn without_successor(&self) -> Vec<ReplicaId> {
        let mut incarnations: Vec<ReplicaId> = self
            .replicas()
            .filter(|&incarnation| self.has_left(incarnation))
            .chain(self.claimed())
            .collect();
        incarnations.sort_unstable();
        incarnations.dedup();
        incarnations.retain(|&incarnation| {
            !self.is_folded(incarnation) && self.successor_of(incarnation).is_none()
        });
        incarnations
    }

    /// True if a replica's last statement is held here.
    pub fn has_left(&self, replica: ReplicaId) -> bool {
        self.record(replica).is_some_and(Record::has_left)
    }

    /// The incarnations that `successor` answers for and may absorb together, ascending.
    /// O(incarnations * claims).
    ///
    /// An incarnation is listed only with all earlier incarnations of its node, because a fold
    /// names only a node's last one. It is also listed only with the unfolded incarnations that it
    /// claims itself, because it may have absorbed them, and with those that have begun to absorb
    /// it, because their cells hold its amounts. Incarnations with another successor are left out.
    /// Some of those listed may have no cells here.
    pub fn absorbable_by(&self, successor: ReplicaId) -> Vec<ReplicaId> {
        self.cells().absorbable_by(successor)
    }

    /// True if everything in an incarnation's last statement is held here or was folded. Also true
    /// for an incarnation that did not leave. A replica that covers a last statement knows every
    /// replica that the incarnation served. O(writers log writers).
    pub fn covers_final_of(&self, incarnation: ReplicaId) -> bool {
        let is_here = |&(writer, version): &(ReplicaId, Version)| {
            self.seen_of(writer) >= version || self.is_folded(writer)
        };
        self.record(incarnation).is_none_or(|record| record.final_versions().iter().all(is_here))
    }

    /// The number of claimed incarnations that are not folded yet.
    pub fn ended_count(&self) -> usize {
        self.claimed().filter(|&incarnation| !self.is_folded(incarnation)).count()
    }

    /// True while some replica has folded incarnations and not yet rebased all of their amounts.
    pub fn is_rebasing(&self) -> bool {
        self.writers().records().any(|(_, record)| record.is_rebasing())
    }

    /// The writers whose records mention ended incarnations, with the versions of the records. A
    /// replica that holds all of them knows every claim and every fold.
    pub fn incarnation_records(&self) -> impl Iterator<Item = (ReplicaId, Version)> + '_ {
        self.writers()
            .records()
            .filter(|(_, record)| record.mentions_incarnations())
            .map(|(writer, record)| (writer, record.version))
    }

    /// The first enrolled replica besides `own` that is not known to [agree](Self::agrees), by its
    /// digest. None if all agree. O(writers²).
    ///
    /// A replica keeps everything in its digest. Once it knows a claim, it takes cells of that
    /// incarnation only from members. So once all agree on a claim, the held cells of that
    /// incarnation are final. Once all agree on an absorption, every new reset already counts the
    /// absorbed amounts in the successor's cell.
    pub fn first_disagreeing<'a>(
        &self,
        own: ReplicaId,
        upto: Version,
        digest: impl Fn(ReplicaId) -> Option<&'a VersionVector>,
    ) -> Option<ReplicaId> {
        let agrees = |replica: ReplicaId| {
            digest(replica).is_some_and(|theirs| self.agrees(own, upto, theirs))
        };
        self.enrolled().find(|&replica| replica != own && !agrees(replica))
    }

    /// True if the sender of a digest agrees with this map on ended incarnations. The digest must
    /// include `own` up to `upto`, and every record that mentions ended incarnations. It must not
    /// include anything that is not held here. O(writers log writers).
    pub fn agrees(&self, own: ReplicaId, upto: Version, digest: &VersionVector) -> bool {
        digest.get(own) >= upto
            && self.incarnation_records().all(|(writer, version)| digest.get(writer) >= version)
            && digest
                .iter()
                .all(|(writer, version)| self.seen_of(writer) >= version || self.is_folded(writer))
    }

    /// The latest known incarnation of a replica's node, other than the replica itself: held,
    /// claimed or folded. O(writers + claims).
    pub fn latest_other_incarnation(&self, replica: ReplicaId) -> Option<ReplicaId> {
        let known = self
            .replicas()
            .chain(self.claimed())
            .filter(|incarnation| incarnation.node == replica.node && *incarnation != replica);
        known.chain(self.writers().ended().last_folded(replica.node)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::delta::Delta;
    use crate::replica::Replica;

    const fn incarnation(node: u64, number: u64) -> ReplicaId {
        ReplicaId::new(node, number << 32)
    }

    /// A map with a record of each of these incarnations, with its claims and the incarnations that
    /// it is absorbing.
    fn map(records: &[(ReplicaId, &[ReplicaId], &[ReplicaId])]) -> CounterMap {
        let mut map = CounterMap::new();
        for (replica, claims, absorbing) in records {
            map.set_region(*replica, "ord").unwrap();
            map.change_record(*replica, |record| {
                claims.iter().for_each(|ended| record.claim(*ended));
                record.begin_absorbing(absorbing.to_vec(), []);
            });
        }
        map
    }

    const DEAD: ReplicaId = incarnation(9, 1);

    #[test]
    fn the_lowest_claimant_answers_unless_another_has_begun() {
        let claims: &[ReplicaId] = &[DEAD];
        let (low, high) = (incarnation(1, 1), incarnation(2, 1));
        let both = map(&[(low, claims, &[]), (high, claims, &[]), (DEAD, &[], &[])]);
        assert_eq!((both.successor_of(DEAD), both.absorbable_by(high)), (Some(low), vec![]));
        let begun = map(&[(low, claims, &[]), (high, claims, claims), (DEAD, &[], &[])]);
        assert_eq!((begun.successor_of(DEAD), begun.absorbable_by(low)), (Some(high), vec![]));
    }

    #[test]
    fn claim_of_a_later_incarnation_silences_the_earlier_ones() {
        let (successor, later) = (incarnation(1, 1), incarnation(9, 2));
        let map = map(&[(successor, &[later], &[])]);
        assert!(!map.is_ended(DEAD) && !map.may_write(DEAD) && !map.may_write(later));
        assert!(map.may_write(incarnation(9, 3)) && map.may_write(successor));
    }

    #[test]
    fn successor_of_a_successor_takes_the_chain() {
        let (low, other, last) = (incarnation(1, 1), incarnation(2, 1), incarnation(3, 1));
        let map = map(&[
            (low, &[DEAD], &[DEAD]),
            (other, &[DEAD], &[]),
            (last, &[low], &[]),
            (DEAD, &[], &[]),
        ]);
        assert_eq!(
            (map.successor_of(DEAD), map.absorbable_by(last), map.absorbable_by(other)),
            (Some(last), vec![low, DEAD], vec![])
        );
    }

    #[test]
    fn earlier_incarnations_of_a_node_come_first() {
        let (successor, later) = (incarnation(1, 1), incarnation(9, 2));
        let alone = map(&[(successor, &[later], &[]), (later, &[], &[]), (DEAD, &[], &[])]);
        assert_eq!(alone.absorbable_by(successor), []);
        let both = map(&[(successor, &[DEAD, later], &[]), (later, &[], &[]), (DEAD, &[], &[])]);
        assert_eq!(both.absorbable_by(successor), [DEAD, later]);
    }

    /// The claimant may have absorbed what it claimed.
    #[test]
    fn claimant_waits_for_the_incarnations_that_it_claims() {
        let (successor, claimant) = (incarnation(1, 1), incarnation(2, 1));
        let later = incarnation(9, 2);
        let claims: &[ReplicaId] = &[claimant, later];
        let records = [(claimant, &[later][..], &[][..]), (later, &[], &[]), (DEAD, &[], &[])];
        let waits = map(&[&[(successor, claims, &[][..])][..], &records].concat());
        assert_eq!(waits.absorbable_by(successor), []);
        let claims: &[ReplicaId] = &[claimant, DEAD, later];
        let goes_on = map(&[&[(successor, claims, &[][..])][..], &records].concat());
        assert_eq!(goes_on.absorbable_by(successor), [claimant, DEAD, later]);
    }

    /// Cells of the one that absorbed it count its amounts until they are absorbed too. A fold that
    /// leaves them out would let others forget what was cleared of it.
    #[test]
    fn absorbed_incarnation_waits_for_the_one_that_absorbed_it() {
        let (other, earlier, absorber) = (incarnation(1, 1), incarnation(2, 1), incarnation(2, 2));
        let (last, dead): (_, &[ReplicaId]) = (incarnation(3, 1), &[DEAD]);
        let records: &[(ReplicaId, &[ReplicaId], &[ReplicaId])] =
            &[(absorber, dead, dead), (last, &[absorber], &[]), (DEAD, &[], &[])];
        assert_eq!(map(records).absorbable_by(last), [absorber, DEAD]);
        let others: &[(ReplicaId, &[ReplicaId], &[ReplicaId])] =
            &[(other, &[earlier], &[]), (earlier, &[], &[])];
        assert_eq!(map(&[others, records].concat()).absorbable_by(last), []);
    }

    /// Another replica may fold the claimant first, and its claim goes with it.
    #[test]
    fn absorbed_incarnation_has_ended_without_a_claim() {
        let successor = incarnation(1, 1);
        let map = map(&[(successor, &[], &[DEAD]), (DEAD, &[], &[])]);
        assert!(map.is_ended(DEAD) && map.enrolled().all(|replica| replica == successor));
        assert_eq!(map.absorbable_by(successor), [DEAD]);
    }

    #[test]
    fn fold_outlives_the_successor_that_wrote_it() {
        let mut dead = CounterMap::new();
        dead.add(DEAD, "clicks", "ord", 5).unwrap();
        let mut map = dead.clone();
        let mut ended = DEAD;
        for successor in [incarnation(1, 1), incarnation(2, 1)] {
            let mut replica = Replica::with_map(successor, "ord", map).unwrap();
            replica.claim(ended);
            let mut work = replica.absorb_round(None).unwrap();
            replica.absorb(&mut work, usize::MAX).unwrap();
            replica.fold(&mut work).unwrap();
            (ended, map) = (successor, replica.map().clone());
        }
        let mut newcomer = CounterMap::new();
        newcomer.join_delta(&map.delta_since(&VersionVector::new())).unwrap();
        newcomer.join(&dead);
        assert_eq!((newcomer.total("clicks"), newcomer.seen_of(DEAD)), (5, 0));
    }

    #[test]
    fn fold_covers_earlier_incarnations_not_the_next() {
        let mut successor = Replica::new(incarnation(1, 1), "ord").unwrap();
        let folded = ReplicaId::new(9, (5 << 32) + 77);
        let id = successor.id();
        successor.map_mut().change_record(id, |record| record.fold(&[folded]));
        let is_folded = |incarnation| successor.map().is_folded(ReplicaId::new(9, incarnation));
        assert!(
            is_folded(1)
                && is_folded(folded.incarnation)
                && !is_folded(folded.next_incarnation().incarnation)
        );
        assert!(!successor.map().is_folded(ReplicaId::new(8, 1)), "another node");
    }

    /// Two processes of one node, such as from a disk and its clone, may begin so close to each
    /// other that their numbers differ only in the lower half.
    #[test]
    fn fold_of_one_incarnation_leaves_a_later_one_of_the_same_second() {
        let (ended, goes_on) = (ReplicaId::new(9, (5 << 32) + 7), ReplicaId::new(9, (5 << 32) + 8));
        let mut successor = Replica::new(incarnation(1, 1), "ord").unwrap();
        for (writer, amount) in [(ended, 5), (goes_on, 100)] {
            let mut map = CounterMap::new();
            map.add(writer, "clicks", "ord", amount).unwrap();
            successor.map_mut().join(&map);
        }
        successor.claim(ended);
        let mut work = successor.absorb_round(None).unwrap();
        successor.absorb(&mut work, usize::MAX).unwrap();
        successor.fold(&mut work).unwrap();
        assert!(successor.map().is_folded(ended) && !successor.map().is_folded(goes_on));
        assert_eq!(successor.map().total("clicks"), 105);
        let mut other = CounterMap::new();
        other.add(goes_on, "clicks", "ord", 100).unwrap();
        other.join_delta(&successor.map().delta_since(&VersionVector::new())).unwrap();
        assert_eq!(other.total("clicks"), 105);
    }

    #[test]
    fn late_copy_of_a_folded_incarnation_is_ignored() {
        let mut late = CounterMap::new();
        late.add(DEAD, "clicks", "ord", 5).unwrap();
        let mut map = map(&[(incarnation(1, 1), &[], &[])]);
        map.change_record(incarnation(1, 1), |record| record.fold(&[DEAD]));
        map.join(&late);
        map.join_delta(&late.delta_since(&VersionVector::new())).unwrap();
        map.repair(&late.delta_since(&VersionVector::new())).unwrap();
        assert_eq!((map.total("clicks"), map.seen_of(DEAD)), (0, 0));
    }

    #[test]
    fn incarnation_and_fold_in_one_delta_count_once() {
        let (id, mut successor) =
            (incarnation(1, 1), Replica::new(incarnation(1, 1), "ord").unwrap());
        let mut dead = CounterMap::new();
        dead.add(DEAD, "clicks", "ord", 5).unwrap();
        successor.map_mut().join(&dead);
        successor.claim(DEAD);
        let mut work = successor.absorb_round(None).unwrap();
        successor.absorb(&mut work, usize::MAX).unwrap();
        successor.fold(&mut work).unwrap();
        let nothing = VersionVector::new();
        for parts in [
            [successor.map().delta_of(id, 0).unwrap(), dead.delta_since(&nothing)],
            [dead.delta_since(&nothing), successor.map().delta_of(id, 0).unwrap()],
        ] {
            let mut map = CounterMap::new();
            map.join_delta(&Delta::union(parts)).unwrap();
            assert_eq!((map.total("clicks"), map.replicas().collect::<Vec<_>>()), (5, vec![id]));
        }
    }
}
