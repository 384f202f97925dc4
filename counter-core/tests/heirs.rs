//! What an heir does where room is short and where something comes too late: it goes on, no value
//! is wrong, and what cannot be taken over stays.

use counter_core::{
    AddError, Amounts, CELL_MAX, CounterMap, Inheritance, MARKS_MAX, Once, Replica, ReplicaId,
};

const fn life(node: u64) -> ReplicaId {
    ReplicaId::new(node, 1 << 32)
}

fn replica(node: u64) -> Replica {
    Replica::new(life(node), "ord").unwrap()
}

fn bring(from: &Replica, to: &mut Replica) {
    to.join_delta(from.map().delta_since(&to.map().version_vector())).unwrap();
}

fn add(replica: &mut Replica, counter: &str, amount: u64) {
    replica.add(counter, amount).unwrap();
    replica.flush();
}

/// With everybody else agreed: all that is left of the round.
fn finish(heir: &mut Replica, mut work: Inheritance) {
    while work.adopted().is_none() {
        heir.adopt(&mut work, 1).unwrap();
    }
    heir.fold(&mut work).unwrap();
    while heir.compact(1) > 0 {}
}

/// A node was given up; others took its life over as they had it. It comes back from its disk with
/// more of that life than anybody had, and is listened to as a member: docs/retirement.md, what
/// `retire` may lose.
#[test]
fn what_a_life_had_alone_and_brings_too_late_holds_nothing_up_and_counts_nothing_twice() {
    let (mut other, mut away, mut heir, mut third) =
        (replica(1), replica(2), replica(3), replica(4));
    add(&mut away, "clicks", 10);
    add(&mut away, "stars", 4);
    add(&mut other, "likes", 1);
    for from in [&away, &other] {
        bring(from, &mut heir);
        bring(from, &mut third);
    }
    // What nobody else has: at a key where it had a cell, at one that the heir takes over from the
    // other life, and at one of its own.
    [("clicks", 5), ("likes", 2), ("votes", 3)]
        .into_iter()
        .for_each(|(counter, amount)| add(&mut away, counter, amount));
    heir.claim(away.id());
    heir.claim(other.id());
    bring(&heir, &mut third);
    let mut work = heir.inheritance(None).unwrap();
    heir.adopt(&mut work, 1).unwrap();
    heir.adopt(&mut work, 1).unwrap();
    // Its next life brings it: to the heir, which is at work, and to a third, before and after that
    // hears of the adoption.
    let back = Replica::with_map(away.id().follows(), "ord", away.map().clone()).unwrap();
    bring(&back, &mut heir);
    bring(&back, &mut third);
    assert_eq!(third.map().total_of_all(), 25, "all of it counts once");
    bring(&heir, &mut third);
    assert_eq!((third.total("clicks"), third.total("likes"), third.total("votes")), (10, 3, 3));
    finish(&mut heir, work);
    let mut back = back;
    for to in [&mut third, &mut back] {
        bring(&heir, to);
        assert_eq!(
            (to.total("clicks"), to.total("likes"), to.total("votes")),
            (10, 1, 3),
            "as the others had it, and what still found its place"
        );
        assert!(!to.map().is_ended(heir.id()) && to.map().ended_count() == 0);
    }
    bring(&third, &mut back);
    bring(&back, &mut heir);
    bring(&heir, &mut third);
    bring(&heir, &mut back);
    let states = [heir, third, back]
        .map(|mut replica| (replica.map().replicas().count(), replica.map_mut().state_hash()));
    assert!(states.iter().all(|state| *state == states[0] && state.0 == 3), "{states:?}");
}

/// A life with so much, as one that was loaded.
fn full(node: u64, amount: u64) -> Replica {
    let mut map = CounterMap::new();
    let key = map.intern("clicks", "ord").unwrap();
    map.change_key(life(node), key, Amounts { increments: amount, decrements: 0 }).unwrap();
    Replica::with_map(life(node), "ord", map).unwrap()
}

#[test]
fn a_life_whose_amounts_find_no_room_stays_and_counts_and_the_others_are_taken_over() {
    let (large, mut small, mut heir) = (full(1, CELL_MAX / 2), replica(2), replica(9));
    add(&mut small, "clicks", 7);
    bring(&large, &mut heir);
    bring(&small, &mut heir);
    add(&mut heir, "clicks", 1);
    let total = i128::from(CELL_MAX / 2) + 8;
    heir.claim(large.id());
    heir.claim(small.id());
    let mut work = heir.inheritance(None).unwrap();
    heir.adopt(&mut work, 1).unwrap();
    assert_eq!(work.lives(), [small.id()], "half of a cell's room stays free");
    finish(&mut heir, work);
    assert_eq!(
        (heir.total("clicks"), heir.map().replicas().collect::<Vec<_>>()),
        (total, vec![large.id(), heir.id()])
    );
    let mut alone = heir.inheritance(None).unwrap();
    let version = heir.version();
    assert_eq!(heir.adopt(&mut alone, 1), Err(AddError::CellFull));
    assert_eq!(alone.lives(), [large.id()]);
    assert_eq!(
        (heir.version(), heir.total("clicks")),
        (version, total),
        "nothing is written for it again and again"
    );
}

#[test]
fn what_an_heir_took_over_counts_for_its_own_room_so_compacting_always_fits() {
    let (dead, mut heir) = (full(1, CELL_MAX / 2), full(9, 0));
    bring(&dead, &mut heir);
    heir.claim(dead.id());
    let mut work = heir.inheritance(None).unwrap();
    heir.adopt(&mut work, usize::MAX).unwrap();
    let key = heir.map().key("clicks", "ord").unwrap();
    let own = heir.id();
    // As if it had gone on counting for years before the fold.
    heir.map_mut()
        .change_key(own, key, Amounts { increments: CELL_MAX / 4 + 1, decrements: 0 })
        .unwrap();
    let total = heir.total("clicks");
    assert_eq!(
        (heir.add("clicks", 1), heir.tally("clicks").unwrap().add(1)),
        (Err(AddError::CellFull), Err(AddError::CellFull))
    );
    heir.subtract("clicks", 1).unwrap();
    heir.flush();
    finish(&mut heir, work);
    assert_eq!((heir.total("clicks"), heir.map().replicas().count()), (total - 1, 1));
}

#[test]
fn the_ids_of_a_life_pass_to_its_heir_at_the_bounded_rate_and_are_known_throughout() {
    let mut dead = replica(1);
    for client in 0..MARKS_MAX {
        dead.add_once(&format!("client {client}:1"), "clicks", 1).unwrap();
        dead.add_once(&format!("single {client}"), "clicks", 1).unwrap();
    }
    let (mut heir, mut other) =
        (Replica::with_map(dead.id().follows(), "ord", dead.map().clone()).unwrap(), replica(2));
    bring(&dead, &mut other);
    heir.claim(dead.id());
    bring(&heir, &mut other);
    let (mut work, mut steps, mut most) = (heir.inheritance(None).unwrap(), 0, 0);
    let mut told = |heir: &Replica, other: &mut Replica| {
        let delta = heir.map().delta_since(&other.map().version_vector());
        most = most.max(delta.encode().len());
        other.join_delta(delta).unwrap();
    };
    while work.adopted().is_none() {
        heir.adopt(&mut work, 16_000).unwrap();
        told(&heir, &mut other);
        steps += 1;
        assert_eq!(other.add_once("client 7:1", "clicks", 1), Ok(Once::Repeated));
    }
    heir.fold(&mut work).unwrap();
    told(&heir, &mut other);
    while heir.compact(16_000) > 0 {
        told(&heir, &mut other);
    }
    println!("{steps} steps, the largest {most} bytes");
    assert!(steps > 20 && most <= 16_500, "{steps} steps, the largest {most} bytes");
    assert_eq!(other.map().replicas().collect::<Vec<_>>(), [heir.id(), other.id()]);
    for id in ["client 7:1", "client 9999:1", "single 0", "single 9999"] {
        assert_eq!(
            (heir.add_once(id, "clicks", 1), other.add_once(id, "clicks", 1)),
            (Ok(Once::Repeated), Ok(Once::Repeated))
        );
    }
    assert_eq!(
        (heir.total("clicks"), other.total("clicks")),
        (2 * MARKS_MAX as i128, 2 * MARKS_MAX as i128)
    );
}
