//! The delay proxy itself: delays, losses and refusals.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::far::run_among_others;
use crate::support::network::distance::{DelayProxy, Door, ReservedPort};

const WAY: Duration = Duration::from_millis(50);
/// The timer's millisecond, and the extra time for a busy machine.
const SLACK: Duration = Duration::from_millis(25);

/// Echoes every byte, and closes when its client does.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let _cut = std::io::copy(&mut stream, &mut writer);
                let _gone = writer.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

fn connect(proxy: &DelayProxy) -> TcpStream {
    let stream = TcpStream::connect_timeout(&proxy.address(), Duration::from_secs(5)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

/// Sends one byte and waits for it.
fn trip(stream: &mut TcpStream) -> Duration {
    let (start, mut byte) = (Instant::now(), [0]);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut byte).unwrap();
    start.elapsed()
}

#[track_caller]
fn near(took: Duration, wanted: Duration) {
    assert!(took >= wanted && took < wanted + SLACK, "{took:?} instead of {wanted:?}");
}

#[test]
fn first_answer_takes_two_round_trips() {
    let _among = run_among_others();
    let proxy = DelayProxy::to(echo(), WAY).unwrap();
    let mut stream = connect(&proxy);
    let (first, second) = (trip(&mut stream), trip(&mut stream));
    println!("{:?} each way: the first answer after {first:?}, the second after {second:?}", WAY);
    near(first, 4 * WAY);
    near(second, 2 * WAY);
    proxy.set(|now| now.way = Duration::ZERO).unwrap();
    near(trip(&mut stream), Duration::ZERO);
}

#[test]
fn delay_does_not_limit_throughput_nor_change_a_byte() {
    let _among = run_among_others();
    const BYTES: usize = 8 << 20;
    let proxy = DelayProxy::to(echo(), WAY).unwrap();
    let mut stream = connect(&proxy);
    trip(&mut stream);
    let sent: Vec<u8> = (0..BYTES).map(|at| (at / 251 + at) as u8).collect();
    let (start, mut writer, bytes) = (Instant::now(), stream.try_clone().unwrap(), sent.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    println!("{} MB there and back in {:?}", BYTES >> 20, start.elapsed());
    assert!(received == sent, "{} bytes of {BYTES}, or other ones", received.len());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn refusing_door_refuses_and_opens_again() {
    let _among = run_among_others();
    let proxy = DelayProxy::to(echo(), Duration::ZERO).unwrap();
    let mut old = connect(&proxy);
    // Only bytes that the proxy has accepted stay.
    trip(&mut old);
    proxy.set(|now| now.door = Door::Refuses).unwrap();
    let error = TcpStream::connect(proxy.address()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    trip(&mut old);
    proxy.set(|now| now.door = Door::Open).unwrap();
    trip(&mut connect(&proxy));
}

#[test]
fn swallowing_door_lets_no_connect_end() {
    let _among = run_among_others();
    let proxy = DelayProxy::to(echo(), Duration::ZERO).unwrap();
    proxy.set(|now| now.door = Door::Swallows).unwrap();
    let outcome = TcpStream::connect_timeout(&proxy.address(), Duration::from_millis(500));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
    proxy.set(|now| now.door = Door::Open).unwrap();
    trip(&mut connect(&proxy));
}

#[test]
fn silent_door_accepts_and_says_nothing() {
    let _among = run_among_others();
    let proxy = DelayProxy::to(echo(), Duration::ZERO).unwrap();
    proxy.set(|now| now.door = Door::Silent).unwrap();
    let mut stream = connect(&proxy);
    stream.write_all(b"x").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let silence = stream.read(&mut [0]).unwrap_err();
    assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
    proxy.set(|now| now.door = Door::Open).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

#[test]
fn dark_connection_stays_and_goes_on_later() {
    let _among = run_among_others();
    let proxy = DelayProxy::to(echo(), Duration::ZERO).unwrap();
    let mut stream = connect(&proxy);
    trip(&mut stream);
    proxy.set(|now| now.flows = false).unwrap();
    stream.write_all(b"x").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(stream.read(&mut [0]).is_err(), "nothing comes through");
    proxy.set(|now| now.flows = true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

#[test]
fn cut_ends_every_connection_at_once() {
    let _among = run_among_others();
    let proxy = DelayProxy::to(echo(), WAY).unwrap();
    let mut stream = connect(&proxy);
    trip(&mut stream);
    proxy.cut().unwrap();
    let start = Instant::now();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
    trip(&mut connect(&proxy));
}

#[test]
fn end_of_a_server_travels_too() {
    let _among = run_among_others();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = DelayProxy::to(listener.local_addr().unwrap(), WAY).unwrap();
    let mut stream = connect(&proxy);
    drop(listener.accept().unwrap());
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    near(start.elapsed(), WAY);
}

#[test]
fn trickle_has_its_rate() {
    let _among = run_among_others();
    let proxy = DelayProxy::to(echo(), Duration::ZERO).unwrap();
    let mut stream = connect(&proxy);
    trip(&mut stream);
    proxy.set(|now| now.bytes_per_second = Some(1_000)).unwrap();
    let start = Instant::now();
    stream.write_all(&[7; 500]).unwrap();
    stream.read_exact(&mut [0; 500]).unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(450) && took < Duration::from_millis(1_300), "{took:?}");
}

#[test]
fn reserved_port_refuses_until_used() {
    let _among = run_among_others();
    let place = ReservedPort::reserve(Ipv4Addr::LOCALHOST).unwrap();
    assert_eq!(TcpStream::connect(place.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // The standard library's listeners reuse addresses, like those of a node.
    let listener = TcpListener::bind(place.address).unwrap();
    TcpStream::connect(place.address).unwrap();
    drop(listener);
    assert_eq!(TcpStream::connect(place.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}
