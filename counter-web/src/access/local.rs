//! Local callers: processes of this machine, of the same user, that speak to the node directly.
//!
//! They have the rights of the service token without sending it. A stranger must not pass for one,
//! for example through a web page whose name was rebound to 127.0.0.1, or through a proxy on this
//! machine. A proxy that adds no header is recognised by its HTTP version or its user.

use std::net::IpAddr;

use warp::http::Version;
use warp::http::header::{FORWARDED, HOST, HeaderMap, VIA};
use warp::http::uri::Authority;

use super::caller::Ends;
use super::peer::Proxy;

/// Headers in which proxies name the client, besides those with the prefixes below.
const FORWARDING_HEADERS: [&str; 6] = [
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "x-cluster-client-ip",
    "x-original-host",
    "x-proxyuser-ip",
];
const FORWARDING_PREFIXES: [&str; 4] = ["x-forwarded", "x-envoy", "fly-", "cf-"];

/// True if a request seems to come from a local process: from loopback, without a sign of a proxy,
/// and to a Host that a rebound name cannot have.
pub(crate) fn seems_local(
    ends: Ends,
    version: Version,
    headers: &HeaderMap,
    proxy: &Proxy,
) -> bool {
    // nginx before 1.29.7 speaks HTTP/1.0 to its upstream by default.
    ends.far.ip().to_canonical().is_loopback()
        && version >= Version::HTTP_11
        && !is_forwarded(headers, proxy)
        && names_loopback(headers)
}

fn is_forwarded(headers: &HeaderMap, proxy: &Proxy) -> bool {
    headers.contains_key(FORWARDED)
        || proxy.header().is_some_and(|name| headers.contains_key(name))
        || headers.contains_key(VIA)
        || headers.keys().map(|name| name.as_str()).any(|name| {
            FORWARDING_HEADERS.contains(&name)
                || FORWARDING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let authority =
        headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    authority.filter(|authority| !authority.as_str().contains('@')).is_some_and(|authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    })
}

/// True if the far end of a loopback connection is a process of our user. False if the system lists
/// no such socket. O(TCP sockets of this machine).
#[cfg(target_os = "linux")]
pub(crate) fn is_of_this_user(ends: Ends) -> bool {
    use procfs::net::{TcpNetEntry, TcpState, tcp, tcp6};
    let canonical = |address: std::net::SocketAddr| (address.ip().to_canonical(), address.port());
    let (far, near) = (canonical(ends.far), canonical(ends.near));
    let user = rustix::process::geteuid().as_raw();
    let is_this_connection = |entry: &TcpNetEntry| {
        canonical(entry.local_address) == far && canonical(entry.remote_address) == near
    };
    let sockets = [tcp(), tcp6()].into_iter().flatten().flatten();
    // A socket that its process has closed has no inode, and is listed as root's until it is gone.
    let is_held = |entry: &TcpNetEntry| entry.state == TcpState::Established && entry.inode != 0;
    sockets.filter(is_this_connection).any(|entry| is_held(&entry) && entry.uid == user)
}

/// Other systems have no such list, so the other signs alone decide.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_of_this_user(_ends: Ends) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seems(far: &str, version: Version, pairs: &[(&'static str, &'static str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| {
            (name.parse::<warp::http::HeaderName>().unwrap(), value.parse().unwrap())
        });
        let ends = Ends { far: far.parse().unwrap(), near: "127.0.0.1:4000".parse().unwrap() };
        seems_local(ends, version, &headers.collect(), &Proxy::Header("x-sender".parse().unwrap()))
    }

    #[test]
    fn direct_requests_to_loopback_seem_local() {
        for (far, host) in [
            ("127.0.0.1:5000", "127.0.0.1:4000"),
            ("127.0.0.1:5000", "LocalHost:4000"),
            ("[::1]:5000", "[::1]:4000"),
            ("[::ffff:127.0.0.1]:5000", "localhost"),
        ] {
            assert!(seems(far, Version::HTTP_11, &[("host", host)]), "{far} {host}");
        }
    }

    #[test]
    fn strangers_do_not_seem_local() {
        let near = "127.0.0.1:5000";
        assert!(
            !seems("192.0.2.1:5000", Version::HTTP_11, &[("host", "127.0.0.1:4000")]),
            "another machine"
        );
        assert!(!seems(near, Version::HTTP_11, &[("host", "evil.example:4000")]), "a rebound name");
        assert!(!seems(near, Version::HTTP_11, &[]), "no Host");
        assert!(
            !seems(near, Version::HTTP_11, &[("host", "evil@localhost")]),
            "a name before the host"
        );
        assert!(
            !seems(near, Version::HTTP_10, &[("host", "127.0.0.1:4000")]),
            "nginx before 1.29.7, by default"
        );
        for header in [
            "x-forwarded-for",
            "x-forwarded-proto",
            "forwarded",
            "via",
            "x-real-ip",
            "fly-client-ip",
            "cf-connecting-ip",
            "x-sender",
        ] {
            assert!(
                !seems(near, Version::HTTP_11, &[("host", "localhost"), (header, "127.0.0.1")]),
                "{header}"
            );
        }
    }

    /// The system lists such a socket as root's.
    #[test]
    fn closed_socket_belongs_to_nobody() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ends = Ends { far: client.local_addr().unwrap(), near: client.peer_addr().unwrap() };
        let _accepted = listener.accept().unwrap();
        drop(client);
        #[cfg(target_os = "linux")]
        assert!(!is_of_this_user(ends), "{ends:?}");
    }

    #[test]
    fn own_processes_belong_to_this_user() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has no second case.
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let ends =
                Ends { far: client.local_addr().unwrap(), near: client.peer_addr().unwrap() };
            assert!(is_of_this_user(ends), "{ends:?}");
            #[cfg(target_os = "linux")]
            assert!(
                !is_of_this_user(Ends { far: "127.0.0.1:1".parse().unwrap(), ..ends }),
                "a socket that is not there"
            );
        }
    }
}
