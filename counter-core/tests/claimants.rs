//! Several claim one life, some of them late, and heirs end in the middle of their work: there is
//! one heir at any time, and no value is wrong.

use std::collections::BTreeMap;

use counter_core::{Inheritance, Replica, ReplicaId, VersionVector};

const fn life(node: u64) -> ReplicaId {
    ReplicaId::new(node, 1 << 32)
}

fn replicas<const N: usize>(nodes: [u64; N]) -> [Replica; N] {
    let mut all = nodes.map(|node| Replica::new(life(node), "ord").unwrap());
    meet(&mut all.iter_mut().collect::<Vec<_>>());
    all
}

fn bring(from: &Replica, to: &mut Replica) {
    to.join_delta(from.map().delta_since(&to.map().version_vector())).unwrap();
}

/// All of them hold all that any of them held.
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

/// What an heir may do now, given the digests that the others sent: one step of one cell, or
/// nothing.
fn work(
    heir: &mut Replica,
    under_way: Option<Inheritance>,
    digests: &Digests,
) -> Option<Inheritance> {
    let mut work = heir.inheritance(under_way)?;
    let record = heir.map().record(heir.id()).unwrap().version;
    let agreed = heir
        .map()
        .first_without(heir.id(), work.adopted().unwrap_or(record), |life| digests.get(&life))
        .is_none();
    if work.is_folded() {
        return (heir.compact(1) > 0).then_some(work);
    }
    if agreed && work.adopted().is_some() {
        heir.fold(&mut work).unwrap();
    } else if agreed {
        heir.adopt(&mut work, 1).unwrap();
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

/// A node is retired while it is away. Its heir is at work when it comes back and claims its life
/// before, as every start does; its id is lower.
#[test]
fn who_claims_a_life_that_is_being_taken_over_leaves_it_alone() {
    let [mut away, mut heir, mut third] = replicas([1, 2, 3]);
    two_keys(&mut away);
    meet(&mut [&mut away, &mut heir, &mut third]);
    heir.claim(life(1));
    bring(&heir, &mut third);
    let mut at_heir = work(&mut heir, None, &digests(&[&third]));
    let mut back = Replica::with_map(life(1).follows(), "ord", away.map().clone()).unwrap();
    back.claim(life(1));
    let mut at_back = None;
    for _ in 0..12 {
        meet(&mut [&mut heir, &mut third, &mut back]);
        assert_eq!(totals([&heir, &third, &back]), [5; 3]);
        let shown = digests(&[&heir, &third, &back]);
        at_heir = work(&mut heir, at_heir, &shown);
        at_back = work(&mut back, at_back, &shown);
    }
    assert_eq!((totals([&heir, &third, &back]), heir.map().replicas().count()), ([5; 3], 3));
}

/// Two claim a life. The one that does not answer ends and is claimed by a third whose id is the
/// lowest of all.
#[test]
fn an_heir_at_work_stays_the_heir_when_another_claimant_ends() {
    let [mut lowest, mut heir, mut other, mut dead] = replicas([1, 2, 3, 4]);
    two_keys(&mut dead);
    meet(&mut [&mut lowest, &mut heir, &mut other, &mut dead]);
    heir.claim(life(4));
    other.claim(life(4));
    meet(&mut [&mut lowest, &mut heir, &mut other]);
    let mut at_heir = work(&mut heir, None, &digests(&[&lowest, &other]));
    assert!(at_heir.is_some() && other.inheritance(None).is_none(), "the lower of the two answers");
    let mut at_lowest = None;
    lowest.claim(life(3));
    for _ in 0..16 {
        meet(&mut [&mut lowest, &mut heir]);
        assert_eq!(totals([&lowest, &heir]), [5; 2]);
        let shown = digests(&[&lowest, &heir]);
        at_lowest = work(&mut lowest, at_lowest, &shown);
        at_heir = work(&mut heir, at_heir, &shown);
    }
    assert_eq!((totals([&lowest, &heir]), lowest.map().replicas().count()), ([5; 2], 2));
}

/// Two claim a life. The lower takes it over and ends when one replica has not heard of that yet.
#[test]
fn what_a_dead_heir_had_taken_over_goes_the_same_way_as_itself() {
    let [mut heir, mut other, mut late, mut next, mut dead] = replicas([1, 2, 3, 4, 5]);
    two_keys(&mut dead);
    meet(&mut [&mut heir, &mut other, &mut late, &mut next, &mut dead]);
    heir.claim(life(5));
    other.claim(life(5));
    meet(&mut [&mut heir, &mut other, &mut late, &mut next]);
    let mut at_heir = work(&mut heir, None, &digests(&[&other, &late, &next]));
    meet(&mut [&mut heir, &mut other, &mut late, &mut next]);
    while at_heir.as_ref().is_some_and(|work| work.adopted().is_none()) {
        at_heir = work(&mut heir, at_heir, &digests(&[&other, &late, &next]));
    }
    bring(&heir, &mut other);
    bring(&heir, &mut next);
    next.claim(life(1));
    let (mut at_other, mut at_next) = (None, None);
    for _ in 0..16 {
        for claimant in [2, 4] {
            // The late one hears what the two write themselves, and of the dead heir nothing but
            // its record.
            let from = if claimant == 2 { &other } else { &next };
            let mut delta = from.map().delta_since(&late.map().version_vector());
            delta.retain(|writer| writer == life(claimant));
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

/// Two nodes that could not see each other were each retired at the other: a claim of one that has
/// ended is not passed on.
#[test]
fn mutual_claims_are_made_anew_by_a_third() {
    let [mut first, mut second, mut third] = replicas([1, 2, 3]);
    first.claim(life(2));
    second.claim(life(1));
    bring(&first, &mut second);
    assert_eq!((second.map().heir_of(life(1)), second.map().heir_of(life(2))), (None, None));
    third.claim(life(1));
    meet(&mut [&mut first, &mut second, &mut third]);
    assert_eq!((third.map().heir_of(life(1)), third.map().heir_of(life(2))), (Some(life(3)), None));
    assert_eq!(third.map().without_successor(), [life(2)]);
    third.claim(life(2));
    assert_eq!(
        (third.map().heir_of(life(2)), third.map().without_successor()),
        (Some(life(3)), vec![])
    );
}

/// A claimant that was claimed itself has no say any more. It claimed anew at each look, without
/// end.
#[test]
fn a_claimant_that_has_ended_claims_nothing_twice() {
    let [_, mut claimant, mut third] = replicas([1, 2, 3]);
    claimant.claim(life(1)).unwrap();
    bring(&claimant, &mut third);
    third.claim(life(2)).unwrap();
    bring(&third, &mut claimant);
    assert!(claimant.map().is_ended(life(2)));
    assert_eq!(claimant.claim(life(1)), None);
}
