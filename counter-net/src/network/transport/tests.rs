//! Nodes with several cluster keys at real sockets, and libp2p's own private network as a witness.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use libp2p::Multiaddr;
use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxerExt;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse};
use libp2p::pnet::{PnetConfig, PreSharedKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream as Socket};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::*;

const OLD: u8 = 1;
const NEW: u8 = 2;
const STRANGE: u8 = 3;
/// Long enough for whatever is still on its way.
const QUIET: Duration = Duration::from_millis(100);

/// Keys whose bytes are all the same number.
fn ours(keys: &[u8]) -> PeerTransport {
    let keys: Vec<ClusterKey> =
        keys.iter().map(|byte| ClusterKey::from_bytes([*byte; 32])).collect();
    build(&Keypair::generate_ed25519(), &keys).unwrap()
}

/// libp2p's own transport, with one key.
fn theirs(key: u8) -> PeerTransport {
    libp2p::tcp::tokio::Transport::new(libp2p::tcp::Config::default().nodelay(true))
        .and_then(move |socket, _| PnetConfig::new(PreSharedKey::new([key; 32])).handshake(socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&Keypair::generate_ed25519()).unwrap())
        .multiplex(yamux::Config::default())
        .timeout(Duration::from_secs(3))
        .boxed()
}

type Outcome = Result<(), String>;

/// libp2p wraps the fault of one end several deep.
fn told(error: io::Error) -> String {
    let told = format!("{error:?}");
    if told.contains("WrongKey") { "WrongKey".to_owned() } else { told }
}

/// Keeps a connection, and sends the rest of its handshake, as a swarm does.
fn keep(mut muxer: StreamMuxerBox) {
    tokio::spawn(std::future::poll_fn(move |context| muxer.poll_unpin(context).map(drop)));
}

/// Accepts connections, and reports how the handshake of each ended.
async fn accepting(mut transport: PeerTransport) -> (SocketAddr, mpsc::UnboundedReceiver<Outcome>) {
    transport.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = transport.select_next_some().await.into_new_address().unwrap();
    let (ended, outcomes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            if let Some((connection, _)) = transport.select_next_some().await.into_incoming() {
                let ended = ended.clone();
                tokio::spawn(async move {
                    let outcome = connection.await.map(|(_, muxer)| keep(muxer)).map_err(told);
                    let _test_is_over = ended.send(outcome);
                });
            }
        }
    });
    let port = address.to_string().rsplit('/').next().unwrap().parse().unwrap();
    (SocketAddr::from(([127, 0, 0, 1], port)), outcomes)
}

async fn dial(transport: &mut PeerTransport, to: SocketAddr) -> Outcome {
    let address: Multiaddr = format!("/ip4/{}/tcp/{}", to.ip(), to.port()).parse().unwrap();
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let dialled = transport.dial(address, options).unwrap().await;
    dialled.map(|(_, muxer)| keep(muxer)).map_err(told)
}

/// One dial between nodes with these keys: its outcome, and those that the accepting node saw.
async fn meet(dialler: &[u8], listener: &[u8]) -> (Outcome, Vec<Outcome>) {
    let (address, mut outcomes) = accepting(ours(listener)).await;
    let dialled = dial(&mut ours(dialler), address).await;
    let mut accepted = vec![outcomes.recv().await.unwrap()];
    while let Ok(Some(one_more)) = tokio::time::timeout(QUIET, outcomes.recv()).await {
        accepted.push(one_more);
    }
    (dialled, accepted)
}

#[tokio::test]
async fn any_key_of_the_accepting_node_lets_in() {
    for dialler in [OLD, NEW] {
        assert_eq!(meet(&[dialler], &[OLD, NEW]).await, (Ok(()), vec![Ok(())]), "{dialler}");
    }
}

#[tokio::test]
async fn dialler_uses_the_key_of_the_far_end() {
    for (dialler, listener) in [
        ([OLD, NEW], [OLD].as_slice()),
        ([OLD, NEW], &[NEW]),
        ([NEW, OLD], &[OLD]),
        ([OLD, NEW], &[OLD, NEW]),
        ([OLD, NEW], &[NEW, OLD]),
        ([STRANGE, NEW], &[NEW, OLD]),
        ([NEW, STRANGE], &[OLD, NEW]),
    ] {
        // One connection, so none was refused before.
        assert_eq!(
            meet(&dialler, listener).await,
            (Ok(()), vec![Ok(())]),
            "{dialler:?} {listener:?}"
        );
    }
}

#[tokio::test]
async fn no_common_key_is_reported_once_at_both_ends() {
    let refused = || Err("WrongKey".to_owned());
    for (dialler, listener) in [
        ([STRANGE].as_slice(), [OLD, NEW].as_slice()),
        (&[OLD, NEW], &[STRANGE]),
        (&[OLD], &[NEW]),
        (&[OLD, NEW], &[]),
        (&[], &[OLD, NEW]),
    ] {
        assert_eq!(
            meet(dialler, listener).await,
            (refused(), vec![refused()]),
            "{dialler:?} {listener:?}"
        );
    }
}

#[tokio::test]
async fn libp2p_nodes_without_tags_are_met() {
    let (address, _outcomes) = accepting(theirs(OLD)).await;
    dial(&mut ours(&[OLD, NEW]), address).await.expect("its first key");
    let (address, _outcomes) = accepting(ours(&[OLD, NEW])).await;
    for key in [OLD, NEW] {
        dial(&mut theirs(key), address).await.expect("one of its keys");
    }
}

/// The bytes that a link has carried, by direction.
#[derive(Default)]
struct Carried {
    out: AtomicUsize,
    back: AtomicUsize,
}

/// A link to `to` on which every byte is on its way for `way`.
async fn link(to: SocketAddr, way: Duration) -> (SocketAddr, Arc<Carried>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, carried) = (listener.local_addr().unwrap(), Arc::new(Carried::default()));
    let counted = Arc::clone(&carried);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = Socket::connect(to).await.unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let ((near_read, near_write), (far_read, far_write)) =
            (near.into_split(), far.into_split());
        tokio::join!(
            carry(near_read, far_write, way, &counted.out),
            carry(far_read, near_write, way, &counted.back)
        );
    });
    (address, carried)
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    way: Duration,
    carried: &AtomicUsize,
) {
    let (queue, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            carried.fetch_add(read, Ordering::Relaxed);
            queue.send((Instant::now() + way, buffer[..read].to_vec())).unwrap();
        }
    };
    let write = async move {
        while let Some((due, bytes)) = due.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

/// How long a dial over this link takes, and the bytes that it costs.
async fn cost(
    mut dialler: PeerTransport,
    listener: PeerTransport,
    way: Duration,
) -> (Duration, usize, usize) {
    let (address, mut outcomes) = accepting(listener).await;
    let (address, carried) = link(address, way).await;
    let began = Instant::now();
    let dialled = dial(&mut dialler, address).await;
    let took = began.elapsed();
    assert_eq!((dialled, outcomes.recv().await), (Ok(()), Some(Ok(()))));
    tokio::time::sleep(way + QUIET).await;
    (took, carried.out.load(Ordering::Relaxed), carried.back.load(Ordering::Relaxed))
}

#[tokio::test]
async fn keys_cost_as_much_as_libp2p_private_network() {
    for way in [Duration::ZERO, Duration::from_millis(100)] {
        let (usual, out, back) = cost(theirs(OLD), theirs(OLD), way).await;
        for (dialler, listener) in
            [([OLD].as_slice(), [OLD].as_slice()), (&[OLD, NEW], &[NEW]), (&[NEW], &[OLD, NEW])]
        {
            let (took, sent, heard) = cost(ours(dialler), ours(listener), way).await;
            println!(
                "{dialler:?} to {listener:?} over {way:?}: {took:?}, {sent} + {heard} bytes; \
                 libp2p {usual:?}, {out} + {back}"
            );
            assert_eq!((sent, heard), (out, back), "{dialler:?} {listener:?} over {way:?}");
            // A round trip more would be two ways.
            assert!(
                way.is_zero() || took < usual + way,
                "{dialler:?} {listener:?}: {took:?} and not {usual:?}"
            );
        }
    }
}
