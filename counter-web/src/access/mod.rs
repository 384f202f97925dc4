//! Who sends a request, and what they may do.
//!
//! A request comes from a [`Caller`]: an address that limits count ([`peer`], [`limits`]), the
//! site whose page sent it ([`origin`]), and rights that go beyond a stranger's, by a token
//! ([`token`]) or because the caller is a process of this machine ([`local`]). [`names`] lists the
//! counters that strangers may make, and [`cors`] lets pages of other sites in.

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

/// What the command line says about callers.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// A proxy was seen that is not trusted, and the log says so.
    noticed_proxy: AtomicBool,
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
        Self { noticed_proxy: AtomicBool::new(false), proxy, allowed, creatable, tokens }
    }

    /// Judges the site that a request comes from.
    pub(crate) fn site(&self, headers: &HeaderMap) -> Site {
        origin::judge(headers, self.proxy.is_trusted(), &self.allowed)
    }

    /// Warns once of a proxy on this machine whose clients all count as one local caller, without
    /// limits.
    fn notice_untrusted_proxy(&self, ends: Ends, headers: &HeaderMap) {
        let speaks_for_others =
            ends.far.ip().to_canonical().is_loopback() && headers.contains_key(&FORWARDED_FOR);
        if speaks_for_others
            && !self.proxy.is_trusted()
            && !self.noticed_proxy.swap(true, Ordering::Relaxed)
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
