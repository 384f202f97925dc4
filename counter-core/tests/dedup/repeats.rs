//! An add with an id counts once, even if entries were forgotten, absorbed or folded between its
//! copies and their meeting.

use counter_core::{
    AbsorbRound, AddOutcome, CLIENTS_MAX, DEDUP_ENTRIES_MAX, Delta, Replica, ReplicaId,
    VersionVector,
};

pub(super) fn replica(node: u64, number: u64) -> Replica {
    Replica::new(ReplicaId::new(node, number << 32), "ord").unwrap()
}

/// Everything that `to` lacks, over the wire.
fn send(from: &Replica, to: &mut Replica) {
    let delta = from.map().delta_since(&to.map().version_vector());
    to.join_delta(Delta::decode(&delta.encode()).unwrap()).unwrap();
}

/// Only what `from` wrote itself: its gossip.
fn gossip(from: &Replica, to: &mut Replica) {
    if let Some(delta) = from.map().delta_of(from.id(), to.map().seen_of(from.id())) {
        to.join_delta(Delta::decode(&delta.encode()).unwrap()).unwrap();
    }
}

fn meet(a: &mut Replica, b: &mut Replica) {
    for _ in 0..2 {
        send(a, b);
        send(b, a);
    }
    assert_eq!(a.state_hash(), b.state_hash());
}

/// The next incarnation of a node, which claims the one before.
pub(super) fn restart(replica: &Replica) -> Replica {
    let id = replica.id();
    let mut next =
        Replica::with_map(id.next_incarnation(), replica.region(), replica.map().clone()).unwrap();
    next.claim(id);
    next
}

fn agree(successor: &Replica, upto: u64, others: &[&Replica]) -> bool {
    let shown: Vec<(ReplicaId, VersionVector)> =
        others.iter().map(|other| (other.id(), other.map().version_vector())).collect();
    let shown = |replica| shown.iter().find(|(id, _)| *id == replica).map(|(_, vector)| vector);
    successor.map().first_disagreeing(successor.id(), upto, shown).is_none()
}

fn absorb(successor: &mut Replica) -> AbsorbRound {
    let mut work = successor.absorb_round(None).unwrap();
    while work.absorbed().is_none() {
        successor.absorb(&mut work, 20_000).unwrap();
    }
    work
}

fn fold(successor: &mut Replica, mut work: AbsorbRound) {
    successor.fold(&mut work).unwrap();
    while successor.rebase(usize::MAX) > 0 {}
}

/// A client's add went to a node that then crashed. Its repeat went to a node that had heard any
/// one part of the successor's work.
#[test]
fn repeat_counts_once_with_half_an_absorption() {
    for heard in 1..10 {
        let mut first = replica(1, 1);
        for number in 1..4 {
            assert_eq!(
                first.add_once(&format!("tab:{number}"), &format!("counter {number}"), 1),
                Ok(AddOutcome::Applied)
            );
        }
        first.flush();
        let mut next = restart(&first);
        let mut other = replica(2, 1);
        gossip(&next, &mut other);
        let mut work = next.absorb_round(None).unwrap();
        for _ in 0..heard {
            if work.absorbed().is_none() {
                next.absorb(&mut work, 1).unwrap();
            }
        }
        gossip(&next, &mut other);
        for number in 1..4 {
            let counter = format!("counter {number}");
            let before = other.total(&counter);
            let added = other.add_once(&format!("tab:{number}"), &counter, 1).unwrap();
            other.flush();
            assert!(
                other.total(&counter) <= 1,
                "{counter} counted {before}, and the repeat was {added:?}, after {heard} steps"
            );
        }
    }
}

fn add_to_all(replicas: &mut [&mut Replica], id: &str) {
    for replica in replicas {
        assert_eq!(replica.add_once(id, "clicks", 1), Ok(AddOutcome::Applied), "{id}");
    }
}

#[test]
fn thirty_thousand_repeats_stay_taken_back_through_a_restart() {
    for count in [10_000u64, 30_000] {
        let (mut a, mut b) = (replica(1, 1), replica(2, 1));
        (1..=count).for_each(|at| add_to_all(&mut [&mut a, &mut b], &format!("tab:{at}")));
        meet(&mut a, &mut b);
        assert_eq!(a.total("clicks"), count.into());
        let mut b = restart(&b);
        meet(&mut a, &mut b);
        let work = absorb(&mut b);
        meet(&mut a, &mut b);
        assert_eq!(a.total("clicks"), count.into());
        fold(&mut b, work);
        meet(&mut a, &mut b);
        assert_eq!((a.total("clicks"), b.total("clicks")), (count.into(), count.into()));
    }
}

#[test]
fn thirty_thousand_repeats_are_taken_back_by_the_next_incarnation() {
    let (mut a, mut b) = (replica(1, 1), replica(2, 1));
    (1..=30_000).for_each(|at| add_to_all(&mut [&mut a, &mut b], &format!("tab:{at}")));
    let mut b = restart(&b);
    meet(&mut a, &mut b);
    let work = absorb(&mut b);
    meet(&mut a, &mut b);
    assert_eq!(a.total("clicks"), 30_000);
    fold(&mut b, work);
    meet(&mut a, &mut b);
    assert_eq!(a.total("clicks"), 30_000);
}

#[test]
fn new_clicks_beside_repeats_take_nothing_back_twice() {
    let (mut a, mut b) = (replica(1, 1), replica(2, 1));
    let ids = (0..30_000u64).filter(|at| at % 8 != 7);
    ids.clone().for_each(|at| add_to_all(&mut [&mut a, &mut b], &format!("tab:{at}")));
    meet(&mut a, &mut b);
    let mut truth = ids.count() as i128;
    for at in (0..30_000).filter(|at| at % 8 == 7).take(100) {
        add_to_all(&mut [&mut a], &format!("tab:{at}"));
        truth += 1;
    }
    meet(&mut a, &mut b);
    assert_eq!(a.total("clicks"), truth);
}

#[test]
fn adds_sent_to_two_nodes_count_once() {
    let (mut a, mut b) = (replica(1, 1), replica(2, 1));
    for click in 1..=8 {
        for client in 0..2_000 {
            add_to_all(&mut [&mut a, &mut b], &format!("c{client}:{click}"));
            if client % 50 == 49 {
                meet(&mut a, &mut b);
            }
        }
        assert_eq!(a.total("clicks"), click * 2_000);
    }
}

#[test]
fn copy_falls_to_a_copy_known_from_its_successor() {
    let (mut a, mut b) = (replica(1, 1), replica(2, 1));
    add_to_all(&mut [&mut a, &mut b], "x");
    let mut a2 = restart(&a);
    send(&b, &mut a2);
    gossip(&a2, &mut b);
    assert!(agree(&a2, a2.version(), &[&b]), "the condition for absorbing");
    let work = absorb(&mut a2);
    gossip(&a2, &mut b);
    gossip(&b, &mut a2);
    assert!(agree(&a2, work.absorbed().unwrap(), &[&b]), "the condition for folding");
    fold(&mut a2, work);
    meet(&mut a2, &mut b);
    assert_eq!((a2.total("clicks"), b.total("clicks")), (1, 1));
}

/// Two nodes applied an add, and each was started again, alone, before they met.
#[test]
fn copies_folded_before_meeting_count_once() {
    for id in ["tab:1", "single"] {
        let (mut a, mut b) = (replica(1, 1), replica(2, 1));
        add_to_all(&mut [&mut a, &mut b], id);
        let [mut a, mut b] = [a, b].map(|node| {
            let mut node = restart(&node);
            let work = absorb(&mut node);
            fold(&mut node, work);
            node
        });
        meet(&mut a, &mut b);
        assert_eq!((a.total("clicks"), b.total("clicks")), (1, 1));
        // An entry that a later incarnation absorbs again stays taken back.
        let mut b = restart(&b);
        let work = absorb(&mut b);
        meet(&mut a, &mut b);
        fold(&mut b, work);
        meet(&mut a, &mut b);
        assert_eq!((a.total("clicks"), b.add_once(id, "clicks", 1)), (1, Ok(AddOutcome::Repeated)));
    }
}

#[test]
fn absorbed_entries_displace_no_own_ones() {
    let (mut successor, mut dead) = (replica(1, 1), replica(2, 1));
    (0..DEDUP_ENTRIES_MAX).for_each(|at| add_to_all(&mut [&mut dead], &format!("old {at}")));
    send(&dead, &mut successor);
    (0..DEDUP_ENTRIES_MAX).for_each(|at| add_to_all(&mut [&mut successor], &format!("fresh {at}")));
    successor.claim(dead.id());
    let work = absorb(&mut successor);
    fold(&mut successor, work);
    for at in 0..DEDUP_ENTRIES_MAX {
        for age in ["fresh", "old"] {
            assert_eq!(
                successor.add_once(&format!("{age} {at}"), "clicks", 1),
                Ok(AddOutcome::Repeated)
            );
        }
    }
}

/// Of the entries that two successors absorbed in turn, the oldest goes first.
#[test]
fn entry_absorbed_again_keeps_its_age() {
    let mut node = replica(1, 1);
    for round in 0..3 {
        (0..4_000).for_each(|at| add_to_all(&mut [&mut node], &format!("{round} {at}")));
        node = restart(&node);
        let work = absorb(&mut node);
        fold(&mut node, work);
    }
    assert_eq!(node.map().entry_count(), DEDUP_ENTRIES_MAX);
    let known =
        |node: &mut Replica, id: &str| node.add_once(id, "clicks", 1) == Ok(AddOutcome::Repeated);
    for at in 0..4_000 {
        assert!(known(&mut node, &format!("2 {at}")) && known(&mut node, &format!("1 {at}")));
        assert_eq!(known(&mut node, &format!("0 {at}")), at >= 2_000, "{at}");
    }
}

#[test]
fn gapless_client_never_counts_a_repeat() {
    let (mut a, mut b) = (replica(1, 1), replica(2, 1));
    (1..=20).for_each(|at| add_to_all(&mut [&mut a], &format!("tab:{at}")));
    // Other entries come and go until nothing of it is left.
    (0..2 * DEDUP_ENTRIES_MAX).for_each(|at| add_to_all(&mut [&mut a], &format!("client {at}:1")));
    meet(&mut a, &mut b);
    let total = a.total("clicks");
    let mut a = restart(&a);
    let work = absorb(&mut a);
    fold(&mut a, work);
    meet(&mut a, &mut b);
    for node in [&mut a, &mut b] {
        for at in 1..=20 {
            assert_eq!(
                node.add_once(&format!("tab:{at}"), "clicks", 1),
                Ok(AddOutcome::Repeated),
                "{at}"
            );
        }
        assert_eq!(node.add_once("tab:0", "clicks", 1), Ok(AddOutcome::CannotTell));
        assert_eq!(node.add_once("client 5:1", "clicks", 1), Ok(AddOutcome::Repeated));
        assert_eq!(node.total("clicks"), total);
    }
    assert_eq!(b.add_once("tab:21", "clicks", 1), Ok(AddOutcome::Applied));
}

#[test]
fn numbers_below_memory_cannot_be_told() {
    let mut a = replica(1, 1);
    [1, 2, 3, 5, 6, 20].iter().for_each(|at| add_to_all(&mut [&mut a], &format!("tab:{at}")));
    (0..DEDUP_ENTRIES_MAX).for_each(|at| add_to_all(&mut [&mut a], &format!("client {at}:1")));
    let answers =
        [3, 4, 6, 19, 20].map(|at| a.add_once(&format!("tab:{at}"), "clicks", 1).unwrap());
    assert_eq!(
        answers,
        [
            AddOutcome::Repeated,
            AddOutcome::CannotTell,
            AddOutcome::CannotTell,
            AddOutcome::CannotTell,
            AddOutcome::CannotTell
        ]
    );
    assert_eq!(a.add_once("tab:21", "clicks", 1), Ok(AddOutcome::Applied), "what is newer is new");
}

#[test]
fn invented_clients_displace_new_ones_only() {
    let mut a = replica(1, 1);
    (1..=3).for_each(|at| add_to_all(&mut [&mut a], &format!("tab:{at}")));
    (0..CLIENTS_MAX + DEDUP_ENTRIES_MAX)
        .for_each(|at| add_to_all(&mut [&mut a], &format!("invented {at}:1")));
    for at in 1..=3 {
        assert_eq!(a.add_once(&format!("tab:{at}"), "clicks", 1), Ok(AddOutcome::Repeated));
    }
    add_to_all(&mut [&mut a], "tab:4");
    add_to_all(&mut [&mut a], "late:1");
    assert_eq!(a.add_once("late:1", "clicks", 1), Ok(AddOutcome::Repeated));
    (0..DEDUP_ENTRIES_MAX).for_each(|at| add_to_all(&mut [&mut a], &format!("more {at}:1")));
    assert_eq!(
        a.add_once("late:1", "clicks", 1),
        Ok(AddOutcome::Applied),
        "it came too late to be remembered for good"
    );
    assert_eq!(a.add_once("tab:4", "clicks", 1), Ok(AddOutcome::Repeated));
}

/// A partition in which one side forgets the adds.
#[test]
fn copy_falls_though_the_other_side_forgot() {
    let (mut a, mut b) = (replica(1, 1), replica(2, 1));
    (1..=500).for_each(|at| add_to_all(&mut [&mut a, &mut b], &format!("tab:{at}")));
    (0..DEDUP_ENTRIES_MAX).for_each(|at| add_to_all(&mut [&mut a], &format!("client {at}:1")));
    meet(&mut a, &mut b);
    assert_eq!(b.total("clicks"), 500 + DEDUP_ENTRIES_MAX as i128);
    let mut b = restart(&b);
    meet(&mut a, &mut b);
    let work = absorb(&mut b);
    fold(&mut b, work);
    meet(&mut a, &mut b);
    assert_eq!(b.total("clicks"), 500 + DEDUP_ENTRIES_MAX as i128);
}

#[test]
fn successor_that_ends_leaves_its_decisions() {
    let (mut a, mut b, mut c) = (replica(1, 1), replica(2, 1), replica(3, 1));
    for at in 1..=20 {
        add_to_all(&mut [&mut a, &mut b, &mut c], &format!("tab:{at}"));
        add_to_all(&mut [&mut a, &mut b, &mut c], &format!("single {at}"));
    }
    send(&a, &mut b);
    let mut b2 = restart(&b);
    let _ = absorb(&mut b2);
    send(&b2, &mut c);
    let mut b3 = restart(&b2);
    send(&c, &mut b3);
    let work = absorb(&mut b3);
    send(&b3, &mut a);
    send(&b3, &mut c);
    fold(&mut b3, work);
    for _ in 0..2 {
        meet(&mut a, &mut b3);
        meet(&mut c, &mut b3);
    }
    assert_eq!(
        [a, b3, c].map(|node| (node.total("clicks"), node.map().replicas().count())),
        [(40, 3); 3]
    );
}
