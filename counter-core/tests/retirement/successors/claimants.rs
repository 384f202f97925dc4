//! Several replicas claim one incarnation, some of them late, and successors end in the middle of
//! their work. There is one successor at any time, and no value is wrong.

use std::collections::BTreeMap;

use counter_core::{AbsorbRound, Replica, ReplicaId, VersionVector};

const fn incarnation(node: u64) -> ReplicaId {
    ReplicaId::new(node, 1 << 32)
}

fn replicas<const N: usize>(nodes: [u64; N]) -> [Replica; N] {
    let mut all = nodes.map(|node| Replica::new(incarnation(node), "ord").unwrap());
    meet(&mut all.iter_mut().collect::<Vec<_>>());
    all
}

fn bring(from: &Replica, to: &mut Replica) {
    to.join_delta(from.map().delta_since(&to.map().version_vector())).unwrap();
}

/// Every replica gets everything that any of them holds.
fn meet(all: &mut [&mut Replica]) {
    for _ in 0..2 {
        for to in 0..all.len() {
            for from in 0..all.len() {
                let delta = all[from].map().delta_since(&all[to].map().version_vector());
                all[to].join_delta(delta).unwrap();
            }
        }
    }
}

type Digests = BTreeMap<ReplicaId, VersionVector>;

fn digests(all: &[&Replica]) -> Digests {
    all.iter().map(|replica| (replica.id(), replica.map().version_vector())).collect()
}

/// The next step of a successor, given the digests that the others sent: one cell, or nothing.
fn work(
    successor: &mut Replica,
    under_way: Option<AbsorbRound>,
    digests: &Digests,
) -> Option<AbsorbRound> {
    let mut work = successor.absorb_round(under_way)?;
    let record = successor.map().record(successor.id()).unwrap().version;
    let agreed = successor
        .map()
        .first_disagreeing(successor.id(), work.absorbed().unwrap_or(record), |incarnation| {
            digests.get(&incarnation)
        })
        .is_none();
    if work.is_folded() {
        return (successor.rebase(1) > 0).then_some(work);
    }
    if agreed && work.absorbed().is_some() {
        successor.fold(&mut work).unwrap();
    } else if agreed {
        successor.absorb(&mut work, 1).unwrap();
    }
    Some(work)
}

fn totals<const N: usize>(all: [&Replica; N]) -> [i128; N] {
    all.map(|replica| replica.map().total_of_all())
}

fn two_keys(replica: &mut Replica) {
    replica.add("clicks", 3).unwrap();
    replica.add("likes", 2).unwrap();
    replica.flush();
}

/// A node is retired while it is away. Its successor is at work when it comes back and claims its
/// previous incarnation, as every start does. Its id is lower.
#[test]
fn late_claimant_leaves_an_absorbed_incarnation_alone() {
    let [mut away, mut successor, mut third] = replicas([1, 2, 3]);
    two_keys(&mut away);
    meet(&mut [&mut away, &mut successor, &mut third]);
    successor.claim(incarnation(1));
    bring(&successor, &mut third);
    let mut at_successor = work(&mut successor, None, &digests(&[&third]));
    let mut back =
        Replica::with_map(incarnation(1).next_incarnation(), "ord", away.map().clone()).unwrap();
    back.claim(incarnation(1));
    let mut at_back = None;
    for _ in 0..12 {
        meet(&mut [&mut successor, &mut third, &mut back]);
        assert_eq!(totals([&successor, &third, &back]), [5; 3]);
        let shown = digests(&[&successor, &third, &back]);
        at_successor = work(&mut successor, at_successor, &shown);
        at_back = work(&mut back, at_back, &shown);
    }
    assert_eq!(
        (totals([&successor, &third, &back]), successor.map().replicas().count()),
        ([5; 3], 3)
    );
}

/// Two replicas claim an incarnation. The one that is not its successor ends, and a third, whose id
/// is the lowest of all, claims it.
#[test]
fn successor_at_work_outlives_other_claimants() {
    let [mut lowest, mut successor, mut other, mut dead] = replicas([1, 2, 3, 4]);
    two_keys(&mut dead);
    meet(&mut [&mut lowest, &mut successor, &mut other, &mut dead]);
    successor.claim(incarnation(4));
    other.claim(incarnation(4));
    meet(&mut [&mut lowest, &mut successor, &mut other]);
    let mut at_successor = work(&mut successor, None, &digests(&[&lowest, &other]));
    assert!(
        at_successor.is_some() && other.absorb_round(None).is_none(),
        "the lower of the two answers"
    );
    let mut at_lowest = None;
    lowest.claim(incarnation(3));
    for _ in 0..16 {
        meet(&mut [&mut lowest, &mut successor]);
        assert_eq!(totals([&lowest, &successor]), [5; 2]);
        let shown = digests(&[&lowest, &successor]);
        at_lowest = work(&mut lowest, at_lowest, &shown);
        at_successor = work(&mut successor, at_successor, &shown);
    }
    assert_eq!((totals([&lowest, &successor]), lowest.map().replicas().count()), ([5; 2], 2));
}

/// Two replicas claim an incarnation. The lower one absorbs it, and ends before one replica has
/// heard of that.
#[test]
fn absorbed_amounts_follow_a_dead_successor() {
    let [mut successor, mut other, mut late, mut next, mut dead] = replicas([1, 2, 3, 4, 5]);
    two_keys(&mut dead);
    meet(&mut [&mut successor, &mut other, &mut late, &mut next, &mut dead]);
    successor.claim(incarnation(5));
    other.claim(incarnation(5));
    meet(&mut [&mut successor, &mut other, &mut late, &mut next]);
    let mut at_successor = work(&mut successor, None, &digests(&[&other, &late, &next]));
    meet(&mut [&mut successor, &mut other, &mut late, &mut next]);
    while at_successor.as_ref().is_some_and(|work| work.absorbed().is_none()) {
        at_successor = work(&mut successor, at_successor, &digests(&[&other, &late, &next]));
    }
    bring(&successor, &mut other);
    bring(&successor, &mut next);
    next.claim(incarnation(1));
    let (mut at_other, mut at_next) = (None, None);
    for _ in 0..16 {
        for claimant in [2, 4] {
            // The late replica hears what the two write themselves, and only the record of the dead
            // successor.
            let from = if claimant == 2 { &other } else { &next };
            let mut delta = from.map().delta_since(&late.map().version_vector());
            delta.retain(|writer| writer == incarnation(claimant));
            late.join_delta(delta).unwrap();
            assert_eq!(late.map().total_of_all(), 5);
        }
        meet(&mut [&mut other, &mut next]);
        bring(&late, &mut other);
        bring(&late, &mut next);
        let shown = digests(&[&other, &late, &next]);
        at_other = work(&mut other, at_other, &shown);
        at_next = work(&mut next, at_next, &shown);
        assert_eq!(totals([&other, &next]), [5; 2]);
    }
    for _ in 0..16 {
        meet(&mut [&mut other, &mut next, &mut late]);
        let shown = digests(&[&other, &late, &next]);
        at_other = work(&mut other, at_other, &shown);
        at_next = work(&mut next, at_next, &shown);
    }
    assert_eq!((totals([&other, &late, &next]), late.map().replicas().count()), ([5; 3], 3));
}

/// Two nodes that could not see each other were each retired at the other. A claim of an ended
/// claimant is not passed on.
#[test]
fn third_replica_renews_mutual_claims() {
    let [mut first, mut second, mut third] = replicas([1, 2, 3]);
    first.claim(incarnation(2));
    second.claim(incarnation(1));
    bring(&first, &mut second);
    assert_eq!(
        (second.map().successor_of(incarnation(1)), second.map().successor_of(incarnation(2))),
        (None, None)
    );
    third.claim(incarnation(1));
    meet(&mut [&mut first, &mut second, &mut third]);
    assert_eq!(
        (third.map().successor_of(incarnation(1)), third.map().successor_of(incarnation(2))),
        (Some(incarnation(3)), None)
    );
    assert_eq!(third.map().without_successor(), [incarnation(2)]);
    third.claim(incarnation(2));
    assert_eq!(
        (third.map().successor_of(incarnation(2)), third.map().without_successor()),
        (Some(incarnation(3)), vec![])
    );
}

/// A claimant that was claimed itself no longer counts. It used to claim anew at each check,
/// without end.
#[test]
fn ended_claimant_claims_nothing_twice() {
    let [_, mut claimant, mut third] = replicas([1, 2, 3]);
    claimant.claim(incarnation(1)).unwrap();
    bring(&claimant, &mut third);
    third.claim(incarnation(2)).unwrap();
    bring(&third, &mut claimant);
    assert!(claimant.map().is_ended(incarnation(2)));
    assert_eq!(claimant.claim(incarnation(1)), None);
}
