//! A successor when room is short and when cells come too late: it continues, no value is wrong,
//! and amounts that do not fit stay where they are.

use counter_core::{
    AbsorbRound, AddOutcome, Amounts, CELL_MAX, CounterMap, DEDUP_ENTRIES_MAX, Replica, ReplicaId,
    WriteError,
};

const fn incarnation(node: u64) -> ReplicaId {
    ReplicaId::new(node, 1 << 32)
}

fn replica(node: u64) -> Replica {
    Replica::new(incarnation(node), "ord").unwrap()
}

fn bring(from: &Replica, to: &mut Replica) {
    to.join_delta(from.map().delta_since(&to.map().version_vector())).unwrap();
}

fn add(replica: &mut Replica, counter: &str, amount: u64) {
    replica.add(counter, amount).unwrap();
    replica.flush();
}

/// Finishes the round, with everybody else agreed.
fn finish(successor: &mut Replica, mut work: AbsorbRound) {
    while work.absorbed().is_none() {
        successor.absorb(&mut work, 1).unwrap();
    }
    successor.fold(&mut work).unwrap();
    while successor.rebase(1) > 0 {}
}

/// A node was given up, and others absorbed its incarnation as they had it. It comes back from its
/// disk with more of that incarnation than anybody had, and is a member again: docs/retirement.md,
/// what `retire` may lose.
#[test]
fn late_amounts_hold_nothing_up_and_count_once() {
    let (mut other, mut away, mut successor, mut third) =
        (replica(1), replica(2), replica(3), replica(4));
    add(&mut away, "clicks", 10);
    add(&mut away, "stars", 4);
    add(&mut other, "likes", 1);
    for from in [&away, &other] {
        bring(from, &mut successor);
        bring(from, &mut third);
    }
    // Amounts that nobody else has: at a key where it had a cell, at one that the successor absorbs
    // from the other incarnation, and at one of its own.
    [("clicks", 5), ("likes", 2), ("votes", 3)]
        .into_iter()
        .for_each(|(counter, amount)| add(&mut away, counter, amount));
    successor.claim(away.id());
    successor.claim(other.id());
    bring(&successor, &mut third);
    let mut work = successor.absorb_round(None).unwrap();
    successor.absorb(&mut work, 1).unwrap();
    successor.absorb(&mut work, 1).unwrap();
    // Its next incarnation brings them to the successor, which is at work, and to a third replica
    // before and after that hears of the absorption.
    let back = Replica::with_map(away.id().next_incarnation(), "ord", away.map().clone()).unwrap();
    bring(&back, &mut successor);
    bring(&back, &mut third);
    assert_eq!(third.map().total_of_all(), 25, "all of it counts once");
    bring(&successor, &mut third);
    assert_eq!((third.total("clicks"), third.total("likes"), third.total("votes")), (10, 3, 3));
    finish(&mut successor, work);
    let mut back = back;
    for to in [&mut third, &mut back] {
        bring(&successor, to);
        assert_eq!(
            (to.total("clicks"), to.total("likes"), to.total("votes")),
            (10, 1, 3),
            "as the others had it, and what still found its place"
        );
        assert!(!to.map().is_ended(successor.id()) && to.map().ended_count() == 0);
    }
    bring(&third, &mut back);
    bring(&back, &mut successor);
    bring(&successor, &mut third);
    bring(&successor, &mut back);
    let states = [successor, third, back]
        .map(|mut replica| (replica.map().replicas().count(), replica.state_hash()));
    assert!(states.iter().all(|state| *state == states[0] && state.0 == 3), "{states:?}");
}

/// A loaded incarnation that has `amount`.
fn full(node: u64, amount: u64) -> Replica {
    let mut map = CounterMap::new();
    let key = map.intern("clicks", "ord").unwrap();
    map.change_key(incarnation(node), key, Amounts { increments: amount, decrements: 0 }).unwrap();
    Replica::with_map(incarnation(node), "ord", map).unwrap()
}

#[test]
fn incarnation_without_room_stays_and_counts() {
    let (large, mut small, mut successor) = (full(1, CELL_MAX / 2), replica(2), replica(9));
    add(&mut small, "clicks", 7);
    bring(&large, &mut successor);
    bring(&small, &mut successor);
    add(&mut successor, "clicks", 1);
    let total = i128::from(CELL_MAX / 2) + 8;
    successor.claim(large.id());
    successor.claim(small.id());
    let mut work = successor.absorb_round(None).unwrap();
    successor.absorb(&mut work, 1).unwrap();
    assert_eq!(work.incarnations(), [small.id()], "half of a cell's room stays free");
    finish(&mut successor, work);
    assert_eq!(
        (successor.total("clicks"), successor.map().replicas().collect::<Vec<_>>()),
        (total, vec![large.id(), successor.id()])
    );
    let mut alone = successor.absorb_round(None).unwrap();
    let version = successor.version();
    assert_eq!(successor.absorb(&mut alone, 1), Err(WriteError::CellFull));
    assert_eq!(alone.incarnations(), [large.id()]);
    assert_eq!(
        (successor.version(), successor.total("clicks")),
        (version, total),
        "nothing is written for it again and again"
    );
}

#[test]
fn absorbed_amounts_use_room_so_rebasing_fits() {
    let (dead, mut successor) = (full(1, CELL_MAX / 2), full(9, 0));
    bring(&dead, &mut successor);
    successor.claim(dead.id());
    let mut work = successor.absorb_round(None).unwrap();
    successor.absorb(&mut work, usize::MAX).unwrap();
    let key = successor.map().key("clicks", "ord").unwrap();
    let own = successor.id();
    // As if it had counted for years before the fold.
    let mut map = successor.into_map();
    map.change_key(own, key, Amounts { increments: CELL_MAX / 4 + 1, decrements: 0 }).unwrap();
    let mut successor = Replica::with_map(own, "ord", map).unwrap();
    let total = successor.total("clicks");
    assert_eq!(
        (successor.add("clicks", 1), successor.counter("clicks").unwrap().add(1)),
        (Err(WriteError::CellFull), Err(WriteError::CellFull))
    );
    successor.subtract("clicks", 1).unwrap();
    successor.flush();
    finish(&mut successor, work);
    assert_eq!((successor.total("clicks"), successor.map().replicas().count()), (total - 1, 1));
}

#[test]
fn ids_pass_to_the_successor_bounded_and_without_gap() {
    let mut dead = replica(1);
    for client in 0..DEDUP_ENTRIES_MAX {
        dead.add_once(&format!("client {client}:1"), "clicks", 1).unwrap();
        dead.add_once(&format!("single {client}"), "clicks", 1).unwrap();
    }
    let (mut successor, mut other) = (
        Replica::with_map(dead.id().next_incarnation(), "ord", dead.map().clone()).unwrap(),
        replica(2),
    );
    bring(&dead, &mut other);
    successor.claim(dead.id());
    bring(&successor, &mut other);
    let (mut work, mut steps, mut most) = (successor.absorb_round(None).unwrap(), 0, 0);
    let mut told = |successor: &Replica, other: &mut Replica| {
        let delta = successor.map().delta_since(&other.map().version_vector());
        most = most.max(delta.encode().len());
        other.join_delta(delta).unwrap();
    };
    while work.absorbed().is_none() {
        successor.absorb(&mut work, 16_000).unwrap();
        told(&successor, &mut other);
        steps += 1;
        assert_eq!(other.add_once("client 7:1", "clicks", 1), Ok(AddOutcome::Repeated));
    }
    successor.fold(&mut work).unwrap();
    told(&successor, &mut other);
    while successor.rebase(16_000) > 0 {
        told(&successor, &mut other);
    }
    println!("{steps} steps, the largest {most} bytes");
    assert!(steps > 20 && most <= 16_500, "{steps} steps, the largest {most} bytes");
    assert_eq!(other.map().replicas().collect::<Vec<_>>(), [successor.id(), other.id()]);
    for id in ["client 7:1", "client 9999:1", "single 0", "single 9999"] {
        assert_eq!(
            (successor.add_once(id, "clicks", 1), other.add_once(id, "clicks", 1)),
            (Ok(AddOutcome::Repeated), Ok(AddOutcome::Repeated))
        );
    }
    assert_eq!(
        (successor.total("clicks"), other.total("clicks")),
        (2 * DEDUP_ENTRIES_MAX as i128, 2 * DEDUP_ENTRIES_MAX as i128)
    );
}
