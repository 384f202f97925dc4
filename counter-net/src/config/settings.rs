//! A node's settings once they are checked, and the checks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use counter_core::NAME_BYTES_MAX;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::ClusterKey;
use super::bounds::CLUSTER_KEYS_MAX;
use crate::discovery::Discovery;
use crate::error::StartError;
use crate::protocol::ProtocolConfig;

/// A checked configuration.
pub(crate) struct NodeConfig {
    pub(crate) region: String,
    pub(crate) cluster: String,
    pub(crate) release: String,
    /// The keys that admit a peer, the preferred one first. Without any the node listens on
    /// loopback.
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
    /// How long counters live, by the prefix of their names.
    pub(crate) expiry: Vec<(String, Duration)>,
    pub(crate) protocol: ProtocolConfig,
}

impl NodeConfig {
    /// The keys' fingerprints in order.
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

/// 1-64 characters that are valid in a protocol name and in a file name.
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

/// A prefix that a name can have, and a time of 1 ms or more.
pub(crate) fn check_expiry((prefix, after): &(String, Duration)) -> Result<(), StartError> {
    let sound = prefix.len() <= NAME_BYTES_MAX && !prefix.contains(char::is_control);
    match sound && *after >= Duration::from_millis(1) {
        true => Ok(()),
        false => Err(StartError::Expiry { prefix: prefix.clone(), after: *after }),
    }
}

/// A node's keys: `first`, then `further`, without repeats.
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

/// An address to listen on: a literal IP and a TCP port. Without a key it is loopback.
pub(crate) fn check_listen(address: &str, has_key: bool) -> Result<Multiaddr, StartError> {
    let parsed = parse(address)?;
    let mut parts = parsed.iter();
    let shape = (parts.next(), parts.next(), parts.next());
    if !matches!(shape, (Some(Protocol::Ip4(_) | Protocol::Ip6(_)), Some(Protocol::Tcp(_)), None)) {
        return Err(StartError::Address {
            address: address.to_owned(),
            reason: "a node listens on /ip4/…/tcp/… or /ip6/…/tcp/… only".into(),
        });
    }
    if has_key || is_loopback(&parsed) {
        Ok(parsed)
    } else {
        Err(StartError::KeyNeeded { address: address.to_owned() })
    }
}

/// An address to dial: IP or DNS name, TCP, and optionally the peer's identity. Without a key it is
/// loopback or a name.
pub(crate) fn check_peer(address: &str, has_key: bool) -> Result<Multiaddr, StartError> {
    let parsed = parse(address)?;
    if !is_reachable_shape(&parsed) {
        return Err(StartError::Address {
            address: address.to_owned(),
            reason: "a node dials /ip4, /ip6 or /dns over /tcp only, with or without /p2p".into(),
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

/// Returns true if the address has a form that a node can dial.
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

/// Returns true for a loopback address.
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
    fn expiries_are_of_possible_prefixes_and_take_time() {
        let check = |prefix: &str, ms| {
            check_expiry(&(prefix.to_owned(), Duration::from_millis(ms))).is_ok()
        };
        assert!(check("", 1) && check("day:", u64::MAX));
        assert!(!check("day:", 0) && !check("\u{1}w", 1) && !check(&"x".repeat(129), 1));
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
