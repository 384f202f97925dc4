//! Where a node says that it listens.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::config::is_loopback;

/// The addresses to report, of those that the listeners have: first what other machines can dial,
/// loopback last.
///
/// Link-local ones are left out, since they are good on one cable only. They stay where a node has
/// no others.
pub(super) fn in_order(listened: impl IntoIterator<Item = Multiaddr>) -> Vec<Multiaddr> {
    let mut addresses: Vec<Multiaddr> = Vec::new();
    for address in listened {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if !addresses.iter().all(is_link_local) {
        addresses.retain(|address| !is_link_local(address));
    }
    addresses.sort_by_key(is_loopback);
    addresses
}

/// Whether a listener there has every address of the machine.
pub(super) fn is_wildcard(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_unspecified(),
        _ => false,
    }
}

fn is_link_local(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_link_local(),
        Some(Protocol::Ip6(ip)) => ip.is_unicast_link_local(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(ips: &[&str]) -> Vec<String> {
        let address =
            |ip: &&str| format!("/{ip}/tcp/7117").parse::<Multiaddr>().expect("an address");
        let strip = |address: Multiaddr| {
            address.to_string().trim_end_matches("/tcp/7117").trim_start_matches('/').to_owned()
        };
        in_order(ips.iter().map(address)).into_iter().map(strip).collect()
    }

    #[test]
    fn what_other_machines_can_dial_comes_first() {
        let listened = [
            "ip4/127.0.0.1",
            "ip4/192.0.2.7",
            "ip4/169.254.1.1",
            "ip6/::1",
            "ip6/fe80::1",
            "ip6/2001:db8::7",
            "ip4/192.0.2.7",
        ];
        assert_eq!(
            ordered(&listened),
            ["ip4/192.0.2.7", "ip6/2001:db8::7", "ip4/127.0.0.1", "ip6/::1"]
        );
    }

    #[test]
    fn a_node_with_link_local_addresses_alone_keeps_them() {
        assert_eq!(ordered(&["ip6/fe80::1"]), ["ip6/fe80::1"]);
        assert!(ordered(&[]).is_empty());
    }
}
