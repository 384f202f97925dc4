//! The caller of a request, and their rights.
//!
//! A [`Caller`] has an address for the limits ([`peer`], [`limits`]) and a site whose page sent the
//! request ([`origin`]). It may have more rights than a stranger, by a token ([`token`]) or as a
//! process of this machine ([`local`]). [`names`] lists the counters that strangers may make, and
//! [`cors`] lets pages of other sites in.

pub(crate) mod caller;
pub(crate) mod cors;
pub(crate) mod limits;
pub(crate) mod local;
pub(crate) mod names;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod token;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use warp::http::HeaderMap;

pub(crate) use caller::Caller;
use names::Creatable;
use origin::{AllowedOrigins, Site};
use peer::{FORWARDED_FOR, Proxy};
use token::Tokens;

/// The settings about callers.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// The log has warned of an untrusted proxy.
    warned_of_proxy: AtomicBool,
    pub(crate) proxy: Proxy,
    pub(crate) allowed: AllowedOrigins,
    pub(crate) creatable: Creatable,
    pub(crate) tokens: Tokens,
}

impl Access {
    pub(crate) fn new(
        proxy: Proxy,
        allowed: AllowedOrigins,
        creatable: Creatable,
        tokens: Tokens,
    ) -> Self {
        Self { warned_of_proxy: AtomicBool::new(false), proxy, allowed, creatable, tokens }
    }

    /// Returns the site that a request comes from.
    pub(crate) fn site(&self, headers: &HeaderMap) -> Site {
        origin::site_of(headers, self.proxy.is_trusted(), &self.allowed)
    }

    /// Warns once of an untrusted proxy on this machine. All of its clients count as one local
    /// caller, without limits.
    fn warn_of_untrusted_proxy(&self, ends: Ends, headers: &HeaderMap) {
        let speaks_for_others =
            ends.far.ip().to_canonical().is_loopback() && headers.contains_key(&FORWARDED_FOR);
        if speaks_for_others
            && !self.proxy.is_trusted()
            && !self.warned_of_proxy.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "a proxy on this machine sends X-Forwarded-For and is not trusted: no limit counts its clients. Start this node with --trust-proxy"
            );
        }
    }
}

/// The two ends of one TCP connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) far: SocketAddr,
    pub(crate) near: SocketAddr,
}
