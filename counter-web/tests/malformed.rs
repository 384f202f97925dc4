//! Thousands of malformed frames and requests: each is answered or cut off, the total stays exact, the memory flat. COUNTER_MALFORMED=50000 for more.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::http::{add, connect, counter};
use support::process::{Node, Runtime, cluster, command};

/// A seeded stream of bytes and choices (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next() as u8).collect()
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const BAD_BODIES: &[&str] = &[
    "",
    "{",
    "[]",
    "null",
    "{\"amount\":0}",
    "{\"amount\":1e400}",
    "{\"amount\":1.5}",
    "{\"amount\":9999999999999999999999}",
    "{\"amount\":\"1\"}",
    "{\"amount\":[[[[[[[[1]]]]]]]]}",
    "{\"amount\":1",
    "{\"amount\":1}}",
];

/// A request that adds nothing, whatever is made of it.
fn bad_request(chance: &mut Chance) -> Vec<u8> {
    let body = chance.of(BAD_BODIES);
    let good = "{\"amount\":1}";
    let post = |head: &str, body: &str| format!("POST /api/counters/clicks/add HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{body}").into_bytes();
    match chance.below(10) {
        0 => chance.bytes(2_000),
        1 => post(&format!("Content-Length: {}", body.len()), body),
        2 => {
            let whole = post(&format!("Content-Length: {}", good.len()), good);
            whole[..chance.below(whole.len())].to_vec()
        }
        3 => post("Transfer-Encoding: chunked", &format!("{:x}\r\n{body}\r\n", chance.next())),
        4 => post(&format!("Content-Length: {}\r\nContent-Length: 7", chance.next()), good),
        5 => post(&format!("Content-Length: 12\r\nContent-Type: {}", chance.of(&["text/html", "", "\u{1}", "application/xml;"])), good),
        6 => post("Content-Length: 12\r\nOrigin: null", good),
        7 => [b"GET /".as_slice(), &chance.bytes(300), b" HTTP/1.1\r\n\r\n"].concat(),
        8 => post(&format!("X: {}", "y".repeat(20_000)), good),
        _ => format!("{} /ws?counter=%{} HTTP/1.1\r\nUpgrade: {}\r\n\r\n", chance.of(&["GET", "PUT", "\u{7f}"]), chance.next(), body)
            .into_bytes(),
    }
}

/// A frame of these first two bytes, masked with a key of 0.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        long => frame.extend_from_slice(&[0x80 | 126, (long >> 8) as u8, long as u8]),
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// A frame that adds nothing.
fn bad_frame(chance: &mut Chance) -> Vec<u8> {
    let text =
        format!("{{\"type\":\"add\",\"id\":\"m:1\",\"amount\":{}}}", chance.of(&["0", "1.5", "null", "\"1\"", "1e9", "-1000001", "{}"]));
    match chance.below(9) {
        0 => frame(0x81, text.as_bytes()),
        1 => frame(0x81, chance.of(BAD_BODIES).as_bytes()),
        2 => frame(0x81, &[b"\xff", chance.bytes(200).as_slice()].concat()),
        3 => frame(0x80 | chance.below(0x80) as u8 | 0x10, &chance.bytes(60)),
        4 => frame(0x83 + chance.below(5) as u8, &chance.bytes(60)),
        5 => frame(0x89, &vec![0; 126 + chance.below(200)]),
        6 => frame(0x80, &chance.bytes(100)),
        7 => [b"\x81\xff".as_slice(), &chance.next().to_be_bytes(), &[0; 4], &chance.bytes(100)].concat(),
        _ => frame(0x88, &chance.bytes(126)),
    }
}

/// Reads until `enough`, the end, or a reset; fails where the node does none of these.
fn until(stream: &mut TcpStream, what: &[u8], enough: impl Fn(&[u8]) -> bool) {
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    while !enough(&heard) {
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(bytes) => heard.extend_from_slice(&piece[..bytes]),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return,
            Err(error) => panic!("neither answered nor cut ({error}): {}", String::from_utf8_lossy(what)),
        }
    }
}

fn holds(heard: &[u8], part: &[u8]) -> bool {
    heard.windows(part.len()).any(|window| window == part)
}

fn ask(http: &str, request: &[u8]) {
    let mut stream = connect(http);
    // It may have been cut before all of it was written.
    let _sent = stream.write_all(request);
    let _ended = stream.shutdown(std::net::Shutdown::Write);
    until(&mut stream, request, |_| false);
}

fn send_frame(http: &str, bytes: &[u8]) {
    let mut stream = connect(http);
    let opening = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(opening.as_bytes()).unwrap();
    until(&mut stream, b"the opening", |heard| holds(heard, b"\"type\":\"state\""));
    let _sent = stream.write_all(bytes).and_then(|()| stream.write_all(&frame(0x81, b"{\"type\":\"ping\",\"t\":7}")));
    // A frame that claims to be longer than it is keeps the ping for itself, until this side ends.
    let _ended = stream.shutdown(std::net::Shutdown::Write);
    until(&mut stream, bytes, |heard| holds(heard, b"\"type\":\"pong\""));
}

fn resident_kib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap()
}

/// `count` of them from `workers` threads at once, each with a seed of its own.
fn assault(http: &str, seed: u64, count: usize, workers: usize) {
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                let mut chance = Chance(seed ^ (worker as u64) << 32);
                for turn in 0..count / workers {
                    match turn % 2 {
                        0 => ask(http, &bad_request(&mut chance)),
                        _ => send_frame(http, &bad_frame(&mut chance)),
                    }
                }
            });
        }
    });
}

#[test]
fn malformed_frames_and_requests_are_answered_or_cut_and_the_total_is_exact() {
    let count: usize = std::env::var("COUNTER_MALFORMED").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let runtime = Runtime::new();
    let said = runtime.path().join("stderr");
    let mut serve = command(&runtime);
    serve.args(["--cluster", &cluster(), "--region", "ord", "--discover", "none", "--http", "127.0.0.1:0"]);
    let mut node = Node::spawn({
        serve.stderr(std::fs::File::create(&said).unwrap());
        serve
    });
    let mut resident = Vec::new();
    for round in 0..5 {
        assault(&node.http, round, count / 5, 4);
        add(&node.http, 10);
        assert!(node.is_running());
        assert_eq!(counter(&node.http, "clicks")["total"], 10 * (round + 1));
        std::thread::sleep(Duration::from_millis(50));
        resident.push(resident_kib(&node));
    }
    println!("{count} malformed; resident after each fifth, KiB: {resident:?}");
    // The first fifth warms up. What leaked at each would be there five times over.
    assert!(resident[4] < resident[0] + 4_096 + resident[0] / 4, "{resident:?}");
    assert!(node.terminate().success());
    assert_eq!(std::fs::read_to_string(said).unwrap(), "", "nothing panicked, and nothing is an error of the node");
}
