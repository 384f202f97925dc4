//! The node's answer to each kind of frame (RFC 6455), as raw bytes over TCP.
//!
//! The cases have the numbers of the Autobahn test suite, sections 1 to 7 and 10. A node echoes no
//! text. So a case sends a `ping` message, or an add whose id is the text, and hears the reply.

use std::io::Write;
use std::time::Duration;

use crate::support::process::{Node, cluster};
use crate::support::ws::RawSocket;
use serde_json::Value;

const CONTINUE: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// Set in the first byte of a message's last frame.
const FIN: u8 = 0x80;

/// The longest message that the server takes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// A message whose reply is [`ECHO`].
const MESSAGE: &[u8] = b"{\"type\":\"ping\",\"t\":7}";
const ECHO: &str = "pong message";

/// One case: the frames to send, the replies to hear, and the code of the node's Close frame.
struct Case {
    number: String,
    frames: Vec<Vec<u8>>,
    replies: Vec<String>,
    code: Option<u16>,
}

/// A client's frame, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        middle @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// [`MESSAGE`], with spaces up to this length.
fn padded(bytes: usize) -> Vec<u8> {
    let mut message = MESSAGE.to_vec();
    message.resize(bytes, b' ');
    message
}

/// A message in fragments of at most `size` bytes.
fn fragments(message: &[u8], size: usize) -> Vec<Vec<u8>> {
    let last = message.len().div_ceil(size) - 1;
    let first = |at| if at == 0 { TEXT } else { CONTINUE } | if at == last { FIN } else { 0 };
    message.chunks(size).enumerate().map(|(at, part)| frame(first(at), part)).collect()
}

/// [`MESSAGE`] in this many fragments.
fn parts(count: usize) -> Vec<Vec<u8>> {
    fragments(MESSAGE, MESSAGE.len().div_ceil(count))
}

/// The replies come, and then the node echoes the client's Close frame.
fn good(number: impl Into<String>, mut frames: Vec<Vec<u8>>, replies: &[&str]) -> Case {
    frames.push(close(1000, b""));
    ended(number, frames, replies, Some(1000))
}

/// The replies come, and then the node closes with 1002. Nothing later is answered.
fn wrong(number: impl Into<String>, frames: Vec<Vec<u8>>, replies: &[&str]) -> Case {
    ended(number, frames, replies, Some(1002))
}

fn ended(
    number: impl Into<String>,
    frames: Vec<Vec<u8>>,
    replies: &[&str],
    code: Option<u16>,
) -> Case {
    let replies = replies.iter().map(|reply| (*reply).to_owned()).collect();
    Case { number: number.into(), frames, replies, code }
}

/// A reply as a line. `None` for states and changes, which come at any time.
fn reply(first: u8, payload: &[u8]) -> Option<String> {
    if first == PONG {
        return Some(format!("pong {}", payload.escape_ascii()));
    }
    assert_eq!(first, FIN | TEXT, "no reply: {}", payload.escape_ascii());
    let message: Value = serde_json::from_slice(payload).unwrap();
    let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
    match &*text("type") {
        "state" | "change" => None,
        "pong" => Some(ECHO.to_owned()),
        "ack" => Some(format!("ack {}", text("id"))),
        _ => Some(text("error")),
    }
}

/// How the bytes of a case are cut into writes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Never,
    EachFrame,
    /// Or each 997 bytes of a long case.
    EachByte,
}

fn send(socket: &mut RawSocket, frames: &[Vec<u8>], cut: Cut) {
    let all = frames.concat();
    let pieces: Vec<&[u8]> = match cut {
        Cut::Never => vec![&all],
        Cut::EachFrame => frames.iter().map(Vec::as_slice).collect(),
        Cut::EachByte => all.chunks(if all.len() > 4_096 { 997 } else { 1 }).collect(),
    };
    for piece in pieces {
        // The node may have ended the socket already.
        let _sent = socket.stream.write_all(piece);
        if let Cut::EachFrame = cut {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

fn check(node: &Node, case: &Case, cut: Cut) {
    let mut socket = RawSocket::open(&node.http);
    send(&mut socket, &case.frames, cut);
    let mut replies = Vec::new();
    let goodbye = loop {
        match socket.frame() {
            Some((CLOSE, goodbye)) => break goodbye,
            Some((first, payload)) => replies.extend(reply(first, &payload)),
            None => panic!("{}, {cut:?}: cut off after {replies:?}", case.number),
        }
    };
    let code = goodbye.first_chunk().map(|code| u16::from_be_bytes(*code));
    assert_eq!(
        (replies, code),
        (case.replies.clone(), case.code),
        "{}, {cut:?}, reason {:?}",
        case.number,
        String::from_utf8_lossy(goodbye.get(2..).unwrap_or_default())
    );
    assert_eq!(socket.frame(), None, "{}: nothing follows a Close frame", case.number);
}

fn check_all(cases: &[Case]) {
    let node = Node::start(&cluster(), "ord", &[]);
    for case in cases {
        for cut in [Cut::Never, Cut::EachFrame, Cut::EachByte] {
            check(&node, case, cut);
        }
    }
    println!("{} cases", cases.len());
}

/// Sections 1 and 10, and the bounds.
#[test]
fn messages_of_any_length_are_read() {
    let mut cases = vec![good("1.1.1", vec![frame(FIN | TEXT, b"")], &["bad_message"])];
    for (at, length) in [125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
        cases.push(good(
            format!("1.1.{}", at + 2),
            vec![frame(FIN | TEXT, &padded(length))],
            &[ECHO],
        ));
    }
    for (at, length) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
        let binary = vec![frame(FIN | BINARY, &vec![0xFE; length])];
        cases.push(ended(format!("1.2.{}", at + 1), binary, &[], Some(1003)));
    }
    cases.push(good("10.1.1", fragments(&padded(65_536), 1_300), &[ECHO]));
    cases.push(good("longest", fragments(&padded(MESSAGE_BYTES_MAX), 9_000), &[ECHO]));
    let too_long = vec![frame(FIN | TEXT, &padded(MESSAGE_BYTES_MAX + 1))];
    cases.push(ended("too long", too_long.clone(), &[], Some(1009)));
    let header = vec![too_long[0][..14].to_vec()];
    cases.push(ended("too long by its header", header, &[], Some(1009)));
    let in_parts = fragments(&padded(MESSAGE_BYTES_MAX + 1), 9_000);
    cases.push(ended("too long in fragments", in_parts, &[], Some(1009)));
    check_all(&cases);
}

/// Section 2.
#[test]
fn pings_are_answered_with_their_payload() {
    let ping = |payload: &[u8]| frame(PING, payload);
    let long = "\\xfe".repeat(125);
    let ten: Vec<String> = (0..10).map(|at| format!("payload-{at}")).collect();
    let pongs: Vec<String> = ten.iter().map(|payload| format!("pong {payload}")).collect();
    let pongs: Vec<&str> = pongs.iter().map(String::as_str).collect();
    check_all(&[
        good("2.1", vec![ping(b"")], &["pong "]),
        good("2.2", vec![ping(b"Hello, world!")], &["pong Hello, world!"]),
        good(
            "2.3",
            vec![ping(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")],
            &["pong \\x00\\xff\\xfe\\xfd\\xfc\\xfb\\x00\\xff"],
        ),
        good("2.4, 2.6", vec![ping(&[0xFE; 125])], &[&format!("pong {long}")]),
        wrong("2.5", vec![ping(&[0xFE; 126])], &[]),
        good("2.7", vec![frame(PONG, b"")], &[]),
        good("2.8", vec![frame(PONG, b"unsolicited")], &[]),
        good("2.9", vec![frame(PONG, b"unsolicited"), ping(b"p")], &["pong p"]),
        good("2.10, 2.11", ten.iter().map(|payload| ping(payload.as_bytes())).collect(), &pongs),
    ]);
}

/// Sections 3 and 4.
#[test]
fn reserved_bits_and_opcodes_are_refused() {
    let message = || frame(FIN | TEXT, MESSAGE);
    let mut cases = vec![
        wrong("3.1", vec![frame(FIN | TEXT | 1 << 4, MESSAGE)], &[]),
        wrong("3.5", vec![frame(FIN | BINARY | 5 << 4, b"\x00\xff")], &[]),
        wrong("3.6", vec![frame(PING | 6 << 4, b"p")], &[]),
        wrong("3.7", vec![frame(CLOSE | 7 << 4, b"")], &[]),
        wrong("no mask", vec![message(), [&[FIN | TEXT, 21], MESSAGE].concat()], &[ECHO]),
    ];
    for bits in 2..=4 {
        let reserved = frame(FIN | TEXT | bits << 4, MESSAGE);
        let frames = vec![message(), reserved, frame(PING, b"")];
        cases.push(wrong(format!("3.{bits}"), frames, &[ECHO]));
    }
    for (section, opcodes) in [("4.1", 3..=7), ("4.2", 11..=15)] {
        for (at, opcode) in opcodes.enumerate() {
            let reserved = frame(FIN | opcode, if at % 2 == 0 { b"" } else { b"payload" });
            let number = format!("{section}.{}", at + 1);
            cases.push(match at {
                0 | 1 => wrong(number, vec![reserved], &[]),
                _ => wrong(number, vec![message(), reserved, frame(PING, b"")], &[ECHO]),
            });
        }
    }
    check_all(&cases);
}

/// Section 5.
#[test]
fn fragments_make_one_message() {
    let ping = |payload: &[u8]| frame(PING, payload);
    let stray = |fin: u8| frame(fin | CONTINUE, b"stray");
    let message = || frame(FIN | TEXT, MESSAGE);
    let mut with_ping = parts(2);
    with_ping.insert(1, ping(b"p"));
    let mut with_two = parts(5);
    with_two.insert(2, ping(b"one"));
    with_two.insert(5, ping(b"two"));
    check_all(&[
        wrong("5.1", vec![frame(0x9, b"one"), frame(FIN | CONTINUE, b"two")], &[]),
        wrong("5.2", vec![frame(0xA, b"one"), frame(FIN | CONTINUE, b"two")], &[]),
        good("5.3 to 5.5", parts(2), &[ECHO]),
        good("5.6 to 5.8", with_ping, &["pong p", ECHO]),
        wrong("5.9 to 5.11", vec![stray(FIN), message()], &[]),
        wrong("5.12 to 5.14", vec![stray(0), message()], &[]),
        wrong("5.15", [parts(2), vec![stray(0), message()]].concat(), &[ECHO]),
        wrong("5.16", [vec![stray(0)], parts(2), vec![stray(0)], parts(2)].concat(), &[]),
        wrong("5.17", [vec![stray(FIN)], parts(2), vec![stray(FIN)], parts(2)].concat(), &[]),
        wrong("5.18", vec![frame(TEXT, b"one"), frame(FIN | TEXT, b"two")], &[]),
        good("5.19, 5.20", with_two, &["pong one", "pong two", ECHO]),
    ]);
}

/// An add whose id is this text.
fn add(text: &[u8]) -> Vec<u8> {
    [b"{\"type\":\"add\",\"amount\":1,\"id\":\"", text, b"\"}"].concat()
}

/// The reply to that add. JSON and ids exclude some control characters, which are valid UTF-8.
fn reply_to(text: &str) -> String {
    match text.chars().find(|c| c.is_control()) {
        Some('\0'..='\x1f') => "bad_message".to_owned(),
        Some(_) => "bad_id".to_owned(),
        None => format!("ack {text}"),
    }
}

const GREEK: &[u8] = "κόσμε".as_bytes();

/// The texts of sections 6.5 to 6.23, which are those of Markus Kuhn's test of UTF-8 decoders. True
/// if a section's texts are valid.
fn texts() -> Vec<(u8, bool, Vec<Vec<u8>>)> {
    let owned = |texts: &[&[u8]]| texts.iter().map(|text| text.to_vec()).collect::<Vec<_>>();
    let prefixes = |valid: bool| {
        let prefixes = (1..=GREEK.len()).map(|end| GREEK[..end].to_vec());
        prefixes.filter(|text| std::str::from_utf8(text).is_ok() == valid).collect()
    };
    let lonely = [0xC0..0xDF, 0xE0..0xEF, 0xF0..0xF7, 0xF8..0xFB, 0xFC..0xFD]
        .map(|starts| starts.flat_map(|start| [start, b' ']).collect())
        .to_vec();
    let unfinished = owned(&[
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ]);
    // The last two code points of each plane, and those of the basic plane.
    let mut non_characters: Vec<Vec<u8>> = (1..=0x10)
        .flat_map(|plane| [plane << 16 | 0xFFFE, plane << 16 | 0xFFFF])
        .map(|code| char::from_u32(code).unwrap().to_string().into_bytes())
        .collect();
    non_characters.extend(owned(&[b"\xef\xbf\xbe", b"\xef\xbf\xbf"]));
    let surrogates = [
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xaf\xbf",
        b"\xed\xb0\x80",
        b"\xed\xbe\x80",
        b"\xed\xbf\xbf",
    ];
    let pairs = [0, 1, 2, 3]
        .iter()
        .flat_map(|&high| [4, 6].map(|low| [&surrogates[high][..], surrogates[low]].concat()))
        .collect();
    vec![
        (
            5,
            true,
            owned(&[
                b"hello$world",
                "hello¢world".as_bytes(),
                "hello€world".as_bytes(),
                "hello𤭢world".as_bytes(),
                GREEK,
            ]),
        ),
        (6, true, prefixes(true)),
        (6, false, prefixes(false)),
        (7, true, owned(&[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"])),
        (8, false, owned(&[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"])),
        (9, true, owned(&[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"])),
        (
            10,
            false,
            owned(&[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]),
        ),
        (
            11,
            true,
            owned(&[b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf"]),
        ),
        (11, false, owned(&[b"\xf4\x90\x80\x80"])),
        (
            12,
            false,
            owned(&[
                b"\x80",
                b"\xbf",
                b"\x80\xbf",
                b"\x80\xbf\x80",
                b"\x80\xbf\x80\xbf",
                b"\x80\xbf\x80\xbf\x80",
                b"\x80\xbf\x80\xbf\x80\xbf",
                &(0x80..=0xBF).collect::<Vec<_>>(),
            ]),
        ),
        (13, false, lonely),
        (14, false, unfinished.clone()),
        (15, false, vec![unfinished.concat()]),
        (16, false, owned(&[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"])),
        (
            17,
            false,
            owned(&[
                b"\xc0\xaf",
                b"\xe0\x80\xaf",
                b"\xf0\x80\x80\xaf",
                b"\xf8\x80\x80\x80\xaf",
                b"\xfc\x80\x80\x80\x80\xaf",
            ]),
        ),
        (
            18,
            false,
            owned(&[
                b"\xc1\xbf",
                b"\xe0\x9f\xbf",
                b"\xf0\x8f\xbf\xbf",
                b"\xf8\x87\xbf\xbf\xbf",
                b"\xfc\x83\xbf\xbf\xbf\xbf",
            ]),
        ),
        (
            19,
            false,
            owned(&[
                b"\xc0\x80",
                b"\xe0\x80\x80",
                b"\xf0\x80\x80\x80",
                b"\xf8\x80\x80\x80\x80",
                b"\xfc\x80\x80\x80\x80\x80",
            ]),
        ),
        (20, false, surrogates.map(|text| text.to_vec()).to_vec()),
        (21, false, pairs),
        (22, true, non_characters),
        (23, true, ('\u{FFF9}'..='\u{FFFF}').map(|c| c.to_string().into_bytes()).collect()),
    ]
}

/// Section 6.
#[test]
fn text_must_be_utf8() {
    let mixed = "Hello-µ@ßöäüàá-UTF-8!!";
    let half = "Hello-µ@ßöä".len();
    let in_two = |text: &[u8], at: usize| {
        let (prefix, suffix) = text.split_at(at);
        vec![frame(TEXT, prefix), frame(FIN | CONTINUE, suffix)]
    };
    let empty = |first: u8| frame(first, b"");
    let invalid = add(&[GREEK, b"\xed\xa0\x80edited"].concat());
    let (mixed_add, ack) = (add(mixed.as_bytes()), reply_to(mixed));
    let greek_ack = reply_to(std::str::from_utf8(GREEK).unwrap());
    let mut cases = vec![
        good("6.1.1", vec![empty(FIN | TEXT)], &["bad_message"]),
        good("6.1.2", vec![empty(TEXT), empty(CONTINUE), empty(FIN | CONTINUE)], &["bad_message"]),
        good("6.1.3", vec![empty(TEXT), frame(CONTINUE, MESSAGE), empty(FIN | CONTINUE)], &[ECHO]),
        good("6.2.1", vec![frame(FIN | TEXT, &mixed_add)], &[&ack]),
        good("6.2.2", in_two(&mixed_add, add(b"").len() - 2 + half), &[&ack]),
        good("6.2.3", fragments(&mixed_add, 1), &[&ack]),
        good("6.2.4", fragments(&add(GREEK), 1), &[&greek_ack]),
        ended("6.3.1", vec![frame(FIN | TEXT, &invalid)], &[], Some(1007)),
        ended("6.3.2", fragments(&invalid, 1), &[], Some(1007)),
    ];
    for (section, valid, texts) in texts() {
        for text in texts {
            let number = format!("6.{section}, {}", text.escape_ascii());
            let frames = vec![frame(FIN | TEXT, &add(&text))];
            cases.push(if valid {
                good(number, frames, &[&reply_to(std::str::from_utf8(&text).unwrap())])
            } else {
                ended(number, frames, &[], Some(1007))
            });
        }
    }
    check_all(&cases);
}

/// Cases 6.4.1 to 6.4.4. A fragment that is not UTF-8 ends the socket before the message is whole.
/// Inside one frame, the end of the frame decides.
#[test]
fn invalid_fragment_fails_at_once() {
    let node = Node::start(&cluster(), "ord", &[]);
    let closes_with = |socket: &mut RawSocket, code: u16| loop {
        match socket.frame().expect("a Close frame") {
            (CLOSE, goodbye) => return assert_eq!(goodbye[..2], code.to_be_bytes()),
            (first, payload) => assert_eq!(reply(first, &payload), None),
        }
    };
    for invalid in [&b"\xf4\x90\x80\x80"[..], b"\xf4\x90"] {
        let mut socket = RawSocket::open(&node.http);
        send(&mut socket, &[frame(TEXT, GREEK), frame(CONTINUE, invalid)], Cut::EachFrame);
        closes_with(&mut socket, 1007);
        let mut socket = RawSocket::open(&node.http);
        let whole = frame(FIN | TEXT, &[GREEK, invalid, b"edited"].concat());
        send(
            &mut socket,
            &whole.chunks(GREEK.len()).map(<[u8]>::to_vec).collect::<Vec<_>>(),
            Cut::EachFrame,
        );
        closes_with(&mut socket, 1007);
    }
}

/// Section 7.
#[test]
fn close_frames_are_checked_and_answered() {
    let message = || frame(FIN | TEXT, MESSAGE);
    let mut cases = vec![
        good("7.1.1", vec![message()], &[ECHO]),
        ended("7.1.2", vec![close(1000, b""), frame(CLOSE, b"")], &[], Some(1000)),
        ended("7.1.3", vec![close(1000, b""), frame(PING, b"")], &[], Some(1000)),
        ended("7.1.4", vec![close(1000, b""), message()], &[], Some(1000)),
        ended(
            "7.1.5",
            vec![frame(TEXT, b"one"), close(1000, b""), frame(FIN | CONTINUE, b"two")],
            &[],
            Some(1000),
        ),
        ended(
            "7.1.6",
            vec![frame(FIN | TEXT, &padded(256 * 1024)), close(1000, b""), frame(PING, b"")],
            &[ECHO],
            Some(1000),
        ),
        ended("7.3.1", vec![frame(CLOSE, b"")], &[], None),
        wrong("7.3.2", vec![frame(CLOSE, b"x")], &[]),
        ended("7.3.3", vec![close(1000, b"")], &[], Some(1000)),
        ended("7.3.4", vec![close(1000, "Grüße".as_bytes())], &[], Some(1000)),
        ended("7.3.5", vec![close(1000, &[b'*'; 123])], &[], Some(1000)),
        wrong("7.3.6", vec![close(1000, &[b'*'; 124])], &[]),
        ended("7.5.1", vec![close(1000, b"\xed\xa0\x80")], &[], Some(1007)),
    ];
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
    {
        cases.push(ended(format!("7.7, {code}"), vec![close(code, b"")], &[], Some(code)));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(wrong(format!("7.9, 7.13, {code}"), vec![close(code, b"")], &[]));
    }
    check_all(&cases);
}
