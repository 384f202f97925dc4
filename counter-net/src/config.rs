//! What a node is started with, checked, and every limit of the driver by name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::cluster_key::ClusterKey;
use crate::discovery::Discovery;
use crate::error::StartError;
use crate::protocol::ProtocolConfig;

/// The largest gossip message with its envelope. The same on every node of a cluster, for ever: a
/// node that sends more is not heard.
pub(crate) const GOSSIP_TRANSMIT_BYTES_MAX: usize = 64 * 1024;
/// The largest gossip payload. A payload within about 1 KiB of the transmit size is accepted by
/// `publish`, never delivered, and silences every later message to that peer.
pub(crate) const GOSSIP_PAYLOAD_BYTES_MAX: usize = GOSSIP_TRANSMIT_BYTES_MAX - 1024;
/// Streams of pulls at one connection at a time, in both directions.
pub(crate) const PULL_STREAMS_MAX: usize = 32;
/// A pull's answer is given up after this.
pub(crate) const PULL_TIMEOUT: Duration = Duration::from_secs(10);
/// An introduction: the addresses of some peers.
pub(crate) const INTRODUCTION_BYTES_MAX: usize = 16 * 1024;
/// Introductions at one connection at a time, in both directions.
pub(crate) const INTRODUCTION_STREAMS_MAX: usize = 2;
/// Addresses in one introduction.
pub(crate) const INTRODUCED_MAX: usize = 64;
/// A node asks one of its peers, in turn, for others this often; and every new peer at once.
pub(crate) const INTRODUCTION_INTERVAL: Duration = Duration::from_secs(15);
/// Messages queued for one gossip peer; further ones are dropped for that peer, and anti-entropy
/// repairs it.
pub(crate) const GOSSIP_QUEUE_MAX: usize = 1_024;

/// Cluster keys of one node. Changing a key takes two; each one more costs a stranger's connection
/// one more trial.
pub(crate) const CLUSTER_KEYS_MAX: usize = 4;

/// Connections in all, and of each kind. A node of a larger cluster reaches the rest through these.
pub(crate) const CONNECTIONS_MAX: u32 = 512;
pub(crate) const CONNECTIONS_INCOMING_MAX: u32 = 384;
/// Two nodes that dial each other at the same moment hold two; a third is for one that is being
/// replaced.
pub(crate) const CONNECTIONS_PER_PEER_MAX: u32 = 3;
/// Connections that have not finished their handshake.
pub(crate) const CONNECTIONS_PENDING_MAX: u32 = 128;
/// A node stops looking for further peers of its own accord at this many.
pub(crate) const PEERS_WANTED: usize = 64;
/// Peers whose addresses are remembered; the oldest that is not connected makes room.
pub(crate) const KNOWN_PEERS_MAX: usize = 1_024;
/// Addresses remembered of one peer, the latest first.
pub(crate) const ADDRESSES_PER_PEER_MAX: usize = 8;
/// A peer that broke the rules is refused for this long: long enough to cost it, short enough for a
/// release that was repaired.
pub(crate) const CUT_FOR: Duration = Duration::from_secs(60);
/// Peers refused at a time; the longest refused makes room.
pub(crate) const CUT_MAX: usize = 1_024;
/// Findings of discovery that wait for the driver; the finder waits when it is full.
pub(crate) const FINDINGS_MAX: usize = 64;

/// Idle connections are kept: a cluster's connections are its fabric.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Pings show who is still there. Less finds silent peers no sooner than [`SILENT_AFTER`]; each
/// costs about 150 bytes a connection and direction.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(2);
/// A ping unanswered for so long is a failure; the second one in a row closes that connection.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that has answered pings and says nothing for so long is suspected, which it may refute:
/// its connection stays. One ping, and a second for its answer. Less ends the presence of who
/// vanished sooner and costs two messages to all where a link is bad.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(3);
/// A peer that has answered pings and says nothing for so long is lost: its cable is out, or it
/// hangs. Two pings, and what a bad link adds. Less finds it sooner and costs needless reconnects
/// on links that lose packets.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(5);
/// The system closes a connection whose far end takes nothing for so long: one to a lost peer
/// cannot be closed in another way while bytes wait.
pub(crate) const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);
/// A name is given up after this. A name server of the same network answers in milliseconds; a
/// lost packet is sent again meanwhile.
pub(crate) const NAME_TIMEOUT: Duration = Duration::from_secs(2);
/// A TCP connection that got no answer is given up after this. The system repeats its request
/// after 1 s and 3 s: two lost packets in a row are survived.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Whoever connected here must have greeted by then. Until then it is one of
/// [`CONNECTIONS_PENDING_MAX`], and strangers that say nothing must not keep nodes out for long. A
/// node greets within one round trip of its connection.
pub(crate) const GREETING_TIMEOUT: Duration = Duration::from_secs(4);
/// The handshake after the TCP connection (private network, Noise, Yamux) is given up after this.
/// It takes 4 to 5 round trips, so a round trip of 600 ms makes it 3 s. The rest is for lost
/// packets and busy machines.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first wait before a failed peer is dialled again; doubled at each failure, with jitter.
pub(crate) const REDIAL_MIN: Duration = Duration::from_millis(100);
/// The longest such wait.
pub(crate) const REDIAL_MAX: Duration = Duration::from_secs(15);
/// How often lost peers are looked for, and strangers that never said a word of ours.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// A farewell gets this long to go out.
pub(crate) const FAREWELL_MAX: Duration = Duration::from_millis(500);
/// The port of gossip where none is said and others must know it (`fly`).
pub(crate) const GOSSIP_PORT: u16 = 7117;

/// A checked configuration.
pub(crate) struct NodeConfig {
    pub(crate) region: String,
    pub(crate) cluster: String,
    pub(crate) release: String,
    /// The keys that admit a peer, the preferred one first. None: only loopback is listened on.
    pub(crate) keys: Vec<ClusterKey>,
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) peers: Vec<Multiaddr>,
    pub(crate) discovery: Vec<Discovery>,
    pub(crate) runtime_dir: Option<PathBuf>,
    pub(crate) name_server: Option<SocketAddr>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) restored: bool,
    pub(crate) node_name: Option<String>,
    pub(crate) commit_interval: Duration,
    pub(crate) counters_max: usize,
    pub(crate) protocol: ProtocolConfig,
}

impl NodeConfig {
    /// What tells the keys apart without giving them away, the first one's first.
    pub(crate) fn key_fingerprints(&self) -> Vec<String> {
        self.keys.iter().map(ClusterKey::fingerprint).collect()
    }
}

/// 1-32 characters of `a`-`z`, `0`-`9` and `-`.
pub(crate) fn check_region(region: &str) -> Result<(), StartError> {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if (1..=32).contains(&region.len()) && region.bytes().all(allowed) {
        Ok(())
    } else {
        Err(StartError::Region(region.to_owned()))
    }
}

/// 1-64 characters that can stand in a protocol's name and in a file's.
pub(crate) fn check_cluster(cluster: &str) -> Result<(), StartError> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let sound = (1..=64).contains(&cluster.len())
        && cluster.bytes().all(allowed)
        && !cluster.starts_with('.');
    if sound { Ok(()) } else { Err(StartError::Cluster(cluster.to_owned())) }
}

/// 1-128 bytes, and not only spaces.
pub(crate) fn check_node_name(name: &str) -> Result<(), StartError> {
    let sound = name.len() <= 128 && !name.trim().is_empty();
    if sound { Ok(()) } else { Err(StartError::NodeName(name.to_owned())) }
}

/// The keys of a node: `first` and then `further`, each once.
pub(crate) fn check_keys(
    first: Option<ClusterKey>,
    further: Vec<ClusterKey>,
) -> Result<Vec<ClusterKey>, StartError> {
    if first.is_none() && !further.is_empty() {
        return Err(StartError::FirstKeyMissing);
    }
    let mut keys = Vec::new();
    for key in first.into_iter().chain(further) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.len() > CLUSTER_KEYS_MAX {
        Err(StartError::TooManyKeys { keys: keys.len(), keys_max: CLUSTER_KEYS_MAX })
    } else {
        Ok(keys)
    }
}

/// An address to listen on: a literal IP and a TCP port, and loopback unless there is a key.
pub(crate) fn check_listen(address: &str, has_key: bool) -> Result<Multiaddr, StartError> {
    let parsed = parse(address)?;
    let mut parts = parsed.iter();
    let shape = (parts.next(), parts.next(), parts.next());
    if !matches!(shape, (Some(Protocol::Ip4(_) | Protocol::Ip6(_)), Some(Protocol::Tcp(_)), None)) {
        return Err(StartError::Address {
            address: address.to_owned(),
            reason: "only /ip4/…/tcp/… and /ip6/…/tcp/… can be listened on".into(),
        });
    }
    if has_key || is_loopback(&parsed) {
        Ok(parsed)
    } else {
        Err(StartError::KeyNeeded { address: address.to_owned() })
    }
}

/// An address to reach: IP or DNS name, TCP, perhaps with the peer's identity; loopback or a name
/// unless there is a key.
pub(crate) fn check_peer(address: &str, has_key: bool) -> Result<Multiaddr, StartError> {
    let parsed = parse(address)?;
    if !is_reachable_shape(&parsed) {
        return Err(StartError::Address {
            address: address.to_owned(),
            reason: "only /ip4, /ip6 and /dns over /tcp, perhaps with /p2p, can be reached".into(),
        });
    }
    if has_key || is_loopback(&parsed) || is_named(&parsed) {
        Ok(parsed)
    } else {
        Err(StartError::KeyNeeded { address: address.to_owned() })
    }
}

fn parse(address: &str) -> Result<Multiaddr, StartError> {
    address.trim().parse().map_err(|error: libp2p::multiaddr::Error| StartError::Address {
        address: address.to_owned(),
        reason: error.to_string(),
    })
}

/// Whether the address has the form that this node can dial.
pub(crate) fn is_reachable_shape(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let host = matches!(
        parts.next(),
        Some(
            Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_)
        )
    );
    host && matches!(parts.next(), Some(Protocol::Tcp(_)))
        && matches!(parts.next(), None | Some(Protocol::P2p(_)))
        && parts.next().is_none()
}

/// Whether the address is this machine's own.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

fn is_named(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabets() {
        assert!(["ord", "eu-west-1", "0"].iter().all(|region| check_region(region).is_ok()));
        assert!(
            ["", "Ord", "a b", &"x".repeat(33), "é"]
                .iter()
                .all(|region| check_region(region).is_err())
        );
        assert!(["counter", "A_b.c-1"].iter().all(|cluster| check_cluster(cluster).is_ok()));
        assert!(
            ["", "a/b", "..", &"x".repeat(65), "a b"]
                .iter()
                .all(|cluster| check_cluster(cluster).is_err())
        );
    }

    #[test]
    fn keys_are_few_and_begin_with_the_first() {
        let key = |byte| ClusterKey::from_bytes([byte; 32]);
        assert_eq!(check_keys(None, vec![]).unwrap(), []);
        assert_eq!(
            check_keys(Some(key(1)), vec![key(2), key(1), key(2)]).unwrap(),
            [key(1), key(2)]
        );
        assert!(matches!(check_keys(None, vec![key(2)]), Err(StartError::FirstKeyMissing)));
        assert!(check_keys(Some(key(1)), vec![key(2), key(3), key(4), key(4)]).is_ok());
        let error =
            check_keys(Some(key(1)), vec![key(2), key(3), key(4), key(5)]).expect_err("refused");
        assert!(
            error.to_string().contains("5 cluster keys") && error.to_string().contains("at most 4"),
            "{error}"
        );
    }

    #[test]
    fn without_a_key_only_loopback_is_listened_on() {
        assert!(check_listen("/ip4/127.0.0.1/tcp/0", false).is_ok());
        assert!(check_listen("/ip6/::1/tcp/0", false).is_ok());
        for open in ["/ip4/0.0.0.0/tcp/0", "/ip4/192.0.2.1/tcp/1", "/ip6/::/tcp/0"] {
            let error = check_listen(open, false).expect_err("refused");
            assert!(
                matches!(error, StartError::KeyNeeded { .. })
                    && error.to_string().contains("COUNTER_CLUSTER_KEY")
            );
            assert!(check_listen(open, true).is_ok());
        }
    }

    #[test]
    fn addresses_of_other_kinds_are_refused() {
        for address in [
            "",
            "nonsense",
            "127.0.0.1:80",
            "/ip4/127.0.0.1/udp/1",
            "/ip4/127.0.0.1",
            "/dns4/localhost/tcp/1",
            "/ip4/127.0.0.1/tcp/99999",
        ] {
            assert!(
                matches!(check_listen(address, true), Err(StartError::Address { .. })),
                "{address}"
            );
        }
        assert!(check_peer("/dns4/localhost/tcp/1", false).is_ok());
        assert!(check_peer("/ip4/127.0.0.1/udp/1/quic-v1", true).is_err());
        assert!(matches!(
            check_peer("/ip4/192.0.2.1/tcp/1", false),
            Err(StartError::KeyNeeded { .. })
        ));
    }
}
