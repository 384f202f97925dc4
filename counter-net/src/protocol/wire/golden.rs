//! The bytes of 0.1's messages. Each is read as it was meant, and written again byte for byte. A
//! later release must pass this unchanged.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use counter_core::{ReplicaId, VersionVector};

use super::announcement::{Announcement, MemberState, Suspicion};
use super::answer::{Noted, PageMessage, Refused, Response, StateMessage};
use super::digest::{DigestPiece, cut};
use super::encoding::{self as wire, Hash, Id, VERSION};
use super::gossip::GossipMessage;
use super::request::{
    AckRequest, Ask, Compare, ConfirmMessage, DigestPart, PullPage, Request, TargetMessage, Tell,
};
use crate::protocol::interface::Refusal;

/// Lines of `name hex`: the messages below, as 0.1 writes them.
const GOLDEN: &str = include_str!("golden.txt");

/// The same messages with keys that a later release may add, in every map.
const LATER: &str = include_str!("golden_later.txt");

const ORD: ReplicaId = ReplicaId::new(0x0102_0304_0506_0708, 0x1112_1314_1516_1718);
const FRA: ReplicaId = ReplicaId::new(0x2122_2324_2526_2728, 1);

fn bytes(file: &str, name: &str) -> Vec<u8> {
    let line = file
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no line {name}"));
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit") as u8;
    line.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The message has exactly these bytes. They, and those of a later release, are read as the
/// message.
fn assert_golden<T: Serialize + DeserializeOwned + std::fmt::Debug>(name: &str, message: &T) {
    let written = hex(&wire::encode(message));
    assert_eq!(written, hex(&bytes(GOLDEN, name)), "{name} is written otherwise than 0.1 does");
    for file in [GOLDEN, LATER] {
        let read: T = wire::decode(&bytes(file, name), usize::MAX)
            .unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        assert_eq!(
            hex(&wire::encode(&read)),
            written,
            "{name} is read otherwise than 0.1 does: {read:?}"
        );
    }
}

fn announcement(state: MemberState) -> Announcement {
    Announcement {
        replica: Id(ORD),
        region: "ord".to_owned(),
        viewers: 300,
        release: "0.1.0".to_owned(),
        version: 7,
        ttl_ms: 90_000,
        state: state as u8,
        synced: true,
        addresses: Vec::new(),
    }
}

/// The same digest in two messages.
fn parts() -> [DigestPiece; 2] {
    let parts = cut(&[(ORD, 1_000), (FRA, 2)].into_iter().collect(), &VersionVector::new(), 300, 1);
    parts.try_into().expect("two parts")
}

fn vector() -> ByteBuf {
    wire::pack_vector(&[(ORD, 1_000), (FRA, 2)].into_iter().collect())
}

/// Listens at 192.0.2.7, port 7117, and at ::1: stands for addresses with an identity.
fn addressed() -> Announcement {
    let addresses = [
        &b"\x04\xc0\x00\x02\x07\x06\x1b\xcd"[..],
        b"\x29\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x06\x1b\xcd",
    ];
    Announcement {
        addresses: addresses.map(ByteBuf::from).to_vec(),
        ..announcement(MemberState::Live)
    }
}

/// A whole version vector to confirm, and the next one as its difference: ORD has 7 more, and a
/// third replica is new.
fn targets() -> [TargetMessage; 2] {
    let whole = TargetMessage {
        proposer: Id(ORD),
        number: 3,
        base: None,
        changes: ByteBuf::new(),
        digest: vector(),
    };
    let added =
        wire::pack_vector(&[(ReplicaId::new(0x3132_3334_3536_3738, 2), 1)].into_iter().collect());
    let changes = ByteBuf::from(vec![0, 7]);
    let change = TargetMessage {
        number: 4,
        base: Some((Id(ORD), 3)),
        changes,
        digest: added,
        ..whole.clone()
    };
    [whole, change]
}

/// Two targets by tag: the first and third replica confirm the one, nobody the other.
fn bits() -> ByteBuf {
    ByteBuf::from(*b"\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\x01\x05\xb1\xb2\xb3\xb4\xb5\xb6\xb7\xb8\x00")
}

/// Stands for a delta. counter-core's golden tests pin a delta's own bytes.
fn delta() -> ByteBuf {
    ByteBuf::from(*b"\x82\x01\x41\x00")
}

#[test]
fn gossip() {
    let gossip = GossipMessage { version: VERSION, sequence: 42, ..GossipMessage::default() };
    assert_golden(
        "gossip_announcement",
        &GossipMessage { announcement: Some(announcement(MemberState::Live)), ..gossip.clone() },
    );
    assert_golden(
        "gossip_leave",
        &GossipMessage { announcement: Some(announcement(MemberState::Left)), ..gossip.clone() },
    );
    assert_golden(
        "gossip_announcement_addresses",
        &GossipMessage { announcement: Some(addressed()), ..gossip.clone() },
    );
    let suspicion = Suspicion { replica: Id(ORD), version: 7, by: Id(FRA) };
    assert_golden(
        "gossip_suspicion",
        &GossipMessage { suspicion: Some(suspicion), ..gossip.clone() },
    );
    let [whole, change] = targets();
    assert_golden("gossip_target", &GossipMessage { target: Some(whole), ..gossip.clone() });
    assert_golden("gossip_target_change", &GossipMessage { target: Some(change), ..gossip });
}

#[test]
fn requests() {
    let compare = Compare {
        seen: Hash(1),
        state: Hash(u128::MAX),
        announcements: Hash(3 << 64),
        stale: false,
        buckets: None,
    };
    assert_golden("compare", &Request::compare(compare.clone()));
    assert_golden("compare_stale", &Request::compare(Compare { stale: true, ..compare }));
    let ask = Ask {
        announcement: announcement(MemberState::Live),
        have: vector(),
        uncommitted: ByteBuf::new(),
        birth: None,
        announcements: Hash(3 << 64),
        cells: false,
        part: None,
    };
    assert_golden("ask", &Request::ask(ask.clone()));
    let parted = ask.clone();
    assert_golden("ask_first", &Request::ask(Ask { birth: Some(delta()), cells: true, ..ask }));
    let pull = PullPage { replica: Id(FRA), have: vector(), only: None, cursor: None };
    assert_golden("pull", &Request::pull(pull.clone()));
    let only = Some(wire::pack_ids(&[ORD, FRA]));
    assert_golden(
        "pull_next",
        &Request::pull(PullPage { only, cursor: Some(ByteBuf::from(vec![9, 8, 7])), ..pull }),
    );
    let tell = Tell {
        announcement: announcement(MemberState::Left),
        have: vector(),
        uncommitted: ByteBuf::new(),
        delta: Some(delta()),
        successor: None,
        part: None,
        is_excerpt: false,
    };
    assert_golden("tell", &Request::tell(tell.clone()));
    assert_golden(
        // The files keep the name that they were pinned under.
        "tell_heir",
        &Request::tell(Tell { delta: None, successor: Some(Id(FRA)), ..tell }),
    );
    assert_golden("hold", &Request::ack(AckRequest { replica: Id(FRA), delta: Some(delta()) }));
    let confirm = ConfirmMessage { bits: bits(), whole: None };
    assert_golden("confirm", &Request::confirm(confirm.clone()));
    let [whole, _] = targets();
    let [first, second] = parts();
    assert_golden(
        "ask_part",
        &Request::ask(Ask { have: first.have.clone(), part: first.part, ..parted }),
    );
    let further = DigestPart {
        replica: Id(ORD),
        have: second.have,
        uncommitted: second.uncommitted,
        part: second.part.expect("a part"),
    };
    assert_golden("digest", &Request::digest(further));
    assert_golden(
        "confirm_whole",
        &Request::confirm(ConfirmMessage { whole: Some(whole), ..confirm }),
    );
}

#[test]
fn answers() {
    assert_golden("same", &Response::same(true));
    let state = StateMessage {
        have: None,
        state: Hash(5),
        synced: false,
        waits: false,
        announcements: Vec::new(),
        delta: None,
        part: None,
        differs: false,
        buckets: None,
    };
    assert_golden("state_of_hashes", &Response::state(state.clone()));
    let announcements = vec![
        announcement(MemberState::Live),
        announcement(MemberState::Suspected),
        announcement(MemberState::Ended),
    ];
    assert_golden(
        "state",
        &Response::state(StateMessage {
            have: Some(vector()),
            synced: true,
            announcements,
            delta: Some(delta()),
            ..state
        }),
    );
    assert_golden(
        "page",
        &Response::page(PageMessage { delta: delta(), next: Some(ByteBuf::from(vec![9, 8, 7])) }),
    );
    assert_golden("page_last", &Response::page(PageMessage { delta: delta(), next: None }));
    let noted = Response {
        version: VERSION,
        noted: Some(Noted { have: vector(), part: None }),
        ..Response::default()
    };
    assert_golden("noted", &noted);
    let [first, _] = parts();
    assert_golden("noted_part", &Response::noted(first));
    assert_golden("taken", &Response::taken());
    assert_golden("held", &Response::ack(1_000));
    assert_golden(
        "held_by",
        &Response { incarnation: Some(ORD.incarnation), ..Response::ack(1_000) },
    );
    assert_golden("confirmed", &Response::confirm(ConfirmMessage { bits: bits(), whole: None }));
    assert_golden("refused", &Response::refused(Refusal::NotRecorded));
    // A reason that a later release invented is read too.
    let refused = Refused { reason: "weather".to_owned(), lowest: 1, highest: 9 };
    assert_golden(
        "refused_later",
        &Response { version: VERSION, refused: Some(refused), ..Response::default() },
    );
}

#[test]
fn another_version_is_told_apart_from_noise() {
    // {"v": 2, "p": "moved"}: what a key means may have changed with the version, so nothing else
    // is looked at.
    let later = bytes(LATER, "version_2");
    assert_eq!(wire::decode::<Request>(&later, usize::MAX).unwrap_err(), Refusal::UnknownVersion);
    assert_eq!(wire::decode::<Request>(&later[1..], usize::MAX).unwrap_err(), Refusal::Malformed);
}

#[test]
fn every_line_is_of_a_test() {
    let names = |file: &str| {
        file.lines()
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(GOLDEN).len(), 32);
    let later: Vec<_> = names(LATER).into_iter().filter(|name| name != "version_2").collect();
    assert_eq!(later, names(GOLDEN));
}
