//! Peers that speak real libp2p and mean harm: refused, counted, cut off; the totals of the honest stay exact.

mod cluster;

use std::io;
use std::time::Duration;

use cluster::{address, cluster, eventually, metric, start, start_all, until, until_all_show};
use counter_core::{Replica, ReplicaId};
use counter_net::Node;
use counter_net::protocol::{Input, NodeId, Output, ProtocolConfig, Replicator};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, Swarm, SwarmBuilder, identify, noise, tcp, yamux};

/// Bytes as they come, of any length: what our own codec would not write.
#[derive(Clone)]
struct Unbounded;

impl request_response::Codec for Unbounded {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.map(|_| bytes)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, protocol: &StreamProtocol, stream: &mut T) -> io::Result<Vec<u8>> {
        self.read_request(protocol, stream).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(&mut self, _: &StreamProtocol, stream: &mut T, bytes: Vec<u8>) -> io::Result<()> {
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
struct Speech {
    gossip: gossipsub::Behaviour,
    pull: request_response::Behaviour<Unbounded>,
    identify: identify::Behaviour,
}

/// A peer that speaks the cluster's protocols and says whatever the test wants.
struct Hostile {
    swarm: Swarm<Speech>,
    topic: IdentTopic,
    cluster: String,
    /// Requests are kept with their channels, so that they stay unanswered: dropping one closes its stream.
    kept: Vec<SwarmEvent<SpeechEvent>>,
}

impl Hostile {
    /// Connected to `node`, which takes it for a peer.
    async fn connect(node: &Node) -> Self {
        let cluster = node.info().cluster;
        let topic = IdentTopic::new(format!("counter/{cluster}"));
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
            .expect("a transport")
            .with_behaviour(|keypair| {
                let gossip = gossipsub::ConfigBuilder::default()
                    .protocol_id_prefix(format!("/counter/{cluster}/gossip"))
                    .max_transmit_size(8 * 1024 * 1024)
                    .build()
                    .expect("a configuration");
                let pull = StreamProtocol::try_from_owned(format!("/counter/{cluster}/pull/1")).expect("a name");
                Speech {
                    gossip: gossipsub::Behaviour::new(MessageAuthenticity::Signed(keypair.clone()), gossip).expect("a behaviour"),
                    pull: request_response::Behaviour::with_codec(
                        Unbounded,
                        [(pull, ProtocolSupport::Full)],
                        request_response::Config::default(),
                    ),
                    identify: identify::Behaviour::new(identify::Config::new(format!("counter/{cluster}/1"), keypair.public())),
                }
            })
            .expect("a swarm")
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
            .build();
        swarm.behaviour_mut().gossip.subscribe(&topic).expect("subscribed");
        swarm.dial(address(node).parse::<Multiaddr>().expect("an address")).expect("dialled");
        let mut hostile = Self { swarm, topic, cluster, kept: Vec::new() };
        hostile.until(|event| matches!(event, SwarmEvent::Behaviour(SpeechEvent::Gossip(gossipsub::Event::Subscribed { .. })))).await;
        hostile
    }

    async fn until(&mut self, wanted: impl Fn(&SwarmEvent<SpeechEvent>) -> bool) {
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
        tokio::time::timeout(cluster::PATIENCE, waiting).await.expect("the event comes");
    }

    fn publish(&mut self, payload: Vec<u8>) {
        let topic = self.topic.hash();
        self.swarm.behaviour_mut().gossip.publish(topic, payload).expect("published");
    }

    async fn until_cut_off(&mut self) {
        self.until(|event| matches!(event, SwarmEvent::ConnectionClosed { .. })).await;
    }

    fn ask(&mut self, node: &Node, request: Vec<u8>) {
        let peer = node.info().peer_id.parse().expect("a peer id");
        self.swarm.behaviour_mut().pull.send_request(&peer, request);
    }
}

/// A gossip payload with 1,000,000 clicks in the name of `writer`.
fn gossip_of(writer: ReplicaId) -> Vec<u8> {
    let mut replica = Replica::new(writer, "ord").expect("a replica");
    let mut machine = Replicator::new(ProtocolConfig::default(), &replica, 1, Duration::ZERO);
    machine.handle(&mut replica, Input::PeerUp { peer: NodeId(1) }, Duration::ZERO);
    replica.tally("clicks").expect("a counter").add(1_000_000).expect("added");
    machine.handle(&mut replica, Input::LocalChange, Duration::from_secs(1));
    let publish = |output| if let Output::Publish { payload } = output { Some(payload) } else { None };
    // The announcement may come first; the cells are the longest.
    std::iter::from_fn(|| machine.poll_output()).filter_map(publish).max_by_key(Vec::len).expect("something is published")
}

/// Two honest nodes that agree on 2, after whatever `harm` did to the first.
async fn honest() -> Vec<Node> {
    let nodes = start_all(&cluster(), &["ord", "fra"]).await;
    for node in &nodes {
        node.counter("clicks").expect("a counter").add(1).expect("added");
    }
    until_all_show(&nodes, "clicks", 2).await;
    nodes
}

async fn still_exact(nodes: &[Node]) {
    nodes[0].counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(nodes, "clicks", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_in_another_writers_name_are_refused_and_their_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    let victim = nodes[1].info().replica;
    hostile.publish(gossip_of(ReplicaId { generation: victim.generation, ..victim }));
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "forged_writer") > 0.0);
    assert!(metric(&nodes[0], "counter_peers_cut_total", "") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_gossip_is_counted_and_its_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.publish(vec![0xa5; 1_000]);
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "malformed") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_for_a_pull_is_counted_and_its_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.ask(&nodes[0], vec![0xa5; 1_000]);
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "malformed") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_pull_is_not_read_to_its_end_and_its_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.ask(&nodes[0], vec![0; 16 * 1024 * 1024]);
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_connections_total", "oversized_pull") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_gossip_and_the_poison_window_do_not_disturb_the_honest() {
    let nodes = honest().await;
    for size in [64 * 1024 - 1, 64 * 1024 - 100, 64 * 1024 + 1, 4 * 1024 * 1024] {
        let mut hostile = Hostile::connect(&nodes[0]).await;
        hostile.publish(vec![0; size]);
        let talking = tokio::spawn(async move {
            loop {
                hostile.swarm.select_next_some().await;
            }
        });
        nodes[0].counter("noise").expect("a counter").add(1).expect("added");
        until(&nodes[1], "an add made meanwhile", |node| node.view("noise").total == nodes[0].view("noise").total).await;
        talking.abort();
    }
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_slows_nobody() {
    let nodes = honest().await;
    let deaf = Hostile::connect(&nodes[0]).await;
    let clicks = nodes[0].counter("clicks").expect("a counter");
    for _ in 0..200 {
        for _ in 0..1_000 {
            clicks.add(1).expect("added");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until_all_show(&nodes, "clicks", 200_002).await;
    assert_eq!(deaf.cluster, nodes[0].info().cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_cut_off_cannot_come_back_at_once() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.publish(vec![0xa5; 1_000]);
    hostile.until_cut_off().await;
    hostile.swarm.dial(address(&nodes[0]).parse::<Multiaddr>().expect("an address")).expect("dialled");
    hostile.until_cut_off().await;
    eventually("it is refused", || metric(&nodes[0], "counter_rejected_connections_total", "cut_off") > 0.0).await;
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_delta_changes_nothing() {
    let nodes = honest().await;
    let third = start(&nodes[0].info().cluster, "sin", &[&nodes[0], &nodes[1]]).await;
    third.counter("clicks").expect("a counter").add(5).expect("added");
    until_all_show(&nodes, "clicks", 7).await;
    let mut listener = Hostile::connect(&nodes[0]).await;
    third.counter("clicks").expect("a counter").add(1).expect("added");
    listener.until(|event| matches!(event, SwarmEvent::Behaviour(SpeechEvent::Gossip(gossipsub::Event::Message { .. })))).await;
    let heard = listener.kept.pop().and_then(|event| match event {
        SwarmEvent::Behaviour(SpeechEvent::Gossip(gossipsub::Event::Message { message, .. })) => Some(message.data),
        _ => None,
    });
    until_all_show(&nodes, "clicks", 8).await;
    // Under its own signature it is a forgery; the author's signature it cannot make.
    listener.publish(heard.expect("heard"));
    listener.until_cut_off().await;
    until_all_show(&nodes, "clicks", 8).await;
}
