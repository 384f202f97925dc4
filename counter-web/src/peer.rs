//! Who is at the far end of a connection: the address that limits count, and where a proxy is trusted to name it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use warp::http::HeaderMap;

use crate::limits::{Bucket, ConnectionSlot, Limits};
use crate::rejection::ApiError;

/// The far end of one TCP connection, put into each of its requests by the server.
#[derive(Clone)]
pub(crate) struct Peer {
    address: IpAddr,
    /// `None` where a trusted proxy multiplexes many clients over one connection.
    bucket: Option<Arc<Mutex<Bucket>>>,
    /// Counts the connection for as long as a request or a socket of it lives.
    _slot: Option<Arc<ConnectionSlot>>,
}

impl Peer {
    /// The peer of a connection that comes from the client itself.
    pub(crate) fn direct(address: IpAddr, limits: &Limits, slot: ConnectionSlot) -> Self {
        Self { address: address.to_canonical(), bucket: Some(Arc::new(Mutex::new(limits.bucket()))), _slot: Some(Arc::new(slot)) }
    }

    /// The peer of a connection that comes from a trusted proxy; [`Peer::behind_proxy`] says whom it speaks for.
    pub(crate) fn proxy(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), bucket: None, _slot: None }
    }

    /// The client that a trusted proxy speaks for: `Fly-Client-IP`, else the last address of `X-Forwarded-For`, else the proxy itself.
    pub(crate) fn behind_proxy(mut self, headers: &HeaderMap) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let forwarded = || headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?.rsplit(',').next();
        if let Some(address) = header("fly-client-ip").or_else(forwarded).and_then(|text| text.trim().parse::<IpAddr>().ok()) {
            self.address = address.to_canonical();
        }
        self
    }

    /// A socket or an event stream of this peer: one connection of its own, with its own bucket.
    ///
    /// # Errors
    ///
    /// Where the client behind a proxy has as many as it may; without a proxy the connection is counted already.
    pub(crate) fn stream(mut self, limits: &Arc<Limits>) -> Result<Self, ApiError> {
        if self.bucket.is_none() {
            self._slot = Some(Arc::new(limits.connect(self.address)?));
            self.bucket = Some(Arc::new(Mutex::new(limits.bucket())));
        }
        Ok(self)
    }

    /// Takes one add from this peer's allowance.
    ///
    /// # Errors
    ///
    /// Where it is used up.
    pub(crate) fn take_add(&self, limits: &Limits) -> Result<(), ApiError> {
        match &self.bucket {
            Some(bucket) => limits.take_add(&mut bucket.lock().unwrap_or_else(PoisonError::into_inner), self.address),
            None => limits.take_add(&mut limits.bucket(), self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(headers: &[(&'static str, &str)]) -> IpAddr {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Peer::proxy("10.0.0.1".parse().unwrap()).behind_proxy(&headers).address
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        assert_eq!(named(&[("fly-client-ip", "192.0.2.7"), ("x-forwarded-for", "192.0.2.9")]).to_string(), "192.0.2.7");
        assert_eq!(named(&[("x-forwarded-for", "203.0.113.1, 192.0.2.9")]).to_string(), "192.0.2.9", "what the client wrote comes first");
        assert_eq!(named(&[("x-forwarded-for", "nonsense")]).to_string(), "10.0.0.1");
        assert_eq!(named(&[]).to_string(), "10.0.0.1");
    }
}
