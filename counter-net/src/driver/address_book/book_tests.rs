//! The address book without a network: whom it chooses to dial, and when.

use super::*;
use crate::config::REDIAL_MIN;
use crate::driver::address_book::entry::{ATTEMPTS_MAX, REFUSALS, REPORTED_FOR};

const START: Duration = Duration::from_secs(10);

fn address(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")
}

fn book() -> AddressBook {
    AddressBook::new(PeerId::random(), true, 1)
}

#[test]
fn found_address_is_dialled_once() {
    let mut book = book();
    book.found([address(1), address(1)], AddressOrigin::Found, START);
    assert_eq!(book.candidates(0), 1);
    assert_eq!(book.take_due(START, 0), [(DialTarget::Place(address(1)), vec![address(1)])]);
    book.found([address(1)], AddressOrigin::Found, START);
    assert_eq!(book.take_due(START + REDIAL_MAX, 0), []);
}

#[test]
fn wait_grows_with_failures_up_to_a_bound() {
    let mut book = book();
    book.name(address(1), START);
    let mut now = START;
    for _ in 0..50 {
        assert_eq!(book.take_due(now, 0).len(), 1);
        book.failed(&DialTarget::Place(address(1)), DialFailure::Refused, now);
        let due = book.next_due().expect("a named peer is never given up");
        assert!(due > now && due <= now + REDIAL_MAX);
        now = due;
    }
    assert_eq!(book.candidates(0), 0);
}

#[test]
fn unnamed_address_is_forgotten_after_many_failures() {
    let mut book = book();
    book.found([address(1)], AddressOrigin::Found, START);
    for _ in 0..ATTEMPTS_MAX {
        book.failed(&DialTarget::Place(address(1)), DialFailure::Refused, START);
    }
    assert!(book.next_due().is_some(), "it was reported a moment ago");
    book.failed(&DialTarget::Place(address(1)), DialFailure::Refused, START + REPORTED_FOR * 2);
    assert_eq!(book.next_due(), None);
}

#[test]
fn lost_peer_is_redialled_at_its_last_address() {
    let mut book = book();
    let peer = PeerId::random();
    book.connected(peer, None);
    book.learned(peer, [address(1)]);
    book.learned(peer, [address(2)]);
    book.spoke(peer);
    assert_eq!(book.next_due(), None);
    book.disconnected(peer, START);
    assert_eq!(book.take_due(START + REDIAL_MIN, 0), [(DialTarget::Peer(peer), vec![address(2)])]);
}

#[test]
fn silent_peer_is_dialled_ever_more_rarely() {
    let mut book = book();
    let (place, stranger) = (DialTarget::Place(address(1)), PeerId::random());
    book.name(address(1), START);
    let (mut now, mut waits) = (START, Vec::new());
    for _ in 0..20 {
        assert_eq!(book.take_due(now, 0).len(), 1);
        book.connected(stranger, Some(&place));
        book.disconnected(stranger, now);
        let due = book.next_due().expect("named");
        waits.push(due - now);
        now = due;
    }
    assert!(waits[0] < REDIAL_MIN * 3 && waits[19] >= REDIAL_MAX / 2, "{waits:?}");
}

#[test]
fn own_address_is_not_dialled_again() {
    let mut book = book();
    book.found([address(1)], AddressOrigin::Found, START);
    book.take_due(START, 0);
    book.failed(&DialTarget::Place(address(1)), DialFailure::Own, START);
    assert_eq!((book.next_due(), book.candidates(0)), (None, 0));
}

#[test]
fn with_enough_peers_only_named_ones_are_dialled() {
    let mut book = book();
    book.found([address(1)], AddressOrigin::Found, START);
    book.name(address(2), START);
    assert_eq!(
        book.take_due(START, PEERS_WANTED),
        [(DialTarget::Place(address(2)), vec![address(2)])]
    );
}

#[test]
fn remote_addresses_need_a_key() {
    let mut book = book();
    book.found(
        ["/ip4/192.0.2.1/tcp/1", "/ip4/127.0.0.1/udp/1"]
            .map(|text| text.parse().expect("an address")),
        AddressOrigin::Found,
        START,
    );
    assert_eq!(book.next_due(), None);
}

#[test]
fn the_book_is_bounded() {
    let mut book = book();
    book.found((1..=KNOWN_PEERS_MAX as u16 + 10).map(address), AddressOrigin::Found, START);
    assert_eq!(book.entries.len(), KNOWN_PEERS_MAX);
}

fn fail(book: &mut AddressBook, port: u16, cause: DialFailure, times: u32) -> Vec<PeerNews> {
    (0..times)
        .filter_map(|_| book.failed(&DialTarget::Place(address(port)), cause.clone(), START))
        .collect()
}

#[test]
fn connection_or_silence_is_no_answer() {
    let mut book = book();
    let peer = PeerId::random();
    book.found([address(1)], AddressOrigin::Found, START);
    book.take_due(START, 0);
    assert_eq!(book.candidates(0), 1, "while it is dialled");
    book.connected(peer, Some(&DialTarget::Place(address(1))));
    assert_eq!(book.candidates(0), 1, "while it is connected and silent");
    book.disconnected(peer, START);
    fail(&mut book, 1, DialFailure::Silent, 20);
    assert_eq!(book.candidates(0), 1, "however often it was silent");
    book.connected(peer, Some(&DialTarget::Place(address(1))));
    book.spoke(peer);
    assert_eq!(book.candidates(0), 0);
}

#[test]
fn refused_dial_is_repeated_and_black_hole_is_not() {
    let mut book = book();
    book.found([address(1), address(2)], AddressOrigin::Found, START);
    fail(&mut book, 1, DialFailure::Refused, REFUSALS - 1);
    assert_eq!(book.candidates(0), 2);
    fail(&mut book, 1, DialFailure::Refused, 1);
    fail(&mut book, 2, DialFailure::NoAnswer, 1);
    assert_eq!(book.candidates(0), 0);
}

#[test]
fn waiting_addresses_count_once_there_is_room() {
    let mut book = book();
    book.found((1..=PEERS_WANTED as u16 + 10).map(address), AddressOrigin::Found, START);
    assert_eq!(book.candidates(0), PEERS_WANTED);
    let first = book.take_due(START, 0);
    assert_eq!((first.len(), book.candidates(0)), (PEERS_WANTED, PEERS_WANTED));
    assert_eq!(book.next_due(), None, "nothing is due before a dial ends");
    for (target, _) in first {
        book.failed(&target, DialFailure::NoAnswer, START);
    }
    assert_eq!((book.candidates(0), book.take_due(START, 0).len()), (10, 10));
    assert_eq!(book.candidates(PEERS_WANTED), 10, "those that are dialled already");
}

#[test]
fn other_key_is_reported_only_if_no_peer_has_ours() {
    let mut book = book();
    book.found([address(1), address(2)], AddressOrigin::Found, START);
    fail(&mut book, 1, DialFailure::WrongKey, 1);
    assert!(!book.is_key_refused(), "the other one has not answered");
    fail(&mut book, 2, DialFailure::Refused, REFUSALS);
    assert!(book.is_key_refused());
    assert_eq!(book.troubles(0)[0].1, DialFailure::WrongKey);
    let peer = PeerId::random();
    book.connected(peer, Some(&DialTarget::Place(address(2))));
    book.spoke(peer);
    assert!(!book.is_key_refused());
    assert_eq!(book.troubles(1).len(), 1, "it is still to be mended");
}

#[test]
fn multicast_strangers_refuse_no_key() {
    let mut book = book();
    book.found([address(1)], AddressOrigin::Multicast, START);
    assert_eq!(fail(&mut book, 1, DialFailure::WrongKey, 5), []);
    assert!(!book.is_key_refused());
}

#[test]
fn named_peer_is_logged_on_change_and_return() {
    let mut book = book();
    book.name(address(1), START);
    let line = |cause| PeerNews::Unreached { peer: address(1).to_string(), cause };
    assert_eq!(fail(&mut book, 1, DialFailure::Refused, 20), [line(DialFailure::Refused)]);
    assert_eq!(fail(&mut book, 1, DialFailure::NoAnswer, 20), [], "it says less");
    assert_eq!(fail(&mut book, 1, DialFailure::WrongKey, 20), [line(DialFailure::WrongKey)]);
    let peer = PeerId::random();
    book.connected(peer, Some(&DialTarget::Place(address(1))));
    assert_eq!(book.spoke(peer), [address(1).to_string()]);
    assert_eq!(book.spoke(peer), [] as [String; 0]);
}

#[test]
fn two_hundred_dead_addresses_are_one_line() {
    let mut book = book();
    book.found((1..=200).map(address), AddressOrigin::Found, START);
    let mut lines = Vec::new();
    for _ in 0..20 {
        lines.extend((1..=200).flat_map(|port| fail(&mut book, port, DialFailure::Refused, 1)));
    }
    assert!(
        matches!(
            lines[..],
            [PeerNews::NoneReached { addresses: 200, cause: DialFailure::Refused, .. }]
        ),
        "{lines:?}"
    );
}

#[test]
fn name_of_own_node_is_dialled_again() {
    let mut book = book();
    let name: Multiaddr = "/dns4/localhost/tcp/1".parse().expect("an address");
    book.name(name.clone(), START);
    book.take_due(START, 0);
    book.failed(&DialTarget::Place(name), DialFailure::Own, START);
    assert!(book.next_due().is_some() && book.candidates(0) == 0);
}

#[test]
fn wanted_member_is_dialled_at_once_without_room() {
    let mut book = book();
    let peer = PeerId::random();
    assert!(
        !book.want(peer, [address(1)], START),
        "an address without the peer's identity may be anybody's"
    );
    let there = address(1).with_p2p(peer).expect("an identity");
    assert!(book.want(peer, [there], START));
    assert_eq!(book.take_due(START, PEERS_WANTED), [(DialTarget::Peer(peer), vec![address(1)])]);
}
