//! Fly.io: an application's machines share a private IPv6 network with its own names.

use std::net::{IpAddr, ToSocketAddrs};

use libp2p::Multiaddr;

use crate::config::{GOSSIP_PORT, check_listen};
use crate::error::{DiscoveryError, StartError};

const APP_VARIABLE: &str = "FLY_APP_NAME";
/// The name of this machine on the private network, from the hosts file that Fly writes.
const OWN_NAME: &str = "fly-local-6pn";

/// The name whose AAAA records list the application's machines.
pub(super) fn name() -> Result<String, DiscoveryError> {
    named(std::env::var(APP_VARIABLE).ok())
}

fn named(app: Option<String>) -> Result<String, DiscoveryError> {
    let app = app.filter(|app| !app.is_empty()).ok_or(DiscoveryError::FlyVariable(APP_VARIABLE))?;
    Ok(format!("{app}.internal"))
}

/// The default address to listen on: the private network only.
pub(crate) fn listen_address(has_key: bool) -> Result<Multiaddr, StartError> {
    name()?;
    let failed = |source| StartError::Listen { address: OWN_NAME.to_owned(), source };
    let own =
        (OWN_NAME, GOSSIP_PORT).to_socket_addrs().map_err(failed)?.find_map(
            |address| match address.ip() {
                IpAddr::V6(ip) => Some(ip),
                IpAddr::V4(_) => None,
            },
        );
    let ip =
        own.ok_or_else(|| failed(std::io::Error::from(std::io::ErrorKind::AddrNotAvailable)))?;
    check_listen(&format!("/ip6/{ip}/tcp/{GOSSIP_PORT}"), has_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_app_name_is_refused() {
        assert_eq!(named(Some("clicks".into())), Ok("clicks.internal".to_owned()));
        for missing in [None, Some(String::new())] {
            assert!(named(missing).expect_err("refused").to_string().contains("FLY_APP_NAME"));
        }
    }
}
