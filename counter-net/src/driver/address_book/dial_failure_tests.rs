//! Causes of failed dials over real sockets, and what the accepting end sees of a wrong key.

use std::time::Duration;

use futures::StreamExt;
use futures::future::Either;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{Config, Swarm, SwarmEvent, dummy};
use libp2p::{Transport, tcp, yamux};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::config::ClusterKey;
use crate::network::resolve::Resolver;
use crate::network::transport::{Patience, PeerTransport, build_with};

/// A timeout for peers that never answer.
const SHORT: Duration = Duration::from_millis(300);

/// A key whose bytes are all this number, or none.
type KeyByte = Option<u8>;

const KEY: KeyByte = Some(1);
const OTHER_KEY: KeyByte = Some(2);

fn keys(key: KeyByte) -> Vec<ClusterKey> {
    key.iter().map(|byte| ClusterKey::from_bytes([*byte; 32])).collect()
}

fn ours(keypair: &Keypair, key: KeyByte, patience: Patience) -> PeerTransport {
    build_with(keypair, &keys(key), Resolver::File("/nonexistent/resolv.conf".into(), 53), patience)
        .unwrap()
}

/// The transport of an earlier release, which checks no greeting.
fn earlier(keypair: &Keypair, key: KeyByte) -> PeerTransport {
    tcp::tokio::Transport::default()
        .and_then(move |socket, _| async move {
            match key {
                Some(byte) => PnetConfig::new(PreSharedKey::new([byte; 32]))
                    .handshake(socket)
                    .await
                    .map(Either::Left),
                None => Ok(Either::Right(socket)),
            }
        })
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair).unwrap())
        .multiplex(yamux::Config::default())
        .timeout(Duration::from_secs(3))
        .boxed()
}

fn swarm(keypair: Keypair, transport: PeerTransport) -> Swarm<dummy::Behaviour> {
    Swarm::new(
        transport,
        dummy::Behaviour,
        keypair.public().to_peer_id(),
        Config::with_tokio_executor(),
    )
}

fn node(key: KeyByte, patience: Patience) -> Swarm<dummy::Behaviour> {
    let keypair = Keypair::generate_ed25519();
    let transport = ours(&keypair, key, patience);
    swarm(keypair, transport)
}

async fn listen(swarm: &mut Swarm<dummy::Behaviour>) -> Multiaddr {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

/// A node that listens, and whether each connection that failed there had another key.
async fn listening(
    mut swarm: Swarm<dummy::Behaviour>,
) -> (Multiaddr, mpsc::UnboundedReceiver<bool>) {
    let address = listen(&mut swarm).await;
    let (failed, failures) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::IncomingConnectionError { error, .. } =
                swarm.select_next_some().await
            {
                let _test_is_over = failed.send(is_wrong_key(&error));
            }
        }
    });
    (address, failures)
}

/// Dials, and returns the cause if that fails.
async fn outcome(
    swarm: &mut Swarm<dummy::Behaviour>,
    options: DialOpts,
) -> Result<(), DialFailure> {
    swarm.dial(options).map_err(|error| DialFailure::of(&error))?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { endpoint, .. } if endpoint.is_dialer() => {
                return Ok(());
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                return Err(DialFailure::of(&error));
            }
            _ => {}
        }
    }
}

fn to(address: Multiaddr) -> DialOpts {
    DialOpts::unknown_peer_id().address(address).allocate_new_port().build()
}

async fn cause(key: KeyByte, patience: Patience, address: Multiaddr) -> DialFailure {
    outcome(&mut node(key, patience), to(address)).await.expect_err("nobody is there")
}

fn at(socket: std::net::SocketAddr) -> Multiaddr {
    format!("/ip4/{}/tcp/{}", socket.ip(), socket.port()).parse().unwrap()
}

/// A listener that accepts connections and is not a libp2p peer.
async fn stranger_that<F: Future<Output = ()> + Send + 'static>(
    meet: impl Fn(TcpStream) -> F + Send + 'static,
) -> Multiaddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = at(listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(meet(socket));
        }
    });
    address
}

fn impatient() -> Patience {
    Patience { name: SHORT, connect: SHORT, greeting: SHORT, handshake: SHORT }
}

#[tokio::test]
async fn a_port_without_listener_refuses() {
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(
        cause(None, Patience::default(), at(bound.local_addr().unwrap())).await,
        DialFailure::Refused
    );
}

#[tokio::test]
async fn a_host_that_drops_packets_gives_no_answer() {
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut queued = Vec::new();
    // The system drops the requests that its queue has no room for.
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        queued.push(stream);
    }
    assert_eq!(cause(None, impatient(), at(address)).await, DialFailure::NoAnswer);
}

#[tokio::test]
async fn mute_far_end_is_silent() {
    for key in [None, KEY] {
        let address = stranger_that(|socket| async move {
            let _held = socket;
            std::future::pending().await
        });
        assert_eq!(cause(key, impatient(), address.await).await, DialFailure::Silent, "{key:?}");
    }
}

#[tokio::test]
async fn far_end_that_stops_midway_is_not_silent() {
    let nonce_only = |mut socket: TcpStream| async move {
        socket.write_all(&[7; 24]).await.unwrap();
        std::future::pending().await
    };
    assert_eq!(
        cause(KEY, impatient(), stranger_that(nonce_only).await).await,
        DialFailure::Unfinished
    );
    let greeting_only = |mut socket: TcpStream| async move {
        socket.write_all(b"\x13/multistream/1.0.0\n").await.unwrap();
        std::future::pending().await
    };
    assert_eq!(
        cause(None, impatient(), stranger_that(greeting_only).await).await,
        DialFailure::Unfinished
    );
}

#[tokio::test]
async fn far_end_that_closes_at_once_hangs_up() {
    for key in [None, KEY] {
        let address = stranger_that(|socket| async move { drop(socket) });
        assert_eq!(
            cause(key, Patience::default(), address.await).await,
            DialFailure::HungUp,
            "{key:?}"
        );
    }
}

#[tokio::test]
async fn both_ends_know_of_another_key() {
    for (dialler, listener) in [(KEY, OTHER_KEY), (KEY, None), (None, KEY)] {
        let (address, mut failures) = listening(node(listener, Patience::default())).await;
        // Often: the noise of a wrong key must never look like anything else.
        for _ in 0..20 {
            assert_eq!(
                cause(dialler, Patience::default(), address.clone()).await,
                DialFailure::WrongKey,
                "{dialler:?} {listener:?}"
            );
            assert_eq!(failures.recv().await, Some(true), "{dialler:?} {listener:?}");
        }
    }
}

#[tokio::test]
async fn an_earlier_release_is_met_with_the_same_key() {
    for key in [None, KEY] {
        let keypair = Keypair::generate_ed25519();
        let transport = earlier(&keypair, key);
        let (theirs, _failures) = listening(swarm(keypair, transport)).await;
        assert_eq!(outcome(&mut node(key, Patience::default()), to(theirs)).await, Ok(()));
        let keypair = Keypair::generate_ed25519();
        let transport = earlier(&keypair, key);
        let (ours, _failures) = listening(node(key, Patience::default())).await;
        assert_eq!(outcome(&mut swarm(keypair, transport), to(ours)).await, Ok(()));
    }
}

#[tokio::test]
async fn earlier_release_with_another_key_is_refused() {
    for (dialler, listener) in [(KEY, OTHER_KEY), (KEY, None), (None, KEY)] {
        let keypair = Keypair::generate_ed25519();
        let transport = earlier(&keypair, listener);
        let (theirs, _failures) = listening(swarm(keypair, transport)).await;
        let found = cause(dialler, Patience::default(), theirs).await;
        assert!(
            matches!(
                found,
                DialFailure::WrongKey
                    | DialFailure::HungUp
                    | DialFailure::Silent
                    | DialFailure::Unfinished
            ),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn unresolvable_name_is_reported_with_its_reason() {
    let found =
        cause(None, Patience::default(), "/dns4/nodes.test/tcp/7117".parse().unwrap()).await;
    assert!(
        matches!(&found, DialFailure::Name(reason) if reason.contains("/nonexistent/resolv.conf")),
        "{found:?}"
    );
}

#[tokio::test]
async fn hosts_file_needs_no_name_server() {
    let (address, _failures) = listening(node(None, Patience::default())).await;
    let named = address.replace(0, |_| Some(Protocol::Dns("localhost".into()))).unwrap();
    assert_eq!(outcome(&mut node(None, Patience::default()), to(named)).await, Ok(()));
}

#[tokio::test]
async fn other_peer_and_own_node_are_distinguished() {
    let (address, _failures) = listening(node(None, Patience::default())).await;
    let absent = Keypair::generate_ed25519().public().to_peer_id();
    let meant = DialOpts::peer_id(absent).addresses(vec![address]).allocate_new_port().build();
    assert_eq!(
        outcome(&mut node(None, Patience::default()), meant).await,
        Err(DialFailure::Stranger)
    );
    let mut own = node(None, Patience::default());
    let address = listen(&mut own).await;
    let port = address
        .iter()
        .find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None })
        .unwrap();
    let by_a_detour = stranger_that(move |mut socket| async move {
        let mut onward = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _closed = tokio::io::copy_bidirectional(&mut socket, &mut onward).await;
    });
    assert_eq!(outcome(&mut own, to(address)).await, Err(DialFailure::Own));
    assert_eq!(outcome(&mut own, to(by_a_detour.await)).await, Err(DialFailure::Own));
}

#[test]
fn wrapped_system_errors_are_recognised() {
    let wrapped = |kind: io::ErrorKind| {
        io::Error::other(noise::Error::Io(io::Error::other(io::Error::from(kind))))
    };
    assert_eq!(
        DialFailure::of_error(&wrapped(io::ErrorKind::HostUnreachable)),
        DialFailure::Unreachable
    );
    assert_eq!(
        DialFailure::of_error(&wrapped(io::ErrorKind::ConnectionReset)),
        DialFailure::HungUp
    );
    let strange = wrapped(io::ErrorKind::OutOfMemory);
    assert_eq!(DialFailure::of_error(&strange), DialFailure::Other("out of memory".to_owned()));
}

#[test]
fn furthest_of_several_addresses_is_reported() {
    let address = |text: &str| text.parse::<Multiaddr>().unwrap();
    let (loopback, near, far) = (
        address("/ip4/127.0.0.1/tcp/1"),
        address("/ip4/192.0.2.1/tcp/1"),
        address("/ip4/192.0.2.2/tcp/1"),
    );
    let told = |causes: &[(&Multiaddr, DialFailure)]| {
        DialFailure::most_telling(causes.iter().map(|(address, cause)| (*address, cause.clone())))
    };
    assert_eq!(
        told(&[(&near, DialFailure::WrongKey), (&far, DialFailure::NoAnswer)]),
        DialFailure::WrongKey
    );
    assert_eq!(
        told(&[(&near, DialFailure::Unreachable), (&far, DialFailure::Refused)]),
        DialFailure::Refused
    );
    assert_eq!(
        told(&[(&loopback, DialFailure::Refused), (&far, DialFailure::NoAnswer)]),
        DialFailure::NoAnswer
    );
    assert_eq!(told(&[(&loopback, DialFailure::Refused)]), DialFailure::Refused);
}
