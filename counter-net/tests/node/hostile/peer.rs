//! A hostile peer. It speaks real libp2p and the cluster's protocols, sends whatever a test wants,
//! and may stop reading from its socket.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use counter_net::Node;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, Transport, identify, noise, ping, tcp, yamux,
};
use sha2::{Digest, Sha256};

use crate::cluster::{PATIENCE, address};

/// A codec for bytes of any length, which our own codec would not write.
#[derive(Clone)]
pub(crate) struct Unbounded;

impl request_response::Codec for Unbounded {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.map(|_| bytes)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        protocol: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Vec<u8>> {
        self.read_request(protocol, stream).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        stream.write_all(&bytes).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        protocol: &StreamProtocol,
        stream: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        self.write_request(protocol, stream, bytes).await
    }
}

#[derive(NetworkBehaviour)]
pub(crate) struct Speech {
    gossip: gossipsub::Behaviour,
    pull: request_response::Behaviour<Unbounded>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// A socket that can stop reading, like that of a peer that hangs.
struct Deafenable<S> {
    socket: S,
    deaf: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Deafenable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // Nothing wakes it again. The bytes stay in the system's buffers, and its window closes.
        if self.deaf.load(Ordering::Relaxed) {
            Poll::Pending
        } else {
            Pin::new(&mut self.socket).poll_read(context, into)
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deafenable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context)
    }
}

/// A peer that speaks the cluster's protocols and sends whatever the test wants.
pub(crate) struct Hostile {
    pub(crate) swarm: Swarm<Speech>,
    topic: IdentTopic,
    deaf: Arc<AtomicBool>,
    /// Requests are kept with their channels, so that they stay unanswered. Dropping one would
    /// close its stream.
    pub(crate) kept: Vec<SwarmEvent<SpeechEvent>>,
}

fn speech(cluster: &str, keypair: &Keypair) -> Speech {
    let gossip = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(format!("/counter/{cluster}/gossip"))
        .max_transmit_size(8 * 1024 * 1024)
        .build()
        .expect("a configuration");
    let pull =
        StreamProtocol::try_from_owned(format!("/counter/{cluster}/pull/1")).expect("a name");
    Speech {
        gossip: gossipsub::Behaviour::new(MessageAuthenticity::Signed(keypair.clone()), gossip)
            .expect("a behaviour"),
        pull: request_response::Behaviour::with_codec(
            Unbounded,
            [(pull, ProtocolSupport::Full)],
            request_response::Config::default(),
        ),
        identify: identify::Behaviour::new(identify::Config::new(
            format!("counter/{cluster}/1"),
            keypair.public(),
        )),
        ping: ping::Behaviour::default(),
    }
}

impl Hostile {
    /// Connects to `node`, which takes it for a peer.
    pub(crate) async fn connect(node: &Node) -> Self {
        Self::connect_to(&address(node), &node.info().cluster).await
    }

    /// Connects to the node of this cluster at this address.
    pub(crate) async fn connect_to(node: &str, cluster: &str) -> Self {
        let topic = IdentTopic::new(format!("counter/{cluster}"));
        let (keypair, deaf) = (Keypair::generate_ed25519(), Arc::new(AtomicBool::new(false)));
        let switch = Arc::clone(&deaf);
        let transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .map(move |socket, _| Deafenable { socket, deaf: Arc::clone(&switch) })
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&keypair).expect("a configuration"))
            .multiplex(yamux::Config::default())
            .boxed();
        let config = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(3600));
        let mut swarm =
            Swarm::new(transport, speech(cluster, &keypair), keypair.public().to_peer_id(), config);
        swarm.behaviour_mut().gossip.subscribe(&topic).expect("subscribed");
        swarm.dial(node.parse::<Multiaddr>().expect("an address")).expect("dialled");
        let mut hostile = Self { swarm, topic, deaf, kept: Vec::new() };
        hostile
            .until(|event| {
                matches!(
                    event,
                    SwarmEvent::Behaviour(SpeechEvent::Gossip(gossipsub::Event::Subscribed { .. }))
                )
            })
            .await;
        hostile
    }

    /// The number that the cluster knows this peer by.
    pub(crate) fn node(&self) -> u64 {
        node_of(self.swarm.local_peer_id())
    }

    /// Stops reading from the socket.
    pub(crate) fn stop_reading(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// Runs until the wanted event.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&SwarmEvent<SpeechEvent>) -> bool) {
        let waiting = async {
            loop {
                let event = self.swarm.select_next_some().await;
                let done = wanted(&event);
                self.kept.push(event);
                if done {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the event comes");
    }

    /// Runs until it is dropped with its task.
    pub(crate) async fn live(mut self) {
        loop {
            let event = self.swarm.select_next_some().await;
            self.kept.push(event);
        }
    }

    pub(crate) fn publish(&mut self, payload: Vec<u8>) {
        let topic = self.topic.hash();
        self.swarm.behaviour_mut().gossip.publish(topic, payload).expect("published");
    }

    pub(crate) async fn until_cut_off(&mut self) {
        self.until(|event| matches!(event, SwarmEvent::ConnectionClosed { .. })).await;
    }

    pub(crate) fn ask(&mut self, node: &Node, request: Vec<u8>) {
        let peer = node.info().peer_id.parse().expect("a peer id");
        self.swarm.behaviour_mut().pull.send_request(&peer, request);
    }

    /// Waits until a ping was answered. From now on its silence is noticed.
    pub(crate) async fn until_pinged(&mut self) {
        self.until(|event| {
            matches!(
                event,
                SwarmEvent::Behaviour(SpeechEvent::Ping(ping::Event { result: Ok(_), .. }))
            )
        })
        .await;
    }

    /// The next gossip that arrives.
    pub(crate) async fn next_gossip(&mut self) -> Vec<u8> {
        self.until(|event| {
            matches!(
                event,
                SwarmEvent::Behaviour(SpeechEvent::Gossip(gossipsub::Event::Message { .. }))
            )
        })
        .await;
        match self.kept.pop() {
            Some(SwarmEvent::Behaviour(SpeechEvent::Gossip(gossipsub::Event::Message {
                message,
                ..
            }))) => message.data,
            _ => unreachable!("it was the last event"),
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn answer_to(&mut self, node: &Node, request: Vec<u8>) -> Vec<u8> {
        use request_response::{Event, Message};
        self.ask(node, request);
        let is_answer = |event: &SwarmEvent<SpeechEvent>| {
            matches!(
                event,
                SwarmEvent::Behaviour(SpeechEvent::Pull(Event::Message {
                    message: Message::Response { .. },
                    ..
                }))
            )
        };
        self.until(is_answer).await;
        match self.kept.pop() {
            Some(SwarmEvent::Behaviour(SpeechEvent::Pull(Event::Message {
                message: Message::Response { response, .. },
                ..
            }))) => response,
            _ => unreachable!("it was the last event"),
        }
    }

    /// Waits until `node` has handled everything sent before: it has answered one more request.
    pub(crate) async fn until_answered(&mut self, node: &Node) {
        self.answer_to(node, super::payloads::unknown_kind()).await;
    }
}

/// The first 8 bytes of the SHA-256 of the peer id.
pub(crate) fn node_of(peer: &PeerId) -> u64 {
    Sha256::digest(peer.to_bytes())
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
