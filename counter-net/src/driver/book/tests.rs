//! The address book tried without a network: whom it says to dial, and when.

use super::*;

const START: Duration = Duration::from_secs(10);

fn address(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")
}

fn book() -> AddressBook {
    AddressBook::new(PeerId::random(), true, 1)
}

#[test]
fn what_is_found_is_dialled_at_once_and_only_once() {
    let mut book = book();
    book.found([address(1), address(1)], START);
    assert_eq!(book.candidates(), 1);
    assert_eq!(book.take_due(START, true), [(Target::Place(address(1)), vec![address(1)])]);
    book.found([address(1)], START);
    assert_eq!(book.take_due(START + REDIAL_MAX, true), []);
}

#[test]
fn the_wait_grows_with_each_failure_up_to_a_bound() {
    let mut book = book();
    book.name(address(1), START);
    let mut now = START;
    for _ in 0..50 {
        assert_eq!(book.take_due(now, true).len(), 1);
        book.failed(&Target::Place(address(1)), Failure::Unreached, now);
        let due = book.next_due().expect("a named peer is never given up");
        assert!(due > now && due <= now + REDIAL_MAX);
        now = due;
    }
    assert_eq!(book.candidates(), 0);
}

#[test]
fn what_nobody_named_is_forgotten_after_failing_for_long() {
    let mut book = book();
    book.found([address(1)], START);
    for _ in 0..ATTEMPTS_MAX {
        book.failed(&Target::Place(address(1)), Failure::Unreached, START);
    }
    assert_eq!(book.next_due(), None);
}

#[test]
fn a_lost_peer_is_dialled_again_where_it_last_said_that_it_listens() {
    let mut book = book();
    let peer = PeerId::random();
    book.connected(peer, None);
    book.learned(peer, [address(1)]);
    book.learned(peer, [address(2)]);
    book.spoke(peer);
    assert_eq!(book.next_due(), None);
    book.disconnected(peer, START);
    assert_eq!(book.take_due(START + REDIAL_MIN, true), [(Target::Peer(peer), vec![address(2)])]);
}

#[test]
fn who_connects_and_never_speaks_our_protocol_is_dialled_ever_more_rarely() {
    let mut book = book();
    let (place, stranger) = (Target::Place(address(1)), PeerId::random());
    book.name(address(1), START);
    let (mut now, mut waits) = (START, Vec::new());
    for _ in 0..20 {
        assert_eq!(book.take_due(now, true).len(), 1);
        book.connected(stranger, Some(&place));
        book.disconnected(stranger, now);
        let due = book.next_due().expect("named");
        waits.push(due - now);
        now = due;
    }
    assert!(waits[0] < REDIAL_MIN * 3 && waits[19] >= REDIAL_MAX / 2, "{waits:?}");
}

#[test]
fn a_place_that_is_this_node_is_not_dialled_again() {
    let mut book = book();
    book.found([address(1)], START);
    book.take_due(START, true);
    book.failed(&Target::Place(address(1)), Failure::Own, START);
    assert_eq!((book.next_due(), book.candidates()), (None, 0));
}

#[test]
fn enough_peers_leave_only_the_named_ones_to_dial() {
    let mut book = book();
    book.found([address(1)], START);
    book.name(address(2), START);
    assert_eq!(book.take_due(START, false), [(Target::Place(address(2)), vec![address(2)])]);
}

#[test]
fn addresses_of_other_machines_are_passed_over_without_a_key() {
    let mut book = book();
    book.found(["/ip4/192.0.2.1/tcp/1", "/ip4/127.0.0.1/udp/1"].map(|text| text.parse().expect("an address")), START);
    assert_eq!(book.next_due(), None);
}

#[test]
fn the_book_is_bounded() {
    let mut book = book();
    book.found((1..=KNOWN_PEERS_MAX as u16 + 10).map(address), START);
    assert_eq!(book.candidates(), KNOWN_PEERS_MAX);
}
