//! A reset is remembered until every replica holds the fold.

use counter_core::{Replica, ReplicaId};

use crate::units::REGION;

/// The messages of each step, from one replica to another.
fn bring(from: &Replica, to: &mut Replica) {
    to.join_delta(from.map().delta_since(&to.map().version_vector())).unwrap();
}

#[test]
fn resets_are_kept_until_all_hold_the_fold() {
    let incarnations: [ReplicaId; 4] =
        std::array::from_fn(|node| ReplicaId::new(node as u64, 1 << 32));
    let [mut dead, mut successor, mut resetter, mut late] =
        incarnations.map(|id| Replica::new(id, REGION).unwrap());
    dead.add("clicks", 5).unwrap();
    dead.flush();
    bring(&dead, &mut resetter);
    resetter.reset("clicks", REGION).unwrap();
    bring(&resetter, &mut successor);
    successor.claim(incarnations[0]);
    let mut work = successor.absorb_round(None).unwrap();
    successor.absorb(&mut work, usize::MAX).unwrap();
    bring(&successor, &mut late);
    bring(&successor, &mut resetter);
    successor.fold(&mut work).unwrap();
    assert!(resetter.forget_cleared(usize::MAX) == 0, "nothing is folded yet");
    bring(&successor, &mut resetter);
    assert!(resetter.forget_cleared(usize::MAX) == 0, "the successor is rebasing");
    while successor.rebase(usize::MAX) > 0 {}
    bring(&successor, &mut resetter);
    assert!(resetter.forget_cleared(usize::MAX) > 0);
    // Too early: the late replica holds the absorption and not yet the fold.
    let mut delta = resetter.map().delta_since(&late.map().version_vector());
    delta.retain(|writer| writer == incarnations[2]);
    late.join_delta(delta).unwrap();
    assert_eq!(
        (late.total("clicks"), successor.total("clicks"), resetter.total("clicks")),
        (5, 0, 0),
        "so the rule is needed"
    );
    bring(&successor, &mut late);
    assert_eq!(late.total("clicks"), 0);
    let digest = late.map().version_vector();
    assert_eq!(late.map().replicas().count(), 3, "the dead one is forgotten");
    assert!(
        successor.map().first_disagreeing(incarnations[1], 0, |_| Some(&digest)).is_some(),
        "it does not hold what the others wrote last"
    );
}
