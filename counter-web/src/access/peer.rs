//! The client's address for the limits: the far end of the connection, or the client that a trusted
//! proxy names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use warp::http::header::{HeaderMap, HeaderName};

use super::limits::{Bucket, ConnectionSlot, Limits};
use crate::api::error::ApiError;

pub(super) static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Stands for every client whose address in the proxy's header cannot be read. Not loopback, so
/// limits apply.
const UNREADABLE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The proxy in front of this node, and its header that names the client.
#[derive(Clone, Debug, Default)]
pub(crate) enum Proxy {
    /// No proxy is trusted. The client is the far end of the connection.
    #[default]
    Untrusted,
    /// The last entry of X-Forwarded-For, which the proxy itself wrote.
    ForwardedFor,
    /// This header alone.
    Header(HeaderName),
}

impl Proxy {
    pub(crate) fn is_trusted(&self) -> bool {
        !matches!(self, Self::Untrusted)
    }

    /// The header that names the client.
    pub(super) fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Untrusted => None,
            Self::ForwardedFor => Some(&FORWARDED_FOR),
            Self::Header(name) => Some(name),
        }
    }

    /// The client's address, if the proxy names one. [`UNREADABLE`] if it cannot be read.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let name = self.header()?;
        headers.get(name)?;
        Some(Self::last_address(headers, name).unwrap_or(UNREADABLE))
    }

    fn last_address(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
        let entry =
            headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim();
        // Some proxies write the port too.
        let address =
            entry.parse().or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip()));
        address.ok().map(|address: IpAddr| address.to_canonical())
    }
}

/// The client of a connection, as limits see it.
#[derive(Clone)]
pub(crate) struct Peer {
    address: IpAddr,
    /// `None` if a trusted proxy carries many clients over one connection.
    bucket: Option<Arc<Mutex<Bucket>>>,
    /// Counts the connection while one of its requests or sockets exists.
    _slot: Option<Arc<ConnectionSlot>>,
}

impl Peer {
    /// The peer of a direct connection.
    pub(crate) fn direct(address: IpAddr, limits: &Limits, slot: ConnectionSlot) -> Self {
        Self {
            address: address.to_canonical(),
            bucket: Some(Arc::new(Mutex::new(limits.bucket()))),
            _slot: Some(Arc::new(slot)),
        }
    }

    /// The peer of a connection from a trusted proxy. [`Peer::behind`] finds the client.
    pub(crate) fn proxy(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), bucket: None, _slot: None }
    }

    /// The client that a trusted proxy names, or the proxy itself.
    pub(crate) fn behind(mut self, proxy: &Proxy, headers: &HeaderMap) -> Self {
        if let Some(address) = proxy.client(headers) {
            self.address = address;
        }
        self
    }

    /// A socket or an event stream of this peer. It counts as a connection with its own bucket.
    ///
    /// # Errors
    ///
    /// If a client behind a proxy already has the most connections that it may have. Without a
    /// proxy the connection is counted already.
    pub(crate) fn stream(mut self, limits: &Arc<Limits>) -> Result<Self, ApiError> {
        if self.bucket.is_none() {
            self._slot = Some(Arc::new(limits.connect(self.address)?));
            self.bucket = Some(Arc::new(Mutex::new(limits.bucket())));
        }
        Ok(self)
    }

    /// Takes all of these adds from this peer's allowance, or none.
    ///
    /// # Errors
    ///
    /// As for [`Limits::take_adds`].
    pub(crate) fn take_adds(&self, adds: usize, limits: &Limits) -> Result<(), ApiError> {
        match &self.bucket {
            Some(bucket) => limits.take_adds(
                adds,
                &mut bucket.lock().unwrap_or_else(PoisonError::into_inner),
                self.address,
            ),
            None => limits.take_adds(adds, &mut limits.bucket(), self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(proxy: &Proxy, headers: &[(&'static str, &str)]) -> String {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        Peer::proxy("10.0.0.1".parse().unwrap()).behind(proxy, &headers).address.to_string()
    }

    #[test]
    fn last_entry_of_a_trusted_proxy_is_the_client() {
        let named = |headers: &[(&'static str, &str)]| named(&Proxy::ForwardedFor, headers);
        assert_eq!(
            named(&[("x-forwarded-for", "203.0.113.1, 192.0.2.9")]),
            "192.0.2.9",
            "the client may have written earlier entries"
        );
        assert_eq!(
            named(&[("x-forwarded-for", "203.0.113.1"), ("x-forwarded-for", "192.0.2.9")]),
            "192.0.2.9"
        );
        assert_eq!(named(&[("x-forwarded-for", "[2001:db8::1]:4711")]), "2001:db8::1");
        assert_eq!(named(&[("fly-client-ip", "192.0.2.7")]), "10.0.0.1", "forged, off Fly");
        for entry in ["nonsense", "192.0.2.9, unknown", "fe80::1%eth0", ""] {
            assert_eq!(named(&[("x-forwarded-for", entry)]), "0.0.0.0", "{entry}");
        }
        assert_eq!(named(&[]), "10.0.0.1", "the proxy itself");
    }

    #[test]
    fn named_header_alone_counts() {
        let proxy = Proxy::Header("fly-client-ip".parse().unwrap());
        assert_eq!(
            named(&proxy, &[("fly-client-ip", "192.0.2.7"), ("x-forwarded-for", "192.0.2.9")]),
            "192.0.2.7"
        );
        assert_eq!(named(&proxy, &[("x-forwarded-for", "192.0.2.9")]), "10.0.0.1");
        assert_eq!(named(&Proxy::Untrusted, &[("x-forwarded-for", "192.0.2.9")]), "10.0.0.1");
    }
}
