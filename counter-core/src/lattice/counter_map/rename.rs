//! Renames a writer that nobody else holds.

use super::CounterMap;
use crate::incarnation::index::Incarnations;
use crate::replica_id::ReplicaId;

impl CounterMap {
    /// Makes everything that `from` wrote the work of `to`: the same cells, record and dedup
    /// entries under the same versions. Values stay as they are. Returns false, and changes
    /// nothing, if nothing of `from` is held or something of `to` is. O(cells of the writer).
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId) -> bool {
        let (Ok(at), Err(_)) = (self.writer_at(from), self.writer_at(to)) else { return false };
        let mut writer = self.writers.remove(at);
        writer.rename(to, &self.keys, self.dedup_bounds);
        let at = self.writer_at(to).unwrap_or_else(|at| at);
        self.writers.insert(at, writer);
        self.incarnations = Incarnations::of(self.records());
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::lattice::delta::Delta;
    use crate::lattice::versions::vector::VersionVector;
    use crate::replica::Replica;
    use crate::replica_id::ReplicaId;

    const EARLY: ReplicaId = ReplicaId::new(5, (1 << 32) + 7);
    const LATE: ReplicaId = ReplicaId::new(5, (9 << 32) + 7);

    /// A replica that adds, resets and adds with ids, and holds another one's cells.
    fn written_by(id: ReplicaId, renamed: Option<ReplicaId>) -> Replica {
        let mut other = Replica::new(ReplicaId::new(6, 1 << 32), "fra").unwrap();
        other.add("clicks", 3).unwrap();
        other.add_once("tab:1", "likes", 2).unwrap();
        other.flush();
        let mut replica = Replica::new(id, "ord").unwrap();
        replica.add("clicks", 5).unwrap();
        replica.add_once("tab:1", "likes", 2).unwrap();
        replica.add_once("single", "likes", 4).unwrap();
        replica.flush();
        replica.reset("clicks", "ord").unwrap();
        replica.join_delta(other.map().delta_since(&VersionVector::new())).unwrap();
        replica.flush();
        replica.add("clicks", 1).unwrap();
        if let Some(later) = renamed {
            assert!(replica.rename(later));
        }
        replica.add("clicks", 2).unwrap();
        replica.flush();
        replica
    }

    #[test]
    fn renamed_replica_equals_one_born_with_the_id() {
        let (mut one, mut other) = (written_by(LATE, None), written_by(EARLY, Some(LATE)));
        assert_eq!(
            (one.id(), one.version(), one.total("clicks")),
            (other.id(), other.version(), other.total("clicks"))
        );
        assert_eq!(one.state_hash(), other.state_hash());
        let nothing = VersionVector::new();
        let bytes = |replica: &Replica| replica.map().delta_since(&nothing).encode();
        assert_eq!(bytes(&one), bytes(&other));
        let mut fresh = Replica::new(ReplicaId::new(7, 1), "sin").unwrap();
        fresh.join_delta(Delta::decode(&bytes(&other)).unwrap()).unwrap();
        assert_eq!(
            (fresh.total("clicks"), fresh.total("likes")),
            (other.total("clicks"), other.total("likes"))
        );
    }

    #[test]
    fn taken_id_is_refused() {
        let mut replica = Replica::new(EARLY, "ord").unwrap();
        let later = Replica::new(LATE, "ord").unwrap();
        replica.join_delta(later.map().delta_since(&VersionVector::new())).unwrap();
        assert!(!replica.rename(LATE) && replica.id() == EARLY);
    }

    #[test]
    fn latest_incarnation_may_be_held_claimed_or_folded() {
        let mut replica = Replica::new(ReplicaId::new(1, 1 << 32), "ord").unwrap();
        assert_eq!(replica.map().latest_beside(ReplicaId::new(5, 0)), None);
        let mut ended = Replica::new(EARLY, "fra").unwrap();
        ended.flush();
        replica.join_delta(ended.map().delta_since(&VersionVector::new())).unwrap();
        assert_eq!(replica.map().latest_beside(ReplicaId::new(5, 0)), Some(EARLY));
        replica.claim(EARLY);
        replica.claim(LATE);
        assert_eq!(replica.map().latest_beside(ReplicaId::new(5, 0)), Some(LATE));
        let mut work = replica.inheritance(None).unwrap();
        replica.absorb(&mut work, usize::MAX).unwrap();
        replica.fold(&mut work);
        assert!(
            replica.map().latest_beside(ReplicaId::new(5, 0)).unwrap() >= LATE
                && replica.map().is_folded(LATE)
        );
    }
}
