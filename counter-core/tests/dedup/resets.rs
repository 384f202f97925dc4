//! Resets and removals of adds that two replicas applied. Whatever a reset saw, each add counts
//! once or not at all.

use std::collections::BTreeMap;

use counter_core::{
    AbsorbRound, AddOutcome, Cleanup, CounterMap, Delta, ProvenVersions, Replica, ReplicaId,
    VersionVector,
};

fn replica(node: u64) -> Replica {
    Replica::new(ReplicaId::new(node, 1), "ord").unwrap()
}

/// Everything that `to` lacks, over the wire.
fn send(from: &Replica, to: &mut Replica) {
    let delta = from.map().delta_since(&to.map().version_vector());
    to.join_delta(Delta::decode(&delta.encode()).unwrap()).unwrap();
}

fn meet(replicas: &mut [&mut Replica]) {
    for _ in 0..2 {
        for from in 0..replicas.len() {
            let sent: Replica = copy(replicas[from]);
            for to in (0..replicas.len()).filter(|to| *to != from) {
                send(&sent, replicas[to]);
            }
        }
    }
}

/// The same state, to send from.
fn copy(of: &Replica) -> Replica {
    let mut map = CounterMap::new();
    map.join_delta(&of.map().delta_since(&VersionVector::new())).unwrap();
    Replica::with_map(ReplicaId::new(u64::MAX, 1), "ord", map).unwrap()
}

/// Lets all replicas clean up, each with all that the others hold.
fn clean_up(replicas: &mut [&mut Replica]) {
    let mut work: Vec<Cleanup> = replicas.iter().map(|_| Cleanup::default()).collect();
    for _ in 0..12 {
        meet(replicas);
        let held: Vec<VersionVector> =
            replicas.iter().map(|replica| replica.map().version_vector()).collect();
        let by_all: BTreeMap<ReplicaId, u64> = held[0]
            .iter()
            .map(|(id, _)| (id, held.iter().map(|of| of.get(id)).min().unwrap()))
            .collect();
        let mut by_any = VersionVector::new();
        held.iter().for_each(|of| by_any.join(of));
        let shown = ProvenVersions { by_all: by_all.into_iter().collect(), by_any };
        for (replica, work) in replicas.iter_mut().zip(&mut work) {
            replica.clean_up(work, &shown, usize::MAX);
        }
    }
    meet(replicas);
}

fn absorb(successor: &mut Replica, ended: ReplicaId) -> AbsorbRound {
    successor.claim(ended).unwrap();
    let mut work = successor.absorb_round(None).unwrap();
    while work.absorbed().is_none() {
        successor.absorb(&mut work, usize::MAX).unwrap();
    }
    work
}

fn fold(successor: &mut Replica, mut work: AbsorbRound) {
    successor.fold(&mut work).unwrap();
    while successor.rebase(usize::MAX) > 0 {}
}

fn take_over(successor: &mut Replica, ended: ReplicaId) {
    let work = absorb(successor, ended);
    fold(successor, work);
}

/// The ids of the tests: one of a client, after other adds of it, and a single one.
const IDS: [&str; 2] = ["tab:3", "order 17"];

/// Two replicas that have not met and have both applied the ids, and a third one.
fn doubled() -> [Replica; 3] {
    let mut all = [1, 2, 3].map(replica);
    let [low, high, _] = &mut all;
    for (at, replica) in [low, high].into_iter().enumerate() {
        for before in 1..3 {
            let id = format!("tab:{before}");
            if at == 1 {
                assert_eq!(replica.add_once(&id, "clicks", 100), Ok(AddOutcome::Applied));
            }
        }
        for id in IDS {
            assert_eq!(replica.add_once(id, "clicks", 5), Ok(AddOutcome::Applied));
        }
    }
    all
}

fn totals(replicas: &[&Replica]) -> Vec<i128> {
    replicas.iter().map(|replica| replica.total("clicks")).collect()
}

#[test]
fn reset_of_both_copies_leaves_nothing() {
    let [mut low, mut high, mut resetter] = doubled();
    send(&low, &mut resetter);
    send(&high, &mut resetter);
    assert_eq!(resetter.total("clicks"), 220);
    resetter.reset("clicks", "ord").unwrap();
    low.add("clicks", 7).unwrap();
    low.flush();
    // The greater one takes its copies back before it hears of the reset.
    send(&low, &mut high);
    assert_eq!(high.total("clicks"), 217);
    meet(&mut [&mut low, &mut high, &mut resetter]);
    assert_eq!(totals(&[&low, &high, &resetter]), [7; 3]);
    clean_up(&mut [&mut low, &mut high, &mut resetter]);
    assert_eq!(totals(&[&low, &high, &resetter]), [7; 3]);
}

#[test]
fn reset_of_one_copy_and_taking_back_meet_in_any_order() {
    for (saw_low, saw_high) in [(true, false), (false, true)] {
        for meets_first in [false, true] {
            let [mut low, mut high, mut resetter] = doubled();
            for (copy, saw) in [(&low, saw_low), (&high, saw_high)] {
                if saw {
                    send(copy, &mut resetter);
                }
            }
            resetter.reset("clicks", "ord").unwrap();
            if meets_first {
                meet(&mut [&mut low, &mut high]);
            }
            clean_up(&mut [&mut low, &mut high, &mut resetter]);
            // The copy that stands counts unless a reset saw it; 200 were added at one of them.
            let left = if saw_low { 200 } else { 10 };
            assert_eq!(totals(&[&low, &high, &resetter]), [left; 3], "{saw_low} {meets_first}");
        }
    }
}

#[test]
fn two_resets_of_one_copy_each_leave_nothing() {
    let [mut low, mut high, mut one] = doubled();
    let mut other = replica(4);
    send(&low, &mut one);
    send(&high, &mut other);
    one.reset("clicks", "ord").unwrap();
    other.reset("clicks", "ord").unwrap();
    meet(&mut [&mut low, &mut high]);
    assert_eq!(low.total("clicks"), 210);
    meet(&mut [&mut low, &mut high, &mut one, &mut other]);
    assert_eq!(totals(&[&low, &high, &one, &other]), [0; 4]);
    clean_up(&mut [&mut low, &mut high, &mut one, &mut other]);
    assert_eq!(totals(&[&low, &high, &one, &other]), [0; 4]);
}

/// The writer has subtracted what a reset cleared, or dropped its cell, and all traces are gone.
/// Only then does it hear of the other copy.
#[test]
fn add_that_was_cleared_long_ago_is_not_subtracted_again() {
    for removes in [false, true] {
        let [mut low, mut high, mut resetter] = doubled();
        send(&high, &mut resetter);
        match removes {
            true => assert_eq!(resetter.remove("clicks"), Ok(true)),
            false => assert!(resetter.reset("clicks", "ord").unwrap().is_some()),
        }
        clean_up(&mut [&mut high, &mut resetter]);
        assert_eq!(high.total("clicks"), 0);
        for replica in [&mut high, &mut resetter] {
            replica.add("clicks", 1_000).unwrap();
            replica.flush();
        }
        meet(&mut [&mut low, &mut high, &mut resetter]);
        assert_eq!(totals(&[&low, &high, &resetter]), [2_010; 3], "removed: {removes}");
        clean_up(&mut [&mut low, &mut high, &mut resetter]);
        assert_eq!(totals(&[&low, &high, &resetter]), [2_010; 3]);
        assert_eq!(low.add_once(IDS[0], "clicks", 5), Ok(AddOutcome::Repeated));
    }
}

#[test]
fn own_reset_covers_a_copy_that_is_taken_back_later() {
    let [mut low, mut high, mut other] = doubled();
    high.reset("clicks", "ord").unwrap();
    meet(&mut [&mut low, &mut high, &mut other]);
    assert_eq!(totals(&[&low, &high, &other]), [10; 3]);
}

/// A successor takes back the copy of a lost replica, which a reset had seen.
#[test]
fn successor_takes_back_what_a_reset_saw() {
    for meets_reset_first in [false, true] {
        let [mut low, high, mut resetter] = doubled();
        let mut successor = replica(4);
        send(&high, &mut successor);
        send(&high, &mut resetter);
        send(&low, &mut resetter);
        resetter.reset("clicks", "ord").unwrap();
        if meets_reset_first {
            send(&resetter, &mut successor);
        }
        send(&low, &mut successor);
        let work = absorb(&mut successor, high.id());
        meet(&mut [&mut low, &mut successor, &mut resetter]);
        assert_eq!(totals(&[&low, &successor, &resetter]), [0; 3], "{meets_reset_first}");
        fold(&mut successor, work);
        meet(&mut [&mut low, &mut successor, &mut resetter]);
        assert_eq!(totals(&[&low, &successor, &resetter]), [0; 3], "{meets_reset_first}");
    }
}

/// The retractions end once all replicas hold them.
#[test]
fn taking_back_leaves_no_traces_in_cells() {
    let [mut low, mut high, mut other] = doubled();
    meet(&mut [&mut low, &mut high, &mut other]);
    assert!(high.has_traces());
    clean_up(&mut [&mut low, &mut high, &mut other]);
    assert_eq!(totals(&[&low, &high, &other]), [210; 3]);
    assert!([&low, &high, &other].iter().all(|replica| !replica.has_traces()));
}

/// A reset saw the first of a client's numbers, and not the second, which shares its entry.
#[test]
fn successor_knows_which_numbers_of_a_client_a_reset_saw() {
    let [mut low, mut high, mut resetter, mut successor] = [1, 2, 3, 4].map(replica);
    high.add_once("tab:1", "clicks", 5).unwrap();
    send(&high, &mut resetter);
    resetter.reset("clicks", "ord").unwrap();
    high.add_once("tab:2", "clicks", 70).unwrap();
    for (id, amount) in [("tab:1", 5), ("tab:2", 70)] {
        low.add_once(id, "clicks", amount).unwrap();
    }
    send(&high, &mut successor);
    send(&low, &mut successor);
    absorb(&mut successor, high.id());
    meet(&mut [&mut low, &mut successor, &mut resetter]);
    assert_eq!(totals(&[&low, &successor, &resetter]), [75; 3]);
}

/// A writer's add was cleared, and its successor folds it. Another successor absorbs the copy that
/// stands. Then the first successor ends, and its own successor hears of both.
#[test]
fn second_successor_does_not_subtract_a_cleared_add() {
    for settles in [false, true] {
        let [mut low, mut high, mut resetter, mut first, mut second] = [1, 2, 3, 4, 5].map(replica);
        for id in IDS {
            low.add_once(id, "clicks", 5).unwrap();
            high.add_once(id, "clicks", 5).unwrap();
        }
        send(&high, &mut resetter);
        resetter.reset("clicks", "ord").unwrap();
        if settles {
            clean_up(&mut [&mut high, &mut resetter, &mut first]);
        }
        meet(&mut [&mut high, &mut resetter, &mut first]);
        take_over(&mut first, high.id());
        meet(&mut [&mut first, &mut resetter, &mut second]);
        let mut of_low = replica(6);
        send(&low, &mut of_low);
        take_over(&mut of_low, low.id());
        send(&of_low, &mut second);
        take_over(&mut second, first.id());
        meet(&mut [&mut second, &mut resetter, &mut of_low]);
        assert_eq!(totals(&[&second, &resetter, &of_low]), [10; 3], "settles: {settles}");
    }
}

/// Two copies of two numbers of a client, absorbed apart.
fn apart() -> [Replica; 3] {
    let [mut low, mut high, mut one, mut other, resetter] = [1, 2, 3, 4, 5].map(replica);
    for writer in [&mut low, &mut high] {
        writer.add_once("tab:1", "clicks", 5).unwrap();
        writer.add_once("tab:2", "clicks", 70).unwrap();
    }
    send(&low, &mut one);
    send(&high, &mut other);
    take_over(&mut one, low.id());
    take_over(&mut other, high.id());
    [one, other, resetter]
}

#[test]
fn reset_saw_the_greater_of_two_folded_copies() {
    let [mut one, mut other, mut resetter] = apart();
    send(&other, &mut resetter);
    resetter.reset("clicks", "ord").unwrap();
    meet(&mut [&mut one, &mut other, &mut resetter]);
    assert_eq!(totals(&[&one, &other, &resetter]), [75; 3]);
}

#[test]
fn reset_saw_both_of_two_folded_copies() {
    let [mut one, mut other, mut resetter] = apart();
    send(&other, &mut resetter);
    send(&one, &mut resetter);
    resetter.reset("clicks", "ord").unwrap();
    send(&one, &mut other);
    meet(&mut [&mut one, &mut other, &mut resetter]);
    assert_eq!(totals(&[&one, &other, &resetter]), [0; 3]);
}

#[test]
fn successor_subtracted_a_folded_copy_before() {
    let [mut one, mut other, mut resetter] = apart();
    send(&other, &mut resetter);
    resetter.reset("clicks", "ord").unwrap();
    clean_up(&mut [&mut other, &mut resetter]);
    assert_eq!(other.total("clicks"), 0);
    meet(&mut [&mut one, &mut other, &mut resetter]);
    assert_eq!(totals(&[&one, &other, &resetter]), [75; 3]);
}

/// The ended writer had subtracted what a reset cleared before it was absorbed.
#[test]
fn settled_add_is_known_after_the_fold() {
    let [mut low, mut high, mut one, mut other] = [1, 2, 3, 4].map(replica);
    for writer in [&mut low, &mut high] {
        writer.add_once("tab:1", "clicks", 5).unwrap();
    }
    send(&high, &mut other);
    other.reset("clicks", "ord").unwrap();
    clean_up(&mut [&mut high, &mut other]);
    send(&low, &mut one);
    take_over(&mut one, low.id());
    take_over(&mut other, high.id());
    meet(&mut [&mut one, &mut other]);
    assert_eq!(totals(&[&one, &other]), [5; 2]);
}

/// The same, but the writer had not subtracted what the reset cleared.
#[test]
fn add_cleared_before_the_fold_is_not_subtracted() {
    let [mut low, mut high, mut one, mut other] = [1, 2, 3, 4].map(replica);
    for writer in [&mut low, &mut high] {
        writer.add_once("tab:1", "clicks", 5).unwrap();
    }
    send(&high, &mut other);
    other.reset("clicks", "ord").unwrap();
    send(&low, &mut one);
    take_over(&mut one, low.id());
    take_over(&mut other, high.id());
    meet(&mut [&mut one, &mut other]);
    assert_eq!(totals(&[&one, &other]), [5; 2]);
}
