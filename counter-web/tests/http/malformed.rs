//! 50,000 malformed frames and requests, or COUNTER_MALFORMED. Each is answered or cut off. The
//! total stays exact, and the memory flat.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::{add, connect, counter, get};
use crate::support::process::{Node, Runtime, cluster, command};

/// A seeded stream of bytes and choices (splitmix64).
struct SeededRandom(u64);

impl SeededRandom {
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

/// A request that no server may take for an add. Also returns true if it is complete, so that it
/// must be answered.
fn bad_request(random: &mut SeededRandom) -> (Vec<u8>, bool) {
    let body = random.of(BAD_BODIES);
    let good = "{\"amount\":1}";
    let post = |head: &str, body: &str| {
        format!("POST /api/counters/clicks/add HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{body}")
            .into_bytes()
    };
    let kind = random.below(10);
    let request = match kind {
        0 => random.bytes(2_000),
        1 => {
            let whole = post(&format!("Content-Length: {}", good.len()), good);
            whole[..random.below(whole.len())].to_vec()
        }
        2 => post("Transfer-Encoding: chunked", &format!("{:x}\r\n{body}\r\n", random.next())),
        3 => post(&format!("Content-Length: {}", body.len()), body),
        4 => post(&format!("Content-Length: {}\r\nContent-Length: 7", random.next()), good),
        5 => post(
            &format!(
                "Content-Length: 12\r\nContent-Type: {}",
                random.of(&["text/html", "", "\u{1}", "application/xml;"])
            ),
            good,
        ),
        6 => post("Content-Length: 12\r\nOrigin: null", good),
        7 => [b"GET /".as_slice(), &random.bytes(300), b" HTTP/1.1\r\n\r\n"].concat(),
        8 => post(&format!("X: {}", "y".repeat(20_000)), good),
        _ => format!(
            "{} /ws?counter=%{} HTTP/1.1\r\nUpgrade: {}\r\n\r\n",
            random.of(&["GET", "PUT", "\u{7f}"]),
            random.next(),
            body
        )
        .into_bytes(),
    };
    (request, kind > 2)
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
fn bad_frame(random: &mut SeededRandom) -> Vec<u8> {
    let text = format!(
        "{{\"type\":\"add\",\"id\":\"m:1\",\"amount\":{}}}",
        random.of(&["0", "1.5", "null", "\"1\"", "1e9", "-1000001", "{}"])
    );
    match random.below(9) {
        0 => frame(0x81, text.as_bytes()),
        1 => frame(0x81, random.of(BAD_BODIES).as_bytes()),
        2 => frame(0x81, &[b"\xff", random.bytes(200).as_slice()].concat()),
        3 => frame(0x80 | random.below(0x80) as u8 | 0x10, &random.bytes(60)),
        4 => frame(0x83 + random.below(5) as u8, &random.bytes(60)),
        5 => frame(0x89, &vec![0; 126 + random.below(200)]),
        6 => frame(0x80, &random.bytes(100)),
        7 => [b"\x81\xff".as_slice(), &random.next().to_be_bytes(), &[0; 4], &random.bytes(100)]
            .concat(),
        _ => frame(0x88, &random.bytes(126)),
    }
}

/// The outcome of a request or a frame.
#[derive(Debug, PartialEq)]
enum Fate {
    Answered(Vec<u8>),
    Cut,
}

/// Reads until `enough`, the end, or a reset. Fails on a timeout.
fn until(stream: &mut TcpStream, what: &[u8], enough: impl Fn(&[u8]) -> bool) -> Fate {
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    while !enough(&heard) {
        match stream.read(&mut piece) {
            Ok(0) => return Fate::Cut,
            Ok(bytes) => heard.extend_from_slice(&piece[..bytes]),
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
            {
                return Fate::Cut;
            }
            Err(error) => {
                panic!("neither answered nor cut ({error}): {}", String::from_utf8_lossy(what))
            }
        }
    }
    Fate::Answered(heard)
}

fn holds(heard: &[u8], part: &[u8]) -> bool {
    heard.windows(part.len()).any(|window| window == part)
}

/// True for a complete error response. That to an unreadable head has no body.
fn is_refusal(heard: &[u8]) -> bool {
    let in_words = holds(heard, b"{\"error\":\"") && heard.ends_with(b"\"}");
    let bare = holds(heard, b"\r\ncontent-length: 0\r\n") && heard.ends_with(b"\r\n\r\n");
    heard.starts_with(b"HTTP/1.1 4") && (in_words || bare)
}

/// Sends a request. Returns true if it got an error response.
fn ask(http: &str, request: &[u8], has_end: bool) -> bool {
    let mut stream = connect(http);
    // It may have been cut before all of it was written.
    let _sent = stream.write_all(request);
    if has_end {
        return matches!(until(&mut stream, request, is_refusal), Fate::Answered(_));
    }
    let _ended = stream.shutdown(std::net::Shutdown::Write);
    until(&mut stream, request, |_| false);
    false
}

/// Sends a frame and then a ping, which is answered if the socket stays open.
fn send_frame(http: &str, bytes: &[u8]) {
    let mut stream = connect(http);
    let opening = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: \
        websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(opening.as_bytes()).unwrap();
    until(&mut stream, b"the opening", |heard| holds(heard, b"\"type\":\"state\""));
    let _sent = stream
        .write_all(bytes)
        .and_then(|()| stream.write_all(&frame(0x81, b"{\"type\":\"ping\",\"t\":7}")));
    until(&mut stream, bytes, |heard| holds(heard, b"\"type\":\"pong\""));
}

fn resident_kib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap()
}

/// Sends `count` of them from `workers` threads, each with its own seed. Returns the number of
/// complete requests, and how many of them got an error response instead of being cut.
fn assault(http: &str, seed: u64, count: usize, workers: usize) -> (usize, usize) {
    std::thread::scope(|scope| {
        let worker = |worker: usize| {
            let (mut random, mut whole, mut refused) =
                (SeededRandom(seed ^ (worker as u64) << 32), 0, 0);
            for turn in 0..count / workers {
                if turn % 2 == 1 {
                    send_frame(http, &bad_frame(&mut random));
                    continue;
                }
                let (request, has_end) = bad_request(&mut random);
                whole += usize::from(has_end);
                refused += usize::from(ask(http, &request, has_end));
            }
            (whole, refused)
        };
        let workers: Vec<_> =
            (0..workers).map(|number| scope.spawn(move || worker(number))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    })
}

/// The growth of memory allowed from the second fifth to the last, in KiB. 30,000 inputs lie
/// between, so a leak of 50 bytes each is detected.
const GROWTH_KIB_MAX: u64 = 1_500;

#[test]
fn malformed_input_never_changes_the_total() {
    let count: usize = std::env::var("COUNTER_MALFORMED")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(50_000);
    let runtime = Runtime::new();
    let said = runtime.path().join("stderr");
    let mut serve = command(&runtime);
    serve.args([
        "--cluster",
        &cluster(),
        "--region",
        "ord",
        "--discover",
        "none",
        "--http",
        "127.0.0.1:0",
    ]);
    let mut node = Node::spawn({
        serve.stderr(std::fs::File::create(&said).unwrap());
        serve
    });
    let (mut resident, mut whole, mut refused) = (Vec::new(), 0, 0);
    for round in 0..5 {
        let seen = assault(&node.http, round, count / 5, 4);
        (whole, refused) = (whole + seen.0, refused + seen.1);
        add(&node.http, 10);
        assert!(node.is_running());
        assert_eq!(counter(&node.http, "clicks")["total"], 10 * (round + 1));
        eventually("every socket is given up", Duration::from_secs(20), || {
            match get(&node.http, "/metrics").body {
                metrics if metrics.contains("\ncounter_web_streams 0\n") => Ok(()),
                metrics => Err(metrics
                    .lines()
                    .find(|line| line.starts_with("counter_web_streams"))
                    .unwrap_or_default()
                    .to_owned()),
            }
        });
        resident.push(resident_kib(&node));
    }
    println!(
        "{count} malformed, {refused} of {whole} whole requests refused with a status; resident \
            after each fifth, KiB: {resident:?}"
    );
    assert!(refused * 100 >= whole * 99, "{refused} of {whole}");
    assert!(resident[4] < resident[1] + GROWTH_KIB_MAX, "{resident:?}");
    assert!(node.terminate().success());
    assert_eq!(
        std::fs::read_to_string(said).unwrap(),
        "",
        "nothing panicked, and nothing is an error of the node"
    );
}
